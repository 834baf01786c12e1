"""Follow: files that a program keeps open for writing: what has stood in them for a while is announced meanwhile."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from everynode.group.capture import Capture
from everynode.group.first import first_of
from everynode.group.ground import Ground
from everynode.index.vault_catalogue import COPIED_OPEN, Kept
from everynode.limits import (
    FOLLOW_AGE_MAX,
    FOLLOW_BYTES_PER_SECOND,
    FOLLOW_SECONDS,
    RETRY_MAX,
)
from everynode.model.path import RelPath
from everynode.model.problem import Trouble
from everynode.tree.follow import Followed, Stood, copy_open, follow
from everynode.tree.outcome import Busy
from everynode.tree.vault import remove

AGAIN = 0.05
"""Seconds until a path is tried again that apply or capture has in hand."""

NO_COPIES = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM)
"""What "this filesystem cannot clone a file" looks like."""
NOT_FOLLOWED = "is held open for writing; it is sent when it is closed, because `follow_seconds` is 0"
NEVER_QUIET = (
    "is held open for writing, and what stood in it is being changed, not only added to: no state of it can be told "
    "to be whole, and this filesystem cannot copy it at one instant; it is sent when it is closed, or rests"
)


@dataclass(slots=True)
class Open:
    """A file that somebody holds open for writing."""

    due: float
    pause: float
    stood: Stood | None = None
    """As it was read last."""
    copy: bytes = b""
    """Name in the vault of a copy of what was announced last; empty: there is none."""
    failed: int = 0
    """How often in a row what had been read before was not there any more."""


class Follower:
    """Reads each open file at half its age limit: what one read finds and the next finds again is announced.

    So what is added to a file is announced within its age limit; a file to which nothing comes is read ever more
    rarely; and one that is changed in the middle is a problem until it rests or is closed. Where the filesystem copies
    a file at one instant (reflinks), that copy is announced instead, however the file is written to, and peers are
    served from it until the next one.
    """

    def __init__(self, ground: Ground, capture: Capture) -> None:
        self._ground = ground
        self._capture = capture
        self._open: dict[RelPath, Open] = {}
        self._copies = True
        """As far as is known the filesystem can make copies of one instant."""

    async def run(self) -> None:
        """Follow what capture finds open, for ever; one file is read at a time."""
        ground = self._ground
        await ground.scanned.wait()
        pause = self._pause(0)
        for kept in await ground.clock.offload_index(ground.index.vault.all):
            if kept.why == COPIED_OPEN:  # of the last life of this daemon; it goes when its file is closed
                await self._remove(self._open[kept.path].copy if kept.path in self._open else b"")
                self._open[kept.path] = Open(ground.clock.monotonic() + pause, pause, copy=kept.name)
        while True:
            self._take_in()
            now = ground.clock.monotonic()
            path = min(self._open, key=lambda each: self._open[each].due, default=None)
            if path is not None and self._open[path].due <= now:
                await self._look(path, self._open[path])
                continue
            self._capture.busy_news.clear()
            if path is None:
                await self._capture.busy_news.wait()
            else:
                await first_of(self._capture.busy_news.wait(), ground.clock.sleep(self._open[path].due - now))

    def _take_in(self) -> None:
        """What capture found open since the last time."""
        now = self._ground.clock.monotonic()
        for path, busy in self._capture.busy.items():
            pause = self._pause(busy.size)
            known = self._open.setdefault(path, Open(now + pause, pause))
            if known.stood is not None and _has_moved(known.stood, busy):
                known.due = min(known.due, now + pause)
        self._capture.busy.clear()

    def _pause(self, size: int) -> float:
        """Between two reads of a file of this size: half of what it may be behind."""
        age = max(self._ground.setup.policy.follow_seconds or FOLLOW_SECONDS, size / FOLLOW_BYTES_PER_SECOND)
        return min(age, FOLLOW_AGE_MAX) / 2

    async def _look(self, path: RelPath, known: Open) -> None:
        ground = self._ground
        clock = ground.clock
        if path in ground.claims:
            known.due = clock.monotonic() + AGAIN
            return
        if not self._capture.is_busy(path):
            await self._drop(path)
            return
        if not ground.setup.policy.follow_seconds:
            ground.problems.looking(path, Trouble.NEVER_QUIET, NOT_FOLLOWED)
            self._come_back(known, min(RETRY_MAX, 2 * known.pause))
            return
        # Before the file is read: if anything is placed or captured there meanwhile, what was read is out of date.
        read = await clock.offload_index(self._capture.read_record, path)
        followed = await clock.offload(self._read_open, path, known.stood)
        if followed is None:
            self._capture.look_soon(path)  # it is at rest, or tells of its trouble
            self._come_back(known, known.pause)
        else:
            if followed.copy:  # before anybody hears of it
                await self._keep(path, followed)
            if followed.seen is not None and await self._capture.take(path, read, followed.seen):
                self._capture.followed.add(path)
            if followed.copy:
                # What this node says of the path stays to be had, be it this copy or the one before.
                shown = await clock.offload_index(self._is_placed, path, followed.copy)
                known.copy, unwanted = (followed.copy, known.copy) if shown else (known.copy, followed.copy)
                await self._remove(unwanted)
            self._read(path, known, followed)

    def _read_open(self, path: RelPath, stood: Stood | None) -> Followed | None:
        """Runs on a thread."""
        root = self._ground.setup.root
        if self._copies:
            try:
                return copy_open(root, path, stood)
            except OSError as error:
                # A full disk, or an error of the device, refuses it for this once.
                self._copies = error.errno not in NO_COPIES
        return follow(root, path, stood)

    async def _keep(self, path: RelPath, followed: Followed) -> None:
        assert followed.seen is not None
        kept = Kept(followed.copy, path, followed.seen.entry, self._ground.clock.now_ns(), COPIED_OPEN)
        index = self._ground.index

        def add() -> None:
            with index.transaction():
                index.vault.add(kept)

        await self._ground.clock.offload_index(add)

    def _is_placed(self, path: RelPath, copy: bytes) -> bool:
        """Runs on the index thread."""
        index = self._ground.index
        record, kept = index.get(path), index.vault.get(copy)
        placed = record.placed if record is not None else None
        there = placed.entry if placed is not None else None
        return kept is not None and there is not None and there.same_content(kept.entry)

    async def _remove(self, name: bytes) -> None:
        """A copy that nobody is to be served from any more. The catalogue forgets first: a crash leaves a leftover."""
        index, clock = self._ground.index, self._ground.clock

        def forget() -> None:
            with index.transaction():
                index.vault.drop(name)

        if name:
            await clock.offload_index(forget)
            await clock.offload(remove, self._ground.setup.root, [name])

    def _read(self, path: RelPath, known: Open, followed: Followed) -> None:
        """Soon again while it grows; ever more rarely while nothing comes, or nothing of it can be used."""
        before, now = known.stood, followed.now
        pause = self._pause(now.size)
        if followed.seen is not None:
            known.failed = 0
            slower = before == now
        else:
            # One that was empty, or another file, is only begun; and one that is emptied once is not restless yet.
            begun = before is None or not before.size or before.inode != now.inode
            known.failed = 0 if begun else known.failed + 1
            slower = known.failed > 1
            if slower and self._capture.is_busy(path):  # it was not looked at in peace meanwhile
                self._capture.followed.discard(path)
                self._ground.problems.looking(path, Trouble.NEVER_QUIET, NEVER_QUIET)
        if slower:
            pause = max(pause, min(RETRY_MAX, 2 * known.pause))
        known.stood = now
        self._come_back(known, pause)

    def _come_back(self, known: Open, pause: float) -> None:
        known.pause = pause
        known.due = self._ground.clock.monotonic() + pause

    async def _drop(self, path: RelPath) -> None:
        known = self._open.pop(path)
        self._capture.followed.discard(path)
        await self._remove(known.copy)


def _has_moved(stood: Stood, busy: Busy) -> bool:
    return (stood.size, stood.mtime_ns) != (busy.size, busy.mtime_ns)
