"""Reading placed files once more, from the disk rather than from memory: does it still have what was written?"""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from stat import S_ISREG

import msgspec

from everynode.kernel.protocol import Kernel
from everynode.limits import BLOCK_BYTES, READ_BYTES
from everynode.model.entry import Entry, Stamp
from everynode.model.ids import Digest
from everynode.model.path import RelPath
from everynode.tree.digest import digest_bytes, digest_of_list, hash_blocks, read_fully
from everynode.tree.leaf import OPEN_FILE, stamp_of
from everynode.tree.reach import Reach
from everynode.tree.root import Root

UNREADABLE = Digest(bytes(32))
"""Stands for a content that the disk refuses to give."""


@dataclass(slots=True, eq=False)
class Reading:
    """A file as it was placed, and what came of reading it again."""

    path: RelPath
    stamp: Stamp
    entry: Entry
    sound: bool = False
    """It is what was written."""
    damage: Entry | None = None
    """What the disk shows instead, though nothing says that anybody wrote."""
    detail: str = ""

    # Neither sound nor damage: somebody was there, or is.


def reread(root: Root, readings: Sequence[Reading]) -> Iterator[int]:
    """Read each; yields how many bytes were read since the last time: after each file, and within large ones.

    For a thread that asks for as much as it wants to read now. Raises OSError only where nothing can be opened at all.
    """
    with root.batch() as reach:
        for reading in readings:
            yield from _reread_one(root, reach, reading)


def _reread_one(root: Root, reach: Reach, reading: Reading) -> Iterator[int]:
    kernel = root.kernel
    parent, _, name = reading.path.rpartition(b"/")
    try:
        fd = kernel.open_at(reach.directory(RelPath(parent)), name, OPEN_FILE)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return
    try:
        if not _is_as_placed(kernel, fd, root.device, reading):
            return
        kernel.drop_cache(fd)
        digest = yield from _digest(kernel, fd, reading)
        # Whoever wrote meanwhile has it open still, or has moved the stamp.
        if digest is None or not _is_as_placed(kernel, fd, root.device, reading):
            return
    finally:
        kernel.close(fd)
    if digest == reading.entry.digest:
        reading.sound = True
    else:
        reading.damage = msgspec.structs.replace(reading.entry, digest=digest)


def _is_as_placed(kernel: Kernel, fd: int, device: int, reading: Reading) -> bool:
    stat = kernel.stat_fd(fd)
    same = S_ISREG(stat.st_mode) and stat.st_dev == device and reading.stamp.matches(stamp_of(stat))
    return same and not kernel.has_writer(fd)


def _digest(kernel: Kernel, fd: int, reading: Reading) -> Generator[int, None, Digest | None]:
    """Returns the digest, UNREADABLE for an error of the disk, None when the file was shorter than it said."""
    size = reading.entry.size
    lists: list[bytes] = []
    try:
        for offset in range(0, max(1, size), READ_BYTES):
            length = min(READ_BYTES, size - offset)
            content = read_fully(kernel, fd, offset, length)
            yield length
            if len(content) != length:
                return None
            if size <= BLOCK_BYTES:
                return digest_bytes(content)
            lists.append(hash_blocks(content))
    except OSError as error:
        if error.errno != errno.EIO:
            return None
        reading.detail = "the disk cannot read it (an I/O error)"
        return UNREADABLE
    return digest_of_list(b"".join(lists))


def read_some(steps: Iterator[int], most: int) -> int | None:
    """Go on reading until `most` bytes were read, or a little more; how many were. None: all is done."""
    done = 0
    for length in steps:
        done += length
        if done >= most:
            return done
    return done or None
