"""The seam to the kernel: every system call that the rest of the house may make on a tree.

All methods raise OSError with the kernel's errno. Names passed to `*_at` methods are single components.
Two implementations pass one contract test: `kernel.linux` and the simulator's in-memory tree.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Protocol


class RenameFlag(IntFlag):
    NONE = 0
    NOREPLACE = 1
    EXCHANGE = 2


class Stat(Protocol):
    """What is read of os.stat_result."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_dev(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_uid(self) -> int: ...
    @property
    def st_gid(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


class Space(Protocol):
    """Free and total, as this process may use them."""

    @property
    def bytes_free(self) -> int: ...
    @property
    def bytes_total(self) -> int: ...
    @property
    def inodes_free(self) -> int: ...
    @property
    def read_only(self) -> bool:
        """Nothing can be written there, by nobody."""


class Kernel(Protocol):
    def open_root(self, path: bytes) -> int:
        """Open the directory at an absolute path for reading. Follows links: it is the operator's word."""

    def open_beneath(self, directory: int, path: bytes, flags: int, mode: int = 0) -> int:
        """openat2 with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV.

        `path` may have many components. EXDEV: another filesystem or an escape; ELOOP: a symlink in the way.
        O_CLOEXEC is added.
        """

    def open_at(self, directory: int, name: bytes, flags: int) -> int:
        """Open what has this name in a directory that was reached beneath the root, for reading; one component, no
        `..`, and O_NOFOLLOW among the flags. Cheaper than `open_beneath`; a file that is mounted over is entered: its
        device tells. O_CLOEXEC is added.
        """

    def create_at(self, directory: int, name: bytes, mode: int) -> int:
        """A new file, open for writing (O_CREAT | O_EXCL | O_NOFOLLOW): what stands there already is EEXIST.

        Cheaper than `open_beneath`, for names of our own making in a folder of our own.
        """

    def close(self, fd: int) -> None: ...
    def read(self, fd: int, length: int) -> bytes: ...
    def pread(self, fd: int, length: int, offset: int) -> bytes: ...
    def write(self, fd: int, data: bytes) -> int: ...
    def pwrite(self, fd: int, data: bytes, offset: int) -> int: ...
    def truncate(self, fd: int, length: int) -> None: ...
    def copy_range(self, source: int, target: int, length: int, source_offset: int, target_offset: int) -> int:
        """copy_file_range: bytes copied, 0 at the end; reflinks where the filesystem can."""

    def drop_cache(self, fd: int) -> None:
        """Advise that what is cached of the file is not wanted: what is read next comes from the disk, if it can."""

    def clone(self, source: int, target: int) -> None:
        """FICLONE: all of `source`, as it is at one instant, into the empty `target`, sharing what lies on the disk.

        EOPNOTSUPP, EXDEV, EINVAL, ENOTTY: not on this filesystem.
        """

    def stat_fd(self, fd: int) -> Stat: ...
    def stat_at(self, directory: int, name: bytes) -> Stat:
        """Never follows a symlink."""

    def list_directory(self, fd: int) -> list[bytes]:
        """Names in a directory without `.` and `..`, in no order. May be called again on the same fd."""

    def readlink_at(self, directory: int, name: bytes) -> bytes: ...
    def mkdir_at(self, directory: int, name: bytes, mode: int) -> None: ...
    def rmdir_at(self, directory: int, name: bytes) -> None: ...
    def unlink_at(self, directory: int, name: bytes) -> None: ...
    def symlink_at(self, target: bytes, directory: int, name: bytes) -> None: ...
    def rename_at(self, source: int, old: bytes, target: int, new: bytes, flag: RenameFlag = RenameFlag.NONE) -> None:
        """renameat2. NOREPLACE fails with EEXIST; EXCHANGE swaps two existing names of any kind."""

    def chown_fd(self, fd: int, uid: int, gid: int) -> None: ...
    def chown_at(self, directory: int, name: bytes, uid: int, gid: int) -> None:
        """Of the link itself."""

    def chmod_fd(self, fd: int, mode: int) -> None: ...
    def set_mtime_fd(self, fd: int, mtime_ns: int) -> None:
        """Leaves atime (UTIME_OMIT)."""

    def set_mtime_new(self, fd: int, mtime_ns: int) -> None:
        """Of a file that we have just made: atime becomes now, which is cheaper than to leave it."""

    def set_mtime_at(self, directory: int, name: bytes, mtime_ns: int) -> None:
        """Of the link itself; leaves atime."""

    def sync_data(self, fd: int) -> None:
        """fdatasync."""

    def sync_file(self, fd: int) -> None:
        """fsync; on a directory: its names."""

    def sync_filesystem(self, fd: int) -> None:
        """syncfs; raises the error of any lost write since the fd was opened."""

    def has_writer(self, fd: int) -> bool:
        """True if anybody has the file of this O_RDONLY fd open for writing.

        Probed by F_SETLEASE F_RDLCK, given back at once.
        """

    def had_writer(self, fd: int) -> bool:
        """The same for an fd that is closed next: what was probed with is given back by that."""

    def has_xattrs(self, fd: int) -> bool:
        """Whether the object has extended attributes that somebody gave it, ACLs included; False where none can be."""

    def space(self, fd: int) -> Space: ...
