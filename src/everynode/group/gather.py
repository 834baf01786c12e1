"""Gather: where each content that a batch needs comes from: memory, another place on this disk, the vault, a peer."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from everynode.core.plan import CONTENT, NOTHING, REMOVE, Target, instead_of
from everynode.group.choose import Choice
from everynode.group.fetch import Fetcher
from everynode.group.ground import Ground
from everynode.index.vault_catalogue import Kept
from everynode.model.entry import FILE, SYMLINK, Entry
from everynode.model.ids import Digest, Dot
from everynode.model.path import RelPath
from everynode.model.record import Record, Sibling
from everynode.tree.outcome import Staged
from everynode.tree.place import MovedFrom

Source = bytes | Kept | MovedFrom | Staged


@dataclass(slots=True)
class Loser:
    """A losing content that is not in the vault yet."""

    path: RelPath
    sibling: Sibling
    source: Source


class Job(msgspec.Struct, eq=False):
    """A target with everything that placing it takes."""

    target: Target
    source: Source | None = None
    """Of a file's content; None: it needs none."""
    losers: list[Loser] = []


class Gatherer:
    def __init__(self, ground: Ground, fetcher: Fetcher) -> None:
        self._ground = ground
        self._fetcher = fetcher
        self.immovable: set[RelPath] = set()
        """Old places that proved to be of no use."""

    def gather(self, choice: Choice) -> tuple[list[Job], list[Target]]:
        """Jobs that can be done now, and targets that wait for a content that is being fetched."""
        movable = self._movable(choice)
        jobs: list[Job] = []
        waiting: list[Target] = []
        for target in choice.targets:
            job = Job(target)
            # Both are asked for at once, whatever comes of the first.
            complete = self._losers(job, choice)
            complete = self._content(job, choice, movable) and complete
            if complete:
                jobs.append(job)
            else:
                waiting.append(target)
        return jobs, waiting

    def instead(self, target: Target, choice: Choice) -> Job | None:
        """What can be shown while the version to be shown cannot be had."""
        for other in instead_of(target, self._ground.setup.policy.conflict):
            assert other.entry is not None
            content = b"" if not other.entry.size else self._ground.inline.get(Digest(other.entry.digest))
            source = content if content is not None else choice.kept.get(Digest(other.entry.digest))
            if source is not None:
                return Job(other, source)
        return None

    def _movable(self, choice: Choice) -> dict[Digest, Record]:
        """Files that this very batch removes: a rename, seen from here."""
        movable: dict[Digest, Record] = {}
        for target in choice.targets:
            placed = target.record.placed
            if target.step is REMOVE and placed is not None and placed.entry is not None:
                if target.record.path in self.immovable:
                    continue
                if placed.entry.kind == FILE and placed.entry.size and placed.stamp is not None:
                    movable[Digest(placed.entry.digest)] = target.record
        return movable

    def _content(self, job: Job, choice: Choice, movable: dict[Digest, Record]) -> bool:
        target = job.target
        entry = target.entry
        if target.step is not CONTENT or entry is None or entry.kind != FILE:
            return True
        digest = Digest(entry.digest)
        record = movable.pop(digest, None)
        if record is not None:
            placed = record.placed
            assert placed is not None and placed.stamp is not None and placed.entry is not None
            job.source = MovedFrom(record.path, placed.stamp, placed.entry)
            return True
        job.source = self._find(target.record.path, entry, target.shown, choice)
        return job.source is not None

    def _losers(self, job: Job, choice: Choice) -> bool:
        """A loser that stands at the path now gets into the vault by being replaced."""
        target = job.target
        placed = target.record.placed
        standing = placed.entry if placed is not None else None
        complete = True
        for sibling in target.losers:
            entry = sibling.entry
            if standing is not None and standing.same_content(entry) and target.step is not NOTHING:
                continue
            if Digest(entry.digest) in choice.kept:
                continue
            source = b"" if entry.kind == SYMLINK else self._find(target.record.path, entry, sibling.dot, choice)
            if source is None:
                complete = False
            else:
                job.losers.append(Loser(target.record.path, sibling, source))
        return complete

    def _find(self, path: RelPath, entry: Entry, dot: Dot, choice: Choice) -> Source | None:
        if entry.size == 0:
            return b""
        digest = Digest(entry.digest)
        content = self._ground.inline.get(digest)
        if content is not None:
            return content
        kept = choice.kept.get(digest)
        if kept is not None:
            return kept
        return self._fetcher.ready(path, entry, dot)
