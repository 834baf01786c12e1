"""A local user who races everynode: a directory of the root becomes a link to the outside and back, all the time.

Every call that takes a path is made while that goes on. The outside is neither read nor written, nor served to a peer.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from everynode.content.small import Wanted, read_small
from everynode.content.source import block_list, open_local, read_range
from everynode.kernel.linux import LinuxKernel, ignore_lease_breaks
from everynode.kernel.protocol import RenameFlag
from everynode.model.entry import Entry, Kind
from everynode.model.ids import Digest
from everynode.model.path import ROOT, RelPath
from everynode.tree.digest import digest_bytes
from everynode.tree.leaf import stamp_of
from everynode.tree.observe import observe
from everynode.tree.outcome import Present, Put, Staged, Unlookable
from everynode.tree.place import PlaceItem, place
from everynode.tree.root import Root
from everynode.tree.stage import StageItem, stage
from everynode.tree.walk import walk

GROUP = b"g" * 16
CANARY = b"nobody but its owner reads this"
NEW = b"new content, placed by everynode"
ROUNDS = 400
PATHS = [RelPath(b"dir/file"), RelPath(b"dir/sub/file"), RelPath(b"dir/other")]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Root]:
    """A root with `dir`, and beside it `link`, which leads to a directory outside that looks just like it."""
    ignore_lease_breaks()
    inside, outside = tmp_path / "root/dir", tmp_path / "outside"
    for place_, content in ((inside, b"inside"), (outside, CANARY)):
        (place_ / "sub").mkdir(parents=True)
        for name in ("file", "other", "sub/file"):
            (place_ / name).write_bytes(content)
    (tmp_path / "root/link").symlink_to(outside)
    root = Root.open(LinuxKernel(), os.fsencode(tmp_path / "root"), GROUP, create=True)
    yield root
    root.close()


@contextmanager
def swapping(root: Root) -> Iterator[itertools.count[int]]:
    """`dir` and `link` change places as fast as they can. Yields what counts how often."""
    kernel, stop, done = LinuxKernel(), threading.Event(), itertools.count()

    def swap() -> None:
        while not stop.is_set():
            kernel.rename_at(root.fd, b"dir", root.fd, b"link", RenameFlag.EXCHANGE)
            next(done)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()


def outside_of(root: Root) -> dict[str, tuple[bytes, int, int, int]]:
    above = Path(os.fsdecode(root.path)).with_name("outside")
    found = {}
    for path in sorted(above.rglob("*")):
        stat = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (content, stat.st_ino, stat.st_mode, stat.st_mtime_ns)
    return found


def entry_of(content: bytes) -> Entry:
    return Entry(Kind.FILE, 0o644, 0, 0, 1_700_000_000_000_000_000, len(content), digest_bytes(content))


@pytest.mark.heavy
def test_what_is_looked_at_and_served_is_never_what_stands_outside(tree: Root) -> None:
    before = outside_of(tree)
    canary = Digest(digest_bytes(CANARY))
    stamps = {
        path: stamp_of(os.stat(Path(os.fsdecode(tree.path)).with_name("outside") / os.fsdecode(path[4:])))
        for path in PATHS
    }
    with swapping(tree) as swaps:
        for _ in range(ROUNDS):
            for seen in observe(tree, [(path, None) for path in PATHS], contents=True, now_ns=time.time_ns()):
                assert not (isinstance(seen, Present) and seen.entry.digest == canary)
            for path in PATHS:
                assert read_range(tree, path, stamps[path], 0, len(CANARY)) is None
                assert block_list(tree, path, stamps[path], canary, len(CANARY)) is None
                fd = open_local(tree, path)
                if fd >= 0:
                    assert os.pread(fd, 100, 0) != CANARY
                    os.close(fd)
            assert read_small(tree, [Wanted(path, stamps[path], canary, len(CANARY)) for path in PATHS]) == {}
            for items in walk(tree, ROOT, skip=lambda path, is_directory: False):
                assert all(
                    item.stamp is None or item.stamp.inode not in {s.inode for s in stamps.values()} for item in items
                )
    assert next(swaps) > ROUNDS
    assert outside_of(tree) == before


@pytest.mark.heavy
def test_what_is_placed_and_removed_is_never_what_stands_outside(tree: Root) -> None:
    before = outside_of(tree)
    placed = 0
    known: dict[RelPath, Put] = {}
    with swapping(tree) as swaps:
        for number in range(ROUNDS):
            content = NEW + b" %d" % number
            items, new = [], RelPath(b"dir/new-%d" % number)
            for path in (*PATHS, new):
                (staged,) = stage(tree, [StageItem(path, entry_of(content), content)])
                assert isinstance(staged, Staged)
                was = known.get(path)
                if was is None and path != new:
                    (seen,) = observe(tree, [(path, None)], contents=False, now_ns=time.time_ns() + 10**10)
                    if isinstance(seen, Present):
                        was = Put(path, seen.stamp, seen.entry)
                expected = (was.stamp, was.entry) if was is not None else (None, None)
                items.append(PlaceItem(path, entry_of(content), staged, *expected))
            for outcome in place(tree, items):
                if isinstance(outcome, Put):
                    placed += 1
                    known[outcome.path] = outcome
                else:
                    known.pop(outcome.path, None)
            if number % 3 == 0 and new in known:
                was = known.pop(new)
                place(tree, [PlaceItem(new, None, None, was.stamp, was.entry)])
            directory = Entry(Kind.DIRECTORY, 0o700, 0, 0, 1)
            place(tree, [PlaceItem(RelPath(b"dir/made-%d" % number), directory)])
    assert placed > 10 and next(swaps) > ROUNDS
    assert outside_of(tree) == before


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_what_is_no_file_is_neither_opened_nor_replaced_and_holds_nobody_up(tree: Root, kind: str) -> None:
    """A peer's file wants to go where a user has put something special; and where one stood that we knew."""
    at = Path(os.fsdecode(tree.path)) / "dir/file"
    (seen,) = observe(tree, [(PATHS[0], None)], contents=False, now_ns=time.time_ns() + 10**10)
    assert isinstance(seen, Present)
    at.unlink()
    match kind:
        case "fifo":
            os.mkfifo(at)
        case "socket":
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(str(at))
        case _:
            try:
                os.mknod(at, 0o020666, os.makedev(1, 5))
            except PermissionError:
                pytest.skip("devices need root")
    inode = at.lstat().st_ino
    (looked,) = observe(tree, [(PATHS[0], None)], contents=True, now_ns=time.time_ns())
    assert isinstance(looked, Unlookable)
    for expected in ((None, None), (seen.stamp, seen.entry)):
        (staged,) = stage(tree, [StageItem(PATHS[0], entry_of(NEW), NEW)])
        assert isinstance(staged, Staged)
        (outcome,) = place(tree, [PlaceItem(PATHS[0], entry_of(NEW), staged, *expected)])
        assert not isinstance(outcome, Put)
        (outcome,) = place(tree, [PlaceItem(PATHS[0], None, None, *expected)])
        assert not isinstance(outcome, Put)
    assert read_range(tree, PATHS[0], seen.stamp, 0, 10) is None
    assert at.lstat().st_ino == inode
