"""Scan: look at everything below a directory, beside live operation; what stands there is compared with the index."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from everynode.group.announce import Announcer
from everynode.group.capture import Capture, Read
from everynode.group.first import first_of
from everynode.group.ground import Ground
from everynode.group.judge import is_suspect
from everynode.group.looks import SCANNED
from everynode.limits import RETRY_MAX, RETRY_MIN, SCAN_BATCH, SCAN_WAIT
from everynode.model.entry import FILE, Stamp
from everynode.model.path import ROOT, RelPath, ancestors_of, is_below
from everynode.model.problem import Trouble
from everynode.model.record import Record
from everynode.tree.walk import WalkItem, walk

Wanted = dict[RelPath, Stamp | None]
"""Paths to look at; of regular files the stamp that the walk has just seen."""


class Seen:
    """Which rows of the index a scan has met: one bit per arrival, so memory does not grow with paths."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, arrival: int) -> None:
        position = arrival >> 3
        if position >= len(self._bits):
            self._bits.extend(bytes(position + 4096 - len(self._bits)))
        self._bits[position] |= 1 << (arrival & 7)

    def __contains__(self, arrival: object) -> bool:
        assert isinstance(arrival, int)
        position = arrival >> 3
        return position < len(self._bits) and bool(self._bits[position] & (1 << (arrival & 7)))


@dataclass(slots=True)
class Progress:
    seen: int = 0
    expected: int = 0


@dataclass(slots=True)
class Unlisted:
    """A directory that could not be listed, or a name whose object could not even be seen."""

    due: float
    pause: float


