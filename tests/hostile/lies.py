"""What the traitor says: records and batches, true and false."""

from __future__ import annotations

from everynode.model.entry import Entry, Kind
from everynode.model.ids import Digest, Origin, Sequence
from everynode.model.message import Batch, WireRecord
from everynode.model.path import RelPath
from everynode.model.record import Sibling, Vector, Version
from everynode.tree.digest import digest_bytes

MTIME = 1_700_000_000_000_000_000


def file_entry(content: bytes, *, size: int | None = None) -> Entry:
    return Entry(Kind.FILE, 0o644, 0, 0, MTIME, len(content) if size is None else size, Digest(digest_bytes(content)))


def link_entry(target: bytes) -> Entry:
    return Entry(Kind.SYMLINK, 0o777, 0, 0, MTIME, 0, target)


def directory_entry() -> Entry:
    return Entry(Kind.DIRECTORY, 0o755, 0, 0, MTIME)


def record(path: bytes, origin: Origin, sequence: int, entry: Entry, context: Vector | None = None) -> WireRecord:
    sibling = Sibling(origin, Sequence(sequence), entry)
    return WireRecord(RelPath(path), Version((sibling,), context or {}))


def batch(group: bytes, origin: Origin, before: int, *records: WireRecord, contents: tuple[bytes, ...] = ()) -> Batch:
    """The changes of `origin` from `before` on, one for each record; contents under their true digests."""
    after = Sequence(before + len(records))
    inline = {Digest(digest_bytes(content)): content for content in contents}
    return Batch(group, origin, Sequence(before), after, records, inline)
