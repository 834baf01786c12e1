"""Only a file that is still what it was is served."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from everynode.content.source import block_list, open_local, open_vaulted, read_range, read_vaulted, vaulted_block_list
from everynode.limits import BLOCK_BYTES
from everynode.model.entry import Stamp
from everynode.model.path import RelPath
from everynode.tree.digest import hash_blocks
from everynode.tree.leaf import without_ctime
from everynode.tree.observe import observe
from everynode.tree.outcome import Present
from everynode.tree.place import PlaceItem, place
from everynode.tree.root import Root

F = RelPath(b"d/f")


def seen(root: Root) -> Present:
    looked = observe(root, [(F, None)], contents=False, now_ns=time.time_ns() + 10**12)[0]
    assert isinstance(looked, Present)
    return looked


@pytest.fixture
def content(tree: Path, root: Root) -> bytes:
    content = os.urandom(2 * BLOCK_BYTES + 77)
    (tree / "d").mkdir()
    (tree / "d" / "f").write_bytes(content)
    return content


def test_ranges_and_lists_are_those_of_the_file(root: Root, content: bytes) -> None:
    file = seen(root)
    assert read_range(root, F, file.stamp, 10, 20) == content[10:30]
    assert read_range(root, F, file.stamp, BLOCK_BYTES, 10**7) == content[BLOCK_BYTES:]
    assert read_range(root, F, file.stamp, 10**7, 5) == b""
    assert block_list(root, F, file.stamp, file.entry.digest, file.entry.size) == hash_blocks(content)


def test_a_small_file_is_its_own_list(root: Root, tree: Path) -> None:
    (tree / "d").mkdir()
    (tree / "d" / "f").write_bytes(b"small")
    file = seen(root)
    assert block_list(root, F, file.stamp, file.entry.digest, 5) == file.entry.digest


@pytest.mark.parametrize(
    "how", ["written", "disguised", "touched", "replaced", "gone", "directory", "symlink", "no parent"]
)
def test_a_file_that_is_another_now_is_gone(root: Root, tree: Path, content: bytes, how: str) -> None:
    file = seen(root)
    path = tree / "d" / "f"
    if how in ("written", "disguised"):
        with open(path, "r+b") as opened:
            opened.write(bytes(5))
    if how == "disguised":
        os.utime(path, ns=(0, file.stamp.mtime_ns))
    elif how == "touched":
        os.utime(path, ns=(0, 7))
    elif how != "written":
        path.unlink()
    if how == "replaced":
        path.write_bytes(content)
    elif how == "directory":
        path.mkdir()
    elif how == "symlink":
        path.symlink_to("/etc/passwd")
    elif how == "no parent":
        (tree / "d").rmdir()
    assert read_range(root, F, file.stamp, 0, 10) is None
    assert block_list(root, F, file.stamp, file.entry.digest, file.entry.size) is None


def test_a_write_between_the_look_and_the_read_is_noticed(root: Root, tree: Path, content: bytes) -> None:
    class Writing:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def pread(self, *arguments: int) -> bytes:
            (tree / "d" / "f").write_bytes(bytes(len(content)))
            return real.pread(*arguments)

    file = seen(root)
    real, root.kernel = root.kernel, Writing()  # type: ignore[assignment]
    assert read_range(root, F, file.stamp, 0, 10) is None


def test_a_list_of_another_content_is_not_given(root: Root, content: bytes) -> None:
    file = seen(root)
    assert block_list(root, F, file.stamp, bytes(32), file.entry.size) is None
    assert block_list(root, F, file.stamp, file.entry.digest, file.entry.size - 1) is None


def test_what_was_vaulted_is_served_from_there(root: Root, content: bytes) -> None:
    file = seen(root)
    removed = place(root, [PlaceItem(F, None, None, file.stamp, file.entry)])[0]
    name = removed.vaulted  # type: ignore[union-attr]
    stamp: Stamp = without_ctime(file.stamp)
    assert read_vaulted(root, name, stamp, 5, 5) == content[5:10]
    assert vaulted_block_list(root, name, stamp, file.entry.digest, file.entry.size) == hash_blocks(content)
    assert read_vaulted(root, b"n-gone", stamp, 5, 5) is None
    fd = open_vaulted(root, name)
    assert os.read(fd, 5) == content[:5]
    os.close(fd)
    assert open_vaulted(root, b"n-gone") == -1
    assert vaulted_block_list(root, b"n-gone", stamp, file.entry.digest, file.entry.size) is None


def test_blocks_are_taken_from_whatever_stands_there(root: Root, content: bytes) -> None:
    fd = open_local(root, F)
    assert os.read(fd, 5) == content[:5]
    os.close(fd)
    assert open_local(root, RelPath(b"d/none")) == open_local(root, RelPath(b"none/f")) == -1
