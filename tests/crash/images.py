"""Crash images: what the disks of a recording hold when the power fails at a given entry of the log.

A disk keeps everything that was written before its last flush. Of what was written later it keeps any part: all of it
(the prefix of the log), or a random choice of pieces of 4 KiB, the least that a disk writes as a whole.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.crash.disk import Entry, read_log

PIECE_BYTES = 4096
COPY_BYTES = 1 << 22

Write = tuple[int, bytes]


def copy_sparse(source: Path, target: Path) -> None:
    """Copy what is in a file, not its holes."""
    with open(source, "rb") as reads, open(target, "wb") as writes:
        size = os.fstat(reads.fileno()).st_size
        writes.truncate(size)
        end = 0
        while end < size:
            try:
                start = os.lseek(reads.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return  # only a hole is left
            end = os.lseek(reads.fileno(), start, os.SEEK_HOLE)
            for at in range(start, end, COPY_BYTES):
                os.pwrite(writes.fileno(), os.pread(reads.fileno(), min(COPY_BYTES, end - at), at), at)


class Disk:
    """One disk at one moment: its flushed content in a file, and what was written since."""

    def __init__(self, base: Path, flushed: Path) -> None:
        copy_sparse(base, flushed)
        self._path = flushed
        self._file = os.open(flushed, os.O_RDWR)
        self.pending: list[Write] = []

    def follow(self, entry: Entry) -> None:
        if not entry.flush:
            self.pending.append((entry.offset, entry.data))
            return
        _put(self._file, self.pending)
        self.pending.clear()

    def image(self, target: Path, dice: random.Random | None) -> None:
        """What is left after a cut at this moment. `dice` None: everything that was written."""
        copy_sparse(self._path, target)
        file = os.open(target, os.O_RDWR)
        try:
            _put(file, self.pending if dice is None else _some(self.pending, dice))
        finally:
            os.close(file)

    def close(self) -> None:
        os.close(self._file)
        self._path.unlink()


def _put(file: int, writes: Iterable[Write]) -> None:
    for offset, data in writes:
        os.pwrite(file, data, offset)


def _some(writes: list[Write], dice: random.Random) -> Iterator[Write]:
    """Nearly all, nearly none, or half of the pieces: each finds other faults."""
    kept = dice.choice((0.1, 0.5, 0.9))
    for offset, data in writes:
        for start in range(0, len(data), PIECE_BYTES):
            if dice.random() < kept:
                yield offset + start, data[start : start + PIECE_BYTES]


class Replay:
    """Walks through the log; `entry` is the last one that is in. Goes forward only."""

    def __init__(self, log: Path, bases: list[Path], scratch: Path) -> None:
        self._entries = read_log(log)
        self.disks = [Disk(base, scratch / f"flushed-{number}") for number, base in enumerate(bases)]
        self.number = 0
        self.position = 0

    def go_to(self, number: int) -> None:
        """Until `number` entries are in."""
        assert number >= self.number, "a replay goes forward only"
        while self.number < number:
            entry = next(self._entries)
            self.disks[entry.disk].follow(entry)
            self.number += 1
            self.position = entry.end

    def close(self) -> None:
        for disk in self.disks:
            disk.close()
