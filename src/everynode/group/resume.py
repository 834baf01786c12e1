"""Resume: after a start, before anything new is heard: what the last life placed and did not come to note."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from everynode.core.detect import Known, detect
from everynode.group.ground import Ground
from everynode.limits import SCAN_BATCH
from everynode.model.entry import Entry, Kind, Stamp
from everynode.model.record import Record
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
    """Runs on the index thread. Whatever is no sibling that is held is left to the scan, as are directories."""
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
            if isinstance(meaning, Known):
                index.set_placed(msgspec.structs.replace(record, placed=meaning.placed, unplaced=True), record)


def _is_directory(record: Record) -> bool:
    there = record.placed.entry if record.placed is not None else None
    return there is not None and there.kind == Kind.DIRECTORY
