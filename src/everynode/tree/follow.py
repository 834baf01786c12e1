"""Reading a file that is held open for writing: whether all that stood in it at the last look stands there still."""

from __future__ import annotations

from stat import S_ISREG

import msgspec

from everynode.kernel.protocol import Kernel, Stat
from everynode.limits import BLOCK_BYTES, INLINE_BYTES_MAX
from everynode.model.entry import FILE, Entry, Stamp
from everynode.model.ids import DIGEST_BYTES, Digest
from everynode.model.path import RelPath
from everynode.tree.digest import digest_bytes, digest_fd, read_fully
from everynode.tree.leaf import OPEN_FILE, PERMISSIONS, stamp_of
from everynode.tree.outcome import Present
from everynode.tree.root import Root
from everynode.tree.vault import CREATE

COPY_KIND = b"o"
"""First letter of the vault names of copies of open files."""


class Stood(msgspec.Struct, frozen=True, gc=False):
    """What was read from an open file at one look. Writers may have been at work: it proves nothing by itself."""

    inode: int
    size: int
    mtime_ns: int
    digest: Digest


class Followed(msgspec.Struct, frozen=True, gc=False):
    """An open file, read once more."""

    now: Stood
    seen: Present | None
    """What stood there at the last look and was only added to since; None: it is not so, or this is the first look."""
    copy: bytes = b""
    """Name in the vault folder of a copy of `seen`, which is of one instant then; empty: there is none."""


def follow(root: Root, path: RelPath, before: Stood | None) -> Followed | None:
    """Read an open file again; None: it is quiet, or shrinking, or cannot be read: an ordinary look tells more.

    Every byte of `seen` was read twice with the same outcome. So at the moment between the two looks the file began
    with exactly this content, unless a byte was changed and changed back: it is something that its author's file was.
    Its stamp has the size and time of the last look and no ctime: it matches nothing, and the file is read again by
    whoever wants to know more.
    """
    parent, _, name = path.rpartition(b"/")
    kernel = root.kernel
    with root.batch() as reach:
        try:
            fd = kernel.open_at(reach.directory(RelPath(parent)), name, OPEN_FILE)
        except OSError:
            return None
        try:
            stat = kernel.stat_fd(fd)
            if not S_ISREG(stat.st_mode) or stat.st_dev != root.device:
                return None
            followed = _read(kernel, fd, stat, before)
            quiet = not kernel.had_writer(fd) and stamp_of(kernel.stat_fd(fd)) == stamp_of(stat)
        except OSError:
            return None
        finally:
            kernel.close(fd)
    return None if quiet else followed


def copy_open(root: Root, path: RelPath, before: Stood | None) -> Followed | None:
    """The same from a copy that the filesystem makes at one instant: whole, whatever is changed before or after it.

    Where the content is that of `before` the copy is not kept. Raises OSError: EOPNOTSUPP where it cannot be made.
    """
    parent, _, name = path.rpartition(b"/")
    kernel = root.kernel
    with root.batch() as reach:
        try:
            source = kernel.open_at(reach.directory(RelPath(parent)), name, OPEN_FILE)
        except OSError:
            return None
        try:
            stat = kernel.stat_fd(source)
            if not S_ISREG(stat.st_mode) or stat.st_dev != root.device:
                return None
            copied = _copied(root, source, stat, before)
            quiet = not kernel.had_writer(source) and stamp_of(kernel.stat_fd(source)) == stamp_of(stat)
            if quiet and copied is not None and copied.copy:
                kernel.unlink_at(root.vault_fd, copied.copy)
        finally:
            kernel.close(source)
    return None if quiet else copied


def _copied(root: Root, source: int, stat: Stat, before: Stood | None) -> Followed | None:
    kernel = root.kernel
    name = root.new_name(COPY_KIND)
    target = kernel.open_beneath(root.vault_fd, name, CREATE, 0o600)
    keep = False
    try:
        kernel.clone(source, target)
        was = stamp_of(stat)
        seen = _beginning(kernel, target, stat, Stamp(was.inode, 0, was.mtime_ns, kernel.stat_fd(target).st_size))
        if seen is None:
            return None
        now = Stood(was.inode, seen.entry.size, was.mtime_ns, Digest(seen.entry.digest))
        same = before is not None and before.inode == now.inode and before.digest == now.digest
        if not now.size and not same:
            return Followed(now, None)  # just begun
        seen = msgspec.structs.replace(seen, xattrs=kernel.has_xattrs(source))
        keep = not same
        return Followed(now, seen, name if keep else b"")
    finally:
        kernel.close(target)
        if not keep:
            kernel.unlink_at(root.vault_fd, name)


def _read(kernel: Kernel, fd: int, stat: Stat, before: Stood | None) -> Followed | None:
    """None: it became shorter while it was read."""
    stamp = stamp_of(stat)
    seen: Present | None = None
    known = b""
    # Empty at first and then not: it was just begun.
    if before is not None and before.inode == stamp.inode and (before.size > 0 or not stamp.size):
        seen = _standing(kernel, fd, stat, before) if before.size <= stamp.size else None
        if seen is not None and seen.blocks is not None:
            known = seen.blocks[: before.size // BLOCK_BYTES * DIGEST_BYTES]
    hashed = digest_fd(kernel, fd, stamp.size, known)
    return Followed(Stood(stamp.inode, stamp.size, stamp.mtime_ns, hashed[0]), seen) if hashed is not None else None


def _standing(kernel: Kernel, fd: int, stat: Stat, before: Stood) -> Present | None:
    """What stood there before, if it stands there still."""
    seen = _beginning(kernel, fd, stat, Stamp(before.inode, 0, before.mtime_ns, before.size))
    if seen is None or seen.entry.digest != before.digest:
        return None
    return msgspec.structs.replace(seen, xattrs=kernel.has_xattrs(fd))


def _beginning(kernel: Kernel, fd: int, stat: Stat, stamp: Stamp) -> Present | None:
    """As many bytes of an open file as `stamp` says, with the attributes of `stat`."""
    content: bytes | None = None
    blocks: bytes | None = None
    if stamp.size <= INLINE_BYTES_MAX:
        content = read_fully(kernel, fd, 0, stamp.size)
        digest = digest_bytes(content)
    else:
        hashed = digest_fd(kernel, fd, stamp.size)
        if hashed is None:
            return None
        digest, blocks = hashed
    mode = stat.st_mode & PERMISSIONS
    entry = Entry(FILE, mode, stat.st_uid, stat.st_gid, stamp.mtime_ns, stamp.size, digest)
    return Present(entry, stamp, content, stat.st_nlink, False, blocks)
