"""The index of one group: every record, batched commits, one writer. Not thread-safe: one thread at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from zlib import crc32

import apsw
import msgspec

from everynode.core.vectors import join
from everynode.core.versions import dots_of
from everynode.errors import IndexDamaged, StoreError
from everynode.index.check import check_count, check_file, check_slice
from everynode.index.read import COLUMNS, Reading, record_of
from everynode.index.recent import Recent
from everynode.index.rows import HELD, LIVE, UNPLACED, checksum, encode_body, flags_of
from everynode.index.schema import DAMAGE, connect
from everynode.index.state import State, count, count_not_carried
from everynode.index.vault_catalogue import VaultCatalogue
from everynode.limits import INDEX_CHECK_SECONDS
from everynode.model.entry import DIRECTORY
from everynode.model.ids import EPOCH_MAX, NodeId, Origin, Sequence, origin_of
from everynode.model.path import ROOT, RelPath, parent_of
from everynode.model.record import Record, Vector

_GET = COLUMNS + "WHERE path=?"


class Index(Reading):
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
        row = self._one(_GET, (path,))
        return None if row is None else record_of(row)

    def put_new(self, record: Record) -> bool:
        """Store a record of a path that is probably not there yet; False: it is, and nothing was changed.

        One statement where `get` and `put` are three: most records of a first copy are new.
        """
        state = self.state
        flags = flags_of(record, False)
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
        flags = flags_of(record, excluded)
        if old is not None:
            count(state.counters, old, flags_of(old, False), -1)
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
        flags = flags_of(record, excluded)
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
        count(self.state.counters, record, flags_of(record, False), -1)
        self._dirty = True
        self._recent.changed(record.path)
        self._connection.execute("DELETE FROM record WHERE arrival=?", (record.arrival,))

    def scrubbed(self) -> bytes:
        """How far the round of reading all contents again has come, as `note_scrubbed` was told; empty: never."""
        return self._meta("scrub") or b""

    def note_scrubbed(self, how_far: bytes) -> None:
        """Inside a transaction."""
        self._set_meta("scrub", how_far)

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
