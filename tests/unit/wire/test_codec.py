"""What the codec refuses, case by case."""

from __future__ import annotations

import msgspec
import pytest

from everynode import limits
from everynode.errors import LinkError
from everynode.model.entry import Entry, Kind
from everynode.model.message import (
    AnyMessage,
    Batch,
    Blocks,
    FetchPart,
    FetchRequest,
    GroupHello,
    Heads,
    Hello,
    RunPart,
    RunRequest,
    Statements,
    WireRecord,
)
from everynode.model.record import Sibling, Version
from everynode.wire.codec import decode, encode

G, A, B, D = b"g" * 16, b"o" * 20, b"p" * 20, b"d" * 32
FILE = Entry(Kind.FILE, 0o644, 0, 0, 0, 5, D)


def run_of(entry: Entry = FILE, path: bytes = b"a/b", origin: bytes = A, sequence: int = 1, **sibling: bool) -> RunPart:
    version = Version((Sibling(origin, sequence, entry, **sibling),))  # type: ignore[arg-type]
    return RunPart(G, 1, (WireRecord(path, version),))  # type: ignore[arg-type]


def version_of(*siblings: tuple[bytes, int], context: dict[bytes, int] | None = None) -> RunPart:
    version = Version(tuple(Sibling(o, s, FILE) for o, s in siblings), context or {})  # type: ignore[arg-type]
    return RunPart(G, 1, (WireRecord(b"a", version),))  # type: ignore[arg-type]


def entry(**changes: object) -> RunPart:
    return run_of(msgspec.structs.replace(FILE, **changes))


