"""Hashing and listing ranges of the tree as it is placed here, from the index, some rows at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from blake3 import blake3

from everynode.index.store import Index
from everynode.limits import SCAN_BATCH, TREE_PART_ROWS_MAX
from everynode.model.entry import DIRECTORY, FILE, SYMLINK, Entry
from everynode.model.message import TREE_HASH_BYTES, TreeEntry
from everynode.model.path import RelPath
from everynode.model.record import Record, Vector

_encode = msgspec.msgpack.Encoder().encode

TOO_MANY = b""
"""Instead of the hash of a part of which more stands here than anybody sends in one."""


def shown_entry(record: Record) -> Entry | None:
    """What stands at the path as all nodes must show it; None: nothing.

    The mode of a symlink says nothing, nor does the time of a directory that only what is in it keeps.
    """
    placed = record.placed
    entry = placed.entry if placed is not None else None
    if placed is None or entry is None or entry.kind is FILE:
        return entry
    if entry.kind is SYMLINK:
        return msgspec.structs.replace(entry, mode=0)
    own = (s for s in placed.version.siblings if s.dot == placed.shown and s.live and s.entry.kind is DIRECTORY)
    return entry if next(own, None) is not None else msgspec.structs.replace(entry, mtime_ns=0)


def tree_entry(record: Record) -> TreeEntry | None:
    """None: nothing stands there, and nothing is about to."""
    entry = shown_entry(record)
    if entry is None and not record.unplaced:
        return None
    version = record.version
    digest = blake3(_encode((version.siblings, sorted(version.context.items())))).digest(TREE_HASH_BYTES)
    return TreeEntry(record.path, entry, digest, record.unplaced)


def hash_of_knowledge(knowledge: Vector) -> bytes:
    return blake3(_encode(sorted(knowledge.items()))).digest(TREE_HASH_BYTES)


@dataclass(slots=True)
class Parts:
    """The hashes of consecutive ranges of paths, being made: part i is of bounds[i] <= path < bounds[i + 1].

    With `rows`, the bounds are found on the way: a part ends after so many, and at most `most` parts are made.
    An empty last bound: all that follows.
    """

    bounds: list[bytes]
    rows: int = 0
    most: int = 0
    hashes: list[bytes] = field(default_factory=list)
    total: blake3 | None = None
    """Takes all rows as well."""
    counted: int = 0
    _hasher: blake3 = field(default_factory=blake3)
    _in_part: int = 0
    _low: bytes | None = None
    """What comes next."""
    done: bool = False

    def step(self, index: Index) -> None:
        """Go on by a batch of rows. Runs on the index thread."""
        low = self.bounds[0] if self._low is None else self._low
        records = index.between(low, self.bounds[-1], SCAN_BATCH)
        for record in records:
            self._low = record.path + b"\0"
            self._take(record)
            if self.done:
                return
        if not self.rows and self._in_part > TREE_PART_ROWS_MAX:
            self._low = self.bounds[len(self.hashes) + 1]
            self._close()  # what else is in it changes nothing
            return
        if len(records) < SCAN_BATCH:
            while not self.done:
                self._close()

    def _take(self, record: Record) -> None:
        entry = shown_entry(record)
        if not self.rows:
            while self.bounds[len(self.hashes) + 1] and record.path >= self.bounds[len(self.hashes) + 1]:
                self._close()
                if self.done:
                    return
        if entry is None:
            return
        if self.rows and self._in_part == self.rows:
            self.bounds.insert(len(self.bounds) - 1, record.path)
            if len(self.hashes) + 1 == self.most:
                self.bounds.pop()
                self._close()
                return
            self._close()
        row = _encode((record.path, entry))
        self._hasher.update(row)
        if self.total is not None:
            self.total.update(row)
        self.counted += 1
        self._in_part += 1

    def _close(self) -> None:
        full = self._in_part > TREE_PART_ROWS_MAX
        self.hashes.append(TOO_MANY if full else self._hasher.digest(TREE_HASH_BYTES))
        self._hasher, self._in_part = blake3(), 0
        self.done = len(self.hashes) == len(self.bounds) - 1


def list_entries(index: Index, low: bytes, high: bytes, limit: int) -> tuple[list[TreeEntry], bytes | None]:
    """Entries of low <= path < high, at most `limit`, and where to go on (None: that was all).

    Runs on the index thread.
    """
    found: list[TreeEntry] = []
    records = index.between(low, high, SCAN_BATCH)
    for record in records:
        if (entry := tree_entry(record)) is not None:
            found.append(entry)
        if len(found) == limit:
            return found, RelPath(record.path + b"\0")
    return found, records[-1].path + b"\0" if len(records) == SCAN_BATCH else None
