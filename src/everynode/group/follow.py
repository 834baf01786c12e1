"""Follow: files that a program keeps open for writing: what has stood in them for a while is announced meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from everynode.group.capture import Capture
from everynode.group.first import first_of
from everynode.group.ground import Ground
from everynode.limits import (
    FOLLOW_AGE_MAX,
    FOLLOW_BYTES_PER_SECOND,
    FOLLOW_SECONDS,
    RETRY_MAX,
)
from everynode.model.path import RelPath
from everynode.model.problem import Trouble
from everynode.tree.follow import Followed, Stood, follow
from everynode.tree.outcome import Busy

AGAIN = 0.05
"""Seconds until a path is tried again that apply or capture has in hand."""

NOT_FOLLOWED = "is held open for writing; it is sent when it is closed, because `follow_seconds` is 0"
NEVER_QUIET = (
    "is held open for writing, and what stood in it is being changed, not only added to: "
    "no state of it can be told to be whole; it is sent when it is closed, or rests"
)


@dataclass(slots=True)
class Open:
    """A file that somebody holds open for writing."""

    due: float
    pause: float
    stood: Stood | None = None
    """As it was read last."""
    failed: int = 0
    """How often in a row what had been read before was not there any more."""


class Follower:
    """Reads each open file at half its age limit: what one read finds and the next finds again is announced.

    So what is added to a file is announced within its age limit; a file to which nothing comes is read ever more
    rarely; and one that is changed in the middle is a problem until it rests or is closed.
    """

    def __init__(self, ground: Ground, capture: Capture) -> None:
        self._ground = ground
        self._capture = capture
        self._open: dict[RelPath, Open] = {}

    async def run(self) -> None:
        """Follow what capture finds open, for ever; one file is read at a time."""
        ground = self._ground
        await ground.scanned.wait()
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
            self._drop(path)
            return
        if not ground.setup.policy.follow_seconds:
            ground.problems.looking(path, Trouble.NEVER_QUIET, NOT_FOLLOWED)
            self._come_back(known, min(RETRY_MAX, 2 * known.pause))
            return
        # Before the file is read: if anything is placed or captured there meanwhile, what was read is out of date.
        read = await clock.offload_index(self._capture.read_record, path)
        followed = await clock.offload(follow, ground.setup.root, path, known.stood)
        if followed is None:
            self._drop(path)
            self._capture.look_soon(path)
        else:
            if followed.seen is not None and await self._capture.take(path, read, followed.seen):
                self._capture.followed.add(path)
            self._read(path, known, followed)

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

    def _drop(self, path: RelPath) -> None:
        del self._open[path]
        self._capture.followed.discard(path)


def _has_moved(stood: Stood, busy: Busy) -> bool:
    return (stood.size, stood.mtime_ns) != (busy.size, busy.mtime_ns)
