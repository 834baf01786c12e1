"""Which sibling is shown: a pure function of siblings, living descendants and policy, the same on every node.

The order, first difference decides: a directory before a file; a content change before an attribute-only change;
live before tombstone; the policy (default: newest mtime); the highest dot. Never clock, arrival or placed state.

An empty directory of which only attributes changed (its time, most often: something in it came or went) does not
defend its name against a file.
"""

from __future__ import annotations

from typing import assert_never

from everynode.model.entry import DIRECTORY, SYMLINK, Entry
from everynode.model.ids import Dot
from everynode.model.policy import ConflictPolicy
from everynode.model.record import Sibling, Version

Rank = tuple[bool, bool, bool, int, Dot]


def rank(sibling: Sibling, policy: ConflictPolicy, derived: bool) -> Rank:
    entry = sibling.entry
    is_directory = entry.kind == DIRECTORY and (derived or (sibling.live and sibling.content))
    preference = 0
    match policy:
        case "newest":
            preference = entry.mtime_ns
        case "oldest":
            preference = -entry.mtime_ns
        case "largest":
            preference = entry.size
        case "smallest":
            preference = -entry.size
        case _:
            assert_never(policy)
    return (is_directory, sibling.content, sibling.live, preference, sibling.dot)


def ranking(version: Version, policy: ConflictPolicy, derived: bool = False) -> list[Sibling]:
    """Siblings, the winner first. `derived`: a live descendant keeps a deleted directory alive."""
    if len(version.siblings) == 1:
        return list(version.siblings)
    return sorted(version.siblings, key=lambda sibling: rank(sibling, policy, derived), reverse=True)


def entry_shown(sibling: Sibling, derived: bool) -> Entry | None:
    """What the tree shows when `sibling` wins; None: nothing.

    With a live descendant there is a directory whatever the sibling says: its own attributes where it has been
    one, else what a new directory gets.
    """
    if derived and not (sibling.live and sibling.entry.kind == DIRECTORY):
        return sibling.entry if sibling.entry.kind == DIRECTORY else bare_directory(sibling.entry)
    return sibling.entry if sibling.live else None


def bare_directory(model: Entry) -> Entry:
    """A directory that nobody described, owned like the file it displaced."""
    return Entry(DIRECTORY, 0o755, model.uid, model.gid, model.mtime_ns)


def losers(ordered: list[Sibling], derived: bool) -> list[Sibling]:
    """Live siblings that differ from the shown one: their contents are pinned in the vault of every node."""
    winner = entry_shown(ordered[0], derived)
    contents = [s for s in ordered if s.live and s.entry.kind != DIRECTORY]
    return [s for s in contents if winner is None or differs(s.entry, winner)]


def in_conflict(version: Version) -> bool:
    """Several live siblings that differ in more than a time stamp, or a live one beside a deletion, are a conflict."""
    if len(version.siblings) < 2:
        return False
    live = [s.entry for s in version.siblings if s.live]
    return any(differs(entry, live[0]) for entry in live[1:])


def differs(one: Entry, other: Entry) -> bool:
    """Whether a person would call them different: content, owner or mode; a time alone is settled without asking."""
    if not one.same_content(other) or one.uid != other.uid or one.gid != other.gid:
        return True
    return one.kind != SYMLINK and one.mode != other.mode
