"""The catalogue of the vault: which content lies under which name, of which path, since when."""

from __future__ import annotations

from zlib import crc32

import apsw
import msgspec

from everynode.errors import IndexDamaged, StoreError
from everynode.index.schema import DAMAGE
from everynode.model.entry import Entry
from everynode.model.ids import Digest
from everynode.model.path import RelPath

COPIED_OPEN = "open"
"""Why a copy of a file is kept that somebody holds open: it was announced, and the file goes on changing."""

BEING_WRITTEN = "writing"
"""Why something is kept that a process had open when it was replaced: what it writes is a change to the path."""


class Kept(msgspec.Struct, frozen=True):
    """One generation. `why`: replaced, deleted, loser, displaced, written, COPIED_OPEN, BEING_WRITTEN."""

    name: bytes
    path: RelPath
    entry: Entry
    kept_ns: int
    why: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def _checksum(name: bytes, path: bytes, entry: bytes, kept_ns: int, why: str) -> int:
    return crc32(b"%d %s" % (kept_ns, why.encode()), crc32(entry, crc32(path, crc32(name))))


def _kept(name: bytes, path: bytes, entry: bytes, kept_ns: int, why: str, found: int) -> Kept:
    """Raises IndexDamaged, or TypeError where a column is not of its type."""
    if _checksum(name, path, entry, kept_ns, why) != found:
        raise IndexDamaged("the vault's catalogue in the index is damaged: a row is not what was written")
    return Kept(name, RelPath(path), _decode(entry), kept_ns, why)


class VaultCatalogue:
    """Part of the index; the caller holds the transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def add(self, kept: Kept) -> None:
        entry = _encode(kept.entry)
        seal = _checksum(kept.name, kept.path, entry, kept.kept_ns, kept.why)
        self._connection.execute(
            "INSERT OR REPLACE INTO vault VALUES(?,?,?,?,?,?,?)",
            (kept.name, kept.path, kept.entry.digest, entry, kept.kept_ns, kept.why, seal),
        )

    def drop(self, name: bytes) -> None:
        self._connection.execute("DELETE FROM vault WHERE name=?", (name,))

    def get(self, name: bytes) -> Kept | None:
        return next(iter(self._list("WHERE name=?", (name,))), None)

    def of_path(self, path: RelPath) -> list[Kept]:
        """Generations of a path, newest first."""
        return self._list("WHERE path=? ORDER BY kept_ns DESC, name DESC", (path,))

    def of_digest(self, digest: Digest) -> list[Kept]:
        return self._list("WHERE digest=? LIMIT 8", (digest,))

    def all(self) -> list[Kept]:
        return self._list("ORDER BY name", ())

    def totals(self) -> tuple[int, int]:
        """(files, bytes)."""
        sizes = [kept.entry.size for kept in self.all()]
        return len(sizes), sum(sizes)

    def _list(self, where: str, bindings: tuple[object, ...]) -> list[Kept]:
        sql = "SELECT name, path, entry, kept_ns, why, checksum FROM vault " + where
        try:
            return [_kept(*row) for row in self._connection.execute(sql, bindings)]
        except (
            *DAMAGE,
            msgspec.DecodeError,
            TypeError,
            AttributeError,
            UnicodeDecodeError,
        ) as error:
            raise IndexDamaged(f"the vault's catalogue in the index is damaged: {error}") from error
        except apsw.Error as error:
            raise StoreError(f"the vault's catalogue cannot be read: {error}; check the disk") from error
