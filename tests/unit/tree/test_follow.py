"""A file that is held open: what stood in it at one look and still stands there at the next is told, nothing else."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import pytest

from everynode.limits import BLOCK_BYTES, INLINE_BYTES_MAX
from everynode.model.path import RelPath
from everynode.tree.digest import digest_bytes, hash_blocks
from everynode.tree.follow import Followed, Stood, follow
from everynode.tree.observe import observe
from everynode.tree.outcome import Present
from everynode.tree.root import Root

LOG = RelPath(b"d/log")
SIZES = [
    0,
    7,
    INLINE_BYTES_MAX,
    INLINE_BYTES_MAX + 1,
    BLOCK_BYTES,
    BLOCK_BYTES + 5,
    3 * BLOCK_BYTES,
    20 * BLOCK_BYTES + 9,
]


@pytest.fixture
def log(tree: Path, root: Root) -> Path:
    (tree / "d").mkdir()
    return tree / "d" / "log"


def read(root: Root, before: Stood | None = None) -> Followed:
    followed = follow(root, LOG, before)
    assert followed is not None
    return followed


@pytest.mark.parametrize("first", SIZES)
@pytest.mark.parametrize("added", [0, 3, BLOCK_BYTES, 17 * BLOCK_BYTES + 1])
def test_what_was_only_added_to_is_told_as_it_was(root: Root, log: Path, first: int, added: int) -> None:
    beginning, end = os.urandom(first), os.urandom(added)
    with open(log, "wb") as writer:
        writer.write(beginning)
        writer.flush()
        os.utime(log, ns=(5, 5))
        before = read(root).now
        assert (before.size, before.mtime_ns, before.digest) == (first, 5, digest_bytes(beginning))
        writer.write(end)
        writer.flush()
        again = read(root, before)
    assert (again.now.size, again.now.digest) == (first + added, digest_bytes(beginning + end))
    if added and not first:
        assert again.seen is None, "an empty file that is being filled is no content"
        return
    assert again.seen is not None
    entry = again.seen.entry
    assert (entry.size, entry.digest, entry.mtime_ns) == (first, digest_bytes(beginning), 5)
    assert again.seen.content == (beginning if first <= INLINE_BYTES_MAX else None)
    assert again.seen.blocks == (hash_blocks(beginning) if first > BLOCK_BYTES else None)


def test_its_stamp_matches_nothing(root: Root, log: Path) -> None:
    with open(log, "wb") as writer:
        writer.write(b"line")
        writer.flush()
        seen = read(root, read(root).now).seen
    assert seen is not None
    whole = observe(root, [(LOG, seen.stamp)], contents=False, now_ns=2**62)[0]
    assert isinstance(whole, Present) and whole.entry == seen.entry


@pytest.mark.parametrize("at", [0, BLOCK_BYTES, 5 * BLOCK_BYTES - 1])
def test_what_was_changed_in_the_middle_is_not_told(root: Root, log: Path, at: int) -> None:
    with open(log, "wb") as writer:
        writer.write(bytes(5 * BLOCK_BYTES))
        writer.flush()
        before = read(root).now
        writer.seek(at)
        writer.write(b"x")
        writer.seek(0, os.SEEK_END)
        writer.write(b"more")
        writer.flush()
        os.utime(log, ns=(before.mtime_ns, before.mtime_ns))
        again = read(root, before)
        assert again.seen is None
        rested = read(root, again.now)
        assert rested.seen is not None and rested.seen.entry.size == 5 * BLOCK_BYTES + 4


def test_what_was_cut_off_and_what_is_another_file_is_not_told(root: Root, log: Path) -> None:
    with open(log, "wb") as writer:
        writer.write(b"ten bytes.")
        writer.flush()
        before = read(root).now
        os.truncate(log, 3)
        assert read(root, before).seen is None
    with open(log.with_name("other"), "wb") as writer:
        writer.write(b"ten bytes. And more.")
        writer.flush()
        os.rename(log.with_name("other"), log)
        assert read(root, before).seen is None


def test_a_mapping_is_seen_though_it_moves_no_stamp(root: Root, log: Path) -> None:
    log.write_bytes(bytes(BLOCK_BYTES))
    with open(log, "r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapping:
        mapping[0] = 1
        before = read(root).now
        mapping[1] = 2  # the page is dirty already: no fault tells the kernel
        again = read(root, before)
        assert again.seen is None and again.now.digest != before.digest


def test_what_is_quiet_or_cannot_be_read_is_left_to_an_ordinary_look(root: Root, log: Path, tree: Path) -> None:
    assert follow(root, LOG, None) is None
    log.write_bytes(b"closed")
    assert follow(root, LOG, None) is None
    log.unlink()
    log.mkdir()
    assert follow(root, LOG, None) is None
    log.rmdir()
    log.symlink_to(tree)
    assert follow(root, LOG, None) is None
    log.unlink()
    os.mkfifo(log)
    assert follow(root, LOG, None) is None


def test_a_file_that_changes_while_it_is_read_is_not_quiet(root: Root, log: Path, kernel: Any) -> None:
    log.write_bytes(b"closed")
    kernel.after["pread"] = lambda *_: log.write_bytes(b"and written again")
    assert follow(root, LOG, None) is not None


def test_a_file_that_becomes_shorter_while_it_is_read_is_left(root: Root, log: Path, kernel: Any) -> None:
    with open(log, "wb") as writer:
        writer.write(bytes(30 * BLOCK_BYTES))
        writer.flush()
        kernel.after["pread"] = lambda *_: os.truncate(log, 1)
        assert follow(root, LOG, None) is None
