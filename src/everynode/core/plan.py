"""What a record wants of this node's disk: the target, and the step that leads there from what was placed."""

from __future__ import annotations

from enum import Enum

import msgspec

from everynode.core.shown import entry_shown, losers, ranking
from everynode.core.versions import sibling_at
from everynode.model.entry import DIRECTORY, FILE, Entry
from everynode.model.ids import Dot
from everynode.model.policy import ConflictPolicy
from everynode.model.record import Placed, Record, Sibling, Version


class Step(Enum):
    NOTHING = "nothing"
    """The disk is as wanted; only the record of it changes."""
    DIRECTORY = "directory"
    """Make a directory (what else stands there goes to the vault)."""
    CONTENT = "content"
    """Put a file or symlink."""
    ATTRIBUTES = "attributes"
    """Same content, other mode, owner or time."""
    REMOVE = "remove"

    __hash__ = object.__hash__
    """Of an Enum it is a Python function."""


NOTHING, MAKE_DIRECTORY, CONTENT, ATTRIBUTES, REMOVE = Step
"""As with `model.entry.FILE`."""


class Target(msgspec.Struct, frozen=True, gc=False):
    record: Record
    step: Step
    entry: Entry | None
    """What is to stand there; None: nothing."""
    shown: Dot
    losers: tuple[Sibling, ...]
    """Whose contents must be in the vault."""
    instead: bool = False
    """It stands in for the version to be shown, whose content cannot be had now."""
    derived: bool = False
    """Something lives below it, as far as was known."""


def plan(record: Record, policy: ConflictPolicy, derived: bool) -> Target:
    """The target of a record. `derived`: a live descendant needs a directory here."""
    ordered = ranking(record.version, policy, derived)
    entry = entry_shown(ordered[0], derived)
    placed = record.placed
    step = _step(entry, placed, record.version)
    pinned = tuple(losers(ordered, derived)) if len(ordered) > 1 or derived else ()
    return Target(record, step, entry, ordered[0].dot, pinned, derived=derived)


def instead_of(target: Target, policy: ConflictPolicy) -> list[Target]:
    """Other live files of the record in winner order, for a path that shows nothing while the winner is missing."""
    record = target.record
    if target.entry is None or (record.placed is not None and record.placed.entry is not None):
        return []
    others = [s for s in ranking(record.version, policy) if s.live and s.entry.kind == FILE]
    return [Target(record, CONTENT, s.entry, s.dot, (), True) for s in others if s.dot != target.shown]


def put_back(target: Target) -> Target:
    """Of a removal that was placed and is held now: what it removed stands in for it. Else the target as it is."""
    removal = sibling_at(target.record.version, target.shown)
    if target.step is not NOTHING or target.entry is not None or removal is None or removal.entry.kind == DIRECTORY:
        return target
    return Target(target.record, CONTENT, removal.entry, target.shown, (), True)


def _step(entry: Entry | None, placed: Placed | None, version: Version) -> Step:
    there = placed.entry if placed is not None else None
    if entry is None:
        return NOTHING if there is None else REMOVE
    if there is not None and placed is not None and placed.version != version and wanted_before(placed) == entry:
        # The time of a directory changes with what is in it, and can be set again by whoever may change that.
        return ATTRIBUTES if entry.kind is DIRECTORY and there.mtime_ns != entry.mtime_ns else NOTHING
    if there is None or there.kind != entry.kind or not there.same_content(entry):
        return MAKE_DIRECTORY if entry.kind == DIRECTORY else CONTENT
    return NOTHING if there == entry else ATTRIBUTES


def wanted_before(placed: Placed) -> Entry | None:
    """What was wanted when `placed` was placed: attributes that could not be set are not tried with every change.

    A record that is work again with the version that was placed is one whose disk was found otherwise: then they are.
    """
    if placed.entry is None:
        return None
    for sibling in placed.version.siblings:
        if sibling.dot == placed.shown and sibling.entry.kind == placed.entry.kind:
            return sibling.entry if sibling.entry.same_content(placed.entry) else None
    return None
