"""What a peer may make this node hold and how long it may keep it busy: valid messages bent at single places.

The bending knows the structure: a field, a length, a count, a container in a container. What is decoded is within its
bounds, what is not is a LinkError, and neither takes more memory than a fixed multiple of the frame.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everynode import limits
from everynode.errors import LinkError
from everynode.model.message import AnyMessage, Batch, ComparePart, Gone, GroupHello, Heads, RunEnd, RunPart, RunRequest
from everynode.model.path import parse_path
from everynode.model.record import Vector, Version, weight_of
from everynode.wire.codec import decode, encode
from everynode.wire.frames import FrameSplitter
from tests.property.test_codec import messages

AMPLIFICATION_MAX = 24
"""Bytes of memory per byte of a frame: the worst known is an array of the smallest records."""

strange_numbers = st.sampled_from([-(2**63), -1, 0, 1, 2**31, 2**32 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1])
strange_paths = st.sampled_from(
    [
        *(b"", b"/", b"..", b"../x", b"a/../b", b"a//b", b"a/", b".", b"a\0b", b".everynode", b".everynode/vault/x"),
        *(b"/etc", b"x" * 256, b"a/" * 1024 + b"b", b"x" * 20_000, b"\xff", b"." * 255),
    ]
)
strange = st.one_of(
    strange_numbers,
    strange_paths,
    st.binary(max_size=40),
    st.text(max_size=10),
    st.none(),
    st.booleans(),
    st.floats(),
    st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(st.binary(min_size=20, max_size=20), strange_numbers, max_size=3),
    st.recursive(st.just(0), lambda inner: st.lists(inner, max_size=2), max_leaves=40),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a tree of lists and dicts, by the keys that lead there."""
    found = [at]
    if isinstance(value, list):
        for number, item in enumerate(value):
            found += places(item, (*at, number))
    elif isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*at, key))
    return found


def bent(data: st.DataObject, value: Any, at: tuple[Any, ...]) -> Any:
    """`value` with what stands at a place exchanged, taken out, or made twice."""
    if not at:
        return data.draw(strange)
    key, *rest = at
    copy = value.copy()
    if rest:
        copy[key] = bent(data, value[key], tuple(rest))
        return copy
    match data.draw(st.sampled_from(("exchange", "drop", "double"))):
        case "exchange":
            copy[key] = data.draw(strange)
        case "drop":
            del copy[key]
        case _ if isinstance(copy, list):
            copy.insert(key, copy[key])
        case _:
            copy[data.draw(st.binary(max_size=33))] = copy[key]
    return copy


def plain(body: bytes) -> Any:
    return msgspec.msgpack.decode(body)


def assert_bounded(message: AnyMessage) -> None:
    """The bounds, said again by other words than the codec's."""
    vectors: list[Vector] = []
    match message:
        case Batch() | RunPart() | ComparePart():
            assert len(message.records) <= limits.MESSAGE_RECORDS_MAX
            for record in message.records:
                assert parse_path(record.path) == record.path
                assert_version(record.version)
                vectors.append(record.version.context)
            if not isinstance(message, ComparePart):
                assert all(len(digest) == 32 for digest in message.contents)
                assert all(len(content) <= limits.INLINE_BYTES_MAX for content in message.contents.values())
        case GroupHello():
            vectors += [message.heard, message.forgotten]
        case Heads():
            vectors += [message.heard, message.placed]
        case Gone(shown=Version() as shown):
            assert_version(shown)
            vectors.append(shown.context)
        case RunRequest() | RunEnd():
            vectors.append(message.knows)
        case _:
            pass
    for vector in vectors:
        assert len(vector) <= limits.ORIGINS_MAX
        assert all(len(origin) == 20 and 0 < number <= limits.SEQUENCE_MAX for origin, number in vector.items())


def assert_version(version: Version) -> None:
    dots = [sibling.dot for sibling in version.siblings]
    assert dots and dots == sorted(set(dots)) and len(dots) <= limits.SIBLINGS_MAX
    assert weight_of(version) <= max(limits.VERSION_BYTES_MAX, 5000)
    for sibling in version.siblings:
        entry = sibling.entry
        assert len(sibling.origin) == 20 and 0 < sibling.sequence <= limits.SEQUENCE_MAX
        assert 0 <= entry.mode <= 0o7777 and 0 <= entry.uid < 2**32 - 1 and 0 <= entry.gid < 2**32 - 1
        assert 0 <= entry.size < 2**63 and -(2**63) <= entry.mtime_ns < 2**63


