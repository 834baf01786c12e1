"""Reaching directories of a tree by their path, beneath the root and on its filesystem only."""

from __future__ import annotations

import errno
import os
from stat import S_ISDIR
from types import TracebackType

from everynode.kernel.protocol import Kernel
from everynode.limits import DIRECTORIES_OPEN_MAX
from everynode.model.path import ROOT, RelPath, show_path
from everynode.model.problem import Trouble
from everynode.tree.outcome import Absent, Unlookable

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
PATH_BYTES_PER_CALL = 4095
"""PATH_MAX less the closing NUL: the kernel takes no longer path in one call, though longer ones exist."""


class Reach:
    """Open directories of one batch, by path. Use it as a context and keep it no longer than the batch.

    A directory that somebody moves away meanwhile stays open here under its old path: so everything is
    forgotten at the end of a batch, and `still_there` tells where it matters. At least the last two fds
    that were handed out are open; older ones may have been closed. Not for use by two threads at once.
    """

    def __init__(self, kernel: Kernel, root_fd: int, device: int) -> None:
        self._kernel = kernel
        self._root_fd = root_fd
        self._device = device
        self._fds: dict[RelPath, int] = {}

    def __enter__(self) -> Reach:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.forget_all()

    def directory(self, path: RelPath) -> int:
        """An fd of the directory at `path`, valid until two more were asked for.

        Raises OSError: EXDEV for another filesystem, ELOOP or ENOTDIR where no directory stands.
        """
        if path == ROOT:
            return self._root_fd
        fd = self._fds.pop(path, -1)
        if fd < 0:
            fd = open_directory(self._kernel, self._root_fd, self._device, path)
            if len(self._fds) >= DIRECTORIES_OPEN_MAX:
                self._kernel.close(self._fds.pop(next(iter(self._fds))))
        self._fds[path] = fd
        return fd

    def still_there(self, path: RelPath) -> bool:
        """Whether the directory that was handed out for `path` is what is reached by that path now."""
        held = self._fds.get(path)
        if held is None:
            return path == ROOT
        try:
            fd = open_directory(self._kernel, self._root_fd, self._device, path)
        except OSError:
            return False
        try:
            return self._kernel.stat_fd(fd).st_ino == self._kernel.stat_fd(held).st_ino
        finally:
            self._kernel.close(fd)

    def forget(self, path: RelPath) -> None:
        fd = self._fds.pop(path, -1)
        if fd >= 0:
            self._kernel.close(fd)

    def forget_all(self) -> None:
        fds, self._fds = self._fds, {}
        for fd in fds.values():
            self._kernel.close(fd)

    def why_unreachable(self, path: RelPath, error: OSError) -> Absent | Unlookable:
        """What a failure to reach the directory `path` says of the paths in it.

        Absent only when it is proved, name by name, that the chain ends: at a missing name, or at something
        that is no directory (a symlink or file that took its place).
        """
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return unlookable(path, error)
        kernel = self._kernel
        fd = self._root_fd
        try:
            for name in path.split(b"/"):
                try:
                    below = open_directory(kernel, fd, self._device, RelPath(name))
                except OSError as failed:
                    if failed.errno == errno.ENOENT:
                        return Absent()
                    if failed.errno not in (errno.ENOTDIR, errno.ELOOP):
                        return unlookable(path, failed)
                    return self._absent_below(fd, name, path, failed)
                if fd != self._root_fd:
                    kernel.close(fd)
                fd = below
            return Unlookable(Trouble.UNREADABLE, f"{show_path(path)} appeared while it was looked at; look again")
        finally:
            if fd != self._root_fd:
                kernel.close(fd)

    def _absent_below(self, fd: int, name: bytes, path: RelPath, error: OSError) -> Absent | Unlookable:
        try:
            stat = self._kernel.stat_at(fd, name)
        except OSError as failed:
            return Absent() if failed.errno == errno.ENOENT else unlookable(path, failed)
        return unlookable(path, error) if S_ISDIR(stat.st_mode) else Absent()


def open_directory(kernel: Kernel, start: int, device: int, path: RelPath) -> int:
    """Open the directory at `path` below the directory `start`; the caller closes it. Raises OSError."""
    fd = start
    rest: bytes = path
    while True:
        piece, rest = _first_piece(rest)
        try:
            below = kernel.open_beneath(fd, piece, OPEN_DIRECTORY)
        finally:
            if fd != start:
                kernel.close(fd)
        fd = below
        if not rest:
            break
    # A btrfs subvolume is no mount, yet another filesystem to renames.
    if kernel.stat_fd(fd).st_dev != device:
        kernel.close(fd)
        raise OSError(errno.EXDEV, "another filesystem")
    return fd


def _first_piece(path: bytes) -> tuple[bytes, bytes]:
    if len(path) <= PATH_BYTES_PER_CALL:
        return path, b""
    cut = path.rindex(b"/", 0, PATH_BYTES_PER_CALL + 1)
    return path[:cut], path[cut + 1 :]


def unlookable(path: RelPath, error: OSError) -> Unlookable:
    """The problem that an error while looking amounts to."""
    shown = show_path(path) or "the root"
    if error.errno == errno.EXDEV:
        detail = f"{shown} is on another filesystem than the root; unmount it there, exclude it, or give it a group"
        return Unlookable(Trouble.UNREADABLE, detail)
    if error.errno == errno.ENAMETOOLONG:
        return Unlookable(Trouble.NAME, f"{shown}: {error.strerror}; rename it")
    reason = error.strerror or str(error)
    return Unlookable(Trouble.UNREADABLE, f"{shown} cannot be looked at: {reason}; give everynode the right to read it")


def empty_directory(kernel: Kernel, fd: int) -> None:
    """Remove all that is in a directory of ours. Raises OSError."""
    for name in kernel.list_directory(fd):
        try:
            kernel.unlink_at(fd, name)
        except (IsADirectoryError, PermissionError):
            below = kernel.open_beneath(fd, name, OPEN_DIRECTORY)
            try:
                empty_directory(kernel, below)
            finally:
                kernel.close(below)
            kernel.rmdir_at(fd, name)
