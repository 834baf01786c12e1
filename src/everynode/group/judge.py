"""Judge: one index transaction that turns a batch of looks into changes of this node, or into nothing."""

from __future__ import annotations

from collections.abc import Sequence as Several
from dataclasses import dataclass, field

import msgspec

from everynode.core.detect import Change, Known, Meaning, Nothing, Restamp, appeared, detect
from everynode.group.announce import Announcement
from everynode.group.lost import earlier, is_whole
from everynode.index.store import Index
from everynode.limits import SCAN_BATCH
from everynode.model.entry import DIRECTORY, FILE, Entry, Stamp
from everynode.model.ids import Digest
from everynode.model.message import WireRecord
from everynode.model.path import ROOT, RelPath, parent_of
from everynode.model.record import HARD_LINKS, XATTRS, Placed, Record, Version
from everynode.report.audit import Happening
from everynode.tree.outcome import Absent, Observation, Present, Unchanged


@dataclass(slots=True)
class Judgement:
    """What a batch of looks came to."""

    announcements: list[Announcement] = field(default_factory=list)
    happened: list[tuple[RelPath, Happening]] = field(default_factory=list)
    again: list[RelPath] = field(default_factory=list)
    """The record changed while the path was looked at: the look says nothing."""
    directories_gone: list[RelPath] = field(default_factory=list)
    directories_new: list[RelPath] = field(default_factory=list)
    swept: set[RelPath] = field(default_factory=set)
    """Judged already, with a directory above that is gone."""
    parents: set[RelPath] = field(default_factory=set)
    """Directories whose content changed, and so their time."""
    work: bool = False
    doubtful: list[RelPath] = field(default_factory=list)
    """Other bytes under the stamp that was recorded: the disk may have lost the content, nobody wrote."""


class Looked(msgspec.Struct, frozen=True, gc=False):
    """A path, the record that its look was compared with, and what was seen."""

    path: RelPath
    record: Record | None
    seen: Observation
    donor: Record | None = None
    """The record of the path from where it was moved as part of a directory."""
    placings: int = -1
    """How often apply had committed when the record was read."""
    changes: int = -1
    """How often anything had."""
    noticed: bool = False
    """Somebody was seen to write, rename or delete it: no damage of a power cut."""
    held_open: bool = False
    """It is open for writing, and this is what stood in it a moment ago: no state of the disk now."""


def judge(index: Index, looked: Several[Looked], suspect_above: int | None) -> Judgement:
    """All or nothing, durable when it returns. Runs on the index thread."""
    judgement = Judgement()
    if not index.state.may_change:
        judgement.again = [look.path for look in looked]
        return judgement
    with index.transaction():
        # Nothing was committed since the records were read, and each path is judged once: no need to read again.
        true_still = all(look.changes == index.changes for look in looked)
        for look in looked:
            _judge_one(index, look, true_still, suspect_above, judgement)
    return judgement


