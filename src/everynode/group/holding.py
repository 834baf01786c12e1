"""Holding: marking in the index what the brake keeps back, what it lets go, and what it puts back. On its thread."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from everynode.core.brake import covers, without
from everynode.core.plan import Target
from everynode.index.store import Index
from everynode.limits import FORGET_BATCH
from everynode.model.entry import DIRECTORY
from everynode.model.hold import Hold, Span
from everynode.model.path import RelPath
from everynode.model.record import Record


def set_holds(index: Index, holds: tuple[Hold, ...]) -> None:
    """Durable on return."""
    with index.transaction():
        index.change_state().holds = holds


def note_released(index: Index, released: tuple[Span, ...]) -> None:
    """What was released is not held; durable on return."""
    with index.transaction():
        state = index.change_state()
        state.released = released
        left = ((hold, without(hold.span, released)) for hold in state.holds)
        state.holds = tuple(msgspec.structs.replace(hold, span=span) for hold, span in left if span is not None)


def keep_back(index: Index, files: list[Target], directories: list[Target]) -> set[RelPath]:
    """The files, and the directories in which something is kept back. A record that changed meanwhile is work anew."""
    kept: set[RelPath] = set()
    with index.transaction():
        for target in files:
            _mark(index, target.record)
            kept.add(target.record.path)
        for target in sorted(directories, key=lambda target: target.record.path, reverse=True):
            if index.holds_below(target.record.path):
                _mark(index, target.record)
                kept.add(target.record.path)
    return kept


def _mark(index: Index, record: Record) -> None:
    index.set_placed(msgspec.structs.replace(record, unplaced=False, held=True), record)


def let_some_go(index: Index, after: int, keeping: Collection[Span]) -> int | None:
    """Make work again of what `keeping` does not name and was not released; where to go on, or None.

    A directory is work again when something is removed from it.
    """
    records = index.held(after, FORGET_BATCH)
    if not records:
        return None
    over = [record for record in records if not _is_kept(record, keeping, index.state.released)]
    if over:
        with index.transaction():
            for record in over:
                index.set_placed(msgspec.structs.replace(record, unplaced=True, held=False), record)
    return records[-1].arrival


def _is_kept(record: Record, keeping: Collection[Span], released: Collection[Span]) -> bool:
    there = record.placed.entry if record.placed is not None else None
    if there is not None and there.kind is DIRECTORY:
        return bool(keeping)
    return any(covers(keeping, s.dot) and not covers(released, s.dot) for s in record.version.siblings)


def bring_back(index: Index, gone: Collection[Span], after: int, returning: set[RelPath]) -> int | None:
    """Make work of what was removed here lately, and name it in `returning`; where to go on, or None."""
    records = index.deleted(after, FORGET_BATCH)
    if not records:
        return None
    with index.transaction():
        for record in records:
            if any(s.entry.kind is not DIRECTORY and covers(gone, s.dot) for s in record.version.siblings):
                returning.add(record.path)
                index.set_placed(msgspec.structs.replace(record, unplaced=True), record)
    return records[-1].arrival
