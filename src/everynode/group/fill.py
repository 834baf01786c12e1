"""Fill: which new directories of a batch are staged together with what is new in them, to be placed by one rename."""

from __future__ import annotations

from everynode.core.plan import CONTENT, MAKE_DIRECTORY
from everynode.group.gather import Job
from everynode.model.path import RelPath, parent_of
from everynode.tree.outcome import Staged
from everynode.tree.refused import Refused
from everynode.tree.whole import NewDirectories

_ENTER = 0o300


def is_new(job: Job) -> bool:
    """Nothing is known to stand at its path."""
    placed = job.target.record.placed
    return placed is None or placed.entry is None


def make_new(directories: NewDirectories, jobs: list[Job]) -> list[Staged]:
    """Make the new directories of a batch that something new goes into; each is the source of its job then.

    One that cannot be made aside is placed like any other: what the trouble is shows then.
    """
    new = {
        job.target.record.path: job
        for job in jobs
        if job.target.step is MAKE_DIRECTORY and is_new(job) and not job.losers and _may_be_entered(job)
    }
    staged: list[Staged] = []
    for path in sorted(_to_be_filled(new, jobs)) if new else ():
        job = new[path]
        assert job.target.entry is not None
        try:
            job.source = directories.make(path, job.target.entry)
        except (Refused, OSError):
            continue
        staged.append(job.source)
    return staged


def _to_be_filled(new: dict[RelPath, Job], jobs: list[Job]) -> set[RelPath]:
    wanted: set[RelPath] = set()
    for job in jobs:
        if job.target.step is not CONTENT or not is_new(job):
            continue
        above = parent_of(job.target.record.path)
        while above in new and above not in wanted:
            wanted.add(above)
            above = parent_of(above)
    return wanted


def _may_be_entered(job: Job) -> bool:
    entry = job.target.entry
    return entry is not None and entry.mode & _ENTER == _ENTER
