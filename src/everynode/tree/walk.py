"""Walking a tree in the order of the index: every path below a start, with its stat, in batches."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

import msgspec

from everynode.kernel.protocol import Kernel
from everynode.limits import NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX, RESERVED_NAME, SCAN_BATCH, SCAN_FIRST
from everynode.model.entry import DIRECTORY, Kind, Stamp
from everynode.model.path import ROOT, RelPath, show_path
from everynode.model.problem import Trouble
from everynode.tree.leaf import kind_of, stamp_of
from everynode.tree.outcome import Absent, Unlookable
from everynode.tree.reach import Reach, unlookable
from everynode.tree.root import Root

Skip = Callable[[RelPath, bool], bool]


class WalkItem(msgspec.Struct, frozen=True, gc=False):
    path: RelPath
    kind: Kind | None
    """None: unsupported, or not known because of `trouble`."""
    stamp: Stamp | None
    """With the ctime as it is, however young: to compare with, not to keep."""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    links: int = 1
    trouble: Unlookable | None = None
    """The path, or everything below it, could not be looked at: nothing in there is proved absent."""


class _Level:
    """A directory under way: its names still to come, and the directories among them still to be entered."""

    __slots__ = ("at", "names", "path", "waiting")

    def __init__(self, path: RelPath, names: list[bytes]) -> None:
        self.path = path
        self.names = names
        self.at = 0
        self.waiting: list[bytes] = []
        """Names of directories, each with a slash, as a heap: `a/` sorts after `a-b`, though `a` comes before."""


def walk(root: Root, start: RelPath = ROOT, *, skip: Skip) -> Iterator[list[WalkItem]]:
    """All paths strictly below `start` in the byte order of paths, in batches of up to limits.SCAN_BATCH.

    The first ones are smaller, so that whoever waits for what they hold begins early.

    `skip(path, is_directory)` leaves out a path and what is below it. A tree that changes meanwhile is seen partly
    old, partly new: what the walk does not show is to be confirmed absent by `observe`. Never leaves the filesystem.
    Nothing if `start` is absent; between batches no fd is kept open. Raises OSError only if the root itself fails.
    """
    with root.batch() as reach:
        walker = _Walker(root.kernel, root.device, reach, skip)
        walker.enter(start)
        while walker.advance():
            # The consumer may take its time; directories may be moved meanwhile.
            reach.forget_all()
            yield walker.take()
        reach.forget_all()
        if rest := walker.take():
            yield rest


class _Walker:
    def __init__(self, kernel: Kernel, device: int, reach: Reach, skip: Skip) -> None:
        self._kernel = kernel
        self._device = device
        self._reach = reach
        self._skip = skip
        self._levels: list[_Level] = []
        self._batch: list[WalkItem] = []
        self._size = SCAN_FIRST

    def take(self) -> list[WalkItem]:
        batch, self._batch = self._batch, []
        self._size = min(SCAN_BATCH, 2 * self._size)
        return batch

    def advance(self) -> bool:
        """Go on until a batch is full (True) or all is done (False)."""
        while self._levels:
            if self._names(self._levels[-1]):
                return True
        return False

    def _names(self, level: _Level) -> bool:
        """Names of the directory under way, until the batch is full (True), one below is entered, or all are done."""
        names, waiting = level.names, level.waiting
        prefix = level.path + b"/" if level.path else b""
        try:
            directory = self._reach.directory(level.path)
        except OSError as error:
            self._unreachable(level.path, error)
            self._levels.pop()
            return False
        while True:
            if waiting and (level.at == len(names) or waiting[0] < names[level.at]):
                if self.enter(RelPath(prefix + heappop(waiting)[:-1])):
                    return False
                continue
            if level.at == len(names):
                self._levels.pop()
                return False
            name = names[level.at]
            level.at += 1
            path = RelPath(prefix + name)
            if path == RESERVED_NAME:
                continue
            item = self._item(path, directory, name)
            if item is None:
                continue
            self._batch.append(item)
            if item.kind is DIRECTORY and item.trouble is None:
                heappush(waiting, name + b"/")
            if len(self._batch) >= self._size:
                return True

    def _item(self, path: RelPath, directory: int, name: bytes) -> WalkItem | None:
        try:
            stat = self._kernel.stat_at(directory, name)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR) or self._skip(path, False):
                return None
            return WalkItem(path, None, None, trouble=unlookable(path, error))
        kind = kind_of(stat)
        if self._skip(path, kind is DIRECTORY):
            return None
        if stat.st_dev != self._device:
            trouble = unlookable(path, OSError(errno.EXDEV, "another filesystem"))
            return WalkItem(path, None, None, trouble=trouble)
        if len(path) > PATH_BYTES_MAX or len(name) > NAME_BYTES_MAX or path.count(b"/") >= PATH_DEPTH_MAX:
            detail = f"{show_path(path[:300])}...: the path is too long or too deep to be replicated; shorten it"
            return WalkItem(path, None, None, trouble=Unlookable(Trouble.NAME, detail))
        return WalkItem(path, kind, stamp_of(stat), stat.st_mode & 0o7777, stat.st_uid, stat.st_gid, stat.st_nlink)

    def enter(self, path: RelPath) -> bool:
        """List a directory and make it the one under way; False: it cannot be listed."""
        try:
            names = self._kernel.list_directory(self._reach.directory(path))
        except OSError as error:
            self._unreachable(path, error)
            return False
        names.sort()
        self._levels.append(_Level(path, names))
        return True

    def _unreachable(self, path: RelPath, error: OSError) -> None:
        if path == ROOT:
            raise error
        why = self._reach.why_unreachable(path, error)
        # Absent: it vanished after its name was seen; what was below it is for `observe` to confirm.
        if not isinstance(why, Absent):
            self._batch.append(WalkItem(path, None, None, trouble=why))


def is_empty(root: Root) -> bool:
    """Whether the root holds nothing but everynode's own folder. Raises OSError."""
    return all(name == RESERVED_NAME for name in root.kernel.list_directory(root.fd))
