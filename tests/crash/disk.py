"""Disks whose every write and flush is logged: image files served through FUSE, to be put under loop devices.

`python -m tests.crash.disk MOUNTPOINT LOG IMAGE...` serves each image as MOUNTPOINT/NUMBER until it is unmounted. One
request is served after the other, so the log is one order over all disks: what stands before an entry had reached its
disk when that entry was written, on whichever disk.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HEADER = struct.Struct("<BBQI")
WRITE, FLUSH = 1, 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One request that a disk completed; `end` is the length of the log with it."""

    disk: int
    flush: bool
    offset: int
    data: bytes
    end: int


def read_log(path: Path) -> Iterator[Entry]:
    """The entries of a log that nobody appends to any more."""
    with open(path, "rb") as log:
        while header := log.read(HEADER.size):
            what, disk, offset, length = HEADER.unpack(header)
            data = log.read(length)
            assert len(data) == length, "the log ends in the middle of an entry"
            yield Entry(disk, what == FLUSH, offset, data, log.tell())


def serve(mountpoint: str, log_path: str, images: Sequence[str]) -> None:
    """Returns when the mountpoint is unmounted."""
    import mfusepy  # type: ignore[import-untyped]

    class Disks(mfusepy.Operations):  # type: ignore[misc]  # the library has no types
        use_ns = True

        def __init__(self) -> None:
            self._images = {f"/{number}": os.open(image, os.O_RDWR) for number, image in enumerate(images)}
            self._log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

        def _image(self, path: str) -> int:
            if path not in self._images:
                raise mfusepy.FuseOSError(errno.ENOENT)
            return self._images[path]

        def _note(self, what: int, path: str, offset: int, data: bytes) -> None:
            record = HEADER.pack(what, int(path[1:]), offset, len(data)) + data
            written = os.write(self._log, record)
            assert written == len(record), "no space for the log"

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            if path == "/":
                return {"st_mode": 0o40755, "st_nlink": 2}
            return {"st_mode": 0o100600, "st_nlink": 1, "st_size": os.fstat(self._image(path)).st_size}

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *(name[1:] for name in self._images)]

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return os.pread(self._image(path), size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            image = self._image(path)
            self._note(WRITE, path, offset, data)
            return os.pwrite(image, data, offset)

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            self._note(FLUSH, path, 0, b"")
            return 0

    mfusepy.FUSE(Disks(), mountpoint, foreground=True, nothreads=True, direct_io=True, fsname="logged-disks")


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3:])
