"""Brake: removals by a peer gather until it is known how many they are; too many are held until a person decides.

| an origin's removals | event                                          | next                                     |
|----------------------|------------------------------------------------|------------------------------------------|
| placed at once       | more than a handful in a moment                | gathering: kept back                     |
| gathering            | nothing more is heard, or time is up: few      | placed                                   |
| gathering            | the same: too many (`core.brake`)              | held: what is gone lately is put back    |
| held                 | another removal of the origin                  | held with the others                     |
| held                 | released, here or on any node; brake set off   | placed                                   |
| held                 | discarded, or changed: nothing is left of them | placed at once                           |

A deletion by a user of this node is never kept back: what he deleted stands here no more.

What is kept back is marked in its record, so that it is no work meanwhile; why it is, in the state of the index.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec

from everynode.core.brake import Tally, bound, covers, join_spans, removes, spans_of, without
from everynode.core.plan import CONTENT, REMOVE, Target
from everynode.errors import LinkError
from everynode.group.choose import Choice
from everynode.group.count import Count, count_created, count_held
from everynode.group.ground import Ground
from everynode.group.holding import bring_back, keep_back, let_some_go, note_released, set_holds
from everynode.group.placing import Done
from everynode.limits import (
    BRAKE_COUNT_INTERVAL,
    BRAKE_FEW,
    BRAKE_GATHER,
    BRAKE_QUIET,
    BRAKE_WINDOW,
    RELEASES_MAX,
)
from everynode.model.entry import DIRECTORY
from everynode.model.hold import Hold, Span
from everynode.model.ids import Dot, NodeId, Origin, node_of
from everynode.model.message import Released
from everynode.model.path import ROOT, RelPath, show_path
from everynode.report.audit import Happening
from everynode.tree.outcome import Put

logger = logging.getLogger("everynode.group")

COUNT_SHARE = 20
"""Counting again takes at most one part in this many of the time of the index."""


@dataclass(slots=True)
class Gathering:
    """Removals of one origin that are kept back until it is known how many they are."""

    span: Span
    since: float


@dataclass(slots=True)
class Counted:
    """When what is held was counted last."""

    changes: int = -1
    again: float = 0.0


class Brake:
    """Apply asks it; only `release` comes from elsewhere, hence the lock."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._gathering: dict[Origin, Gathering] = {}
        self._tallies: dict[Origin, Tally] = {}
        self._cleared: tuple[Span, ...] = ()
        """Gathered and found to be few: these are placed."""
        self._passing: dict[RelPath, Dot] = {}
        """Removals in the batch under way that are to be counted when they are placed."""
        self.returning: set[RelPath] = set()
        """Removed here lately, and held now: to be put back."""
        self._put: set[RelPath] = set()
        """Put back, and to be held by the next pass: until then no count has them."""
        self._arrivals: deque[tuple[float, int]] = deque([(ground.clock.monotonic(), 0)])
        """Where the index was, and when: what was created in a run is looked for from there."""
        self._heard = (-1, 0.0)
        """Where the index is, and since when."""
        self._counted = Counted()
        self._lock = asyncio.Lock()
        self._news: asyncio.Queue[tuple[NodeId, tuple[Span, ...]]] = asyncio.Queue()

    @property
    def _holds(self) -> tuple[Hold, ...]:
        return self._ground.index.state.holds

    async def begin(self) -> None:
        """Once, when the index is open: what was held is held still; what only gathered gathers anew."""
        ground = self._ground
        if self._bound() is None and self._holds:
            await ground.clock.offload_index(set_holds, ground.index, ())
        await self._let_go()
        self._publish()

    # What apply is about to do, and has done.

    async def sift(self, choice: Choice) -> None:
        """Take out of a batch what is to be kept back."""
        self._passing.clear()
        if not choice.removals or self._bound() is None:
            return
        async with self._lock:
            files = self._too_many(choice)
            braking = bool(self._gathering or self._holds)
            directories = [t for t in choice.removals if t.step is REMOVE and _is_directory(t)] if braking else []
            if not files and not directories:
                return
            for target in directories:  # an empty one is removed, and is part of what may be discarded all the same
                if self._is_braking(target.shown[0], 0):
                    self._keep(target.shown[0], [target])
            self._publish()
            kept = await self._ground.clock.offload_index(keep_back, self._ground.index, files, directories)
        choice.targets = [target for target in choice.targets if target.record.path not in kept]

    def _too_many(self, choice: Choice) -> list[Target]:
        """Removals of the batch that are not to be placed now. What it creates elsewhere was moved."""
        ground = self._ground
        created = Counter(t.entry.digest for t in choice.targets if t.step is CONTENT and t.entry and _is_new(t))
        by_origin: dict[Origin, list[Target]] = {}
        released = ground.index.state.released
        for target in choice.removals:
            placed = target.record.placed
            there = placed.entry if placed is not None else None
            if there is None or not removes(there, target.entry):
                continue
            if created[there.digest] > 0:
                created[there.digest] -= 1
            elif not covers(released, target.shown) and not covers(self._cleared, target.shown):
                by_origin.setdefault(target.shown[0], []).append(target)
        kept: list[Target] = []
        for origin, targets in by_origin.items():
            if self._is_braking(origin, len(targets)):
                self._keep(origin, targets)
                kept += targets
            else:
                self._passing.update((target.record.path, target.shown) for target in targets)
        return kept

    def _is_braking(self, origin: Origin, more: int) -> bool:
        if origin in self._gathering or any(hold.span.origin == origin for hold in self._holds):
            return True
        tally = self._tallies.get(origin)
        return more + (tally.burst(self._ground.clock.monotonic()) if tally is not None else 0) > BRAKE_FEW

    def _keep(self, origin: Origin, targets: list[Target]) -> None:
        self._put.difference_update(target.record.path for target in targets)
        sequences = [target.shown[1] for target in targets]
        gathering = self._gathering.get(origin)
        if gathering is None:
            gathering = Gathering(Span(origin, min(sequences), max(sequences)), self._ground.clock.monotonic())
            self._gathering[origin] = gathering
        gathering.span = _widened(gathering.span, min(sequences), max(sequences))

    def placed(self, done: list[Done]) -> None:
        """What became of the batch."""
        if not self._passing and not self.returning:
            return
        paths = [one.job.target.record.path for one in done if type(one.outcome) is Put]
        if not self.returning.isdisjoint(paths):
            self._put.update(self.returning.intersection(paths))
            self.returning.difference_update(paths)
            self._ground.work.set()  # these are held from now on
        now = self._ground.clock.monotonic()
        by_origin: dict[Origin, list[Dot]] = {}
        for path in paths:
            dot = self._passing.pop(path, None)
            if dot is not None:
                by_origin.setdefault(dot[0], []).append(dot)
        for origin, dots in by_origin.items():
            self._tallies.setdefault(origin, Tally()).add(now, len(dots), spans_of(dots))

    # The decision.

    def due(self) -> float | None:
        """When `decide` has something to do, by the clock that only rises."""
        dues = [min(self._heard[1] + BRAKE_QUIET, g.since + BRAKE_GATHER) for g in self._gathering.values()]
        if self._holds and self._counted.changes != self._ground.index.changes:
            dues.append(self._counted.again)
        return min(dues, default=None)

    async def decide(self) -> None:
        """After each pass: hold, or let go, what has gathered long enough; see whether holds are over."""
        now = self._note_arrival()
        if not (self._gathering or self._holds or self._ground.index.state.counters.held):
            return
        async with self._lock:
            quiet = now - self._heard[1] >= BRAKE_QUIET
            due = [o for o, g in self._gathering.items() if quiet or now - g.since >= BRAKE_GATHER]
            again = self._counted.changes != self._ground.index.changes and now >= self._counted.again
            if not due and not (self._holds and again):
                if not self._gathering and not self._holds:
                    await self._let_go()
                return
            if again:
                self._put.clear()  # who is not held by now was changed by somebody meanwhile
            counts = await self._count({*due, *(hold.span.origin for hold in self._holds)})
            for origin in due:
                await self._decide_one(origin, counts[origin])
            await self._recount(counts)
            await self._let_go()
            spent = self._ground.clock.monotonic() - now
            self._counted = Counted(self._ground.index.changes, now + max(BRAKE_COUNT_INTERVAL, COUNT_SHARE * spent))
            self._publish()

    def _note_arrival(self) -> float:
        now = self._ground.clock.monotonic()
        arrival = self._ground.index.state.arrival
        if arrival != self._heard[0]:
            self._heard = (arrival, now)
        if now - self._arrivals[-1][0] > BRAKE_WINDOW / 10:
            self._arrivals.append((now, arrival))
            while now - self._arrivals[1][0] > BRAKE_WINDOW:
                self._arrivals.popleft()
        return now

    async def _count(self, origins: Collection[Origin]) -> dict[Origin, Count]:
        """What is kept back of each origin, exactly, less what was created again elsewhere in the same run."""
        ground = self._ground
        counts = {origin: Count() for origin in origins}
        after: int | None = 0
        while after is not None:
            after = await ground.clock.offload_index(count_held, ground.index, after, counts)
        after = min([self._arrivals[0][1], *(hold.arrival for hold in self._holds)])
        while after is not None and any(count.digests for count in counts.values()):
            after = await ground.clock.offload_index(count_created, ground.index, after, counts)
        return counts

    async def _decide_one(self, origin: Origin, count: Count) -> None:
        ground = self._ground
        now = ground.clock.monotonic()
        gathering = self._gathering.pop(origin)
        span = gathering.span
        tally = self._tallies.setdefault(origin, Tally())
        lately = tally.lately(now)
        if any(hold.span.origin == origin for hold in self._holds):
            await ground.clock.offload_index(set_holds, ground.index, tuple(_joined(h, span) for h in self._holds))
            return
        live = ground.index.state.counters.files
        limit = bound(live + count.files + lately, ground.setup.policy.brake_files, ground.setup.policy.brake_percent)
        if limit is None or count.net + lately <= limit:
            tally.add(now, count.net, () if count.moved else (span,))
            self._cleared = join_spans(self._cleared, (span,), RELEASES_MAX)
            return
        gone = tally.spans(now)
        for lost in gone:
            span = _widened(span, lost.first, lost.last)
        place = count.place if count.place is not None else ROOT
        hold = Hold(span, count.net + lately, ground.clock.now_ns() / 1e9, self._arrivals[0][1], place)
        await ground.clock.offload_index(set_holds, ground.index, (*self._holds, hold))
        after: int | None = 0
        while after is not None and gone:
            after = await ground.clock.offload_index(bring_back, ground.index, gone, after, self.returning)
        if self.returning:
            ground.work.set()
        self._tallies.pop(origin)
        self._say_held(hold)

    def _say_held(self, hold: Hold) -> None:
        setup = self._ground.setup
        text = self._detail(hold)
        logger.warning("group %s: %s", setup.name, text)
        author = node_of(hold.span.origin)
        setup.journal.add(setup.name, RelPath(hold.place), Happening.HELD, node=author, detail=text)

    def _detail(self, hold: Hold) -> str:
        setup = self._ground.setup
        return (
            f"{setup.node_name(node_of(hold.span.origin))} removed or emptied {hold.files:,} files in "
            f"{show_path(hold.place) or 'the root'}: they stay here until somebody decides, on any node. "
            f"`everynode release {setup.name}` lets them go, `everynode discard {setup.name}` brings them back "
            "everywhere"
        )

    async def _recount(self, counts: dict[Origin, Count]) -> None:
        """Holds end when nothing of them is left: it was discarded, or changed, or deleted here as well."""
        ground = self._ground
        underway = bool(self.returning or self._put)
        holds: list[Hold] = []
        for hold in self._holds:
            count = counts.get(hold.span.origin)
            if count is not None and count.files:
                span = _widened(hold.span, count.first, count.last)
                files = max(count.net, hold.files) if underway else count.net
                holds.append(msgspec.structs.replace(hold, span=span, files=files))
            elif count is None or underway:
                holds.append(hold)
            else:
                self._say_over(hold, "nothing of it is left")
        if tuple(holds) != self._holds:
            await ground.clock.offload_index(set_holds, ground.index, tuple(holds))

    def _say_over(self, hold: Hold, why: str) -> None:
        setup = self._ground.setup
        detail = f"{hold.files:,} removals are no longer held: {why}"
        logger.info("group %s: %s", setup.name, detail)
        author = node_of(hold.span.origin)
        setup.journal.add(setup.name, RelPath(hold.place), Happening.RELEASED, node=author, detail=detail)

    # Releasing.

    async def run(self) -> None:
        """Releases that peers tell of."""
        while True:
            peer, spans = await self._news.get()
            name = self._ground.setup.node_name(peer)
            await self.release(spans, f"released, says {name}", but=peer)

    def heard(self, peer: NodeId, message: Released) -> None:
        self._news.put_nowait((peer, message.spans))

    async def tell(self, peer: NodeId) -> None:
        """What was released ever, to a peer whose link has opened. Raises LinkError."""
        if spans := self._ground.index.state.released:
            await self._ground.links.send(peer, Released(self._ground.setup.group, spans))

    async def release(self, spans: Iterable[Span], why: str, but: NodeId | None = None) -> None:
        """These removals may be placed, here and on all nodes. Idempotent; durable here on return."""
        ground = self._ground
        async with self._lock:
            joined = join_spans(ground.index.state.released, spans, RELEASES_MAX)
            if joined == ground.index.state.released:
                return
            before = self._holds
            await ground.clock.offload_index(note_released, ground.index, joined)
            for origin, gathering in list(self._gathering.items()):
                if without(gathering.span, joined) is None:
                    del self._gathering[origin]
            left = {hold.span.origin for hold in self._holds}
            for hold in before:
                if hold.span.origin not in left:
                    self._say_over(hold, why)
            if not left:
                self.returning.clear()
            self._counted = Counted()
            await self._let_go()
            self._publish()
        for peer in ground.links.peers():
            if peer != but:
                try:
                    await ground.links.send(peer, Released(ground.setup.group, joined))
                except LinkError:
                    continue  # told when its link opens again

    async def _let_go(self) -> None:
        """Make work again of all that nothing keeps back any more."""
        ground = self._ground
        keeping = (*(hold.span for hold in self._holds), *(g.span for g in self._gathering.values()))
        held = ground.index.state.counters.held
        after: int | None = 0
        while held and after is not None:
            after = await ground.clock.offload_index(let_some_go, ground.index, after, keeping)
        if ground.index.state.counters.held < held:
            ground.work.set()

    # What others see of it.

    def guarded(self) -> tuple[Span, ...]:
        """Placed removals among these may yet have to be put back: they are not to be forgotten."""
        now = self._ground.clock.monotonic()
        lately = [span for tally in self._tallies.values() for span in tally.spans(now)]
        return join_spans((hold.span for hold in self._holds), lately)

    def _bound(self) -> int | None:
        policy = self._ground.setup.policy
        return bound(self._ground.index.state.counters.files, policy.brake_files, policy.brake_percent)

    def _publish(self) -> None:
        ground = self._ground
        spans = [*(hold.span for hold in self._holds), *(g.span for g in self._gathering.values())]
        firsts = {span.origin: span.first for span in spans}
        for span in spans:
            firsts[span.origin] = min(firsts[span.origin], span.first)
        if firsts == ground.withheld and self._holds == ground.holds:
            return
        ground.withheld = dict(firsts)
        ground.holds = self._holds
        for hold in self._holds:
            ground.problems.holding(hold.span.origin, RelPath(hold.place), self._detail(hold), hold.since)
        ground.problems.holds_only({hold.span.origin for hold in self._holds})
        ground.news.set()
        ground.progressed()


def _is_new(target: Target) -> bool:
    placed = target.record.placed
    return not target.instead and (placed is None or placed.entry is None)


def _is_directory(target: Target) -> bool:
    placed = target.record.placed
    return placed is not None and placed.entry is not None and placed.entry.kind is DIRECTORY


def _joined(hold: Hold, span: Span) -> Hold:
    if hold.span.origin != span.origin:
        return hold
    return msgspec.structs.replace(hold, span=_widened(hold.span, span.first, span.last))


def _widened(span: Span, first: int, last: int) -> Span:
    return Span(span.origin, type(span.first)(min(span.first, first)), type(span.last)(max(span.last, last)))
