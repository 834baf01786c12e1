"""The real kernel: `kernel.protocol.Kernel` over os and a few system calls that os lacks.

Methods marked `@direct` are the builtins themselves at run time, without a Python frame in between; the body
shows their meaning and is what mypy checks. So call all methods positionally.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import TypeVar, cast

import msgspec

from everynode.kernel import libc
from everynode.kernel.protocol import Kernel, RenameFlag

# linux/openat2.h
_SYS_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV
_OPEN_HOW = struct.Struct("=QQQ")  # flags, mode, resolve
# openat2 answers EAGAIN when a rename anywhere below raced with a ".."; the man page says: retry.
_AGAIN_MAX = 128
_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
# linux/stat.h, linux/fcntl.h
_UTIME_OMIT = 0x3FFFFFFE
_AT_SYMLINK_NOFOLLOW = 0x100
_TIMES = struct.Struct("@llll")  # two timespecs: atime, mtime

_openat2 = libc.function(
    "syscall", ctypes.c_long, ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t
)
_renameat2 = libc.function(
    "renameat2", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint
)
_syncfs = libc.function("syncfs", ctypes.c_int, ctypes.c_int)
_futimens = libc.function("futimens", ctypes.c_int, ctypes.c_int, ctypes.c_char_p)
_utimensat = libc.function("utimensat", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int)

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_SYSTEM_ENCODING = sys.getfilesystemencoding()

F = TypeVar("F", bound=Callable[..., object])


def direct(builtin: Callable[..., object]) -> Callable[[F], F]:
    """The decorated method is `builtin` at run time; saves a Python frame on calls made once or more per file."""

    def replace(_declared: F) -> F:
        return cast(F, staticmethod(builtin))

    return replace


def _how(flags: int, mode: int) -> bytes:
    return _OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, _RESOLVE)


class SpaceNow(msgspec.Struct, frozen=True):
    bytes_free: int
    """Without the blocks reserved for root: nobody should fill those."""
    bytes_total: int
    inodes_free: int
    """sys.maxsize where the filesystem has no fixed number of inodes (btrfs)."""
    read_only: bool


class LinuxKernel:
    """Thread-safe, except that one fd must not be listed by two threads at once (they share its offset)."""

    def __init__(self) -> None:
        # One entry per (flags, mode) in use, a handful; modes of new files are few too, but a peer chooses them,
        # so there are at most 4096 per flags.
        self._hows: dict[tuple[int, int], bytes] = {}

    def open_root(self, path: bytes) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open_beneath(self, directory: int, path: bytes, flags: int, mode: int = 0) -> int:
        how = self._hows.get((flags, mode))
        if how is None:
            how = self._hows[flags, mode] = _how(flags, mode)
        # A C string ends at NUL: without the check "a\0b" would open "a".
        if b"\0" in path:
            raise OSError(errno.EINVAL, "a name cannot contain NUL", path)
        fd = _openat2(_SYS_OPENAT2, directory, path, how, _OPEN_HOW.size)
        if fd >= 0:
            return fd
        tries = 0
        while (number := libc.last_errno()) == errno.EINTR or (number == errno.EAGAIN and tries < _AGAIN_MAX):
            tries += 1
            fd = _openat2(_SYS_OPENAT2, directory, path, how, _OPEN_HOW.size)
            if fd >= 0:
                return fd
        raise libc.failure(path)

    def open_at(self, directory: int, name: bytes, flags: int) -> int:
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=directory)

    def create_at(self, directory: int, name: bytes, mode: int) -> int:
        return os.open(name, _CREATE, mode, dir_fd=directory)

    @direct(os.close)
    def close(self, fd: int) -> None:
        os.close(fd)

    @direct(os.read)
    def read(self, fd: int, length: int) -> bytes:
        return os.read(fd, length)

    @direct(os.pread)
    def pread(self, fd: int, length: int, offset: int) -> bytes:
        return os.pread(fd, length, offset)

    @direct(os.write)
    def write(self, fd: int, data: bytes) -> int:
        return os.write(fd, data)

    @direct(os.pwrite)
    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    @direct(os.ftruncate)
    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    @direct(os.copy_file_range)
    def copy_range(self, source: int, target: int, length: int, source_offset: int, target_offset: int) -> int:
        return os.copy_file_range(source, target, length, source_offset, target_offset)

    def clone(self, source: int, target: int) -> None:
        fcntl.ioctl(target, _FICLONE, source)

    def drop_cache(self, fd: int) -> None:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    @direct(os.fstat)
    def stat_fd(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def stat_at(self, directory: int, name: bytes) -> os.stat_result:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def list_directory(self, fd: int) -> list[bytes]:
        # os.listdir of an fd gives str only. One encode of all names, joined by the byte that no name has, is
        # several times faster than one per name. os.listdir rewinds the fd when it is done.
        names = os.listdir(fd)
        if not names:
            return []
        return "\0".join(names).encode(_FILE_SYSTEM_ENCODING, "surrogateescape").split(b"\0")

    def readlink_at(self, directory: int, name: bytes) -> bytes:
        return os.readlink(name, dir_fd=directory)

    def mkdir_at(self, directory: int, name: bytes, mode: int) -> None:
        os.mkdir(name, mode, dir_fd=directory)

    def rmdir_at(self, directory: int, name: bytes) -> None:
        os.rmdir(name, dir_fd=directory)

    def unlink_at(self, directory: int, name: bytes) -> None:
        os.unlink(name, dir_fd=directory)

    def symlink_at(self, target: bytes, directory: int, name: bytes) -> None:
        os.symlink(target, name, dir_fd=directory)

    def rename_at(self, source: int, old: bytes, target: int, new: bytes, flag: RenameFlag = RenameFlag.NONE) -> None:
        if b"\0" in old or b"\0" in new:
            raise OSError(errno.EINVAL, "a name cannot contain NUL", old, None, new)
        if _renameat2(source, old, target, new, flag) < 0:
            raise libc.failure(old, new)

    @direct(os.fchown)
    def chown_fd(self, fd: int, uid: int, gid: int) -> None:
        os.fchown(fd, uid, gid)

    def chown_at(self, directory: int, name: bytes, uid: int, gid: int) -> None:
        os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)

    @direct(os.fchmod)
    def chmod_fd(self, fd: int, mode: int) -> None:
        os.fchmod(fd, mode)

    # os.utime cannot leave atime alone, hence the C functions.
    def set_mtime_fd(self, fd: int, mtime_ns: int) -> None:
        seconds, nanoseconds = divmod(mtime_ns, 1_000_000_000)
        if _futimens(fd, _TIMES.pack(0, _UTIME_OMIT, seconds, nanoseconds)) < 0:
            raise libc.failure()

    def set_mtime_new(self, fd: int, mtime_ns: int) -> None:
        os.utime(fd, ns=(time.time_ns(), mtime_ns))

    def set_mtime_at(self, directory: int, name: bytes, mtime_ns: int) -> None:
        if b"\0" in name:
            raise OSError(errno.EINVAL, "a name cannot contain NUL", name)
        seconds, nanoseconds = divmod(mtime_ns, 1_000_000_000)
        times = _TIMES.pack(0, _UTIME_OMIT, seconds, nanoseconds)
        if _utimensat(directory, name, times, _AT_SYMLINK_NOFOLLOW) < 0:
            raise libc.failure(name)

    @direct(os.fdatasync)
    def sync_data(self, fd: int) -> None:
        os.fdatasync(fd)

    @direct(os.fsync)
    def sync_file(self, fd: int) -> None:
        os.fsync(fd)

    def sync_filesystem(self, fd: int) -> None:
        if _syncfs(fd) < 0:
            raise libc.failure()

    def has_writer(self, fd: int) -> bool:
        """See the protocol. False also means "cannot be known here".

        The kernel refuses leases with EAGAIN for a writer, and for other reasons with other errors: EACCES (not
        our file and no CAP_LEASE), EINVAL (filesystem without leases, or no regular file), ENOLCK. Those count as
        no writer known: whoever places compares stamps anyway.

        Somebody who opens for writing while the lease is held (some µs) waits until it is given back, and the
        kernel sends us SIGIO, which kills by default: call `ignore_lease_breaks` once per process.
        """
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            return _refused_for_a_writer(error)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False

    def had_writer(self, fd: int) -> bool:
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            return _refused_for_a_writer(error)
        return False

    def has_xattrs(self, fd: int) -> bool:
        try:
            names = os.listxattr(fd)
        except OSError:
            return False
        # The label of a security module is the machine's own.
        return bool(names) and names != ["security.selinux"]

    def space(self, fd: int) -> SpaceNow:
        now = os.fstatvfs(fd)
        return SpaceNow(
            bytes_free=now.f_bavail * now.f_frsize,
            bytes_total=now.f_blocks * now.f_frsize,
            inodes_free=now.f_favail if now.f_files else sys.maxsize,
            read_only=bool(now.f_flag & os.ST_RDONLY),
        )


def _refused_for_a_writer(error: OSError) -> bool:
    if error.errno == errno.EBADF:
        raise error
    return error.errno == errno.EAGAIN


def ignore_lease_breaks() -> None:
    """Ignore SIGIO, which `has_writer` may provoke. Call from the main thread, once per process, before any tree."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def _is_a_kernel(kernel: LinuxKernel) -> Kernel:
    return kernel
