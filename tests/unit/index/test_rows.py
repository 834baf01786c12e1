"""Rows: a record comes back as it was, and no flipped bit goes unnoticed."""

from __future__ import annotations

import apsw
import msgspec
import pytest
from hypothesis import given, settings

from everynode.errors import IndexDamaged
from everynode.index.rows import checksum, decode_body, encode_body, read_row
from everynode.index.store import Index
from everynode.model.record import Placed, Record
from tests.property.test_detect import records
from tests.unit.core.samples import A, B, C, dead, directory, file, live, placed, record, symlink, version

ONE = version(live(B, 1))
TWO = version(live(B, 1), live(C, 2, file(b"2")), A=7)
SAMPLES = {
    "heard": record(ONE),
    "placed": record(ONE, placed(ONE)),
    "placed with another owner": record(ONE, placed(ONE, file(uid=3))),
    "placed without a stamp": record(ONE, Placed(ONE, file(), None, (B, 1))),
    "placed before, then heard more": record(TWO, placed(ONE)),
    "loser shown": record(TWO, placed(TWO, shown=0)),
    "winner shown": record(TWO, placed(TWO, shown=1)),
    "deletion heard": record(version(dead(B, 2), B=1), placed(ONE)),
    "deletion placed": record(version(dead(B, 2)), placed(version(dead(B, 2)))),
    "deletion derived as a directory": record(
        version(dead(B, 2, directory())), placed(version(dead(B, 2, directory())), directory())
    ),
    "live and absent": record(ONE, Placed(ONE, None, None, (B, 1))),
    "what stands is one of the siblings": record(TWO, placed(version(live(C, 2, file(b"2"))))),
    "directory": record(version(live(B, 1, directory())), placed(version(live(B, 1, directory())))),
    "symlink": record(version(live(B, 1, symlink(b"\xff")))),
    "path that is no text": record(ONE, path=b"\xff\xfe/\n"),
    "context above the sibling": record(version(live(B, 1), B=9)),
    "overtaken": msgspec.structs.replace(record(TWO, placed(ONE)), overtaken=(live(A, 9), dead(C, 8))),
    "earlier": msgspec.structs.replace(record(ONE, placed(ONE)), earlier=(live(A, 9), dead(A, 8))),
    "remains": record(TWO, msgspec.structs.replace(placed(ONE, file(b"")), remains=True, not_carried=1)),
    "damaged remains": record(TWO, msgspec.structs.replace(placed(ONE, file(b"")), remains=True, damaged=True)),
    "attributes only": record(version(live(A, 1, content=False))),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_record_comes_back_as_it_was(name: str) -> None:
    one = SAMPLES[name]
    assert decode_body(one.path, encode_body(one), one.unplaced, 0, 0) == one


@given(records())
@settings(max_examples=200)
def test_any_record_comes_back_as_it_was(one: Record) -> None:
    expected = msgspec.structs.replace(one, arrival=5, seal=6)
    assert decode_body(one.path, encode_body(one), one.unplaced, 5, 6) == expected


@pytest.mark.parametrize("name", SAMPLES)
def test_every_flipped_bit_of_path_body_flags_and_checksum_is_noticed(name: str) -> None:
    one = SAMPLES[name]
    path, body, flags = one.path, encode_body(one), 37
    right = checksum(path, body, flags)
    assert read_row(path, body, flags, right, 0, one.unplaced) == msgspec.structs.replace(one, seal=right)
    for position in range(len(path) * 8):
        with pytest.raises(IndexDamaged, match="damaged"):
            read_row(flip(path, position), body, flags, right, 0, one.unplaced)
    for position in range(len(body) * 8):
        with pytest.raises(IndexDamaged, match="damaged"):
            read_row(path, flip(body, position), flags, right, 0, one.unplaced)
    for position in range(32):
        with pytest.raises(IndexDamaged, match="damaged"):
            read_row(path, body, flags ^ (1 << position), right, 0, one.unplaced)
        with pytest.raises(IndexDamaged, match="damaged"):
            read_row(path, body, flags, right ^ (1 << position), 0, one.unplaced)


def flip(value: bytes, position: int) -> bytes:
    flipped = bytearray(value)
    flipped[position // 8] ^= 1 << position % 8
    return bytes(flipped)


def test_a_row_of_another_writer_is_refused_by_name() -> None:
    body = b"\x93\x01\x02\x03"
    with pytest.raises(IndexDamaged, match=r"row of a\\xff cannot be read"):
        read_row(b"a\xff", body, 0, checksum(b"a\xff", body, 0), 0, False)


@pytest.mark.parametrize("column", ["body", "path", "flags"])
def test_a_changed_column_is_noticed_by_every_way_of_reading(index: Index, column: str) -> None:
    with index.transaction():
        index.put(record(ONE, path=b"d/f", unplaced=True), None)
    connection: apsw.Connection = index._connection
    value = connection.execute(f"SELECT {column} FROM record").get
    changed = value ^ 64 if isinstance(value, int) else flip(value, 8 * len(value) - 8)
    connection.execute(f"UPDATE record SET {column}=?", (changed,))
    path = connection.execute("SELECT path FROM record").get
    index._recent.clear()  # what is still in memory is right
    for read in (
        lambda: index.get(path),
        lambda: index.since(0, 9),
        lambda: index.unplaced(0, 9),
        lambda: index.below(b"", b"", 9),
        lambda: index.below(b"d", b"", 9),
        lambda: index.not_met(b"", b"", 9, 99, ()),
    ):
        with pytest.raises(IndexDamaged):
            read()
