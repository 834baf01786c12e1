"""Compare: one part of a walk through a peer's index beside ours: what is known there and not held is dead."""

from __future__ import annotations

from everynode.core.compare import still_alive
from everynode.core.versions import supersede
from everynode.group.announce import Announcement
from everynode.index.store import Index
from everynode.limits import BATCH_RECORDS
from everynode.model.message import ComparePart, WireRecord
from everynode.model.path import ROOT, RelPath
from everynode.model.record import Record, Version


def drop_dead(index: Index, part: ComparePart) -> list[Announcement]:
    """Of the paths that a part is about. Its records have been heard; inside the same transaction.

    Something that stands on this disk and is dead gets a deletion of this node: so it takes the way of every deletion,
    through the brake and into the vault, and whoever has it from us hears of it.
    """
    theirs = {record.path: record.version for record in part.records}
    made: list[Announcement] = []
    after: bytes = part.after
    while rows := index.below(ROOT, after, BATCH_RECORDS):
        for record in rows:
            if not part.last and record.path > part.upto:
                return made
            alive = still_alive(record.version, theirs.get(record.path), part.knows)
            if alive is record.version:
                continue
            if alive is not None:
                index.put(Record(record.path, alive, record.placed, unplaced=True), record)
            elif record.placed is None or record.placed.entry is None:
                index.drop(record)
            else:
                made.append(_deleted(index, record))
            index.recheck_ancestors(record.path)
        after = rows[-1].path
    return made


def _deleted(index: Index, record: Record) -> Announcement:
    sequence = index.next_sequence()
    version: Version = supersede(
        record.version, index.origin, sequence, record.version.siblings[-1].entry, live=False, content=False
    )
    index.put(Record(record.path, version, record.placed, unplaced=True), record)
    index.claim_one(index.origin, sequence)
    return Announcement(WireRecord(RelPath(record.path), version), index.origin, sequence, None)
