"""From a look at a path to what it means: nothing, a sibling we know, or a local change.

| seen            | placed          | meaning                                                        |
|-----------------|-----------------|----------------------------------------------------------------|
| nothing         | nothing         | Nothing                                                        |
| as placed       | something       | Restamp (the same, only the stamp is new)                      |
| as it was       | damage          | Restamp (it was repaired)                                      |
| a heard sibling | any             | Known: the disk state *is* that sibling, no dot                |
| the file shown  | directory for   | Known: nothing lives below any more, and a crash kept the      |
|                 | what lives below| placing of the file from being noted                           |
| a deleted one   | never anything  | Known: what a heard tombstone deleted is dead here as well     |
| nothing         | something       | Known when a tombstone superseded it, else Change to one       |
| anything else   | any             | Change: placed overlaid with the fields that differ            |

"Heard" means held and not part of what was placed: who puts a loser back by hand, or deletes a file that won
against a deletion, saw both and decides between them; that is a change.
"""

from __future__ import annotations

import msgspec

from everynode.core.versions import make_version, merge, sibling_at, supersede
from everynode.model.entry import Entry, Kind, Stamp
from everynode.model.ids import Origin, Sequence
from everynode.model.record import Placed, Record, Sibling, Version


class Nothing(msgspec.Struct, frozen=True, gc=False):
    pass


class Restamp(msgspec.Struct, frozen=True, gc=False):
    placed: Placed


class Known(msgspec.Struct, frozen=True, gc=False):
    """The disk shows a sibling that is held: `placed` says so now, and there may be work left."""

    placed: Placed


class Change(msgspec.Struct, frozen=True, gc=False):
    """A local change with the next dot: `version` is what the record becomes."""

    version: Version
    placed: Placed
    sibling: Sibling


Meaning = Nothing | Restamp | Known | Change


def detect(
    record: Record | None,
    seen: Entry | None,
    stamp: Stamp | None,
    origin: Origin,
    sequence: Sequence,
    donor: Placed | None = None,
) -> Meaning:
    """What a look at a path means. `sequence` is used up only by a Change.

    `donor`: what was placed where this object was moved from, unchanged on its way.
    """
    if record is None and seen is not None and donor is None:
        return appeared(seen, stamp, origin, sequence)
    placed = record.placed if record is not None else None
    there = placed.entry if placed is not None else None
    if seen is None:
        return _absent(record, placed, there, origin, sequence)
    if placed is not None and there is not None and _same(seen, there):
        as_before = Placed(placed.version, there, stamp, placed.shown, damaged=placed.damaged, remains=placed.remains)
        return Restamp(as_before)
    if placed is not None and placed.damaged and _is_back(placed, seen):
        return Restamp(Placed(placed.version, seen, stamp, placed.shown))
    if record is not None:
        known = _held(record, placed, seen, stamp)
        if known is not None:
            return known
        if placed is not None and there is not None and _only_time_of_directory(seen, there):
            return _directory_time(record, placed, seen, stamp, origin, sequence)
    return _change(record, placed, there, seen, stamp, origin, sequence, donor)


def appeared(seen: Entry, stamp: Stamp | None, origin: Origin, sequence: Sequence, not_carried: int = 0) -> Change:
    """What something means at a path of which nothing was known: nearly all that a first scan finds."""
    sibling = Sibling(origin, sequence, seen)
    version = Version((sibling,))
    return Change(version, Placed(version, seen, stamp, (origin, sequence), not_carried), sibling)


def _absent(
    record: Record | None, placed: Placed | None, there: Entry | None, origin: Origin, sequence: Sequence
) -> Meaning:
    if record is None or placed is None or there is None:
        return Nothing()
    seen = {sibling.dot for sibling in placed.version.siblings}
    # Who deletes what is still a version of the path decides that; a deletion heard meanwhile decided about others.
    superseded = not any(sibling.dot in seen for sibling in record.version.siblings)
    for sibling in _heard(record, placed) if superseded else ():
        if not sibling.live:
            return Known(Placed(_stands_for(record, sibling), None, None, sibling.dot))
    entry = _intended(placed) or there
    version = supersede(placed.version, origin, sequence, entry, live=False, content=False)
    gone = Placed(version, None, None, (origin, sequence))
    return Change(merge(record.version, version), gone, version.siblings[0])


def _held(record: Record, placed: Placed | None, seen: Entry, stamp: Stamp | None) -> Known | None:
    heard = _heard(record, placed)
    dead = [sibling for sibling in heard if not sibling.live and placed is None and sibling.entry.same_content(seen)]
    alive = [sibling for sibling in heard if sibling.live and sibling.entry.equals(seen)]
    for sibling in (*alive, *dead):
        return Known(Placed(_stands_for(record, sibling), seen, stamp, sibling.dot))
    if placed is not None and placed.entry is not None and placed.entry.kind == Kind.DIRECTORY:
        hidden = sibling_at(placed.version, placed.shown)
        if hidden is not None and hidden.live and hidden.entry.kind != Kind.DIRECTORY and hidden.entry.equals(seen):
            return Known(Placed(placed.version, seen, stamp, placed.shown))
    return None


