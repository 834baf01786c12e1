"""The index of one group: every record, batched commits, one writer. Not thread-safe: one thread at a time."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import apsw
import msgspec

from everynode.core.shown import in_conflict
from everynode.core.vectors import join
from everynode.core.versions import dots_of
from everynode.errors import IndexDamaged, StoreError
from everynode.index.check import check_count, check_file, check_slice
from everynode.index.recent import Recent
from everynode.index.rows import checksum, encode_body, read_row
from everynode.index.schema import DAMAGE, connect
from everynode.index.state import State, count, count_not_carried
from everynode.index.vault_catalogue import VaultCatalogue
from everynode.limits import INDEX_CHECK_SECONDS
from everynode.model.entry import DIRECTORY
from everynode.model.ids import EPOCH_MAX, NodeId, Origin, Sequence, origin_of
from everynode.model.path import ROOT, RelPath, parent_of, subtree_range
from everynode.model.record import Record, Vector

UNPLACED, LIVE, CONFLICT, EXCLUDED, DAMAGED, DELETED, HELD = 1, 2, 4, 8, 16, 32, 64

_COLUMNS = "SELECT arrival, path, body, flags, checksum FROM record "
_GET = _COLUMNS + "WHERE path=?"


class Index:
    """Reads see the open transaction. Every method raises IndexDamaged when what it reads is not what was written."""

    def __init__(self, path: str, node: NodeId, random_bytes: Callable[[int], bytes]) -> None:
        """Open, or create under a new epoch. `random_bytes(n)` supplies epochs and the name of this index life."""
        self.path = path
        self.node = node
        self._random_bytes = random_bytes
        self._connection = connect(path)
        try:
            self._open()
        except BaseException:
            self._connection.close()  # else the file stays locked until the error is forgotten
            raise
        # One cursor for the statements of every file: making one for each costs a third of the statement.
        self._execute = self._connection.cursor().execute
        self._dirty = False
        self.placings = 0
        """Counts the batches that apply committed in this run: tells a look whether anything was placed since."""
        self.heard: Vector = dict(self.state.knowledge)
        """The knowledge as of the last commit, never changed in place: for other threads, and for peers."""
        self.changes = 0
        """Counts the transactions of this run: what was read at the same count is still true."""
        self.rechecked: set[RelPath] = set()
        """Directories that this transaction has marked as work."""
        self._checked: set[RelPath] = {ROOT}
        """Directories that need no recheck in this transaction, nor does any above them."""
        self._recent = Recent()
        self.vault = VaultCatalogue(self._connection)

    def _open(self) -> None:
        self.fresh = self._one("SELECT 1 FROM meta UNION ALL SELECT 1 FROM record LIMIT 1", ()) is None
        if self.fresh:
            with self._connection:
                self._begin_epoch(State())
        self.origin = origin_of(self.node, int.from_bytes(self._required("epoch"), "big"))
        self.life = self._required("life")
        self.state = self._load_state()
        self.checked = self.fresh or self._check()
        """The whole file was looked through when it was opened; else there was no time, and `check_some` is to."""

    def _check(self) -> bool:
        """Before anything is believed, or written: who writes to a damaged file makes more of it."""
        try:
            whole = check_file(self._connection, self.path, INDEX_CHECK_SECONDS)
            if whole:
                check_count(self._connection, self.path, self.state.counters.records)
        except apsw.Error as error:
            raise self._unreadable(error) from error
        return whole

    def check_some(self, after: int, limit: int) -> int | None:
        """Look through the next `limit` records after an arrival: each must be found by its path and by its flags.

        The arrival of the last one; None: there were no more.
        """
        try:
            return check_slice(self._connection, self.path, after, limit)
        except apsw.Error as error:
            raise self._unreadable(error) from error

    def _begin_epoch(self, state: State) -> None:
        epoch = int.from_bytes(self._random_bytes(4), "big") % (EPOCH_MAX + 1)
        self._set_meta("epoch", epoch.to_bytes(4, "big"))
        self._set_meta("life", self._random_bytes(16))
        self._set_meta("state", msgspec.msgpack.encode(state))

    def begin_new_epoch(self) -> None:
        """A peer knows changes of ours that we do not: this index was restored or cloned. Inside a transaction."""
        # Sequences begin anew, and with them all that counts in them.
        self.state.may_change = False
        self.state.synced = 0
        self.state.suspect_above = -1
        self._begin_epoch(self.state)
        self.origin = origin_of(self.node, int.from_bytes(self._required("epoch"), "big"))
        self.life = self._required("life")
        self._dirty = True

    def _meta(self, key: str) -> bytes | None:
        row = self._one("SELECT value FROM meta WHERE key=?", (key,))
        if row is None:
            return None
        sealed = row[0]
        if not isinstance(sealed, bytes) or len(sealed) < 4 or crc32(sealed[4:]) != int.from_bytes(sealed[:4], "big"):
            raise IndexDamaged(f"index {self.path}: its {key} is damaged")
        return sealed[4:]

    def _required(self, key: str) -> bytes:
        value = self._meta(key)
        if value is None:
            raise IndexDamaged(f"index {self.path} lacks its {key}")
        return value

    def _set_meta(self, key: str, value: bytes) -> None:
        sealed = crc32(value).to_bytes(4, "big") + value
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES(?,?)", (key, sealed))

    def _load_state(self) -> State:
        try:
            return msgspec.msgpack.decode(self._required("state"), type=State)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise IndexDamaged(f"index {self.path}: its state cannot be read: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable at the end. Raises StoreError when the disk refuses; nothing is changed then."""
        self._checked = {ROOT}
        self.rechecked = set()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            if self._dirty:
                self._set_meta("state", msgspec.msgpack.encode(self.state))
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, DAMAGE):
                raise IndexDamaged(f"index {self.path} is damaged: {error}") from error
            if isinstance(error, apsw.Error):
                raise StoreError(
                    f"index {self.path} cannot be written: {error}; free space or mend the disk"
                ) from error
            raise
        if self._dirty:
            self.heard = dict(self.state.knowledge)
        self._dirty = False
        self.changes += 1

    def _roll_back(self) -> None:
        self._recent.clear()
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if self._dirty:
            self.state = self._load_state()
            self.origin = origin_of(self.node, int.from_bytes(self._required("epoch"), "big"))
            self.life = self._required("life")
            self._dirty = False

    def close(self) -> None:
        self._connection.close()

    # Knowledge and other state; the setters belong inside a transaction.

    @property
    def knowledge(self) -> Vector:
        return self.state.knowledge

    def next_sequence(self) -> Sequence:
        """The sequence that the next own change takes; `claim` uses it up."""
        return Sequence(self.state.knowledge.get(self.origin, 0) + 1)

    def claim(self, vector: Vector) -> None:
        """Everything that `vector` covers has been heard."""
        knowledge = self.state.knowledge
        for origin, sequence in vector.items():
            if knowledge.get(origin, 0) < sequence:
                knowledge[origin] = sequence
                self._dirty = True

    def claim_one(self, origin: Origin, sequence: Sequence) -> None:
        if self.state.knowledge.get(origin, 0) < sequence:
            self.state.knowledge[origin] = sequence
            self._dirty = True

    def change_state(self) -> State:
        """The state, to be changed inside the present transaction."""
        self._dirty = True
        return self.state

    # Records.

    def get(self, path: RelPath) -> Record | None:
        row = self._one(_COLUMNS + "WHERE path=?", (path,))
        return None if row is None else _record(row)

    def put_new(self, record: Record) -> bool:
        """Store a record of a path that is probably not there yet; False: it is, and nothing was changed.

        One statement where `get` and `put` are three: most records of a first copy are new.
        """
        state = self.state
        flags = _flags(record, False)
        body = encode_body(record)
        seal = checksum(record.path, body, flags)
        self._execute(
            "INSERT OR IGNORE INTO record VALUES(?,?,?,?,?)", (state.arrival + 1, record.path, body, flags, seal)
        )
        if not self._connection.changes():
            return False
        state.arrival += 1
        self._dirty = True
        count(state.counters, record, flags, 1)
        if not flags & LIVE:
            self._checked.discard(record.path)
        if record.unplaced:
            self._recent.add(_recent_record(record, state.arrival, seal))
        return True

    def put(self, record: Record, old: Record | None, *, excluded: bool = False) -> None:
        """Store a changed record under a new arrival. `old`: what `get` said of the path in this transaction."""
        state = self.state
        state.arrival += 1
        self._dirty = True
        flags = _flags(record, excluded)
        if old is not None:
            count(state.counters, old, _flags(old, False), -1)
        count(state.counters, record, flags, 1)
        if not flags & LIVE:
            self._checked.discard(record.path)
        body = encode_body(record)
        seal = checksum(record.path, body, flags)
        self._execute(
            "INSERT OR REPLACE INTO record VALUES(?,?,?,?,?)", (state.arrival, record.path, body, flags, seal)
        )
        self._recent.changed(record.path)
        if record.unplaced:
            self._recent.add(_recent_record(record, state.arrival, seal))

    def set_placed(self, record: Record, old: Record, *, excluded: bool = False) -> bool:
        """Store what happened on this disk; the version is that of `old`, and so is the arrival.

        False, and nothing was changed: the row is not as `old` was read from it any more.
        """
        flags = _flags(record, excluded)
        body = encode_body(record)
        seal = checksum(record.path, body, flags)
        self._execute(
            "UPDATE record SET body=?, flags=?, checksum=? WHERE arrival=? AND checksum=?",
            (body, flags, seal, old.arrival, old.seal),
        )
        if not self._connection.changes():
            return False
        if not record.unplaced:
            self._recent.changed(record.path)
        else:
            self._recent.marked(_recent_record(record, old.arrival, seal))
        if (record.placed is not None or old.placed is not None) and _not_carried(record) != _not_carried(old):
            count_not_carried(self.state.counters, old.placed, -1)
            count_not_carried(self.state.counters, record.placed, 1)
            self._dirty = True
        if (flags & HELD != 0) != old.held:
            self.state.counters.held += -1 if old.held else 1
            self._dirty = True
        if flags & UNPLACED != old.unplaced:
            self.state.counters.unplaced += 1 if flags & UNPLACED else -1
            self._dirty = True
        return True

    def forget(self, record: Record) -> None:
        """Drop a tombstone and remember that it was there."""
        self.note_forgotten(dict(dots_of(record)))
        self.drop(record)

    def note_forgotten(self, forgotten: Vector) -> None:
        """Deletions up to these are not to be found here (any more)."""
        self.state.forgotten = join(self.state.forgotten, forgotten)
        self._dirty = True

    def drop(self, record: Record) -> None:
        """Remove a record of which nothing is to be remembered but that it is known."""
        count(self.state.counters, record, _flags(record, False), -1)
        self._dirty = True
        self._recent.changed(record.path)
        self._connection.execute("DELETE FROM record WHERE arrival=?", (record.arrival,))

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
            for row in self._connection.execute(_COLUMNS + where, (after, low, high, until, limit)):
                last = row[1]
                if row[0] not in met or type(last) is not bytes:  # that is damage, which `_record` tells
                    found.append(_record(row))
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
        sql = _COLUMNS + "WHERE path >= ? AND path <= ? ORDER BY path"
        try:
            for row in self._connection.execute(sql, (first, last)):
                yield _record(row)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error

    def scrubbed(self) -> bytes:
        """How far the round of reading all contents again has come, as `note_scrubbed` was told; empty: never."""
        return self._meta("scrub") or b""

    def note_scrubbed(self, how_far: bytes) -> None:
        """Inside a transaction."""
        self._set_meta("scrub", how_far)

    def excluded(self, after: int, limit: int) -> list[Record]:
        return self._list("WHERE flags & 8 AND arrival > ? ORDER BY arrival LIMIT ?", (after, limit))

    def _list(self, where: str, bindings: Iterable[object]) -> list[Record]:
        try:
            return [_record(row) for row in self._connection.execute(_COLUMNS + where, tuple(bindings))]
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

    def recheck_ancestors(self, path: RelPath) -> None:
        """Mark what is no live directory above `path` as work: whether one stands there depends on what lives below."""
        checked = self._checked
        while (path := parent_of(path)) not in checked:
            checked.add(path)
            record = self.get(path)
            if record is not None and not record.unplaced and not _is_live_directory(record):
                self.rechecked.add(path)
                self.set_placed(msgspec.structs.replace(record, unplaced=True), record)


