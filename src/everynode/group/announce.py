"""Announce: this node's own changes go to every linked peer at once, in batches that close without gaps."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

import msgspec

from everynode.errors import LinkError
from everynode.group.ground import Ground
from everynode.limits import ANNOUNCE_RING_BYTES, BATCH_BYTES, BATCH_RECORDS, EPOCH_REST, LIVE_WINDOW_BYTES
from everynode.model.ids import Digest, NodeId, Origin, Sequence
from everynode.model.message import Batch, WireRecord
from everynode.model.record import weight_of


class Announcement(msgspec.Struct, frozen=True, gc=False):
    """One own change: its record as it is now, and its content where that is small."""

    record: WireRecord
    origin: Origin
    sequence: Sequence
    content: tuple[Digest, bytes] | None


@dataclass(slots=True)
class _Push:
    """How far a peer has been pushed to."""

    upto: Sequence
    paused: bool = False
    underway: deque[tuple[Sequence, int]] = field(default_factory=deque)
    """(last sequence, bytes) of batches that it has not said it heard."""
    underway_bytes: int = 0


class Announcer:
    """Keeps the last batches for peers that are a little behind; who is further behind catches up by a run.

    So a slow peer costs nobody memory, and a sender keeps no queue per peer.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._ring: deque[tuple[Batch, int]] = deque()
        self._ring_bytes = 0
        self._pushes: dict[NodeId, _Push] = {}
        self._origin = ground.index.origin
        self._last = Sequence(ground.index.heard.get(self._origin, 0))
        self._early: dict[Sequence, list[Announcement]] = {}
        self._grown = asyncio.Event()
        self._epoch_begun: float | None = None

    def open(self, peer: NodeId) -> None:
        """Push to `peer` what comes from now on."""
        self._pushes[peer] = _Push(self._last)

    def close(self, peer: NodeId) -> None:
        self._pushes.pop(peer, None)
        self._wake_up()
        self._ground.progressed()

    def pause(self, peer: NodeId) -> None:
        """A run brings the peer everything until `resume`; what is pushed beside it would come twice."""
        push = self._pushes.get(peer)
        if push is not None:
            push.paused = True

    def unpause(self, peer: NodeId) -> None:
        """The run ended, one way or the other."""
        push = self._pushes.get(peer)
        if push is not None and push.paused:
            push.paused = False
            self._wake_up()

    def resume(self, peer: NodeId, known: Sequence) -> None:
        """The peer knows this origin up to `known` when it has heard what was sent so far."""
        push = self._pushes.get(peer)
        if push is not None:
            self._pushes[peer] = _Push(known)
            self._wake_up()

    def acknowledged(self, peer: NodeId, known: Sequence) -> None:
        """The peer has heard this origin up to `known`."""
        push = self._pushes.get(peer)
        if push is not None:
            while push.underway and push.underway[0][0] <= known:
                push.underway_bytes -= push.underway.popleft()[1]
            self._wake_up()

    def covers(self, known: Sequence) -> bool:
        """Whether all own changes after `known` are at hand to be pushed."""
        return known >= (self._ring[0][0].before if self._ring else self._last)

    def _wake_up(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    def begin_epoch(self) -> None:
        """Own changes are numbered anew."""
        self._epoch_begun = self._ground.clock.monotonic()
        self._ring.clear()
        self._ring_bytes = 0
        self._early.clear()
        self._origin = self._ground.index.origin
        self._last = Sequence(self._ground.index.heard.get(self._origin, 0))
        self._pushes = {peer: _Push(self._last) for peer in self._pushes}

    def epoch_is_young(self) -> bool:
        """Whether this node has begun an epoch so lately that no peer's word is reason to begin the next."""
        begun = self._epoch_begun
        return begun is not None and self._ground.clock.monotonic() - begun < EPOCH_REST

    def announce(self, changes: list[Announcement]) -> None:
        """Own changes with rising sequences without holes, all durable in the index. Returns at once."""
        if not changes or changes[0].origin != self._origin:
            return  # of an epoch that has ended meanwhile: peers get it by runs
        self._early[Sequence(changes[0].sequence - 1)] = changes
        # Two transactions may come back in another order than they were committed in.
        while (ready := self._early.pop(self._last, None)) is not None:
            self._append(ready)
        self._wake_up()
        self._ground.news.set()

    def _append(self, changes: list[Announcement]) -> None:
        start = 0
        while start < len(changes):
            records: list[WireRecord] = []
            contents: dict[Digest, bytes] = {}
            size = 0
            while start < len(changes) and len(records) < BATCH_RECORDS and size < BATCH_BYTES:
                change = changes[start]
                records.append(change.record)
                size += weight_of(change.record.version) + len(change.record.path)
                if change.content is not None:
                    contents[change.content[0]] = change.content[1]
                    size += len(change.content[1])
                start += 1
            after = changes[start - 1].sequence
            setup = self._ground.setup
            batch = Batch(setup.group, self._origin, self._last, after, tuple(records), contents)
            self._last = after
            self._ring.append((batch, size))
            self._ring_bytes += size
        while self._ring_bytes > ANNOUNCE_RING_BYTES and len(self._ring) > 1:
            self._ring_bytes -= self._ring.popleft()[1]

    async def run_peer(self, peer: NodeId) -> None:
        """Push to one peer until its link closes."""
        while (push := self._pushes.get(peer)) is not None:
            grown = self._grown
            found = self._next_for(push)
            if found is None:
                await grown.wait()
                continue
            batch, size = found
            push.upto = batch.after
            push.underway.append((batch.after, size))
            push.underway_bytes += size
            try:
                await self._ground.links.send(peer, batch)
            except LinkError:
                return
            self._ground.progressed()

    def _next_for(self, push: _Push) -> tuple[Batch, int] | None:
        if push.paused or not self._ring or push.upto >= self._last or push.underway_bytes > LIVE_WINDOW_BYTES:
            return None
        # What fell out of the ring is left out: the gap tells the peer to catch up.
        upto = max(push.upto, self._ring[0][0].before)
        # Sequences in the ring have no holes and batches are many records long: search from the new end.
        for batch, size in reversed(self._ring):
            if batch.before <= upto:
                return batch, size
        return None

    async def wait_room(self, deadline: float) -> None:
        """Let linked peers keep up with a bulk of changes, but wait for none longer than `deadline` (monotonic)."""
        clock = self._ground.clock
        while self._ring_bytes > ANNOUNCE_RING_BYTES // 2 and clock.monotonic() < deadline and self._lag():
            await clock.sleep(0.01)

    def _lag(self) -> bool:
        oldest = self._ring[len(self._ring) // 2][0].before
        return any(push.upto < oldest and not push.paused for push in self._pushes.values())
