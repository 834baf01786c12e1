"""Paths: what is refused, which range of bytes a subtree is, how any path is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everynode.errors import PathError
from everynode.limits import NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX
from everynode.model.path import (
    ROOT,
    RelPath,
    is_below,
    join,
    name_of,
    parent_of,
    parse_path,
    show_path,
    subtree_range,
)

REFUSED = {
    b"": "empty",
    b"/etc/passwd": "''",
    b"a//b": "''",
    b"a/": "''",
    b"/": "''",
    b".": "'.'",
    b"..": "'..'",
    b"a/../b": "'..'",
    b"a/.": "'.'",
    b"../a": "'..'",
    b"a\0b": "NUL",
    b"\0": "NUL",
    b".everynode": "own",
    b".everynode/vault/x": "own",
    b"a" * (NAME_BYTES_MAX + 1): "component is longer",
    b"d/" + b"a" * (NAME_BYTES_MAX + 1) + b"/f": "component is longer",
    b"/".join([b"a"] * (PATH_DEPTH_MAX + 1)): "deeper",
    b"/".join([b"a" * 200] * (PATH_BYTES_MAX // 201 + 1)): "longer than",
}


@pytest.mark.parametrize("raw", REFUSED, ids=lambda raw: repr(raw[:20]))
def test_what_could_leave_the_root_or_be_no_name_is_refused(raw: bytes) -> None:
    with pytest.raises(PathError, match=REFUSED[raw]) as refused:
        parse_path(raw)
    assert refused.value.path == raw
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize(
    "raw",
    [
        b"a",
        b"...",
        b"..a",
        b"a/.everynode",
        b".everynodes/x",
        b".every",
        b"a b\n\xff\x01",
        b"a" * NAME_BYTES_MAX,
        b"/".join([b"a"] * PATH_DEPTH_MAX),
        b"/".join([b"a" * 127] * (PATH_BYTES_MAX // 128)),
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_strange_names_that_linux_takes_are_taken(raw: bytes) -> None:
    assert parse_path(raw) == raw


names = st.binary(min_size=1, max_size=4).filter(lambda n: b"/" not in n and b"\0" not in n and n not in (b".", b".."))
close_names = st.sampled_from([b"a", b"a-b", b"a0", b"a.", b"ab", b"a b", b"\xff", b"a\xff", b"\x01", b"b"])
paths = st.lists(names | close_names, min_size=1, max_size=4).map(lambda parts: RelPath(b"/".join(parts)))


@given(paths, paths | st.just(ROOT))
def test_the_range_of_a_subtree_holds_exactly_what_is_below(path: RelPath, directory: RelPath) -> None:
    low, high = subtree_range(directory)
    assert (low <= path < high) == is_below(path, directory)


@given(paths, names)
def test_joining_and_taking_apart_are_inverse(directory: RelPath, name: bytes) -> None:
    path = join(directory, name)
    assert (parent_of(path), name_of(path)) == (directory, name)
    assert is_below(path, directory)
    assert not is_below(directory, path)
    assert not is_below(path, path)
    assert parent_of(join(ROOT, name)) == ROOT
    assert is_below(path, ROOT)
    assert not is_below(ROOT, ROOT)


def test_a_sibling_with_the_same_prefix_is_not_below() -> None:
    assert not is_below(RelPath(b"a-b"), RelPath(b"a"))
    assert not is_below(RelPath(b"ab/c"), RelPath(b"a"))
    assert is_below(RelPath(b"a/b"), RelPath(b"a"))


@given(st.binary(max_size=30))
def test_a_path_is_shown_on_one_line_as_printable_text(path: bytes) -> None:
    shown = show_path(path)
    assert shown.isprintable()
    shown.encode()


def test_utf_8_is_shown_as_it_is_and_the_rest_escaped() -> None:
    assert show_path("größe/ж".encode()) == "größe/ж"
    assert show_path(b"a\xff\n\x1b[31m") == "a\\xff\\n\\x1b[31m"
