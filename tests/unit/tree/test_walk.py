"""A walk shows everything below a start once, in the order of the index, and says what it could not see."""

import errno
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from everynode.limits import SCAN_BATCH
from everynode.model.entry import Kind
from everynode.model.path import ROOT, RelPath
from everynode.model.problem import Trouble
from everynode.tree.root import Root
from everynode.tree.walk import WalkItem, walk


def walked(root: Root, start: bytes = ROOT, skip: Any = lambda path, directory: False) -> list[WalkItem]:
    return [item for batch in walk(root, RelPath(start), skip=skip) for item in batch]


def paths(items: list[WalkItem]) -> list[bytes]:
    return [item.path for item in items]


def test_an_empty_root_has_nothing_and_the_own_folder_is_not_shown(root: Root) -> None:
    assert walked(root) == []


def test_paths_come_in_byte_order_even_where_names_sort_before_a_slash(root: Root, tree: Path) -> None:
    for name in ("a", "a-b", "a-", "a!", "b", "a/a", "a/a-", "a/a/x", "a-/x", "a0", "b/.everynode"):
        (tree / name).mkdir(parents=True, exist_ok=True)
        (tree / name / "f").write_bytes(b"")
    shown = paths(walked(root))
    assert shown == sorted(shown) and len(shown) == len(set(shown)) == 22
    assert b"b/.everynode" in shown, "only the root's own folder is everynode's"


def test_random_trees_are_shown_whole_and_in_order(root: Root, tree: Path) -> None:
    chance = random.Random(7)
    made = {b""}
    for _ in range(3 * SCAN_BATCH):
        path = os.path.join(chance.choice(sorted(made)[-500:]), bytes(chance.choices(b"-!0ab", k=3)))
        if path in made or os.path.lexists(os.path.join(bytes(tree), path)) or path.count(b"/") > 40:
            continue
        if chance.random() < 0.3:
            os.mkdir(os.path.join(bytes(tree), path))
            made.add(path)
        else:
            os.mknod(os.path.join(bytes(tree), path))
    expected = []
    for where, directories, files in os.walk(bytes(tree)):
        if where == bytes(tree):
            directories.remove(b".everynode")
        expected += [os.path.relpath(os.path.join(where, name), bytes(tree)) for name in directories + files]
    assert len(expected) > SCAN_BATCH, "several batches"
    assert paths(walked(root)) == sorted(expected)


def test_batches_begin_small_are_bounded_and_hold_no_fd_between_them(root: Root, tree: Path) -> None:
    (tree / "d").mkdir()
    for number in range(3 * SCAN_BATCH - 1):
        os.mknod(tree / "d" / str(number))
    before = len(os.listdir("/proc/self/fd"))
    sizes = []
    for batch in walk(root, skip=lambda path, directory: False):
        sizes.append(len(batch))
        assert len(os.listdir("/proc/self/fd")) == before
    growing = [64, 128, 256, 512]
    assert sizes == [*growing, SCAN_BATCH, SCAN_BATCH, 3 * SCAN_BATCH - sum(growing) - 2 * SCAN_BATCH]


def test_items_bear_what_stat_says(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"12345")
    (tree / "f").chmod(0o640)
    os.link(tree / "f", tree / "g")
    item = walked(root)[0]
    stat = (tree / "f").stat()
    assert item.kind is Kind.FILE and item.stamp is not None
    assert (item.stamp.inode, item.stamp.ctime_ns, item.stamp.size) == (stat.st_ino, stat.st_ctime_ns, 5)
    assert (item.mode, item.uid, item.gid, item.links) == (0o640, stat.st_uid, stat.st_gid, 2)


def test_a_start_shows_only_what_is_below_it(root: Root, tree: Path) -> None:
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "c").write_bytes(b"")
    (tree / "ab").write_bytes(b"")
    assert paths(walked(root, b"a")) == [b"a/b", b"a/b/c"]
    assert walked(root, b"gone") == [] and walked(root, b"ab") == []


def test_skipped_directories_are_not_entered(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "skip").mkdir()
    (tree / "skip" / "f").write_bytes(b"")
    (tree / "keep").write_bytes(b"")
    seen = []

    def skip(path: RelPath, directory: bool) -> bool:
        seen.append((path, directory))
        return path == b"skip"

    assert paths(walked(root, skip=skip)) == [b"keep"]
    assert seen == [(b"keep", False), (b"skip", True)]


def test_unsupported_kinds_are_shown_without_a_kind(root: Root, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    assert [(item.path, item.kind, item.trouble) for item in walked(root)] == [(b"pipe", None, None)]


def test_a_directory_that_cannot_be_listed_is_told_and_the_rest_is_shown(root: Root, tree: Path, kernel: Any) -> None:
    for name in ("a", "b"):
        (tree / name).mkdir()
        (tree / name / "f").write_bytes(b"")
    listings = 0
    real = kernel._real.list_directory

    def list_directory(fd: int) -> list[bytes]:
        nonlocal listings
        listings += 1
        if listings == 2:
            raise OSError(errno.EACCES, "Permission denied")
        return real(fd)

    kernel._real.list_directory = list_directory
    items = walked(root)
    assert paths(items) == [b"a", b"a", b"b", b"b/f"]
    assert items[1].trouble is not None and items[1].trouble.trouble is Trouble.UNREADABLE


def test_a_directory_that_vanishes_meanwhile_is_passed_over(root: Root, tree: Path, kernel: Any) -> None:
    for name in ("a", "b"):
        (tree / name).mkdir()
    kernel.after["stat_at"] = lambda *_: (tree / "a").rmdir()
    assert paths(walked(root)) == [b"a", b"b"]


def test_a_root_that_cannot_be_listed_is_an_error(root: Root, kernel: Any) -> None:
    kernel.refuse["list_directory"] = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError):
        walked(root)


def test_paths_too_long_for_a_record_are_told(root: Root, tree: Path) -> None:
    fd, name = os.dup(root.fd), b"n" * 250
    for _ in range(70):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    items = walked(root)
    assert len(items) == 66 and items[-1].trouble is not None and items[-1].trouble.trouble is Trouble.NAME
    assert all(item.trouble is None for item in items[:-1])
    subprocess.run(["rm", "-rf", tree / os.fsdecode(name)], check=True)


@pytest.mark.kernel
def test_a_walk_never_leaves_the_filesystem(root: Root, tree: Path) -> None:
    for name in ("bind", "mount", "src"):
        (tree / name).mkdir()
    (tree / "src" / "f").write_bytes(b"")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tree / "mount"], check=True)
    subprocess.run(["mount", "--bind", tree / "src", tree / "bind"], check=True)
    try:
        items = walked(root)
        assert [item.path for item in items if item.trouble is not None] == [b"bind", b"mount"]
        assert b"bind/f" not in paths(items) and b"src/f" in paths(items)
    finally:
        subprocess.run(["umount", tree / "mount", tree / "bind"], check=True)
