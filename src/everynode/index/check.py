"""Checking the file of an index for damage that reading a row does not show: a row that cannot be found any more."""

from __future__ import annotations

from time import monotonic

import apsw

from everynode.errors import IndexDamaged
from everynode.index.schema import DAMAGE

_STEPS = 10_000
"""Steps of SQLite's machine, or pages, between two looks at the clock: some tenths of a millisecond."""

# Each row of the table must be found by its path, and be listed as work, conflict or deletion exactly when its flags
# say so. The subqueries name the one index in which they look; nothing but that index is read for them.
_SLICE = """
SELECT COUNT(*), MAX(arrival), TOTAL(
  (SELECT arrival FROM record INDEXED BY sqlite_autoindex_record_1 WHERE path=row.path) IS NOT row.arrival
  OR (flags & 1 AND NOT EXISTS
    (SELECT 1 FROM record INDEXED BY record_unplaced WHERE flags & 1 AND arrival=row.arrival))
  OR (flags & 4 AND NOT EXISTS
    (SELECT 1 FROM record INDEXED BY record_conflict WHERE flags & 4 AND path=row.path))
  OR (flags & 32 AND NOT EXISTS
    (SELECT 1 FROM record INDEXED BY record_deleted WHERE flags & 32 AND arrival=row.arrival)))
FROM (SELECT arrival, path, flags FROM record NOT INDEXED WHERE arrival > ? ORDER BY arrival LIMIT ?) AS row
"""


def check_file(connection: apsw.Connection, path: str, seconds: float) -> bool:
    """Whether the whole file was checked: its pages, its free pages, and that each row is in each index.

    False: the time was up before, and what was checked is sound. Raises IndexDamaged.
    """
    deadline = monotonic() + seconds
    connection.set_progress_handler(lambda: monotonic() >= deadline, _STEPS)
    try:
        said = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)")]
    except apsw.InterruptError:
        return False
    except (*DAMAGE, UnicodeDecodeError) as error:
        raise IndexDamaged(f"index {path} is damaged: {error}") from error
    finally:
        connection.set_progress_handler(None)
    if said == ["ok"]:
        return True
    if monotonic() >= deadline and any("interrupt" in line.lower() for line in said):
        return False
    raise IndexDamaged(f"index {path} is damaged: {'; '.join(said)}")


def check_count(connection: apsw.Connection, path: str, expected: int) -> None:
    """As many rows as were counted when they were put, in the table and in the index of paths alike."""
    rows = connection.execute("SELECT COUNT(*) FROM record NOT INDEXED WHERE flags IS NOT NULL").get
    paths = connection.execute("SELECT COUNT(*) FROM record INDEXED BY sqlite_autoindex_record_1 WHERE path >= x''").get
    if not rows == paths == expected:
        raise IndexDamaged(f"index {path} is damaged: it has {rows} records, {paths} paths, and counted {expected}")


def check_slice(connection: apsw.Connection, path: str, after: int, limit: int) -> int | None:
    """The next `limit` rows after an arrival: the arrival of the last one; None: there were no more.

    Raises IndexDamaged, or what SQLite raises.
    """
    count, last, wrong = connection.execute(_SLICE, (after, limit)).fetchall()[0]
    if wrong:
        raise IndexDamaged(
            f"index {path} is damaged: {int(wrong)} of the {count} records after arrival {after} are not found"
        )
    return None if last is None else int(last)
