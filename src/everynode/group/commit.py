"""Commit: one index transaction that records what became of a placed batch, and adopts what users did meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from everynode.core.plan import ATTRIBUTES, CONTENT, NOTHING
from everynode.core.versions import make_version, merge, supersede
from everynode.group.announce import Announcement
from everynode.group.placing import Done
from everynode.index.store import Index
from everynode.index.vault_catalogue import BEING_WRITTEN, Kept
from everynode.model.entry import DIRECTORY, Entry
from everynode.model.ids import NodeId, node_of
from everynode.model.message import WireRecord
from everynode.model.path import RelPath
from everynode.model.record import Placed, Record, Version
from everynode.report.audit import Happening
from everynode.tree.outcome import NotPut, Put

PLACED = Happening.PLACED
NO_TIMES: Mapping[RelPath, int] = {}


@dataclass(slots=True)
class Committed:
    placed: list[RelPath] = field(default_factory=list)
    failed: list[NotPut] = field(default_factory=list)
    adopted: list[Announcement] = field(default_factory=list)
    written: list[tuple[bytes, Version | None]] = field(default_factory=list)
    """Contents that somebody is writing, to be adopted when he is done: name in the vault, what was placed there."""
    denied: list[tuple[RelPath, str]] = field(default_factory=list)
    happened: list[tuple[RelPath, Happening, NodeId, int, str]] = field(default_factory=list)
    rechecked: bool = False
    """Directories above what was placed are work again."""


def commit(
    index: Index, done: list[Done], excluded: list[Record], now_ns: int, times_set: Mapping[RelPath, int] = NO_TIMES
) -> Committed:
    """All or nothing, durable when it returns. Runs on the index thread."""
    result = Committed()
    with index.transaction():
        index.placings += 1
        for record in excluded:
            _leave_alone(index, record)
        for one in done:
            for kept in one.losers:
                index.vault.add(kept)
            match one.outcome:
                case Put():
                    _placed(index, one, one.outcome, now_ns, result)
                case NotPut():
                    result.failed.append(one.outcome)
        for path, mtime_ns in times_set.items():
            _note_time(index, path, mtime_ns, result)
    result.rechecked = result.rechecked or bool(index.rechecked)
    return result


def _note_time(index: Index, path: RelPath, mtime_ns: int, result: Committed) -> None:
    """The directory has not its recorded time: that is to be set again.

    A user changed it after that was read and before it was set, or it could not be set.
    """
    record = index.get(path)
    placed = record.placed if record is not None else None
    if record is None or placed is None or placed.entry is None or placed.entry.kind != DIRECTORY:
        return
    if placed.entry.mtime_ns != mtime_ns:
        entry = msgspec.structs.replace(placed.entry, mtime_ns=mtime_ns)
        stands = Placed(placed.version, entry, None, placed.shown, placed.not_carried)
        index.set_placed(msgspec.structs.replace(record, placed=stands, unplaced=True), record)
        result.rechecked = True


def _leave_alone(index: Index, record: Record) -> None:
    """An excluded path is nothing of ours: what stands there stays, and is news if it is ever included again."""
    now = index.get(record.path)
    if now is not None and now.version == record.version:
        alone = msgspec.structs.replace(now, placed=None, unplaced=False, held=False)
        index.set_placed(alone, now, excluded=True)


def _placed(index: Index, one: Done, put: Put, now_ns: int, result: Committed) -> None:
    target = one.job.target
    before = target.record.placed
    path = target.record.path
    if before is None and target.step is CONTENT and not (put.vaulted or put.denied or target.instead):
        # Where nothing was, all as it should be: nearly all of a first copy.
        version = target.record.version
        new = Record(path, version, Placed(version, put.entry, put.stamp, target.shown))
        if index.set_placed(new, target.record):
            result.placed.append(path)
            result.happened.append((path, PLACED, node_of(target.shown[0]), 0, ""))
            return
    if target.step is NOTHING:
        entry = before.entry if before is not None else None
        stamp = before.stamp if before is not None else None
    else:
        entry, stamp = put.entry, put.stamp
    version = target.record.version
    if target.instead:
        # Nobody here has seen the version to be shown: a change on top of this one must not supersede it.
        version = make_version([s for s in version.siblings if s.dot == target.shown], {})
    placed = Placed(version, entry, stamp, target.shown)
    earlier = target.record.earlier if target.step is NOTHING or target.step is ATTRIBUTES else ()
    if not index.set_placed(
        Record(path, target.record.version, placed, target.instead, earlier=earlier), target.record
    ):
        # More was heard meanwhile: what was placed is true, and there is work again.
        now = index.get(path)
        if now is None:
            return
        index.set_placed(msgspec.structs.replace(now, placed=placed, unplaced=True), now)
    elif (target.derived or len(target.record.version.siblings) > 1) and index.lives_below(path) != target.derived:
        # Since it was chosen something below came to life, or the last that lived is gone: another may be shown.
        now = index.get(path)
        assert now is not None
        index.set_placed(msgspec.structs.replace(now, unplaced=True), now)
        result.rechecked = True
    if put.vaulted:
        old = one.vaulted_entry or (before.entry if before is not None else None)
        if old is not None:
            why = "replaced" if entry is not None else "deleted"
            if put.swapped_other and one.vaulted_entry is None:
                why = BEING_WRITTEN
            index.vault.add(Kept(put.vaulted, path, old, now_ns, why))
    if put.swapped_other:
        base = before.version if before is not None else None
        if one.vaulted_entry is not None:
            result.adopted.append(adopt(index, path, one.vaulted_entry, base))
        else:
            result.written.append((put.vaulted, base))
    if target.entry is None or (before is not None and before.entry is None):
        index.recheck_ancestors(path)
    if one.untimed is not None and (now := index.get(path)) is not None:
        index.set_placed(msgspec.structs.replace(now, unplaced=True), now)
        result.failed.append(one.untimed)
    elif not target.instead:
        result.placed.append(path)
    if put.denied:
        result.denied.append((path, put.denied))
    if target.step is not NOTHING:
        what = Happening.REMOVED if entry is None else Happening.PLACED
        result.happened.append((path, what, node_of(target.shown[0]), 0, ""))


def adopt(index: Index, path: RelPath, entry: Entry, base: Version | None) -> Announcement:
    """Make a change of a content in the vault that a user wrote over `base`; the path is work afterwards.

    Inside a transaction. The content is in the vault's catalogue already.
    """
    sequence = index.next_sequence()
    version = supersede(base, index.origin, sequence, entry, live=True, content=True)
    record = index.get(path)
    merged = merge(record.version, version) if record is not None else version
    index.put(Record(path, merged, record.placed if record is not None else None, unplaced=True), record)
    index.claim_one(index.origin, sequence)
    index.recheck_ancestors(path)
    return Announcement(WireRecord(path, merged), index.origin, sequence, None)
