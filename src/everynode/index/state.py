"""The few facts about a whole index that are kept in one row: knowledge, counters, what was synced."""

from __future__ import annotations

import msgspec

from everynode.model.entry import DIRECTORY, FILE
from everynode.model.hold import Hold, Span
from everynode.model.record import HARD_LINKS, XATTRS, Placed, Record, Vector


class Counters(msgspec.Struct):
    records: int = 0
    files: int = 0
    directories: int = 0
    symlinks: int = 0
    bytes: int = 0
    unplaced: int = 0
    conflicts: int = 0
    tombstones: int = 0
    hard_links: int = 0
    """Files that have other names."""
    xattrs: int = 0
    """Files and directories with extended attributes or ACLs."""
    held: int = 0
    """Records whose removal is held."""


class State(msgspec.Struct):
    """Written in the same transaction as the rows that it speaks of."""

    knowledge: Vector = msgspec.field(default_factory=dict)
    forgotten: Vector = msgspec.field(default_factory=dict)
    arrival: int = 0
    synced: int = 0
    """Own changes up to this sequence have their contents on stable storage here."""
    suspect_above: int = -1
    """A power cut happened since: own changes above this sequence may not have reached the disk; -1: none did.

    Kept until a whole scan has told what was lost, however often the daemon starts before that.
    """
    may_change: bool = False
    """False: a new epoch that has not closed a run with a member yet, and makes no dot."""
    boot: str = ""
    """The boot of the machine in which the index was last in use; empty after a clean stop."""
    rules: bytes = b""
    """Digest of the exclude rules for which `excluded` flags hold."""
    cursors: dict[bytes, tuple[bytes, int]] = msgspec.field(default_factory=dict)
    """Peer -> (life of its index, arrival up to which all was heard from it)."""
    seen: dict[bytes, int] = msgspec.field(default_factory=dict)
    """Member -> wall clock in ns when it was linked last, give or take limits.SEEN_STEP."""
    counters: Counters = msgspec.field(default_factory=Counters)
    holds: tuple[Hold, ...] = ()
    """What the brake holds here."""
    released: tuple[Span, ...] = ()
    """Removals that somebody has released, here or on any other node."""


def count(counters: Counters, record: Record, flags: int, by: int) -> None:
    """Add (`by` = 1) or take out (-1) a record. What is shown counts, a loser does not."""
    counters.records += by
    count_not_carried(counters, record.placed, by)
    if flags & 1:
        counters.unplaced += by
    if flags & 4:
        counters.conflicts += by
    if flags & 64:
        counters.held += by
    if flags & 2:
        entry = record.version.siblings[-1].entry
        for sibling in record.version.siblings:
            if sibling.live:
                entry = sibling.entry
        if entry.kind is FILE:
            counters.files += by
            counters.bytes += by * entry.size
        elif entry.kind is DIRECTORY:
            counters.directories += by
        else:
            counters.symlinks += by
    else:
        counters.tombstones += by


def count_not_carried(counters: Counters, placed: Placed | None, by: int) -> None:
    if placed is not None and placed.not_carried:
        counters.hard_links += by * bool(placed.not_carried & HARD_LINKS)
        counters.xattrs += by * bool(placed.not_carried & XATTRS)
