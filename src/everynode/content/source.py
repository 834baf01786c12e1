"""Serving contents: ranges and block lists of files that are still what they were when their stamp was taken."""

from __future__ import annotations

import errno
from stat import S_ISREG

from everynode.kernel.protocol import Kernel, Stat
from everynode.limits import BLOCK_BYTES
from everynode.model.entry import Stamp
from everynode.model.path import RelPath
from everynode.tree.digest import digest_fd, read_fully
from everynode.tree.leaf import OPEN_FILE, same_object, stamp_of
from everynode.tree.root import Root


def read_range(root: Root, path: RelPath, stamp: Stamp, offset: int, length: int) -> bytes | None:
    """`length` bytes (fewer only at the end) of the placed file at `path`; None: it is not that file any more."""
    fd = _open(root, path)
    return None if fd < 0 else _read(root.kernel, fd, stamp, offset, length)


def read_vaulted(root: Root, name: bytes, stamp: Stamp, offset: int, length: int) -> bytes | None:
    """The same of a file in the vault folder. A stamp from before it was vaulted must come without its ctime."""
    fd = _open_at(root.kernel, root.vault_fd, name)
    return None if fd < 0 else _read(root.kernel, fd, stamp, offset, length)


def block_list(root: Root, path: RelPath, stamp: Stamp, digest: bytes, size: int) -> bytes | None:
    """The block list of the placed file at `path`, by reading it; None: it has not that content any more."""
    fd = _open(root, path)
    return None if fd < 0 else _hash(root.kernel, fd, stamp, digest, size)


def vaulted_block_list(root: Root, name: bytes, stamp: Stamp, digest: bytes, size: int) -> bytes | None:
    fd = _open_at(root.kernel, root.vault_fd, name)
    return None if fd < 0 else _hash(root.kernel, fd, stamp, digest, size)


def read_beginning(root: Root, path: RelPath, inode: int, offset: int, length: int) -> bytes | None:
    """`length` bytes of the file at `path`, if it still is that inode: to be compared with a block list by the caller.

    For a file that was added to since it had the content that is asked for.
    """
    fd = _open(root, path)
    if fd < 0:
        return None
    try:
        if stamp_of(root.kernel.stat_fd(fd)).inode != inode:
            return None
        content = read_fully(root.kernel, fd, offset, length)
        return content if len(content) == length else None
    except OSError:
        return None
    finally:
        root.kernel.close(fd)


def beginning_block_list(root: Root, path: RelPath, inode: int, digest: bytes, size: int) -> bytes | None:
    """The block list of the first `size` bytes of the file at `path`; None: they are not that content (any more)."""
    fd = _open(root, path)
    if fd < 0:
        return None
    try:
        stat = root.kernel.stat_fd(fd)
        if not S_ISREG(stat.st_mode) or stamp_of(stat).inode != inode:
            return None
        return _list_of(root.kernel, fd, digest, size)
    except OSError:
        return None
    finally:
        root.kernel.close(fd)


def open_local(root: Root, path: RelPath) -> int:
    """An fd of the file at `path`, whatever it is now, to take blocks from; -1: there is none. Close it."""
    return _open(root, path)


def open_vaulted(root: Root, name: bytes) -> int:
    """The same of a file in the vault folder."""
    return _open_at(root.kernel, root.vault_fd, name)


def _open(root: Root, path: RelPath) -> int:
    """-1: it cannot be opened, for whatever reason: another node may have it."""
    parent, _, name = path.rpartition(b"/")
    with root.batch() as reach:
        try:
            return _open_at(root.kernel, reach.directory(RelPath(parent)), name)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise
            return -1


def _open_at(kernel: Kernel, directory: int, name: bytes) -> int:
    try:
        return kernel.open_beneath(directory, name, OPEN_FILE)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return -1


def _is(stamp: Stamp, stat: Stat) -> bool:
    if not S_ISREG(stat.st_mode) or not same_object(stamp, stat):
        return False
    return not stamp.ctime_ns or stamp.ctime_ns == stat.st_ctime_ns


def _read(kernel: Kernel, fd: int, stamp: Stamp, offset: int, length: int) -> bytes | None:
    """Closes `fd`. The stamp is compared after the read as well: a write in between moves it."""
    try:
        if not _is(stamp, kernel.stat_fd(fd)):
            return None
        content = read_fully(kernel, fd, offset, length)
        return content if _is(stamp, kernel.stat_fd(fd)) else None
    except OSError:
        return None  # bad sectors are the scrub's to report; here the content is not to be had
    finally:
        kernel.close(fd)


def _hash(kernel: Kernel, fd: int, stamp: Stamp, digest: bytes, size: int) -> bytes | None:
    """Closes `fd`."""
    try:
        if stamp.size != size or not _is(stamp, kernel.stat_fd(fd)):
            return None
        return _list_of(kernel, fd, digest, size)
    except OSError:
        return None
    finally:
        kernel.close(fd)


def _list_of(kernel: Kernel, fd: int, digest: bytes, size: int) -> bytes | None:
    hashed = digest_fd(kernel, fd, size)
    if hashed is None or hashed[0] != digest:
        return None
    return digest if size <= BLOCK_BYTES else hashed[1]