def _judge_one(index: Index, look: Looked, true_still: bool, suspect_above: int | None, out: Judgement) -> None:
    seen = look.seen
    read_before = look.path not in out.swept and look.path not in index.rechecked
    if look.record is None and type(seen) is Present and look.donor is None and read_before:
        change = appeared(seen.entry, seen.stamp, index.origin, index.next_sequence(), _not_carried(seen))
        _change(index, look.path, None, change, seen.content, out)
        return
    entry: Entry | None = None
    stamp: Stamp | None = None
    content: bytes | None = None
    donor: Placed | None = None
    if look.noticed:
        suspect_above = None
    match seen:
        case Unchanged():
            donor = look.donor.placed if look.donor is not None else None
            if donor is None or donor.entry is None:
                return
            entry, stamp = donor.entry, donor.stamp
        case Present():
            entry, stamp, content = seen.entry, seen.stamp, seen.content
        case Absent():
            pass
        case _:
            return
    record = look.record if true_still and read_before else index.get(look.path)
    placed_since = (record.placed if record else None) != (look.record.placed if look.record else None)
    # What was placed in a directory meanwhile gave it back its recorded time, after or before this look.
    timed_since = entry is not None and entry.kind == DIRECTORY and look.placings not in (-1, index.placings)
    if placed_since or (timed_since and type(seen) is Present and _is_directory(record)):
        out.again.append(look.path)
        return
    if _nobody_wrote(record, look) and not is_suspect(index, record, suspect_above):
        out.doubtful.append(look.path)
        return
    if entry is None and _is_directory(record):
        if not _empty_out(index, look, suspect_above, out):
            return
        record = index.get(look.path)
    meaning = detect(record, entry, stamp, index.origin, index.next_sequence(), donor)
    if look.held_open and type(meaning) is not Change:
        return  # that the disk is as placed, or as heard, is for a look to say at which nobody has it open
    if type(seen) is Present and not isinstance(meaning, Nothing):
        meaning = _with_not_carried(meaning, seen)
    match meaning:
        case Nothing():
            return
        case Restamp(placed):
            assert record is not None
            if record.placed != placed:
                # A new time of a directory that is nobody's change: it gets back the one that all nodes show.
                undone = record.placed is not None and record.placed.entry != placed.entry
                unplaced = record.unplaced or undone
                index.set_placed(msgspec.structs.replace(record, placed=placed, unplaced=unplaced), record)
                out.work = out.work or undone
        case Known(placed):
            assert record is not None
            _settle(index, record, placed, out)
        case Change():
            _change_unless_lost(index, look.path, record, meaning, content, suspect_above, out)


def _nobody_wrote(record: Record | None, look: Looked) -> bool:
    """Whether the content is another one and nothing else is: every write moves the ctime, a dying disk does not."""
    placed = record.placed if record is not None else None
    if type(look.seen) is not Present or look.noticed or placed is None or placed.entry is None:
        return False
    same = placed.stamp is not None and placed.stamp.matches(look.seen.stamp)
    return same and placed.entry.kind == look.seen.entry.kind == FILE and not look.seen.entry.same_content(placed.entry)


def _not_carried(seen: Present) -> int:
    if seen.links == 1 and not seen.xattrs:
        return 0
    return (HARD_LINKS if seen.links > 1 and seen.entry.kind == FILE else 0) | (XATTRS if seen.xattrs else 0)


def _with_not_carried(meaning: Restamp | Known | Change, seen: Present) -> Restamp | Known | Change:
    flags = _not_carried(seen)
    if not flags:
        return meaning
    return msgspec.structs.replace(meaning, placed=msgspec.structs.replace(meaning.placed, not_carried=flags))


def _is_directory(record: Record | None) -> bool:
    there = record.placed.entry if record is not None and record.placed is not None else None
    return there is not None and there.kind == DIRECTORY


def _empty_out(index: Index, look: Looked, suspect_above: int | None, out: Judgement) -> bool:
    """A directory that is gone proves that everything below it is: that is judged first, from the bottom up.

    Else the directory would be derived from descendants that are deleted a moment later. False: something was placed
    since the look, maybe below; each path is looked at on its own then.
    """
    if look.placings != index.placings:
        out.directories_gone.append(look.path)
        out.again.append(look.path)
        return False
    below: list[Record] = []
    after = b""
    while rows := index.below(look.path, after, SCAN_BATCH):
        below += [r for r in rows if r.placed is not None and r.placed.entry is not None]
        after = rows[-1].path
    out.swept.update(record.path for record in below)
    for record in reversed(below):
        if record.path in index.rechecked:
            record = index.get(record.path) or record
        meaning = detect(record, None, None, index.origin, index.next_sequence())
        _apply_absence(index, record, meaning, suspect_above, out)
    return True


def _apply_absence(index: Index, record: Record, meaning: Meaning, suspect_above: int | None, out: Judgement) -> None:
    match meaning:
        case Known(placed):
            _settle(index, record, placed, out)
        case Change():
            _change_unless_lost(index, record.path, record, meaning, None, suspect_above, out)
        case _:
            return


def _settle(index: Index, record: Record, placed: Placed, out: Judgement) -> None:
    """The disk shows a sibling that was heard. Apply looks at the rest, and puts it on stable storage."""
    index.set_placed(msgspec.structs.replace(record, placed=placed, unplaced=True), record)
    out.work = True


