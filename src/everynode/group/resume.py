"""Resume: after a start, before anything new is heard: what the last life placed and did not come to note."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from everynode.core.detect import Known, detect
from everynode.core.plan import plan
from everynode.core.versions import make_version
from everynode.group.ground import Ground
from everynode.limits import SCAN_BATCH
from everynode.model.entry import Entry, Kind, Stamp
from everynode.model.record import Placed, Record
from everynode.tree.observe import observe
from everynode.tree.outcome import Absent, Observation, Present


async def resume(ground: Ground) -> None:
    """Find unplaced records whose disk is as they want it: a crash came between the placing and the record of it.

    Before the first message: once a successor or a deletion of what stands there is heard, nothing tells any more
    that it was placed, and it would be taken for what a user wrote beside that.
    """
    clock = ground.clock
    after = 0
    while records := await clock.offload_index(ground.index.unplaced, after, SCAN_BATCH):
        after = records[-1].arrival
        records = [record for record in records if not ground.excluder.excluded(record.path, False)]
        seen = await clock.offload(_look, ground, records)
        if any(type(look) is Present or type(look) is Absent for look in seen):
            await clock.offload_index(_note, ground, records, seen)


def _look(ground: Ground, records: Sequence[Record]) -> list[Observation]:
    """Runs on a thread. Only what is not as it was placed is read."""
    setup = ground.setup
    stamps = [record.placed.stamp if record.placed is not None else None for record in records]
    looks = [(record.path, stamp) for record, stamp in zip(records, stamps, strict=True)]
    seen = observe(setup.root, looks, contents=False, now_ns=setup.clock.now_ns())
    if any(type(look) is Absent for look in seen):
        setup.root.check()
    return seen


def _note(ground: Ground, records: Sequence[Record], seen: Sequence[Observation]) -> None:
    """Runs on the index thread. Whatever is not as it was to be placed is left to the scan."""
    index = ground.index
    with index.transaction():
        for record, look in zip(records, seen, strict=True):
            entry: Entry | None = None
            stamp: Stamp | None = None
            match look:
                case Present():
                    entry, stamp = look.entry, look.stamp
                case Absent() if not _is_directory(record):
                    pass
                case _:
                    continue
            meaning = detect(record, entry, stamp, index.origin, index.next_sequence())
            placed = meaning.placed if isinstance(meaning, Known) else None
            placed = placed or _overtaken(record, entry, stamp) or _stand_in(ground, record, entry, stamp)
            if placed is not None:
                index.set_placed(msgspec.structs.replace(record, placed=placed, unplaced=True), record)


def _overtaken(record: Record, seen: Entry | None, stamp: Stamp | None) -> Placed | None:
    """What was superseded while it was placed: that stands here, and what followed is still to come."""
    there = record.placed.entry if record.placed is not None else None
    for sibling in reversed(record.overtaken):
        shown = sibling.entry if sibling.live else None
        if seen.equals(shown) if seen is not None and shown is not None else seen is shown and there is not None:
            return Placed(make_version([sibling], {}), seen, stamp, sibling.dot)
    return None


def _stand_in(ground: Ground, record: Record, seen: Entry | None, stamp: Stamp | None) -> Placed | None:
    """A directory that stands only for what lives below it, just as it was to be made; no sibling describes it."""
    if seen is None or seen.kind != Kind.DIRECTORY or _is_directory(record):
        return None
    target = plan(record, ground.setup.policy.conflict, ground.index.lives_below(record.path))
    if target.entry is None or not seen.equals(target.entry):
        return None
    # The other siblings may not be in the vault yet: nobody here has decided about them.
    alone = make_version([s for s in record.version.siblings if s.dot == target.shown], {})
    return Placed(alone if len(record.version.siblings) > 1 else record.version, seen, stamp, target.shown)


def _is_directory(record: Record) -> bool:
    there = record.placed.entry if record.placed is not None else None
    return there is not None and there.kind == Kind.DIRECTORY
