"""Comparing what stands at a name with what is expected there, before it is replaced, moved or removed."""

from __future__ import annotations

import errno
from stat import S_ISREG

from everynode.kernel.protocol import Kernel, Stat
from everynode.model.entry import Entry, Kind, Stamp
from everynode.model.problem import Trouble
from everynode.tree.digest import digest_fd
from everynode.tree.leaf import OPEN_FILE, has_attributes, kind_of, same_object, same_state
from everynode.tree.outcome import Refusal
from everynode.tree.refused import Refused, Vanished, changed


class Old:
    """The object that stood at a name as expected, without a writer; an open fd keeps a file in reach."""

    __slots__ = ("_kernel", "fd", "stat")

    def __init__(self, kernel: Kernel, stat: Stat, fd: int) -> None:
        self._kernel = kernel
        self.stat = stat
        self.fd = fd
        """-1: a symlink, or a file that we may not open."""

    def is_intact(self, moved: Stat) -> bool:
        """Whether `moved`, seen where the object was moved to, is this object, unchanged and still without a writer."""
        return same_state(self.stat, moved) and (self.fd < 0 or not self._kernel.has_writer(self.fd))

    def close(self) -> None:
        if self.fd >= 0:
            self._kernel.close(self.fd)


def hold(kernel: Kernel, directory: int, name: bytes, expected: Stamp, entry: Entry) -> Old:
    """The file or symlink at `name`, proved to be the expected one; close it.

    A stamp without ctime proves nothing: then the content is read. One with ctime says nothing of owner and mode: they
    may have been changed in the tick of a coarse clock in which we placed the object. Raises Vanished, Refused
    (CHANGED, WRITER) or OSError.
    """
    if entry.kind is not Kind.FILE:
        return _hold_symlink(kernel, directory, name, expected, entry)
    try:
        fd = kernel.open_beneath(directory, name, OPEN_FILE)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise Vanished from error
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise changed("another kind of object stands there now") from error
        if error.errno == errno.EACCES:
            return _hold_closed(kernel, directory, name, expected, entry)
        raise
    old = Old(kernel, kernel.stat_fd(fd), fd)
    try:
        if not S_ISREG(old.stat.st_mode) or not same_object(expected, old.stat) or not has_attributes(old.stat, entry):
            raise changed("it was changed here")
        if old.stat.st_ctime_ns != expected.ctime_ns:
            if expected.ctime_ns:
                raise changed("it was touched here")
            hashed = digest_fd(kernel, fd, entry.size)
            if hashed is None or hashed[0] != entry.digest:
                raise changed("it was changed here")
        if kernel.has_writer(fd):
            raise Refused(Refusal.WRITER, Trouble.WRITER, "a process here has it open for writing; waiting for it")
        return old
    except BaseException:
        old.close()
        raise


def _hold_closed(kernel: Kernel, directory: int, name: bytes, expected: Stamp, entry: Entry) -> Old:
    """A file that we may not read: its ctime must tell all."""
    stat = kernel.stat_at(directory, name)
    same = kind_of(stat) is entry.kind and same_object(expected, stat) and has_attributes(stat, entry)
    if not same or stat.st_ctime_ns != expected.ctime_ns:
        raise changed("it may have been changed here and cannot be read")
    return Old(kernel, stat, -1)


def _hold_symlink(kernel: Kernel, directory: int, name: bytes, expected: Stamp, entry: Entry) -> Old:
    try:
        stat = kernel.stat_at(directory, name)
        if kind_of(stat) is not Kind.SYMLINK or not same_object(expected, stat) or not has_attributes(stat, entry):
            raise changed("it was changed here")
        if stat.st_ctime_ns != expected.ctime_ns and (
            expected.ctime_ns or kernel.readlink_at(directory, name) != entry.digest
        ):
            raise changed("it was changed here")
    except FileNotFoundError as error:
        raise Vanished from error
    return Old(kernel, stat, -1)
