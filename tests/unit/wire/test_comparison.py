"""What peers say when they compare trees: comes back as it was, and is refused where no node would say it."""

from __future__ import annotations

import msgspec
import pytest

from everynode.errors import LinkError
from everynode.limits import TREE_ENTRIES, TREE_PARTS_MAX
from everynode.model.entry import Entry, Kind
from everynode.model.message import (
    AnyMessage,
    Entries,
    EntriesRequest,
    ReadRequest,
    ReadState,
    TreeEntry,
    TreeParts,
    TreeRequest,
)
from everynode.model.path import RelPath
from everynode.wire.codec import decode, encode

GROUP = b"g" * 16
HASH = b"h" * 16
FILE = Entry(Kind.FILE, 0o644, 1, 2, 3, 4, bytes(32))
ENTRY = TreeEntry(RelPath(b"a/b"), FILE, HASH, False)


@pytest.mark.parametrize(
    "message",
    [
        TreeRequest(GROUP, 1, ()),
        TreeRequest(GROUP, 1, (b"", b"a", b"a\0", b"")),
        TreeParts(GROUP, 1, HASH, 0, (HASH, b"")),
        EntriesRequest(GROUP, 1, b"", b""),
        EntriesRequest(GROUP, 1, b"a", b"b"),
        Entries(GROUP, 1, HASH, (ENTRY, TreeEntry(RelPath(b"c"), None, HASH, True)), b"c\0"),
        ReadRequest(GROUP, 1, 2**53 - 1),
        ReadState(GROUP, 1, 2, 3, 4, True),
    ],
)
def test_what_nodes_say_comes_back_as_it_was(message: AnyMessage) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (TreeRequest(b"g", 1, ()), "group"),
        (TreeRequest(GROUP, -1, ()), "number"),
        (TreeRequest(GROUP, 1, (b"b", b"a")), "rise"),
        (TreeRequest(GROUP, 1, (b"a", b"a")), "rise"),
        (TreeRequest(GROUP, 1, (b"a", b"", b"b")), "rise"),
        (TreeRequest(GROUP, 1, tuple(b"%04d" % n for n in range(TREE_PARTS_MAX + 2))), "bounds"),
        (TreeRequest(GROUP, 1, (b"a" * 20_000, b"")), "longer"),
        (TreeParts(GROUP, 1, b"short", 0, ()), "hash"),
        (TreeParts(GROUP, 1, HASH, -1, ()), "count"),
        (TreeParts(GROUP, 1, HASH, 0, (HASH,) * (TREE_PARTS_MAX + 1)), "parts"),
        (TreeParts(GROUP, 1, HASH, 0, (b"x",)), "hash"),
        (EntriesRequest(GROUP, 1, b"b", b"a"), "rise"),
        (Entries(GROUP, 1, HASH, (ENTRY,) * (TREE_ENTRIES + 1), b""), "entries"),
        (Entries(GROUP, 1, HASH, (msgspec.structs.replace(ENTRY, path=RelPath(b"../x")),), b""), "component"),
        (Entries(GROUP, 1, HASH, (msgspec.structs.replace(ENTRY, version=b""),), b""), "hash"),
        (
            Entries(
                GROUP, 1, HASH, (TreeEntry(RelPath(b"a"), Entry(Kind.FILE, 1, 1, 1, 1, 1, b""), HASH, False),), b""
            ),
            "digest",
        ),
        (Entries(GROUP, 1, HASH, (), b"a" * 20_000), "longer"),
        (ReadRequest(GROUP, 1, -1), "count"),
        (ReadState(GROUP, 1, -1, 0, 0, True), "count"),
    ],
)
def test_what_no_node_says_ends_the_link(message: AnyMessage, why: str) -> None:
    with pytest.raises(LinkError, match=why):
        decode(encode(message))