REFUSED: list[tuple[str, AnyMessage]] = [
    ("empty", run_of(path=b"")),
    ("a component is ''", run_of(path=b"a//b")),
    ("a component is ''", run_of(path=b"/etc/passwd")),
    ("a component is ''", run_of(path=b"a/")),
    (r"a component is '\.\.'", run_of(path=b"../x")),
    (r"a component is '\.\.'", run_of(path=b"a/..")),
    (r"a component is '\.'", run_of(path=b"a/./b")),
    ("NUL", run_of(path=b"a\0b")),
    ("everynode's own", run_of(path=b".everynode/marker")),
    ("longer than 255", run_of(path=b"x" * 256)),
    ("origin has 19 bytes", run_of(origin=b"o" * 19)),
    ("sequence is 0", run_of(sequence=0)),
    ("sequence is", run_of(sequence=limits.SEQUENCE_MAX + 1)),
    ("tombstone", run_of(live=False, content=True)),
    ("mode is 10000", entry(mode=0o10000)),
    ("mode is -1", entry(mode=-1)),
    ("owner", entry(uid=2**32 - 1)),
    ("owner", entry(gid=-1)),
    ("mtime", entry(mtime_ns=2**63)),
    ("size is -1", entry(size=-1)),
    ("size is", entry(size=2**63)),
    ("digest of a file has 31", entry(digest=b"d" * 31)),
    ("directory of 5 bytes", entry(kind=Kind.DIRECTORY, digest=b"")),
    ("directory with a digest", entry(kind=Kind.DIRECTORY, size=0)),
    ("symlink's target", entry(kind=Kind.SYMLINK, size=0, digest=b"")),
    ("symlink's target", entry(kind=Kind.SYMLINK, size=0, digest=b"x" * 4096)),
    ("symlink's target", entry(kind=Kind.SYMLINK, size=0, digest=b"x\0y")),
    ("0 siblings", version_of()),
    ("rising order", version_of((B, 1), (A, 1))),
    ("rising order", version_of((A, 1), (A, 1))),
    ("a version of some", version_of((A, 3), context={i.to_bytes(20, "big"): 1 for i in range(3000)})),
    ("repeats", version_of((A, 3), context={A: 3})),
    ("sequence is 0", version_of((A, 3), context={B: 0})),
    ("origin has 3 bytes", version_of((A, 3), context={b"abc": 1})),
    ("before a batch is -1", Batch(G, A, -1, 1, ())),  # type: ignore[arg-type]
    ("after a batch is 1", Batch(G, A, 2, 1, ())),  # type: ignore[arg-type]
    ("digest is not 32", RunPart(G, 1, (), {b"d": b""})),  # type: ignore[dict-item]
    ("inline content of 32769", RunPart(G, 1, (), {D: b"x" * (limits.INLINE_BYTES_MAX + 1)})),  # type: ignore[dict-item]
    ("group id has 3", FetchPart(b"abc", 1, b"")),
    ("number of a request", FetchPart(G, -1, b"")),
    ("bytes of content", FetchPart(G, 1, bytes(limits.FETCH_BYTES_MAX + 1))),
    ("length to fetch is 0", FetchRequest(G, 1, b"a", D, 0, 0)),  # type: ignore[arg-type]
    ("length to fetch", FetchRequest(G, 1, b"a", D, 0, limits.FETCH_BYTES_MAX + 1)),  # type: ignore[arg-type]
    ("offset is -1", FetchRequest(G, 1, b"a", D, -1, 1)),  # type: ignore[arg-type]
    (r"component is '\.\.'", FetchRequest(G, 1, b"../a", D, 0, 1)),  # type: ignore[arg-type]
    ("not a multiple", Blocks(G, 1, b"x" * 33)),
    ("sequence is 0", Heads(G, {A: 0}, {})),  # type: ignore[dict-item]
    ("length <= 1000", Heads(G, {}, {}, ((A, 1),) * (limits.EXCEPTIONS_MAX + 1))),  # type: ignore[arg-type]
    ("length <= 65536", RunRequest(G, 1, {i.to_bytes(20, "big"): 1 for i in range(65_537)}, b"", 0)),  # type: ignore[misc]
    ("origin has 1 bytes", GroupHello(G, b"o", b"i" * 16, {}, {})),  # type: ignore[arg-type]
    ("index life has 3 bytes", GroupHello(G, A, b"abc", {}, {})),  # type: ignore[arg-type]
    ("cluster fingerprint", Hello(1, b"short", b"n" * 16, "", ())),  # type: ignore[arg-type]
    ("length <= 16", Hello(1, D, b"n" * 16, "", ("a:1",) * 100)),  # type: ignore[arg-type]
    ("length <= 10000", Statements((b"",) * (limits.STATEMENTS_MAX + 1))),
    ("a statement of", Statements((bytes(limits.STATEMENT_BYTES_MAX + 1),))),
    ("length <= 8192", RunPart(G, 1, run_of().records * (limits.MESSAGE_RECORDS_MAX + 1))),
]


@pytest.mark.parametrize(("why", "message"), REFUSED, ids=[f"{i}: {why}" for i, (why, _) in enumerate(REFUSED)])
def test_a_message_that_no_node_sends_is_refused_with_its_reason(why: str, message: AnyMessage) -> None:
    with pytest.raises(LinkError, match=why) as caught:
        decode(encode(message))
    assert "the link is closed" in str(caught.value)


@pytest.mark.parametrize("path", [b".a", b"a/...", b".everynodes", b"a/.everynode", b"x" * 255, b"\xff\xfe", b"a b\n"])
def test_unusual_names_pass(path: bytes) -> None:
    message = run_of(path=path)
    assert decode(encode(message)) == message


def test_deep_nesting_in_unknown_fields_is_refused() -> None:
    body = b"\x92\xa4ping" + b"\x91" * 100_000 + b"\x00"
    with pytest.raises(LinkError):
        decode(body)


def test_a_truncated_message_and_text_that_is_no_text_are_refused() -> None:
    for body in (b"", encode(run_of())[:-1], b"\x93\xa6group.\xc4\x10" + G + b"\xa2\xff\xff"):
        with pytest.raises(LinkError):
            decode(body)