@settings(max_examples=400)
@given(messages, st.data())
def test_a_message_bent_at_any_place_is_refused_or_within_its_bounds(message: AnyMessage, data: st.DataObject) -> None:
    value = plain(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        if not isinstance(value, list):
            break
        value = bent(data, value, data.draw(st.sampled_from(places(value))))
    try:
        body = msgspec.msgpack.encode(value)
    except OverflowError:
        return  # no msgpack can say it
    try:
        decoded = decode(body)
    except LinkError:
        return
    assert_bounded(decoded)
    assert decode(encode(decoded)) == decoded


def array(count: int, item: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + item * count


GROUP = b"\xc4\x10" + b"g" * 16
DIRECTORY = b"\x95\x02\x00\x00\x00\x00"
SIBLING = b"\x93\xc4\x14" + b"o" * 20 + b"\x01" + DIRECTORY
RECORD = b"\x93\xa1r\xc4\x01a\x91\x91" + SIBLING
ROOM = limits.FRAME_BYTES_MAX - 100


def run(records: bytes) -> bytes:
    return b"\x94\xa3run" + GROUP + b"\x01" + records


def origins(count: int) -> bytes:
    keys = b"".join(b"\xc4\x14" + number.to_bytes(20, "big") + b"\x01" for number in range(count))
    return b"\xdf" + count.to_bytes(4, "big") + keys


BOMBS: dict[str, Callable[[], bytes]] = {
    "empty records": lambda: run(array(ROOM // 8, b"\x93\xa1r\xc4\x00\x92\x90\x80")),
    "smallest records": lambda: run(array(ROOM // len(RECORD), RECORD)),
    "as many records as may be": lambda: run(array(limits.MESSAGE_RECORDS_MAX, RECORD)),
    "siblings": lambda: run(array(1, b"\x93\xa1r\xc4\x01a\x91" + array(ROOM // len(SIBLING), SIBLING))),
    "siblings in each record": lambda: run(array(50, b"\x93\xa1r\xc4\x01a\x91" + array(limits.SIBLINGS_MAX, SIBLING))),
    "origins": lambda: b"\x97\xa4run?" + GROUP + b"\x01" + origins(ROOM // 23) + b"\xc4\x00\x00\xc3",
    "as many origins as may be": lambda: (
        b"\x97\xa4run?" + GROUP + b"\x01" + origins(limits.ORIGINS_MAX) + b"\xc4\x00\x00\xc3"
    ),
    "empty statements": lambda: b"\x92\xaastatements" + array(ROOM // 2, b"\xc4\x00"),
    "nested arrays": lambda: b"\x92\xa4ping" + b"\x91" * ROOM,
    "nested arrays behind a message": lambda: b"\x93\xa4ping\x02" + b"\x91" * ROOM,
    "one number": lambda: b"\x00" * ROOM,
    "a length that is not there": lambda: run(b"\xdd\xff\xff\xff\xff" + RECORD),
    "text": lambda: b"\x93\xa6group." + GROUP + b"\xdb" + ROOM.to_bytes(4, "big") + b"x" * ROOM,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_the_largest_frame_takes_memory_in_proportion(bomb: str) -> None:
    body = BOMBS[bomb]()
    tracemalloc.start()
    try:
        try:
            decode(memoryview(body))
        except LinkError:
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < AMPLIFICATION_MAX * len(body) + limits.MiB, f"{peak / len(body):.1f} times the frame"
    assert peak < 48 * limits.MiB, f"{peak >> 20} MiB"


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=30), st.integers(0, 5000))
def test_a_stream_of_any_bytes_takes_no_more_memory_than_its_largest_frame(pieces: list[bytes], bound: int) -> None:
    splitter = FrameSplitter(bound)
    try:
        for piece in pieces:
            while piece:
                free = splitter.free()
                assert 0 < len(free) <= 256 * limits.KiB + bound
                count = min(len(free), len(piece))
                free[:count] = piece[:count]
                piece = piece[count:]
                for body in splitter.received(count):
                    assert len(body) <= bound
    except LinkError:
        pass