def _recent_record(record: Record, arrival: int, seal: int) -> Record:
    return Record(record.path, record.version, record.placed, True, arrival, seal, record.overtaken, record.earlier)


def _not_carried(record: Record) -> int:
    return record.placed.not_carried if record.placed is not None else 0


def _is_live_directory(record: Record) -> bool:
    """Whether it shows a directory whatever lives below. Beside other versions that may depend on it."""
    only, *others = record.version.siblings
    return not others and only.live and only.entry.kind == DIRECTORY


def _record(row: tuple[int, bytes, bytes, int, int]) -> Record:
    arrival, path, body, flags, found = row
    # What is no number is damage, which `read_row` tells.
    record = read_row(path, body, flags, found, arrival, type(flags) is int and flags & UNPLACED != 0)
    return msgspec.structs.replace(record, held=True) if flags & HELD else record


def _flags(record: Record, excluded: bool) -> int:
    siblings = record.version.siblings
    live = siblings[0].live if len(siblings) == 1 else any(sibling.live for sibling in siblings)
    flags = LIVE if live else 0
    if record.unplaced:
        flags |= UNPLACED
    elif record.held:
        flags |= HELD
    elif not live:
        flags |= DELETED
    if len(siblings) > 1 and in_conflict(record.version):
        flags |= CONFLICT
    if excluded:
        flags |= EXCLUDED
    if record.placed is not None and record.placed.damaged:
        flags |= DAMAGED
    return flags