class Scanner:
    """One scan at a time; further wishes wait in capture's queue."""

    def __init__(self, ground: Ground, capture: Capture, announcer: Announcer) -> None:
        self._ground = ground
        self._capture = capture
        self._announcer = announcer
        self.progress: Progress | None = None
        self._unlisted: dict[RelPath, Unlisted] = {}
        self._failed = asyncio.Event()

    async def run(self) -> None:
        """The first scan, then whatever is asked for."""
        await self._ground.may_change.wait()
        await self.scan(ROOT)
        if self._ground.suspect_above is not None:
            # What a power cut took was found now; from here on what differs was done by somebody.
            await self._capture.settle()
            await self._ground.clock.offload_index(self._end_suspicion)
            self._ground.suspect_above = None
        self._ground.scanned.set()
        self._ground.work.set()
        self._ground.progressed()
        while True:
            directory = await self._capture.scan_wanted.get()
            wanted = {directory}
            taken = 1
            while not self._capture.scan_wanted.empty():
                wanted.add(self._capture.scan_wanted.get_nowait())
                taken += 1
            for each in sorted(wanted):
                if each == ROOT or not wanted.intersection((ROOT, *ancestors_of(each))):
                    await self.scan(each)
            for _ in range(taken):
                self._capture.scan_wanted.task_done()
            self._ground.progressed()

    async def run_again(self) -> None:
        """Come back, ever more slowly, to what could not be listed: no notice tells that it can be now."""
        clock = self._ground.clock
        while True:
            now = clock.monotonic()
            for path, unlisted in self._unlisted.items():
                if unlisted.due <= now:
                    unlisted.pause = min(RETRY_MAX, unlisted.pause * 2)
                    unlisted.due = now + unlisted.pause
                    self._capture.look_soon(path)
                    self._capture.scan_wanted.put_nowait(path)
            self._failed.clear()
            if self._unlisted:
                pause = min(unlisted.due for unlisted in self._unlisted.values()) - now
                await first_of(self._failed.wait(), clock.sleep(pause))
            else:
                await self._failed.wait()

    def _could_not_list(self, path: RelPath) -> None:
        due = self._ground.clock.monotonic() + RETRY_MIN
        self._unlisted.setdefault(path, Unlisted(due, RETRY_MIN))
        self._failed.set()

    def _listed(self, start: RelPath, except_for: set[RelPath]) -> None:
        for path in [path for path in self._unlisted if path not in except_for]:
            if path == start or is_below(path, start):
                del self._unlisted[path]
        self._ground.problems.listed(start, except_for)

    def _end_suspicion(self) -> None:
        """Runs on the index thread."""
        with self._ground.index.transaction():
            self._ground.index.change_state().suspect_above = -1

    async def scan(self, start: RelPath) -> None:
        """Look at every path at or below `start` that differs from what was placed.

        Raises GroupHalted when the root is not what it was.
        """
        ground = self._ground
        self.progress = Progress(expected=ground.index.state.counters.records if start == ROOT else 0)
        began_at = ground.index.state.arrival
        seen = Seen()
        unproved: list[RelPath] = []
        batches = walk(ground.setup.root, start, skip=ground.excluder.excluded)
        try:
            await self._walk(batches, seen, unproved)
            await self._find_missing(start, began_at, seen, unproved)
            self._listed(start, set(unproved))
        finally:
            self.progress = None

    async def _walk(self, batches: Iterator[list[WalkItem]], seen: Seen, unproved: list[RelPath]) -> None:
        """One batch after the other is listed and looked at: side by side the two would only wait for each other."""
        clock = self._ground.clock
        while (batch := await clock.offload(_next_batch, batches)) is not None:
            await self._look(*await self._compare(batch, seen, unproved))

    async def _compare(self, batch: list[WalkItem], seen: Seen, unproved: list[RelPath]) -> tuple[Wanted, Read]:
        ground = self._ground
        assert self.progress is not None
        self.progress.seen += len(batch)
        paths: list[WalkItem] = []
        for item in batch:
            if item.trouble is not None:
                unproved.append(item.path)
                ground.problems.listing(item.path, item.trouble.trouble, item.trouble.detail)
                if item.trouble.trouble is not Trouble.NAME:
                    self._could_not_list(item.path)
            else:
                paths.append(item)
        return await ground.clock.offload_index(self._differing, paths, seen)

    def _differing(self, items: list[WalkItem], seen: Seen) -> tuple[Wanted, Read]:
        """Paths whose stamp is not the one recorded, and their records. Runs on the index thread."""
        wanted: Wanted = {}
        records: list[tuple[Record | None, Record | None]] = []
        index = self._ground.index
        suspect_above = self._ground.suspect_above
        # Both come in the order of paths: one statement instead of one per path.
        recorded = index.span(items[0].path, items[-1].path) if items else iter(())
        next_record = next(recorded, None)
        for item in items:
            path = item.path
            while next_record is not None and next_record.path < path:
                next_record = next(recorded, None)
            record = next_record if next_record is not None and next_record.path == path else None
            if record is not None:
                seen.add(record.arrival)
                placed = record.placed
                stamp = placed.stamp if placed is not None else None
                same = stamp is not None and item.stamp is not None and stamp.matches(item.stamp)
                # A power cut may leave an old content under new attributes: only reading tells.
                if same and not is_suspect(index, record, suspect_above):
                    continue
            wanted[path] = item.stamp if item.kind is FILE else None
            records.append((record, None))
        return wanted, (records, index.placings, index.changes)

    async def _find_missing(self, start: RelPath, began_at: int, seen: Seen, unproved: list[RelPath]) -> None:
        """Look at what is recorded as placed and was not met: children before their directories."""
        ground = self._ground
        after = b""
        while found := await ground.clock.offload_index(self._missing_after, start, after, began_at, seen):
            after, paths = found
            paths = [p for p in paths if not any(u == ROOT or is_below(p, u) for u in unproved)]
            await self._look(dict.fromkeys(sorted(paths, reverse=True)))

    def _missing_after(
        self, start: RelPath, after: bytes, began_at: int, seen: Seen
    ) -> tuple[bytes, list[RelPath]] | None:
        """Runs on the index thread."""
        last, rows = self._ground.index.not_met(start, after, SCAN_BATCH, began_at, seen)
        if last is None:
            return None
        return last, [row.path for row in rows if row.placed is not None and row.placed.entry is not None]

    async def _look(self, paths: Wanted, read: Read | None = None) -> None:
        clock = self._ground.clock
        if taken := self._ground.claims.intersection(paths):
            for path in taken:
                self._capture.look_soon(path)
            paths = {path: stamp for path, stamp in paths.items() if path not in taken}
            read = None
        if paths:
            walked = {path: stamp for path, stamp in paths.items() if stamp is not None}
            await self._capture.look(dict.fromkeys(paths, SCANNED), walked, read)
            await self._announcer.wait_room(clock.monotonic() + SCAN_WAIT)


def _next_batch(batches: Iterator[list[WalkItem]]) -> list[WalkItem] | None:
    """Runs on a thread."""
    return next(batches, None)
