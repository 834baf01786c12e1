"""The tables of an index and how its SQLite file is opened."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from everynode.errors import IndexDamaged, StoreError

FORMAT = 1
MARK = 0x454E5800 + FORMAT
"""SQLite's application_id of an index: the format said twice, so that a flipped bit is no other version's index."""

TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
-- The rowid is the arrival: runs are read in its order, and a changed record moves to its end.
CREATE TABLE record(
  arrival INTEGER PRIMARY KEY,
  path BLOB NOT NULL UNIQUE,
  body BLOB NOT NULL,
  flags INTEGER NOT NULL,
  checksum INTEGER NOT NULL
);
CREATE INDEX record_unplaced ON record(arrival) WHERE flags & 1;
CREATE INDEX record_conflict ON record(path) WHERE flags & 4;
CREATE INDEX record_deleted ON record(arrival) WHERE flags & 32;
CREATE TABLE vault(
  name BLOB PRIMARY KEY,
  path BLOB NOT NULL,
  digest BLOB NOT NULL,
  entry BLOB NOT NULL,
  kept_ns INTEGER NOT NULL,
  why TEXT NOT NULL,
  checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX vault_path ON vault(path);
CREATE INDEX vault_digest ON vault(digest);
"""


DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError)
"""What SQLite says of a damaged file: also, where its schema is, that a statement of ours is wrong."""

PRAGMAS = (
    "locking_mode=EXCLUSIVE",
    "journal_mode=WAL",
    "synchronous=FULL",
    "cache_size=-32768",
    "wal_autocheckpoint=4000",
    "temp_store=MEMORY",
)


def connect(path: str) -> apsw.Connection:
    """Open or create the index at `path` (`:memory:` for tests). Raises IndexDamaged or StoreError."""
    try:
        connection = apsw.Connection(path)
        connection.set_busy_timeout(0)
        for pragma in PRAGMAS:
            # One by one and read to its end: of several in one call only those up to the first answer are run.
            connection.execute(f"PRAGMA {pragma}").fetchall()
        version = connection.execute("PRAGMA user_version").get
        if connection.readonly("main") and os.access(path, os.W_OK):
            raise IndexDamaged(f"index {path} is damaged: it says of itself that it may not be written")
        mark = connection.execute("PRAGMA application_id").get
        if version == mark == 0 and connection.execute("SELECT COUNT(*) FROM sqlite_schema").get == 0:
            with connection:
                connection.execute(TABLES)
                connection.execute(f"PRAGMA application_id={MARK}")
                connection.execute(f"PRAGMA user_version={FORMAT}")
        elif mark - version != MARK - FORMAT:
            raise IndexDamaged(f"index {path} is damaged: what it says of its format contradicts itself")
        elif version != FORMAT:
            raise StoreError(
                f"index {path} has format {version}, this everynode reads {FORMAT}: use the version that wrote it"
            )
    except (*DAMAGE, UnicodeDecodeError) as error:
        raise IndexDamaged(f"index {path} is damaged: {error}") from error
    except apsw.BusyError as error:
        raise StoreError(f"index {path} is in use by another process: {error}; is a second daemon running?") from error
    except apsw.Error as error:
        raise StoreError(
            f"index {path} cannot be opened: {error}; check the disk and the rights of its folder"
        ) from error
    return connection


def set_aside(path: Path, why: str = "damaged") -> Path:
    """Move a closed index (and its WAL) out of the way, keeping it for whoever wants to look; returns its new name.

    The tree is the truth: a fresh index under a new epoch is built from it and from the peers.
    """
    number = 1
    while (kept := path.with_name(f"{path.name}.{why}-{number}")).exists():
        number += 1
    os.rename(path, kept)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            os.rename(beside, kept.with_name(kept.name + suffix))
    return kept
