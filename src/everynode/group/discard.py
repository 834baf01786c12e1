"""Discard: undo removals of a span of changes: what they removed or emptied becomes a new change of this node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from everynode.core.brake import covers, removes
from everynode.core.plan import plan
from everynode.core.versions import sibling_at, supersede
from everynode.group.announce import Announcement, Announcer
from everynode.group.count import is_creation
from everynode.group.ground import Ground
from everynode.index.store import Index
from everynode.limits import BRAKE_WINDOW, FORGET_BATCH, SCAN_WAIT
from everynode.model.entry import DIRECTORY, FILE, Entry
from everynode.model.hold import Span
from everynode.model.message import WireRecord
from everynode.model.path import RelPath
from everynode.model.policy import ConflictPolicy
from everynode.model.record import Placed, Record


@dataclass(slots=True)
class Discarded:
    """What some records came to."""

    changes: list[Announcement] = field(default_factory=list)
    files: int = 0


class Discarder:
    def __init__(self, ground: Ground, announcer: Announcer) -> None:
        self._ground = ground
        self._announcer = announcer

    async def discard(self, spans: Collection[Span]) -> Discarded:
        """Make new changes of what the disk shows; of what is gone here, what was there. Announced when it returns.

        What stands nowhere else is fetched from whoever has it, on its disk or in its vault. What was moved stays
        moved. Durable batch by batch: called again after a crash it goes on.
        """
        ground = self._ground
        clock = ground.clock
        total = Discarded()
        created: Counter[bytes] = Counter()
        after: int | None = 0
        while after is not None:
            after = await clock.offload_index(_created, ground.index, after, spans, created)
        upto = ground.index.state.arrival
        after = 0
        while after is not None and after < upto:
            some = Discarded()
            since_ns = self._since_ns()
            undo = _Undo(ground.index, spans, created, ground.setup.policy.conflict, since_ns, some)
            after = await clock.offload_index(undo.some, after, upto)
            self._announcer.announce(some.changes)
            total.files += some.files
            if some.changes:
                ground.work.set()
                await self._announcer.wait_room(clock.monotonic() + SCAN_WAIT)
        return total

    def _since_ns(self) -> int:
        """Copies in the vault that are younger than this may be of what was emptied."""
        ground = self._ground
        begun = [int(hold.since * 1e9) for hold in ground.holds]
        return min([ground.clock.now_ns(), *begun]) - int(BRAKE_WINDOW * 1e9)


# On the index thread.


def _created(index: Index, after: int, spans: Collection[Span], created: Counter[bytes]) -> int | None:
    """Contents that the authors of the removals created among them: a removed file that has one was moved."""
    records = index.since(after, FORGET_BATCH)
    for record in records:
        created.update(s.entry.digest for s in record.version.siblings if is_creation(s) and covers(spans, s.dot))
    return records[-1].arrival if records else None


@dataclass(slots=True)
class _Undo:
    index: Index
    spans: Collection[Span]
    created: Counter[bytes]
    policy: ConflictPolicy
    since_ns: int
    out: Discarded

    def some(self, after: int, upto: int) -> int | None:
        """Undo what is to be undone in the next records; where to go on, or None."""
        index = self.index
        records = [record for record in index.since(after, FORGET_BATCH) if record.arrival <= upto]
        if not records:
            return None
        with index.transaction():
            for record in records:
                if any(covers(self.spans, sibling.dot) for sibling in record.version.siblings):
                    # What was brought back below a directory may have changed its row.
                    self._one(index.get(record.path) or record if record.path in index.rechecked else record)
        return records[-1].arrival

    def _one(self, record: Record) -> None:
        shown = sibling_at(record.version, plan(record, self.policy, derived=False).shown)
        if shown is None or not covers(self.spans, shown.dot):
            return  # another change stands beside it, and is shown already
        # What the disk has lost of a content is no content: that is fetched, from whoever has it.
        there = record.placed.entry if record.placed is not None and not record.placed.damaged else None
        if not shown.live:
            if there is None and self.created[shown.entry.digest] > 0:
                self.created[shown.entry.digest] -= 1
            else:
                self._bring(record, there or shown.entry, there is not None)
        elif shown.entry.kind is FILE and shown.entry.size == 0:
            if removes(there, shown.entry):
                assert there is not None
                self._bring(record, there, True)
            elif (before := _vaulted(self.index, record.path, self.since_ns)) is not None:
                self._bring(record, before, False)

    def _bring(self, record: Record, entry: Entry, stands: bool) -> None:
        """`entry` again, as a change of this node that supersedes all that is known: somebody decided so."""
        index = self.index
        sequence = index.next_sequence()
        version = supersede(record.version, index.origin, sequence, entry, live=True, content=True)
        placed = record.placed
        if stands and placed is not None:
            placed = Placed(version, entry, placed.stamp, (index.origin, sequence), placed.not_carried)
        index.put(Record(record.path, version, placed, unplaced=not stands), record)
        index.claim_one(index.origin, sequence)
        index.recheck_ancestors(record.path)
        self.out.files += entry.kind is not DIRECTORY
        self.out.changes.append(Announcement(WireRecord(record.path, version), index.origin, sequence, None))


def _vaulted(index: Index, path: RelPath, since_ns: int) -> Entry | None:
    for kept in index.vault.of_path(path):
        if kept.entry.kind is FILE and kept.entry.size and kept.kept_ns >= since_ns:
            return kept.entry
    return None
