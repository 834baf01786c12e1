"""Rules: what to do with records when the exclude patterns of a group have changed."""

from __future__ import annotations

import msgspec

from everynode.config.exclude import Excluder
from everynode.index.store import Index
from everynode.limits import SCAN_BATCH
from everynode.model.entry import Kind
from everynode.model.record import Record
from everynode.tree.digest import digest_bytes


def adapt_to_rules(index: Index, excluder: Excluder) -> None:
    """Excluding clears what was placed and leaves the file; re-including treats the disk as new.

    Inside a transaction, once per start: costs nothing when the patterns are the same as before.
    """
    rules = digest_bytes("\0".join(excluder.patterns).encode())
    if index.state.rules == rules:
        return
    if index.state.arrival:
        after = 0
        while records := index.since(after, SCAN_BATCH):
            for record in records:
                _adapt(index, excluder, record)
            after = records[-1].arrival
    index.change_state().rules = rules


def _adapt(index: Index, excluder: Excluder, record: Record) -> None:
    is_directory = any(s.entry.kind == Kind.DIRECTORY for s in record.version.siblings)
    if excluder.excluded(record.path, is_directory):
        alone = msgspec.structs.replace(record, placed=None, unplaced=False, held=False)
        index.set_placed(alone, record, excluded=True)
    elif record.placed is None and not record.unplaced:
        index.set_placed(msgspec.structs.replace(record, unplaced=True), record)
