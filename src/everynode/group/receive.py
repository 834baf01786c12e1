"""Receive: what peers send goes into the index in the order in which it came, several messages a transaction."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from everynode.errors import LinkError
from everynode.group.announce import Announcer
from everynode.group.catchup import CatchUp
from everynode.group.ground import Ground
from everynode.group.hear import Heard, Inbound, hear_all
from everynode.limits import BACKLOG_MAX, BATCH_RECORDS, INBOUND_BYTES_MAX, INLINE_CACHE_BYTES
from everynode.model.ids import NodeId, node_of
from everynode.model.message import Batch, ComparePart, RunCredit, RunEnd, RunPart
from everynode.model.path import show_path
from everynode.report.audit import Happening

logger = logging.getLogger("everynode.group")


class Receiver:
    """A bounded queue of what was received, and the task that hears it."""

    def __init__(self, ground: Ground, catch_up: CatchUp, announcer: Announcer) -> None:
        self._ground = ground
        self._catch_up = catch_up
        self._announcer = announcer
        self._queue: deque[tuple[NodeId, Inbound, int]] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._doubted: set[NodeId] | None = None
        """While an epoch is young: who said that it is old. See `hear_all`."""
        self._liars: set[NodeId] = set()

    def take(self, peer: NodeId, message: Inbound) -> None:
        """Queue a message. A live batch that finds the queue full is dropped: the run that follows brings it again.

        Raises LinkError for a peer that lied before.
        """
        if peer in self._liars:
            self._liars.discard(peer)
            raise LinkError("it said what cannot be")
        size = _weight(message)
        if isinstance(message, Batch) and self._queued_bytes + size > INBOUND_BYTES_MAX:
            self._catch_up.want(peer)
            return
        if not isinstance(message, Batch) and not self._catch_up.expects(peer, message.run):
            return  # of a run that was given up
        self._queue.append((peer, message, size))
        self._queued_bytes += size
        self._wake.set()

    def closed(self, peer: NodeId) -> None:
        """Its link is gone, and with it the reason to end it."""
        self._liars.discard(peer)

    async def run(self) -> None:
        ground = self._ground
        while True:
            while not self._queue:
                self._wake.clear()
                await self._wake.wait()
            await self._let_apply_keep_up()
            taken = self._take_some()
            for _, message in taken:
                if isinstance(message, Batch | RunPart):
                    ground.inline.add(message.contents)
            self._doubted = (self._doubted or set()) if self._announcer.epoch_is_young() else None
            heard = await ground.clock.offload_index(
                hear_all, ground.index, taken, self._catch_up.sufficient(), self._doubted, self._catch_up.young
            )
            self._after(heard)
            for peer, message in taken:
                if not isinstance(message, Batch):
                    self._catch_up.heard(peer, message)
                if isinstance(message, RunPart | ComparePart):
                    await self._credit(peer, message.run)

    async def _let_apply_keep_up(self) -> None:
        """Senders wait in turn: for credits, or for this node to say that it has heard what they pushed."""
        ground = self._ground
        while ground.placing_now and (
            ground.index.state.counters.unplaced > BACKLOG_MAX or ground.inline.bytes > INLINE_CACHE_BYTES // 2
        ):
            self._catch_up.alive()
            await ground.wait_progress()

    def _take_some(self) -> list[tuple[NodeId, Inbound]]:
        taken: list[tuple[NodeId, Inbound]] = []
        records = 0
        while self._queue and records < BATCH_RECORDS:
            peer, message, size = self._queue.popleft()
            self._queued_bytes -= size
            taken.append((peer, message))
            if not isinstance(message, RunEnd):
                records += len(message.records)
        return taken

    def _after(self, heard: Heard) -> None:
        ground = self._ground
        if heard.foreign_own:
            ground.may_change.clear()
            self._announcer.begin_epoch()
            for peer in ground.links.peers():
                self._catch_up.want(peer)
        elif ground.index.state.may_change:
            ground.may_change.set()
        for peer, lie in heard.lies:
            if peer not in self._liars:
                name = ground.setup.node_name(peer)
                logger.warning("group %s: %s sent %s: not believed", ground.setup.name, name, lie)
            self._liars.add(peer)
        if heard.too_large is not None:
            shown = show_path(heard.too_large)
            logger.warning(
                "group %s: there are too many versions of %s: new ones are left out", ground.setup.name, shown
            )
        for peer in heard.gaps:
            self._catch_up.want(peer)
        for peer, forgotten in heard.must_compare.items():
            self._catch_up.forgot(peer, forgotten)
        if heard.changed or heard.claimed:  # what is known and needs no placing is placed: a pass of apply says so
            ground.work.set()
        if heard.last is not None:
            newest = max(heard.last.version.siblings, key=lambda sibling: sibling.entry.mtime_ns)
            ground.note_change(heard.last.path, node_of(newest.origin))
        if heard.changed or heard.claimed:
            ground.news.set()
            ground.progressed()
        self._announcer.announce(heard.made)
        for path in heard.conflicts:
            ground.setup.journal.add(ground.setup.name, path, Happening.CONFLICT)

    async def _credit(self, peer: NodeId, run: int) -> None:
        """Ask for one more part of a run."""
        ground = self._ground
        try:
            await ground.links.send(peer, RunCredit(ground.setup.group, run))
        except LinkError:
            pass  # the run ends with its link


def _weight(message: Inbound) -> int:
    if isinstance(message, RunEnd):
        return 0
    if isinstance(message, ComparePart):
        return 200 * len(message.records)
    return 200 * len(message.records) + sum(map(len, message.contents.values()))
