"""A process that dies before or after any system call of placing loses nothing and shows nothing by halves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from everynode.kernel.linux import LinuxKernel
from everynode.model.path import RelPath
from everynode.tree.place import MovedFrom, PlaceItem, place
from everynode.tree.root import Root
from everynode.tree.stage import StageItem, stage
from everynode.tree.vault import leftovers
from tests.unit.tree.placing import directory_entry, file_entry, link_entry, seen, vault

NEW = file_entry(b"new content", mode=0o640)


class Died(BaseException):
    """No `except OSError` cleans up after it."""


class DyingKernel:
    def __init__(self, calls_left: int) -> None:
        self._real = LinuxKernel()
        self.calls_left = calls_left

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        def call(*arguments: Any) -> Any:
            if name != "close":  # the fds of a dead process close themselves
                if self.calls_left == 0:
                    raise Died
                self.calls_left -= 1
            return method(*arguments)

        return call


def replace_file(root: Root, old: Any) -> None:
    new = stage(root, [StageItem(RelPath(b"f"), NEW, b"new content")])[0]
    place(root, [PlaceItem(RelPath(b"f"), NEW, new, old.stamp, old.entry)])  # type: ignore[arg-type]


def replace_by_symlink(root: Root, old: Any) -> None:
    new = stage(root, [StageItem(RelPath(b"f"), link_entry(b"target"))])[0]
    place(root, [PlaceItem(RelPath(b"f"), link_entry(b"target"), new, old.stamp, old.entry)])  # type: ignore[arg-type]


def replace_by_directory(root: Root, old: Any) -> None:
    place(root, [PlaceItem(RelPath(b"f"), directory_entry(0o2750), None, old.stamp, old.entry)])


def remove_file(root: Root, old: Any) -> None:
    place(root, [PlaceItem(RelPath(b"f"), None, None, old.stamp, old.entry)])


def move_with_new_attributes(root: Root, old: Any) -> None:
    entry = file_entry(b"old content", mode=0o600)
    place(root, [PlaceItem(RelPath(b"g"), entry, moved_from=MovedFrom(RelPath(b"f"), old.stamp, old.entry))])


def what_stands(tree: Path, name: str) -> object:
    path = tree / name
    if path.is_symlink():
        return os.readlink(path)
    if path.is_dir():
        return oct(path.stat().st_mode & 0o7777)
    return (path.read_bytes(), path.stat().st_mode & 0o777) if path.exists() else None


OLD = (b"old content", 0o644)


@pytest.mark.parametrize(
    ("act", "allowed"),
    [
        (replace_file, {(OLD, None), ((b"new content", 0o640), None)}),
        (replace_by_symlink, {(OLD, None), ("target", None)}),
        (replace_by_directory, {(OLD, None), ("0o2750", None)}),
        (remove_file, {(OLD, None), (None, None)}),
        (move_with_new_attributes, {(OLD, None), (None, None), (None, (b"old content", 0o600))}),
    ],
)
def test_after_death_at_any_call_a_path_is_old_or_new_and_the_old_content_exists(
    tmp_path: Path, act: Callable[[Root, Any], None], allowed: set[object]
) -> None:
    states = set()
    for calls in range(200):
        tree = tmp_path / str(calls)
        tree.mkdir()
        (tree / "f").write_bytes(b"old content")
        (tree / "f").chmod(0o644)
        Root.open(LinuxKernel(), bytes(tree), bytes(16), create=True).close()
        kernel = DyingKernel(-1)
        root = Root.open(kernel, bytes(tree), bytes(16), create=False)
        old = seen(root, b"f")
        kernel.calls_left = calls
        try:
            act(root, old)
            died = False
        except Died:
            died = True
        kernel.calls_left = -1
        states.add((what_stands(tree, "f"), what_stands(tree, "g")))
        kept = [*vault(tree).values(), *((tree / n).read_bytes() for n in "fg" if (tree / n).is_file())]
        assert b"old content" in kept, f"lost after {calls} calls"
        again = Root.open(LinuxKernel(), bytes(tree), bytes(16), create=False)
        assert {left.name for left in leftovers(again, set())} == {os.fsencode(n) for n in os.listdir(again.vault_fd)}
        again.close()
        root.close()
        if not died:
            break
    else:
        raise AssertionError("never came to an end")
    assert states == allowed
