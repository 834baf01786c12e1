"""The codec: what is encoded is decoded again, and no bytes at all make it fail with anything but LinkError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everynode import limits
from everynode.errors import LinkError, PathError
from everynode.model.entry import Entry, Kind
from everynode.model.message import (
    AnyMessage,
    Batch,
    Blocks,
    BlocksRequest,
    ComparePart,
    FetchPart,
    FetchRequest,
    Gone,
    GroupBye,
    GroupHello,
    Heads,
    Hello,
    Ping,
    RunCredit,
    RunEnd,
    RunPart,
    RunRequest,
    Statements,
    WireRecord,
)
from everynode.model.path import parse_path
from everynode.model.record import Sibling, Version
from everynode.wire.codec import decode, encode
from everynode.wire.frames import FrameSplitter, frame_of, frame_of_bytes
from everynode.wire.records import check_records

int64 = st.integers(0, 2**63 - 1)
sequence = st.integers(1, limits.SEQUENCE_MAX)
ids16 = st.binary(min_size=16, max_size=16)
origins = st.binary(min_size=20, max_size=20)
digests = st.binary(min_size=32, max_size=32)
vectors = st.dictionaries(origins, sequence, max_size=5)


def is_path(raw: bytes) -> bool:
    try:
        parse_path(raw)
    except PathError:
        return False
    return True


names = st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
paths = st.lists(names, min_size=1, max_size=5).map(b"/".join).filter(is_path)
common = {
    "mode": st.integers(0, 0o7777),
    "uid": st.integers(0, 2**32 - 2),
    "gid": st.integers(0, 2**32 - 2),
    "mtime_ns": st.integers(-(2**63), 2**63 - 1),
}
entries = st.one_of(
    st.builds(Entry, kind=st.just(Kind.FILE), size=int64, digest=digests, **common),
    st.builds(Entry, kind=st.just(Kind.DIRECTORY), size=st.just(0), digest=st.just(b""), **common),
    st.builds(
        Entry,
        kind=st.just(Kind.SYMLINK),
        size=st.just(0),
        digest=st.binary(min_size=1, max_size=60).map(lambda raw: raw.replace(b"\0", b"/")),
        **common,
    ),
)


@st.composite
def versions(draw: st.DrawFn) -> Version:
    dots = sorted(draw(st.sets(st.tuples(origins, sequence), min_size=1, max_size=3)))
    siblings = []
    for dot in dots:
        live = draw(st.booleans())
        siblings.append(Sibling(*dot, draw(entries), live, live and draw(st.booleans())))
    held = dict(dots)
    context = {
        origin: number for origin, number in draw(vectors).items() if origin not in held or number > held[origin]
    }
    return Version(tuple(siblings), context)


records = st.lists(st.builds(WireRecord, paths, versions()), max_size=4).map(tuple)


@st.composite
def comparisons(draw: st.DrawFn) -> ComparePart:
    unsorted = {record.path: record for record in draw(records)}
    there = tuple(unsorted[path] for path in sorted(unsorted))
    upto = there[-1].path if there else draw(st.just(b"") | paths)
    after = draw(st.just(b"")) if there else upto
    return ComparePart(draw(ids16), draw(int64), after, upto, there, draw(vectors), draw(vectors), draw(st.booleans()))


contents = st.dictionaries(digests, st.binary(max_size=100), max_size=3)
texts = st.text(max_size=30)
messages: st.SearchStrategy[AnyMessage] = st.one_of(
    st.builds(Hello, int64, digests, ids16, texts, st.lists(texts, max_size=3).map(tuple)),
    st.builds(Ping, int64),
    st.builds(Statements, st.lists(st.binary(max_size=50), max_size=3).map(tuple), st.just(b"") | digests),
    st.builds(GroupHello, ids16, origins, ids16, vectors, vectors),
    st.builds(Heads, ids16, vectors, vectors, st.lists(st.tuples(origins, sequence), max_size=3).map(tuple), int64),
    st.builds(Batch, ids16, origins, st.integers(0, 5), st.integers(5, 10), records, contents),
    st.builds(RunRequest, ids16, int64, vectors, st.just(b"") | ids16, int64, st.booleans()),
    st.builds(RunCredit, ids16, int64),
    st.builds(RunPart, ids16, int64, records, contents),
    st.builds(RunEnd, ids16, int64, vectors, ids16, int64, vectors),
    comparisons(),
    st.builds(BlocksRequest, ids16, int64, paths, digests),
    st.builds(Blocks, ids16, int64, st.lists(digests, max_size=3).map(b"".join)),
    st.builds(FetchRequest, ids16, int64, paths, digests, int64, st.integers(1, limits.FETCH_BYTES_MAX)),
    st.builds(FetchPart, ids16, int64, st.binary(max_size=100)),
    st.builds(Gone, ids16, int64, st.none() | versions()),
    st.builds(GroupBye, ids16, texts),
)


@given(messages)
def test_what_is_encoded_is_decoded_again(message: AnyMessage) -> None:
    assert decode(encode(message)) == message
    assert decode(memoryview(frame_of(message))[4:]) == message


@given(messages, st.data())
def test_damaged_messages_end_in_a_message_or_a_link_error(message: AnyMessage, data: st.DataObject) -> None:
    body = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(("flip", "cut", "insert"))):
            case "flip":
                body[place] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del body[max(place, 1) :]
            case _:
                body[place:place] = data.draw(st.binary(min_size=1, max_size=9))
    try:
        again = decode(bytes(body))
    except LinkError:
        return
    assert decode(encode(again)) == again


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_message_or_a_link_error(body: bytes) -> None:
    try:
        decode(body)
    except LinkError:
        pass


doubtful_names = st.sampled_from(
    [b"", b".", b"..", b"...", b".everynode", b".everynodes", b"a", b".a", b"a\0b", b"x" * 256]
)


@given(st.lists(st.lists(doubtful_names, max_size=4).map(b"/".join), max_size=4))
def test_paths_checked_together_get_the_verdict_of_each(raw: list[bytes]) -> None:
    version = Version((Sibling(b"o" * 20, 1, Entry(Kind.DIRECTORY, 0, 0, 0, 0)),))  # type: ignore[arg-type]
    together = True
    try:
        check_records([WireRecord(path, version) for path in raw])  # type: ignore[arg-type]
    except PathError:
        together = False
    assert together == all(is_path(path) for path in raw)


@given(st.lists(st.binary(max_size=2000), max_size=20), st.data())
def test_a_stream_cut_anywhere_gives_the_same_frames(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(bytes(frame_of_bytes(body)) for body in bodies)
    splitter = FrameSplitter(2000)
    seen = []
    while stream:
        free = splitter.free()
        count = min(len(free), len(stream), data.draw(st.integers(1, 3000)))
        free[:count] = stream[:count]
        stream = stream[count:]
        seen += [bytes(body) for body in splitter.received(count)]
    assert seen == bodies


def test_a_length_above_the_bound_is_refused_before_anything_is_allocated() -> None:
    splitter = FrameSplitter(1000)
    before = len(splitter.free())
    splitter.free()[:4] = (1001).to_bytes(4, "big")
    with pytest.raises(LinkError, match="1001 bytes, more than 1000"):
        list(splitter.received(4))
    assert len(splitter.free()) == before - 4
