"""Reading an index: ranges of its records, by path, by arrival, by what is to be done with them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any

import apsw
import msgspec

from everynode.errors import IndexDamaged, StoreError
from everynode.index.recent import Recent
from everynode.index.rows import HELD, UNPLACED, read_row
from everynode.index.schema import DAMAGE
from everynode.model.path import RelPath, subtree_range
from everynode.model.record import Record

COLUMNS = "SELECT arrival, path, body, flags, checksum FROM record "


class Reading:
    """The part of an `Index` that changes nothing. It sees the open transaction."""

    path: str
    _connection: apsw.Connection
    _recent: Recent

    def unplaced(self, after: int, limit: int) -> list[Record]:
        """Work to do, by arrival."""
        recent = self._recent
        if not recent:
            return self._list("WHERE flags & 1 AND arrival > ? ORDER BY arrival LIMIT ?", (after, limit))
        found: list[Record] = []
        if after < recent.since:
            where = "WHERE flags & 1 AND arrival > ? AND arrival <= ? ORDER BY arrival LIMIT ?"
            found = self._list(where, (after, recent.since, limit))
        return found + recent.after(after, limit - len(found)) if len(found) < limit else found

    def since(self, after: int, limit: int) -> list[Record]:
        """Records by arrival: what a run sends."""
        return self._list("WHERE arrival > ? ORDER BY arrival LIMIT ?", (after, limit))

    def conflicts(self, limit: int) -> list[Record]:
        return self._list("WHERE flags & 4 ORDER BY path LIMIT ?", (limit,))

    def deleted(self, after: int, limit: int) -> list[Record]:
        """Placed tombstones by arrival."""
        return self._list("WHERE flags & 32 AND arrival > ? ORDER BY arrival LIMIT ?", (after, limit))

    def between(self, low: bytes, high: bytes, limit: int) -> list[Record]:
        """Records of low <= path < high in byte order of paths; an empty `high` is the end."""
        if high:
            return self._list("WHERE path >= ? AND path < ? ORDER BY path LIMIT ?", (low, high, limit))
        return self._list("WHERE path >= ? ORDER BY path LIMIT ?", (low, limit))

    def damaged(self, after: int, limit: int) -> list[Record]:
        """Work whose content the disk has lost, by arrival."""
        return self._list("WHERE flags & 1 AND flags & 16 AND arrival > ? ORDER BY arrival LIMIT ?", (after, limit))

    def held(self, after: int, limit: int) -> list[Record]:
        """What the brake holds, by arrival. Walks the rows: for what is done once, not for every batch."""
        return self._list("WHERE flags & 64 AND arrival > ? ORDER BY arrival LIMIT ?", (after, limit))

    def holds_below(self, directory: RelPath) -> bool:
        """Whether anything strictly inside a directory is held: then it cannot be removed either."""
        low, high = subtree_range(directory)
        sql = "SELECT 1 FROM record WHERE path >= ? AND path < ? AND flags & 64 LIMIT 1"
        return self._one(sql, (low, high)) is not None

    def below(self, directory: RelPath, after: bytes, limit: int) -> list[Record]:
        """Records strictly inside `directory` with paths greater than `after`, in byte order of paths."""
        low, high = subtree_range(directory)
        return self._list("WHERE path > ? AND path >= ? AND path < ? ORDER BY path LIMIT ?", (after, low, high, limit))

    def not_met(
        self, directory: RelPath, after: bytes, limit: int, until: int, met: Container[int]
    ) -> tuple[RelPath | None, list[Record]]:
        """Of the next `limit` records inside `directory` with an arrival up to `until`: those whose arrival is not in
        `met`, and the path of the last one considered (None: there were no more). The others are not even decoded.
        """
        low, high = subtree_range(directory)
        where = "WHERE path > ? AND path >= ? AND path < ? AND arrival <= ? ORDER BY path LIMIT ?"
        last: RelPath | None = None
        found: list[Record] = []
        try:
            for row in self._connection.execute(COLUMNS + where, (after, low, high, until, limit)):
                last = row[1]
                if row[0] not in met or type(last) is not bytes:  # that is damage, which `_record` tells
                    found.append(record_of(row))
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error
        return last, found

    def lives_below(self, directory: RelPath) -> bool:
        """Whether anything below a directory is live: then the directory is, too."""
        low, high = subtree_range(directory)
        sql = "SELECT 1 FROM record WHERE path >= ? AND path < ? AND flags & 2 LIMIT 1"
        return self._one(sql, (low, high)) is not None

    def span(self, first: RelPath, last: RelPath) -> Iterator[Record]:
        """Records from one path to another, both included, in byte order of paths. Use it up before anything else."""
        sql = COLUMNS + "WHERE path >= ? AND path <= ? ORDER BY path"
        try:
            for row in self._connection.execute(sql, (first, last)):
                yield record_of(row)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error

    def excluded(self, after: int, limit: int) -> list[Record]:
        return self._list("WHERE flags & 8 AND arrival > ? ORDER BY arrival LIMIT ?", (after, limit))

    def _list(self, where: str, bindings: Iterable[object]) -> list[Record]:
        try:
            return [record_of(row) for row in self._connection.execute(COLUMNS + where, tuple(bindings))]
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error

    def _one(self, sql: str, bindings: tuple[object, ...]) -> tuple[Any, ...] | None:
        try:
            return self._connection.execute(sql, bindings).fetchone()
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: apsw.Error | UnicodeDecodeError) -> StoreError:
        # No column that is read holds text but by damage.
        if isinstance(error, (*DAMAGE, UnicodeDecodeError)):
            return IndexDamaged(f"index {self.path} is damaged: {error}")
        return StoreError(f"index {self.path} cannot be read: {error}; check the disk")


def record_of(row: tuple[int, bytes, bytes, int, int]) -> Record:
    arrival, path, body, flags, found = row
    # What is no number is damage, which `read_row` tells.
    record = read_row(path, body, flags, found, arrival, type(flags) is int and flags & UNPLACED != 0)
    return msgspec.structs.replace(record, held=True) if flags & HELD else record