def _change_unless_lost(
    index: Index,
    path: RelPath,
    record: Record | None,
    change: Change,
    content: bytes | None,
    suspect_above: int | None,
    out: Judgement,
) -> None:
    if is_suspect(index, record, suspect_above) and _a_cut_can_leave(record, change.placed.entry):
        assert record is not None and record.placed is not None
        version = _as_found(record.placed, change.placed.entry)
        found, stamp = change.placed.entry, change.placed.stamp
        lost = Placed(version, found, stamp, record.placed.shown, remains=not is_whole(record, found))
        index.set_placed(msgspec.structs.replace(record, placed=lost, unplaced=True), record)
        out.work = True
    else:
        _change(index, path, record, change, content, out)


def _a_cut_can_leave(record: Record | None, seen: Entry | None) -> bool:
    """Where nothing stood, a power cut brings back what was deleted, whole or emptied; all else is somebody's work."""
    placed = record.placed if record is not None else None
    if placed is None or placed.entry is not None or seen is None or not seen.size:
        return True
    return any(sibling.entry.same_content(seen) for sibling in placed.version.siblings)


def _as_found(placed: Placed, found: Entry | None) -> Version:
    """The placed version with what the cut left of it: else attributes would count as set, as far as they can be."""
    if found is None:
        return placed.version
    siblings = (
        msgspec.structs.replace(sibling, entry=found) if sibling.dot == placed.shown else sibling
        for sibling in placed.version.siblings
    )
    return Version(tuple(siblings), placed.version.context)


def is_suspect(index: Index, record: Record | None, suspect_above: int | None) -> bool:
    """After a power cut a change of ours that may never have reached the disk is no user's change.

    See DESIGN, section 5: the recorded version is fetched back, what the disk shows goes to the vault.
    """
    if suspect_above is None or record is None or record.placed is None:
        return False
    origin, sequence = record.placed.shown
    # Work with the version that was placed: it was found there and not synced yet.
    found = record.unplaced and record.placed.version == record.version
    return found or (origin == index.origin and sequence > suspect_above)


def _change(
    index: Index, path: RelPath, record: Record | None, change: Change, content: bytes | None, out: Judgement
) -> None:
    several = len(change.version.siblings) > 1
    # What was being put right here still is: attributes that the cut took, or that were heard of.
    unfinished = record is not None and record.unplaced and change.placed.entry not in (None, change.sibling.entry)
    # Other siblings may have to be shown instead, and losers belong in the vault.
    unplaced = several or unfinished or change.placed.damaged
    before = earlier(index, record, change.sibling) if record is not None else ()
    new = Record(path, change.version, change.placed, unplaced, earlier=before)
    if record is not None:
        index.put(new, record)
    elif not index.put_new(new):
        out.again.append(path)  # it was heard of since its record was looked for
        return
    index.claim_one(change.sibling.origin, change.sibling.sequence)
    out.work = out.work or new.unplaced
    there = record.placed.entry if record is not None and record.placed is not None else None
    now = change.placed.entry
    if (there is None) != (now is None):
        index.recheck_ancestors(path)
        out.work = True
        if (parent := parent_of(path)) != ROOT:
            out.parents.add(parent)
    if there is not None and there.kind == DIRECTORY and now is not None and now.kind != DIRECTORY:
        out.directories_gone.append(path)
    if now is not None and now.kind == DIRECTORY and (there is None or there.kind != DIRECTORY):
        out.directories_new.append(path)
    out.happened.append((path, _happening(there, now, change)))
    inline = (Digest(change.sibling.entry.digest), content) if content is not None and now is not None else None
    sibling = change.sibling
    record_now = WireRecord(path, change.version)
    out.announcements.append(Announcement(record_now, sibling.origin, sibling.sequence, inline))


def _happening(before: Entry | None, now: Entry | None, change: Change) -> Happening:
    if now is None:
        return Happening.DELETED
    if before is None:
        return Happening.CREATED
    return Happening.CHANGED if change.sibling.content else Happening.ATTRIBUTES
