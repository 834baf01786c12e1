"""The tree of watched directories."""

from __future__ import annotations

import pytest

from everynode.model.path import ROOT
from everynode.watch.watched import NO_PARENT, WatchedTree


@pytest.fixture
def tree() -> WatchedTree:
    """1: the root, 2: a, 3: a/b, 4: a/b/c, 5: d"""
    tree = WatchedTree()
    for watch, parent, name in ((1, NO_PARENT, b""), (2, 1, b"a"), (3, 2, b"b"), (4, 3, b"c"), (5, 1, b"d")):
        assert tree.put(watch, parent, name)
    return tree


def test_paths_are_told_from_the_root(tree: WatchedTree) -> None:
    assert [tree.path_of(watch) for watch in (1, 2, 4, 5, 6)] == [ROOT, b"a", b"a/b/c", b"d", None]


def test_a_moved_directory_takes_all_below_along(tree: WatchedTree) -> None:
    assert tree.put(3, 5, b"moved")
    assert tree.path_of(4) == b"d/moved/c"
    assert (tree.child(2, b"b"), tree.child(5, b"moved")) == (None, 3)


def test_a_removed_directory_takes_all_below_along(tree: WatchedTree) -> None:
    assert sorted(tree.remove(2)) == [2, 3, 4]
    assert len(tree) == 2 and 4 not in tree and tree.path_of(4) is None
    assert tree.child(1, b"a") is None
    assert tree.remove(2) == []


def test_a_name_that_was_taken_is_said(tree: WatchedTree) -> None:
    assert not tree.put(5, 1, b"a")
    assert tree.child(1, b"a") == 5
    # The one that lost its name does not take the new one's with it.
    tree.remove(2)
    assert tree.child(1, b"a") == 5


def test_a_watch_without_a_known_parent_has_no_path(tree: WatchedTree) -> None:
    tree.remove(3)
    assert tree.path_of(4) is None
