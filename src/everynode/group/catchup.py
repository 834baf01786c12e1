"""Catch up: ask a peer for what it knows and we do not; one run at a time, given up when it stalls.

| state   | event                         | next                                         |
|---------|-------------------------------|----------------------------------------------|
| idle    | a peer knows more, or a gap   | asked (at once, or after a grace)            |
| asked   | part                          | asked; one credit goes back when it is heard |
| asked   | last part of a comparison     | idle: knowledge was claimed with it          |
| asked   | end                           | idle: knowledge was claimed with it          |
| asked   | link closed, nothing for long | idle; another peer that knows more is asked  |
"""

from __future__ import annotations

import asyncio

import msgspec

from everynode.core.runs import Standing, standing
from everynode.core.vectors import dominates, join, missing_count
from everynode.errors import LinkError
from everynode.group.first import first_of
from everynode.group.ground import Ground
from everynode.limits import HEADS_GRACE, RUN_STALL
from everynode.model.ids import NodeId, node_of
from everynode.model.message import ComparePart, GroupHello, RunEnd, RunPart, RunRequest
from everynode.model.record import Vector


class CatchUp:
    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._due: dict[NodeId, float] = {}
        """Peers to be asked, and when."""
        self._theirs: dict[NodeId, Vector] = {}
        """What each open peer has heard, as it said last."""
        self._grace: dict[NodeId, Vector] = {}
        """What was known here when a peer's grace began."""
        self._hellos: dict[NodeId, GroupHello] = {}
        self.young: Vector = {}
        """What peers had forgotten when nothing was held here yet: nothing that came since was dead before."""
        self._wake = asyncio.Event()
        self._peer: NodeId | None = None
        self._comparing = False
        self._run = 0
        self._last_sign = 0.0

    # What is wanted.

    def hello(self, peer: NodeId, hello: GroupHello) -> None:
        """A peer opened the group: ask it at once if it knows more."""
        self._hellos[peer] = hello
        self._theirs[peer] = hello.heard
        ground = self._ground
        if not ground.index.state.counters.records:
            self.young = join(self.young, hello.forgotten)
        if not dominates(ground.index.heard, hello.heard) or not ground.index.state.may_change:
            self.want(peer)

    def heads(self, peer: NodeId, heard: Vector, settled: bool) -> None:
        """A peer said what it knows; ask it after a grace, in which the author's own batches may arrive."""
        hello = self._hellos.get(peer)
        if hello is not None and settled and not hello.settled:
            # It has met somebody who knew more; now it knows enough for us, too.
            self._hellos[peer] = msgspec.structs.replace(hello, settled=True, heard=heard)
            self.want(peer)
        # Joined: a message that comes late takes nothing back.
        heard = self._theirs[peer] = join(self._theirs.get(peer, {}), heard)
        knowledge = self._ground.index.heard
        linked = {*self._ground.links.peers(), self._ground.setup.node}
        authors = {node_of(origin) for origin, sequence in heard.items() if knowledge.get(origin, 0) < sequence}
        if authors:
            if authors <= linked:
                self._grace.setdefault(peer, dict(knowledge))
                self._want(peer, HEADS_GRACE)
            else:
                self._want(peer, 0.0)

    def forgot(self, peer: NodeId, forgotten: Vector) -> None:
        """Since its hello a peer has heard that more was forgotten: a run is not enough any more."""
        hello = self._hellos.get(peer)
        if hello is not None:
            self._hellos[peer] = msgspec.structs.replace(hello, forgotten=join(hello.forgotten, forgotten))
            self.want(peer)

    def want(self, peer: NodeId) -> None:
        """There is a gap that `peer` can fill."""
        self._want(peer, 0.0)

    def _want(self, peer: NodeId, delay: float) -> None:
        due = self._ground.clock.monotonic() + delay
        self._due[peer] = min(due, self._due.get(peer, due))
        self._wake.set()

    def closed(self, peer: NodeId) -> None:
        for table in (self._due, self._theirs, self._hellos, self._grace):
            table.pop(peer, None)
        if self._peer == peer:
            self._peer = None
        self._wake.set()

    def expects(self, peer: NodeId, run: int) -> bool:
        """Whether a message belongs to the run under way."""
        if self._peer != peer or self._run != run:
            return False
        self._last_sign = self._ground.clock.monotonic()
        return True

    def heard(self, peer: NodeId, message: RunPart | RunEnd | ComparePart) -> None:
        """A message of a run is in the index, durable."""
        if self._peer == peer and self._run == message.run:
            self._last_sign = self._ground.clock.monotonic()
            if type(message) is RunEnd or (type(message) is ComparePart and message.last):
                self._peer = None
                self._wake.set()

    def alive(self) -> None:
        """It is this node that makes the run wait."""
        self._last_sign = self._ground.clock.monotonic()

    def running(self) -> bool:
        return self._peer is not None

    def behind(self) -> int:
        """Changes that some open peer knows and we do not."""
        knowledge = self._ground.index.heard
        return max((missing_count(knowledge, heard) for heard in self._theirs.values()), default=0)

    def comparing(self) -> NodeId | None:
        """The peer with whose index this one is being compared: it was away so long that deletions were forgotten."""
        return self._peer if self._comparing else None

    def sufficient(self) -> list[Vector]:
        """What settled members knew when they met us; who knows all that of one has closed a run with it.

        If no member is settled, and all are here, there is nothing more to know than what they hold.
        """
        settled = [hello.heard for hello in self._hellos.values() if hello.settled]
        others = self._ground.setup.members() - {self._ground.setup.node}
        if not settled and others and others <= self._hellos.keys():
            joined: Vector = {}
            for hello in self._hellos.values():
                joined = join(joined, hello.heard)
            return [joined]
        return settled

    # Asking.

    async def run(self) -> None:
        clock = self._ground.clock
        while True:
            pause = self._step()
            self._wake.clear()
            if pause is None:
                await self._wake.wait()
            else:
                await first_of(clock.sleep(pause), self._wake.wait())
            await self._ask_due()

    def _step(self) -> float | None:
        """Seconds until something is to be done; None: nothing by itself."""
        now = self._ground.clock.monotonic()
        if self._peer is not None:
            left = self._last_sign + RUN_STALL - now
            if left <= 0:
                # Whatever it is, another peer may do better meanwhile.
                self._due.pop(self._peer, None)
                self._want(self._peer, RUN_STALL)
                for other in self._theirs.keys() - {self._peer}:
                    self._want(other, 0.0)
                self._peer = None
                return 0.0
            return left
        if not self._due:
            return None
        return max(0.0, min(self._due.values()) - now)

    async def _ask_due(self) -> None:
        now = self._ground.clock.monotonic()
        while self._peer is None:
            due = [peer for peer, when in self._due.items() if when <= now]
            if not due:
                return
            peer = max(due, key=lambda p: (missing_count(self._ground.index.heard, self._theirs.get(p, {})), p))
            del self._due[peer]
            if self._flows(peer):
                self._want(peer, HEADS_GRACE)
            else:
                await self._ask(peer)

    def _flows(self, peer: NodeId) -> bool:
        """Whether what was missing has been coming from its authors since the grace began: then it is waited for."""
        before = self._grace.pop(peer, None)
        knowledge = self._ground.index.heard
        theirs = self._theirs.get(peer, {})
        if before is None or dominates(knowledge, theirs):
            return False
        missing = [origin for origin, sequence in theirs.items() if knowledge.get(origin, 0) < sequence]
        if all(knowledge.get(origin, 0) > before.get(origin, 0) for origin in missing):
            self._grace[peer] = dict(knowledge)
            return True
        return False

    async def _ask(self, peer: NodeId) -> None:
        ground = self._ground
        state = ground.index.state
        theirs = self._theirs.get(peer, {})
        if peer not in self._hellos or (dominates(ground.index.heard, theirs) and state.may_change):
            return
        life, since = state.cursors.get(peer, (b"", 0))
        self._peer = peer
        self._run = ground.setup.random_number() & (2**63 - 1)
        self._last_sign = ground.clock.monotonic()
        contents = bool(ground.index.heard) or ground.root_was_empty
        self._comparing = self._standing(peer) is Standing.COMPARE
        request = RunRequest(ground.setup.group, self._run, ground.index.heard, life, since, contents, self._comparing)
        try:
            await ground.links.send(peer, request)
        except LinkError:
            if self._peer == peer:
                self._peer = None

    def _standing(self, peer: NodeId) -> Standing:
        index = self._ground.index
        knowledge = join(index.heard, self.young)
        return standing(knowledge, self._hellos[peer].forgotten, empty=not index.state.counters.records)
