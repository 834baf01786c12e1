"""Choose: which unplaced records to place next, and what each wants of this disk. One index transaction's worth."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from everynode.config.exclude import Excluder
from everynode.core.brake import removes
from everynode.core.plan import CONTENT, MAKE_DIRECTORY, NOTHING, REMOVE, Target, plan, put_back
from everynode.core.versions import dots_of
from everynode.index.store import Index
from everynode.index.vault_catalogue import Kept
from everynode.limits import APPLY_BATCH, APPLY_BATCH_BYTES, INLINE_BYTES_MAX
from everynode.model.entry import DIRECTORY, FILE, Entry
from everynode.model.ids import Digest, Dot
from everynode.model.path import ROOT, RelPath, parent_of
from everynode.model.policy import ConflictPolicy
from everynode.model.record import Record, Vector

Later = dict[RelPath, tuple[Dot, ...]]
"""Paths that are not due, with the dots for which that holds: a record with others is tried at once."""


@dataclass(slots=True)
class Choice:
    """A batch to place, with what the index can say of it."""

    targets: list[Target] = field(default_factory=list)
    excluded: list[Record] = field(default_factory=list)
    orphans: set[RelPath] = field(default_factory=set)
    """Their directory's record was not heard yet."""
    kept: dict[Digest, Kept] = field(default_factory=dict)
    """Wanted contents that the vault has."""
    directory_times: dict[RelPath, int] = field(default_factory=dict)
    """Recorded times of the directories around the targets."""
    times_set: dict[RelPath, int] = field(default_factory=dict)
    """Times that directories around what was placed got back, as they stand on the disk."""
    in_hand: list[RelPath] = field(default_factory=list)
    """Left out: capture has them."""
    not_due: list[RelPath] = field(default_factory=list)
    """Left out: to be tried later."""
    last: bool = False
    """There were no more."""
    removals: list[Target] = field(default_factory=list)
    """Of the targets those that remove something, or empty a file."""
    unsynced: set[RelPath] = field(default_factory=set)
    """What stands there was written by users of this node and may not be on stable storage."""
    cursor: int = 0
    """Arrival up to which unplaced records were considered."""
    knowledge: Vector = field(default_factory=dict)


def choose(
    index: Index,
    policy: ConflictPolicy,
    excluder: Excluder,
    after: int,
    claimed: frozenset[RelPath],
    later: Later,
    returning: Collection[RelPath] = (),
) -> Choice:
    """The next unplaced records after an arrival, without what is `claimed` or to be tried `later`.

    `returning`: removed here before the brake held it, and to be put back. Runs on the index thread.
    """
    rows = index.unplaced(after, APPLY_BATCH)
    # The knowledge of the same moment: what is heard later is not placed by what is found now.
    choice = Choice(cursor=after, knowledge=dict(index.knowledge), last=not rows)
    size = 0
    taken: dict[RelPath, Target] = {}
    for record in rows:
        if size > APPLY_BATCH_BYTES:
            break
        choice.cursor = record.arrival
        if record.path in taken:
            continue
        if record.path in claimed:
            choice.in_hand.append(record.path)
            continue
        if record.path in later and later[record.path] == dots_of(record):
            choice.not_due.append(record.path)
            continue
        target = _target(index, policy, record)
        if returning and record.path in returning:
            target = put_back(target)
        is_directory = target.entry is not None and target.entry.kind == DIRECTORY
        if excluder and excluder.excluded(record.path, is_directory):
            choice.excluded.append(record)
            continue
        taken[record.path] = target
        placed = record.placed
        if placed is not None:
            if target.step is REMOVE or (target.step is CONTENT and removes(placed.entry, target.entry)):
                choice.removals.append(target)
            if placed.shown[0] == index.origin and placed.shown[1] > index.state.synced:
                choice.unsynced.add(record.path)
        if target.entry is not None and target.step is CONTENT and target.entry.size <= INLINE_BYTES_MAX:
            size += target.entry.size
    _around(index, policy, taken, choice)
    choice.targets = list(taken.values())
    _find_kept(index, choice)
    return choice


def _target(index: Index, policy: ConflictPolicy, record: Record) -> Target:
    """Only a deletion or a clash makes it worth asking whether something lives below.

    A file that superseded nothing cannot clash alone: what lives below came with a directory, which is a sibling then.
    Of a path that was no directory here it is enough to ask when something below it is to be placed.
    """
    siblings = record.version.siblings
    first = siblings[0]
    fresh = first.live and (
        first.entry.kind == DIRECTORY or (not record.version.context and not _may_have_been_directory(record))
    )
    derived = (len(siblings) > 1 or not fresh) and index.lives_below(record.path)
    return plan(record, policy, derived)


def _may_have_been_directory(record: Record) -> bool:
    """An empty context says no more than that the origin superseded nothing but changes of its own."""
    placed = record.placed
    return placed is not None and (placed.entry is None or placed.entry.kind == DIRECTORY)


def _around(index: Index, policy: ConflictPolicy, taken: dict[RelPath, Target], choice: Choice) -> None:
    """Add the missing directories above what is to be placed, and note the times of those that stand."""
    known: set[RelPath] = {ROOT}
    for target in list(taken.values()):
        if target.step is NOTHING:
            continue
        path = target.record.path
        missing: list[Target] = []
        while (path := parent_of(path)) not in known:
            known.add(path)
            if path in taken:
                if target.entry is not None and taken[path].step is CONTENT:
                    taken[path] = plan(taken[path].record, policy, derived=True)
                _note_time(taken[path], choice)
                continue
            record = index.get(path)
            if record is None:
                if target.entry is not None:
                    choice.orphans.add(path)
                continue
            above = plan(record, policy, True) if target.entry is not None else _target(index, policy, record)
            _note_time(above, choice)
            if target.entry is not None and above.step is MAKE_DIRECTORY:
                missing.append(above)
        taken.update((above.record.path, above) for above in missing)


def _note_time(target: Target, choice: Choice) -> None:
    if target.entry is not None and target.entry.kind == DIRECTORY:
        choice.directory_times[target.record.path] = target.entry.mtime_ns


def _find_kept(index: Index, choice: Choice) -> None:
    for target in choice.targets:
        for entry in wanted_contents(target):
            digest = Digest(entry.digest)
            if digest not in choice.kept and (kept := index.vault.of_digest(digest)):
                choice.kept[digest] = kept[0]


def wanted_contents(target: Target) -> list[Entry]:
    """Entries whose bytes may be needed: the one to be put, and losers."""
    wanted = [sibling.entry for sibling in target.losers]
    entry = target.entry
    if entry is None or entry.kind != FILE or target.step is not CONTENT:
        return wanted
    # A small new file came with its content; it is not worth a search of the vault.
    if target.record.placed is not None or target.record.version.context or entry.size > INLINE_BYTES_MAX:
        wanted.append(entry)
    return wanted
