"""What the in-memory tree is made of: inodes, and the names (dentries) that lead to them."""

from __future__ import annotations

import stat
from typing import NamedTuple


class Attributes(NamedTuple):
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int


class FakeStat(NamedTuple):
    st_mode: int
    st_ino: int
    st_dev: int
    st_nlink: int
    st_uid: int
    st_gid: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int


class Space(NamedTuple):
    bytes_free: int
    bytes_total: int
    inodes_free: int
    read_only: bool = False


class Inode:
    """One file, directory or symlink. `data` is a file's bytes or a link's target."""

    __slots__ = (
        "_content",
        "children",
        "ctime_ns",
        "data",
        "device",
        "durable_data",
        "gid",
        "ino",
        "mode",
        "mtime_ns",
        "name",
        "nlink",
        "number",
        "opens",
        "shrunk",
        "uid",
        "writers",
    )

    def __init__(self, number: int, mode: int, stamp_ns: int, device: int = 1) -> None:
        self.number = number
        self.ino = number  # what stat tells: given to another one when this one is gone
        self.mode = mode
        self.uid = 0
        self.gid = 0
        self.mtime_ns = stamp_ns
        self.ctime_ns = stamp_ns
        self.device = device
        self.nlink = 0
        self.data = bytearray()
        self._content = b""
        self.children: dict[bytes, Dentry] = {}
        self.name: Dentry | None = None  # of a directory: its one name; None for a filesystem's root
        self.opens = 0  # open descriptions,
        self.writers = 0  # and those with write access
        self.durable_data: bytes | None = None  # None: never written back
        self.shrunk = False  # truncated since the last write-back: it may be empty after a power cut

    def content(self) -> bytes:
        """`data` as a value: the same object until `data` changes, however often it is looked at."""
        if self._content != self.data:
            self._content = bytes(self.data)
        return self._content

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def dirty(self) -> bool:
        return self.is_file and (self.durable_data is None or self.durable_data != self.data)

    def attributes(self) -> Attributes:
        return Attributes(self.mode, self.uid, self.gid, self.mtime_ns, self.ctime_ns)

    def stat(self) -> FakeStat:
        return FakeStat(
            st_mode=self.mode,
            st_ino=self.ino,
            st_dev=self.device,
            st_nlink=self.nlink,
            st_uid=self.uid,
            st_gid=self.gid,
            st_size=4096 if self.is_directory else len(self.data),
            st_mtime_ns=self.mtime_ns,
            st_ctime_ns=self.ctime_ns,
        )


class Dentry:
    """A name in a directory. It is moved, not replaced, by a rename: whoever holds the file open is
    reported under the present name, as the kernel does."""

    __slots__ = ("inode", "name", "parent")

    def __init__(self, parent: Inode, name: bytes, inode: Inode) -> None:
        self.parent = parent
        self.name = name
        self.inode = inode

    def path(self) -> bytes:
        """From the root of its filesystem, without a leading slash."""
        names = [self.name]
        above = self.parent.name
        while above is not None:
            names.append(above.name)
            above = above.parent.name
        return b"/".join(reversed(names))
