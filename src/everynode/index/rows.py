"""Rows of the index: a record as bytes and back, with a checksum that notices what SQLite does not."""

from __future__ import annotations

from zlib import crc32

import msgspec

from everynode.core.shown import in_conflict
from everynode.errors import IndexDamaged
from everynode.model.entry import Entry, Stamp
from everynode.model.ids import Dot
from everynode.model.path import RelPath, show_path
from everynode.model.record import Placed, Record, Sibling, Vector, Version

UNPLACED, LIVE, CONFLICT, EXCLUDED, DAMAGED, DELETED, HELD = 1, 2, 4, 8, 16, 32, 64

_DAMAGED = 0x8000
_REMAINS = 0x4000
"""`Placed.damaged` and `Placed.remains`, beside the bits of `Placed.not_carried`."""


class _PlacedRow(msgspec.Struct, array_like=True, gc=False):
    """`Placed` without what the rest of the row says already (None: the same)."""

    version: Version | None
    absent: bool
    entry: Entry | None
    stamp: Stamp | None
    shown: Dot | None
    marks: int = 0


class _Body(msgspec.Struct, array_like=True, gc=False):
    siblings: tuple[Sibling, ...]
    context: Vector | None
    placed: _PlacedRow | None
    overtaken: tuple[Sibling, ...] = ()
    earlier: tuple[Sibling, ...] = ()


class _PlainBody(msgspec.Struct, array_like=True, gc=False):
    """The same, for nearly all rows."""

    siblings: tuple[Sibling, ...]
    context: Vector | None
    placed: _PlacedRow | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


def encode_body(record: Record) -> bytes:
    version = record.version
    placed = record.placed
    row = _placed_row(version, placed) if placed is not None else None
    if record.overtaken or record.earlier:
        return _encode(_Body(version.siblings, version.context or None, row, record.overtaken, record.earlier))
    return _encode(_PlainBody(version.siblings, version.context or None, row))


def _placed_row(version: Version, placed: Placed) -> _PlacedRow:
    same = placed.version is version or placed.version == version
    only = version.siblings[0] if same and len(version.siblings) == 1 else None
    implied = only is not None and placed.shown == (only.origin, only.sequence)
    entry = placed.entry
    if implied and only is not None and only.live and (entry is only.entry or entry == only.entry):
        # Its only sibling stands there: nearly all of any tree.
        return _PlacedRow(None, False, None, placed.stamp, None, placed.not_carried)
    return _PlacedRow(
        None if same else placed.version,
        placed.entry is None,
        entry,
        placed.stamp,
        None if implied else placed.shown,
        placed.not_carried | (placed.damaged and _DAMAGED) | (placed.remains and _REMAINS),
    )


def decode_body(path: RelPath, body: bytes, unplaced: bool, arrival: int, seal: int) -> Record:
    row = _decode(body)
    version = Version(row.siblings, row.context or {})
    placed: Placed | None = None
    if row.placed is not None:
        first = row.siblings[0]
        entry = row.placed.entry
        if entry is None and not row.placed.absent:
            entry = first.entry
        marks = row.placed.marks
        placed = Placed(
            row.placed.version or version,
            entry,
            row.placed.stamp,
            row.placed.shown or first.dot,
            marks & ~(_DAMAGED | _REMAINS),
            marks & _DAMAGED != 0,
            marks & _REMAINS != 0,
        )
    return Record(path, version, placed, unplaced, arrival, seal, row.overtaken, row.earlier)


def checksum(path: bytes, body: bytes, flags: int) -> int:
    return crc32(body, crc32(path, flags))


def read_row(path: bytes, body: bytes, flags: int, found: int, arrival: int, unplaced: bool) -> Record:
    """Raises IndexDamaged when the row is not what was written."""
    if type(path) is not bytes or type(body) is not bytes or type(flags) is not int:
        raise IndexDamaged(f"a row (arrival {arrival}) is damaged: its columns are not of their types")
    if checksum(path, body, flags) != found:
        raise IndexDamaged(f"the row of {show_path(path)} is damaged")
    try:
        return decode_body(RelPath(path), body, unplaced, arrival, found)
    except msgspec.DecodeError as error:  # a valid checksum over a wrong body: written by another version
        raise IndexDamaged(f"the row of {show_path(path)} cannot be read: {error}") from error


def flags_of(record: Record, excluded: bool) -> int:
    """By which the index finds records: the partial indexes of `schema` say which bit is which."""
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
