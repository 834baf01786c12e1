"""What stands at a path: kind, attributes, digest; and the stamp by which a look is recognised later."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Kind(IntEnum):
    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3


FILE, DIRECTORY, SYMLINK = Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK
"""For code that is run for every path: Python 3.11 takes 70 ns to get a member from the class of an Enum."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a node replicates of one path. `mode` has the permission bits only (07777)."""

    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0
    """Bytes of a file; 0 for the others."""
    digest: bytes = b""
    """File: its content's Digest. Symlink: the target itself. Directory: empty."""

    def same_content(self, other: Entry) -> bool:
        return self.kind == other.kind and self.size == other.size and self.digest == other.digest

    def equals(self, other: Entry) -> bool:
        """Equal as far as conflicts go: a directory's mtime alone, and a symlink's mode, say nothing."""
        if not self.same_content(other) or self.uid != other.uid or self.gid != other.gid:
            return False
        if self.kind == DIRECTORY:
            return self.mode == other.mode
        return self.mtime_ns == other.mtime_ns and (self.kind == SYMLINK or self.mode == other.mode)


class Stamp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What `stat` showed when an entry was observed or placed. Equal stamps mean: nothing happened since.

    `ctime_ns` is 0 when the stamp is too young to be trusted (see limits.TICK_NS); such a stamp equals no other.
    """

    inode: int
    ctime_ns: int
    mtime_ns: int
    size: int

    def matches(self, other: Stamp) -> bool:
        return self.ctime_ns != 0 and self == other
