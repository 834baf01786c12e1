"""Placing a batch on a thread: stage, make durable, place, times, sync; what became of each is told in one answer."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from everynode.core.plan import ATTRIBUTES, CONTENT, MAKE_DIRECTORY, NOTHING, REMOVE, Step, Target
from everynode.core.shown import bare_directory
from everynode.errors import GroupHalted
from everynode.group.choose import Choice
from everynode.group.fill import is_new, make_new
from everynode.group.gather import Job, Loser, Source
from everynode.index.vault_catalogue import Kept
from everynode.model.entry import DIRECTORY, FILE, Entry
from everynode.model.path import ROOT, RelPath, parent_of, show_path
from everynode.model.problem import Trouble
from everynode.tree.attributes import set_directory_times
from everynode.tree.leaf import without_ctime
from everynode.tree.observe import observe, observe_vaulted
from everynode.tree.outcome import (
    Absent,
    Busy,
    NotPut,
    Observation,
    PlaceOutcome,
    Present,
    Put,
    Refusal,
    Staged,
    Unchanged,
    Unlookable,
)
from everynode.tree.place import MovedFrom, PlaceItem, place
from everynode.tree.root import Root
from everynode.tree.stage import StageItem, stage
from everynode.tree.sync import make_durable, sync_paths
from everynode.tree.vault import has_space, remove, restore_from
from everynode.tree.whole import Ignore, NewDirectories


class Done(msgspec.Struct, eq=False):
    """What became of one job."""

    job: Job
    outcome: PlaceOutcome
    vaulted_entry: Entry | None = None
    """Of what was swapped out against expectation; None: it has a writer still."""
    losers: list[Kept] = []
    """Losing contents that are in the vault now."""
    untimed: NotPut | None = None
    """Why a directory that was placed has not got its time: to be tried again."""


def place_batch(
    root: Root, ignore: Ignore, jobs: list[Job], orphans: Iterable[RelPath], choice: Choice, now_ns: int
) -> list[Done]:
    """Durable when it returns. Runs on a thread. Raises GroupHalted or OSError when nothing may be believed."""
    if any(job.target.step is REMOVE for job in jobs):
        root.check()
    done = {job.target.record.path: Done(job, Put(job.target.record.path, None, None)) for job in jobs}
    with NewDirectories(root, ignore) as directories:
        staged = _stage_all(root, directories, jobs, done, now_ns)
        directories.finish()
        return _place_staged(root, jobs, done, staged, orphans, choice, now_ns)


def _place_staged(
    root: Root,
    jobs: list[Job],
    done: dict[RelPath, Done],
    staged: list[Staged],
    orphans: Iterable[RelPath],
    choice: Choice,
    now_ns: int,
) -> list[Done]:
    make_durable(root, [(_folder_of(root, item), item.name) for item in staged])
    _check_standing(root, jobs, done, now_ns)
    items = _in_order(jobs, done, staged_of(staged, jobs, done))
    bare = [PlaceItem(path, bare_directory(_MODEL)) for path in sorted(orphans)]
    outcomes = place(root, [*bare, *items])[len(bare) :]
    unused: list[bytes] = []
    changed: set[RelPath] = set()
    for item, outcome in zip(items, outcomes, strict=True):
        done[item.path].outcome = outcome
        if item.moved_from is not None:  # taken, or taken and given back
            changed.update((parent_of(item.path), parent_of(item.moved_from.path)))
        if type(outcome) is Put:
            changed.add(parent_of(item.path))
            if item.entry is not None and (item.staged is None or item.staged.filled is not None):
                changed.add(item.path)
            if outcome.vaulted and _wants_look(done[item.path], outcome, now_ns):
                (seen,) = observe_vaulted(root, [outcome.vaulted], now_ns=now_ns)
                _account_for(done[item.path], outcome, seen)
        elif item.staged is not None and item.staged.folder is None and item.staged.filled is None:
            unused.append(item.staged.name)
    remove(root, unused)
    _set_times(root, jobs, changed, choice, done)
    # What users wrote may never have been synced, and the catalogue will say that the vault has it.
    written = [one.outcome for path, one in done.items() if path in choice.unsynced or one.vaulted_entry is not None]
    vaulted = [outcome.vaulted for outcome in written if type(outcome) is Put and outcome.vaulted]
    make_durable(root, [(root.vault_fd, name) for name in vaulted])
    changed.update(_found(jobs))
    if changed or staged:
        sync_paths(root, changed)
    return list(done.values())


def _check_standing(root: Root, jobs: list[Job], done: dict[RelPath, Done], now_ns: int) -> None:
    """What stands already, and is to be called another version from now on, must still be what was placed.

    Else a user who changed it before the losers were in the vault would be taken for one who decided against them.
    """
    same = [job for job in jobs if job.target.step is NOTHING and _gains(job.target)]
    stamps = [job.target.record.placed.stamp if job.target.record.placed else None for job in same]
    looks = [(job.target.record.path, stamp) for job, stamp in zip(same, stamps, strict=True)]
    for job, seen in zip(same, observe(root, looks, contents=False, now_ns=now_ns), strict=True):
        path = job.target.record.path
        placed = job.target.record.placed
        there = placed.entry if placed is not None else None
        match seen:
            case Unchanged():
                continue
            case Present(entry=entry) if there is not None and entry.equals(there):
                continue
            case Absent() if there is None:
                continue
            case Busy():
                done[path].outcome = NotPut(path, Refusal.WRITER, Trouble.WRITER, WRITTEN)
            case Unlookable(trouble, detail):
                done[path].outcome = NotPut(path, Refusal.ERROR, trouble, detail)
            case _:
                detail = f"{show_path(path)} was changed here; look at it first"
                done[path].outcome = NotPut(path, Refusal.CHANGED, Trouble.PLACING, detail)


def _gains(target: Target) -> bool:
    placed = target.record.placed
    return placed is not None and placed.version != target.record.version


def _wants_look(done: Done, put: Put, now_ns: int) -> bool:
    """Whether what was vaulted may be other bytes than expected.

    Stamps of coarse clocks do not tell a write in the tick of the last one: what was written lately is read again.
    """
    placed = done.job.target.record.placed
    there = placed.entry if placed is not None else None
    young = there is not None and there.kind == FILE and there.mtime_ns > now_ns - YOUNG_NS
    return put.swapped_other or young


WRITTEN = "a process here has it open for writing; waiting for it"
YOUNG_NS = 1_000_000_000


def _account_for(done: Done, put: Put, seen: Observation) -> None:
    placed = done.job.target.record.placed
    there = placed.entry if placed is not None else None
    if put.swapped_other:
        # A look that failed in the middle calls it other, too.
        if type(seen) is Present and there is not None and seen.entry.equals(there):
            done.outcome = msgspec.structs.replace(put, swapped_other=False)
            return
    else:
        if type(seen) is Present and there is not None and seen.entry.same_content(there):
            return
        done.outcome = msgspec.structs.replace(put, swapped_other=True)
    done.vaulted_entry = seen.entry if type(seen) is Present else None


def _found(jobs: list[Job]) -> list[RelPath]:
    """Files that stood there already as wanted: whoever wrote them may not have synced them."""
    found = []
    for job in jobs:
        placed = job.target.record.placed
        if job.target.step is not NOTHING or placed is None or placed.entry is None:
            continue
        if placed.entry.kind == FILE and placed.version == job.target.record.version:
            found.append(job.target.record.path)
    return found


_MODEL = Entry(DIRECTORY, 0o755, 0, 0, 0)


def _folder_of(root: Root, staged: Staged) -> int:
    return staged.folder.fd if staged.folder is not None else root.folder_of(staged.name)


def _stage_all(
    root: Root, directories: NewDirectories, jobs: list[Job], done: dict[RelPath, Done], now_ns: int
) -> list[Staged]:
    """Stage contents of targets and losers; the outcome of what failed is set, losers are noted."""
    contents = [job for job in jobs if job.target.step is CONTENT and type(job.source) is not MovedFrom]
    losers = [loser for job in jobs for loser in job.losers]
    size = sum(e.size for e in _entries(contents)) + sum(loser.sibling.entry.size for loser in losers)
    all_staged: list[Staged] = []
    if (contents or losers) and not has_space(root, size, len(contents) + len(losers)):
        for job in [*contents, *(job for job in jobs if job.losers)]:
            path = job.target.record.path
            done[path].outcome = NotPut(path, Refusal.ERROR, Trouble.NO_SPACE, NO_SPACE)
        return all_staged
    all_staged += make_new(directories, jobs)
    for job, result in zip(contents, _stage_each(root, _wanted(contents, directories)), strict=True):
        if isinstance(result, NotPut):
            done[job.target.record.path].outcome = result
        else:
            job.source = result
            all_staged.append(result)
    kept: list[tuple[StageItem, Source | None]] = [
        (StageItem(loser.path, loser.sibling.entry, _bytes_of(loser.source)), loser.source) for loser in losers
    ]
    results = _stage_each(root, kept)
    for loser, result in zip(losers, results, strict=True):
        if isinstance(result, NotPut):
            done[loser.path].outcome = result
        else:
            all_staged.append(result)
            done[loser.path].losers.append(_kept_loser(loser, result, now_ns))
    return all_staged


NO_SPACE = "the disk is full up to its reserve; free space on it, then it goes on by itself"


def _kept_loser(loser: Loser, staged: Staged, now_ns: int) -> Kept:
    return Kept(staged.name, loser.path, loser.sibling.entry, now_ns, "loser")


def _entries(jobs: list[Job]) -> list[Entry]:
    return [job.target.entry for job in jobs if job.target.entry is not None]


def _wanted(contents: list[Job], directories: NewDirectories) -> list[tuple[StageItem, Source | None]]:
    wanted: list[tuple[StageItem, Source | None]] = []
    for job in contents:
        path, entry = job.target.record.path, job.target.entry
        assert entry is not None
        content = _bytes_of(job.source)
        if is_new(job):
            within = directories.folder_for(path) if directories and not job.losers else None
            wanted.append((StageItem(path, entry, content, True, within), job.source))
        else:
            wanted.append((StageItem(path, entry, content), job.source))
    return wanted


def _bytes_of(source: Source | None) -> bytes | None:
    return source if type(source) is bytes else None


def _stage_each(root: Root, wanted: list[tuple[StageItem, Source | None]]) -> list[Staged | NotPut]:
    """In one call for what is in memory; copies out of the vault one by one."""
    results: list[Staged | NotPut | None] = [None] * len(wanted)
    items: list[StageItem] = []
    positions: list[int] = []
    for position, (item, source) in enumerate(wanted):
        if type(source) is Staged:
            results[position] = source
        elif type(source) is Kept:
            results[position] = restore_from(root, source.name, item.path, item.entry)
        else:
            items.append(item)
            positions.append(position)
    for position, result in zip(positions, stage(root, items), strict=True):
        results[position] = result
    return [result for result in results if result is not None]


def staged_of(staged: list[Staged], jobs: list[Job], done: dict[RelPath, Done]) -> dict[RelPath, Staged]:
    """Staged objects by the path that they are for."""
    fresh = {id(item) for item in staged}
    return {
        job.target.record.path: job.source
        for job in jobs
        if type(job.source) is Staged and id(job.source) in fresh and type(done[job.target.record.path].outcome) is Put
    }


def _in_order(jobs: list[Job], done: dict[RelPath, Done], staged: dict[RelPath, Staged]) -> list[PlaceItem]:
    """Directories from the top down, contents, attributes, deletions last and bottom-up."""
    ready = [job for job in jobs if type(done[job.target.record.path].outcome) is Put]
    by_step: dict[Step, list[Job]] = {step: [] for step in Step}
    for job in ready:
        by_step[job.target.step].append(job)
    directories = sorted(by_step[MAKE_DIRECTORY], key=lambda job: job.target.record.path)
    removals = sorted(by_step[REMOVE], key=lambda job: job.target.record.path, reverse=True)
    order = [*directories, *by_step[CONTENT], *by_step[ATTRIBUTES], *removals]
    return [_item(job, staged.get(job.target.record.path)) for job in order]


def _item(job: Job, staged: Staged | None) -> PlaceItem:
    target: Target = job.target
    placed = target.record.placed
    return PlaceItem(
        target.record.path,
        target.entry,
        staged=staged,
        expected=placed.stamp if placed is not None else None,
        expected_entry=placed.entry if placed is not None else None,
        moved_from=job.source if type(job.source) is MovedFrom else None,
    )


def _set_times(root: Root, jobs: list[Job], changed: set[RelPath], choice: Choice, done: dict[RelPath, Done]) -> None:
    """Directories show their recorded times again after their contents changed; only now is it known how they stand."""
    recorded = choice.directory_times
    times = {path: recorded[path] for path in changed if path != ROOT and path in recorded}
    for job in jobs:
        entry = job.target.entry
        if entry is not None and entry.kind == DIRECTORY and job.target.step is not NOTHING:
            times[job.target.record.path] = entry.mtime_ns
    for path in sorted(changed - times.keys() - {ROOT}):
        # It is to go, so that no time is recorded for it; and a user may just be keeping it by a change of it.
        if (goes := done.get(path)) is None or type(goes.outcome) is NotPut:
            choice.times_set[path] = TIME_UNKNOWN
    for outcome in set_directory_times(root, list(times.items())) if times else ():
        own = done.get(outcome.path)
        failed = type(outcome) is NotPut and outcome.refusal is Refusal.ERROR
        if own is None or own.job.target.step is NOTHING:
            if type(outcome) is Put and outcome.entry is not None:
                choice.times_set[outcome.path] = outcome.entry.mtime_ns
            elif failed:
                choice.times_set[outcome.path] = TIME_UNKNOWN
            continue
        put = own.outcome
        if type(put) is not Put or put.entry is None:
            continue
        if type(outcome) is Put:
            own.outcome = _timed(put, put.entry, outcome)
        elif type(outcome) is NotPut and failed:
            entry = msgspec.structs.replace(put.entry, mtime_ns=TIME_UNKNOWN)
            own.outcome = msgspec.structs.replace(put, entry=entry)
            own.untimed = outcome


TIME_UNKNOWN = -1
"""Of a directory whose time could not be set, nor read: a nanosecond before 1970, which nobody means."""


def _timed(put: Put, placed: Entry, now: Put) -> Put:
    """What was placed, with its time as it is now. Owner or mode that differ by then are a change yet to be seen."""
    assert now.stamp is not None and now.entry is not None
    entry = msgspec.structs.replace(placed, mtime_ns=now.entry.mtime_ns)
    return msgspec.structs.replace(
        put, stamp=now.stamp if entry == now.entry else without_ctime(now.stamp), entry=entry
    )


__all__ = ["Done", "GroupHalted", "place_batch"]
