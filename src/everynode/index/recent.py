"""The unplaced records heard last, in memory: most are placed a moment later, and need not be read again for it."""

from __future__ import annotations

from itertools import islice

from everynode.limits import RECENT_BYTES_MAX, RECENT_RECORDS_MAX
from everynode.model.path import RelPath
from everynode.model.record import Record, weight_of


class Recent:
    """Unplaced records by arrival. Complete: each unplaced row whose arrival is above `since` is held here."""

    def __init__(self) -> None:
        self.since = 0
        self._bytes = 0
        """Of those with several siblings or a context, added since it was empty."""
        self._records: dict[RelPath, Record] = {}
        """In order of arrival: what changes moves to the end, as it does in the index."""

    def __bool__(self) -> bool:
        return bool(self._records)

    def add(self, record: Record) -> None:
        """A record under the highest arrival of all."""
        records = self._records
        version = record.version
        if version.context or len(version.siblings) > 1:
            self._bytes += weight_of(version)
        if len(records) >= RECENT_RECORDS_MAX or self._bytes > RECENT_BYTES_MAX:
            records.clear()
        if not records:
            self._bytes = 0
            self.since = record.arrival - 1
        records[record.path] = record

    def changed(self, path: RelPath) -> None:
        """The row of `path` is no work any more, or has another arrival, or is gone."""
        self._records.pop(path, None)

    def marked(self, record: Record) -> None:
        """The row was written again under the same arrival, and is work still, or again."""
        if record.path in self._records:
            self._records[record.path] = record
        elif record.arrival > self.since:
            self.clear()  # it would belong among the others, in order

    def clear(self) -> None:
        self._records.clear()

    def after(self, arrival: int, limit: int) -> list[Record]:
        return list(islice((record for record in self._records.values() if record.arrival > arrival), limit))