def _heard(record: Record, placed: Placed | None) -> list[Sibling]:
    """Siblings that no user of this node has had before them."""
    if placed is None:
        return list(record.version.siblings)
    seen = {sibling.dot for sibling in placed.version.siblings}
    return [sibling for sibling in record.version.siblings if sibling.dot not in seen]


def _stands_for(record: Record, sibling: Sibling) -> Version:
    """What a later local change supersedes when `sibling` alone stands on the disk: it, and what it superseded."""
    return record.version if len(record.version.siblings) == 1 else make_version([sibling], {})


def _change(
    record: Record | None,
    placed: Placed | None,
    there: Entry | None,
    seen: Entry,
    stamp: Stamp | None,
    origin: Origin,
    sequence: Sequence,
    donor: Placed | None,
) -> Change:
    ground = donor if donor is not None else placed
    before = ground.entry if ground is not None else None
    intended = _intended(ground) if ground is not None else None
    entry = overlay(intended, before, seen) if intended is not None and before is not None else seen
    content = there is None or not seen.same_content(there)
    base = placed.version if placed is not None else None
    version = supersede(base, origin, sequence, entry, live=True, content=content)
    # Who changes the mode of a damaged file, or moves its directory, has not made its content.
    damaged = ground is not None and ground.damaged and before is not None and seen.same_content(before)
    now = Placed(version, seen, stamp, (origin, sequence), damaged=damaged)
    merged = merge(record.version, version) if record is not None else version
    return Change(merged, now, version.siblings[0])


def _only_time_of_directory(seen: Entry, there: Entry) -> bool:
    return seen.kind == Kind.DIRECTORY and seen.equals(there)


def _directory_time(
    record: Record, placed: Placed, seen: Entry, stamp: Stamp | None, origin: Origin, sequence: Sequence
) -> Change | Restamp:
    """Something in it was made or removed. Nobody decided on what stands beside the directory: that stays.

    A directory that only its descendants keep makes no dot; nor does one beside a sibling of this node, which any
    further dot of this node would supersede; nor one that is superseded already: a crash in the middle of carrying out
    its deletion left it emptied, with a new time, and that must not bring it back.
    """
    held = {sibling.dot for sibling in record.version.siblings}
    directories = [s for s in placed.version.siblings if s.live and s.entry.kind == Kind.DIRECTORY]
    others = [s for s in record.version.siblings if s not in directories]
    superseded = held.isdisjoint(sibling.dot for sibling in directories)
    if superseded or any(sibling.origin == origin for sibling in others):
        return Restamp(Placed(placed.version, seen, stamp, placed.shown))
    base = make_version(directories, placed.version.context)
    intended = _intended(placed)
    entry = overlay(intended, placed.entry, seen) if intended is not None and placed.entry is not None else seen
    version = supersede(base, origin, sequence, entry, live=True, content=False)
    now = Placed(version, seen, stamp, (origin, sequence))
    return Change(merge(record.version, version), now, version.siblings[0])


def _same(seen: Entry, there: Entry) -> bool:
    """Exactly as placed, a directory's time included: times of directories are replicated, though never a conflict."""
    if seen.kind == Kind.SYMLINK and there.kind == Kind.SYMLINK:
        return seen.equals(there)
    return seen == there


def _intended(placed: Placed) -> Entry | None:
    """What was wanted of what stands there; None: a directory that only its descendants keep, not described at all."""
    for sibling in placed.version.siblings:
        if sibling.dot == placed.shown:
            return sibling.entry if placed.entry is None or sibling.entry.kind == placed.entry.kind else None
    return None


def _is_back(placed: Placed, seen: Entry) -> bool:
    """Whether a damaged content stands there as it was: it was repaired, and a crash kept that from being noted."""
    intended = _intended(placed)
    return intended is not None and seen.equals(intended)


def overlay(intended: Entry, there: Entry, seen: Entry) -> Entry:
    """Only differences are ours: `intended` with those fields of `seen` that differ from what is actually `there`.

    So a node that cannot set an owner never strips it elsewhere.
    """
    entry = Entry(
        seen.kind,
        seen.mode if seen.mode != there.mode or seen.kind != there.kind else intended.mode,
        seen.uid if seen.uid != there.uid else intended.uid,
        seen.gid if seen.gid != there.gid else intended.gid,
        seen.mtime_ns if seen.mtime_ns != there.mtime_ns else intended.mtime_ns,
        seen.size,
        seen.digest,
    )
    if seen.same_content(there) and seen.kind == intended.kind:
        return Entry(intended.kind, entry.mode, entry.uid, entry.gid, entry.mtime_ns, intended.size, intended.digest)
    return entry


__all__ = ["Change", "Known", "Meaning", "Nothing", "Restamp", "appeared", "detect", "overlay"]
