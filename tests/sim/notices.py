"""The notices seam over an in-memory disk: what fanotify would tell of a root to one process."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from everynode.limits import RESERVED_NAME
from everynode.model.notice import Notice, What
from everynode.model.path import ROOT, RelPath
from tests.sim.disk import Did, Disk, Event

_VAULT: Final = RESERVED_NAME + b"/vault/"


class SimNotices:
    """Notices of everything below `root` that other processes than `pid` do.

    `overflow` drops what is queued, as a full queue would; so does a queue longer than `length_max`.
    """

    method = "fanotify"

    def __init__(self, disk: Disk, root: bytes, pid: int, *, length_max: int = 16_384) -> None:
        self._disk = disk
        self._prefix = root.strip(b"/") + b"/"
        self._pid = pid
        self._length_max = length_max
        self._queue: deque[Notice] = deque()
        self._filled = asyncio.Event()
        self.emptied = 0

    def start(self) -> None:
        self._disk.watchers.append(self._hear)

    def close(self) -> None:
        if self._hear in self._disk.watchers:
            self._disk.watchers.remove(self._hear)

    def waiting(self) -> bool:
        return bool(self._queue)

    def ignore(self, directory: int, wanted: bool) -> None:
        """Of our own doings nothing is told in any case."""

    async def next(self) -> list[Notice]:
        await self._filled.wait()
        notices = list(self._queue)
        self._queue.clear()
        self._filled.clear()
        self.emptied += 1
        return notices

    def overflow(self) -> None:
        self._queue.clear()
        self._put(Notice(What.OVERFLOW, ROOT))

    def _put(self, notice: Notice) -> None:
        if not self._queue or self._queue[-1] != notice:  # the kernel merges equal events too
            self._queue.append(notice)
        self._filled.set()

    def _hear(self, event: Event) -> None:
        if event.process == self._pid:
            return
        if len(self._queue) >= self._length_max:
            self.overflow()
            return
        path, source = self._inside(event.path), self._inside(event.source)
        here, from_here = _replicated(path), _replicated(source)
        directory = What.DIRECTORY if event.inode.is_directory else What(0)
        if event.did is Did.RENAMED:
            if here is not None and from_here is not None:
                self._tell(What.RENAMED | directory, here, event, from_here)
            elif here is not None:
                self._tell(What.WRITTEN | directory, here, event)
            elif from_here is not None:
                self._tell(What.GONE | directory, from_here, event)
        elif here is not None:
            self._tell(_WHAT[event.did] | directory, here, event)
        elif path is not None and path.startswith(_VAULT) and event.did is not Did.DELETED:
            name = path.removeprefix(_VAULT)
            if b"/" not in name:
                self._tell(What.VAULT | _WHAT.get(event.did, What.WRITTEN), RelPath(name), event)

    def _tell(self, what: What, path: RelPath, event: Event, source: RelPath | None = None) -> None:
        self._put(Notice(what, path, source, event.process))

    def _inside(self, path: bytes | None) -> bytes | None:
        if path is not None and path.startswith(self._prefix):
            return path.removeprefix(self._prefix)
        return None


_WHAT = {
    Did.CREATED: What.TOUCHED,
    Did.MODIFIED: What.TOUCHED,
    Did.ATTRIBUTES: What.TOUCHED,
    Did.CLOSED_WRITE: What.WRITTEN,
    Did.DELETED: What.GONE,
}


def _replicated(path: bytes | None) -> RelPath | None:
    if path is None or path == RESERVED_NAME or path.startswith(RESERVED_NAME + b"/"):
        return None
    return RelPath(path)
