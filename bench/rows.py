"""The rows of the table: what is made, what is changed, what is measured."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import measure
from bench.hosts import Pair, wait_for_end
from bench.peers.base import Peer
from bench.peers.everynode import Everynode
from lab.trees import outline

MiB = 1 << 20
SETTLE_SECONDS = 1.5
"""Quiet time after a first copy, so that a change is measured on an idle system (watchers set, delays run out)."""
CHANGES_SECONDS = 25.0
"""Slow systems get fewer repetitions of a change than CHANGES, at least CHANGES_MIN."""
CHANGES = 200
CHANGES_MIN = 10


@dataclass(frozen=True)
class Size:
    """How much of everything: the whole table, or the short form for the inner loop."""

    small_files: int = 20_000
    big_bytes: int = 1024 * MiB
    tree_files: int = 5_000
    changes: int = CHANGES
    edited_bytes: int = 256 * MiB
    renamed_files: int = 2_000
    quiet_files: int = 50_000


WHOLE = Size()
QUICK = Size(
    small_files=20_000, big_bytes=256 * MiB, tree_files=2_000, changes=60, edited_bytes=64 * MiB, quiet_files=10_000
)


@dataclass(frozen=True)
class Result:
    """What one system did in one row. `unit` of `value` is the row's; None: the system has no such thing."""

    seconds: float
    sent_bytes: int = 0
    value: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    repeats: int = 1


def first_copy_small(pair: Pair, peer: Peer, size: Size) -> Result:
    peer.prepare()
    measure.make_files(pair.sender.tree, size.small_files, 4096)
    result = _first_copy(pair, peer)
    return Result(result.seconds, result.sent_bytes, value=size.small_files / result.seconds)


def first_copy_big(pair: Pair, peer: Peer, size: Size) -> Result:
    peer.prepare()
    measure.make_file(pair.sender.tree / "big", size.big_bytes)
    result = _first_copy(pair, peer)
    return Result(result.seconds, result.sent_bytes, value=size.big_bytes / 1e6 / result.seconds)


def one_change(pair: Pair, peer: Peer, size: Size) -> Result:
    peer.prepare()
    measure.make_files(pair.sender.tree, size.tree_files, 4096)
    _first_copy(pair, peer)
    time.sleep(SETTLE_SECONDS)
    source = random.Random(7)
    # Each file once: unison takes a second change of the same size in the same second for none.
    files = source.sample(sorted(pair.sender.tree.rglob("f*")), size.changes)
    sent = pair.sent_bytes()
    taken: list[float] = []
    until = time.monotonic() + CHANGES_SECONDS
    while len(taken) < size.changes and (len(taken) < CHANGES_MIN or time.monotonic() < until):
        changed = files[len(taken)]
        changed.write_bytes(source.randbytes(1024))
        closed = time.perf_counter()
        process = peer.push(changed)
        seen = measure.wait_file_equal(changed, pair.receiver.tree / changed.relative_to(pair.sender.tree), process)
        taken.append((seen - closed) * 1000)
        if process is not None:
            wait_for_end(process, timeout=measure.CHANGE_TIMEOUT)
        # Not in step with anybody's delay or tick.
        time.sleep(source.uniform(0.01, 0.05))
    p50, p99 = measure.percentile(taken, 0.5), measure.percentile(taken, 0.99)
    per_change = (pair.sent_bytes() - sent) // len(taken)
    return Result(p50 / 1000, per_change, p50_ms=p50, p99_ms=p99, repeats=len(taken))


def pages_overwritten(pair: Pair, peer: Peer, size: Size) -> Result:
    def overwrite() -> None:
        source = random.Random(3)
        with open(pair.sender.tree / "big", "r+b") as file:
            for _ in range(64):
                file.seek(source.randrange(size.edited_bytes // 4096) * 4096)
                file.write(source.randbytes(4096))

    return _edit(pair, peer, size, overwrite)


def byte_inserted(pair: Pair, peer: Peer, size: Size) -> Result:
    def insert() -> None:
        # As an editor does it: a new file beside, renamed over the old one. Beside means outside of the tree.
        aside = pair.sender.filesystem / "aside"
        aside.write_bytes(b"x" + (pair.sender.tree / "big").read_bytes())
        os.replace(aside, pair.sender.tree / "big")

    return _edit(pair, peer, size, insert)


def directory_renamed(pair: Pair, peer: Peer, size: Size) -> Result:
    peer.prepare()
    measure.make_files(pair.sender.tree / "before", size.renamed_files, 65536)
    _first_copy(pair, peer)
    time.sleep(SETTLE_SECONDS)
    sent = pair.sent_bytes()
    began = time.perf_counter()
    os.rename(pair.sender.tree / "before", pair.sender.tree / "after")
    process = peer.push()
    ended = measure.wait_tree_equal(pair, process)
    return _finished(pair, process, began, ended, sent)


def nothing_changed(pair: Pair, peer: Peer, size: Size) -> Result | None:
    if peer.live and type(peer).unchanged is Peer.unchanged:
        return None
    peer.prepare()
    measure.make_files(pair.sender.tree, size.quiet_files, 64)
    _first_copy(pair, peer)
    time.sleep(SETTLE_SECONDS)
    sent = pair.sent_bytes()
    began = time.perf_counter()
    process = peer.unchanged()
    assert process is not None
    wait_for_end(process, timeout=measure.TREE_TIMEOUT)
    return Result(time.perf_counter() - began, pair.sent_bytes() - sent)


def memory_per_file(pair: Pair, peer: Peer, size: Size) -> Result | None:
    """What a quiet receiver holds resident for each file: after a restart with the tree, less one with almost none."""
    if not isinstance(peer, Everynode):
        return None
    peer.prepare()
    measure.make_files(pair.sender.tree, 100, 64)
    _first_copy(pair, peer)
    empty = peer.quiet_resident_bytes()
    measure.make_files(pair.sender.tree / "more", size.quiet_files, 64)
    measure.wait_tree_equal(pair, None)
    growth = peer.quiet_resident_bytes() - empty
    return Result(0.0, value=growth / size.quiet_files)


def _edit(pair: Pair, peer: Peer, size: Size, change: Callable[[], None]) -> Result:
    peer.prepare()
    measure.make_file(pair.sender.tree / "big", size.edited_bytes)
    _first_copy(pair, peer)
    time.sleep(SETTLE_SECONDS)
    sent = pair.sent_bytes()
    change()
    began = time.perf_counter()
    process = peer.push(pair.sender.tree / "big")
    ended = measure.wait_file_equal(pair.sender.tree / "big", pair.receiver.tree / "big", process)
    return _finished(pair, process, began, ended, sent)


def _first_copy(pair: Pair, peer: Peer) -> Result:
    wanted = outline(pair.sender.tree)
    sent = pair.sent_bytes()
    began = time.perf_counter()
    process = peer.begin()
    ended = measure.wait_tree_equal(pair, process, wanted)
    return _finished(pair, process, began, ended, sent)


def _finished(pair: Pair, process: subprocess.Popen[bytes] | None, began: float, ended: float, sent: int) -> Result:
    if process is not None:
        wait_for_end(process, timeout=measure.CHANGE_TIMEOUT)
    return Result(ended - began, pair.sent_bytes() - sent)


@dataclass(frozen=True)
class Row:
    """One row: its short name for `--rows`, its title, how it is measured, whether the floors take part."""

    name: str
    title: str
    measured: Callable[[Pair, Peer, Size], Result | None]
    unit: str
    floors: bool = False


ROWS = (
    Row("first", "first copy, many files of 4 KiB", first_copy_small, "files/s", floors=True),
    Row("big", "first copy, one big file", first_copy_big, "MB/s", floors=True),
    Row("change", "one 1-KiB change in a tree", one_change, "ms p50/p99"),
    Row("pages", "big file, 64 pages overwritten", pages_overwritten, "s/MB sent"),
    Row("insert", "big file, one byte inserted in front", byte_inserted, "s/MB sent"),
    Row("rename", "directory of 64-KiB files renamed", directory_renamed, "s/MB sent"),
    Row("quiet", "nothing changed", nothing_changed, "s"),
    Row("memory", "resident memory of a quiet node", memory_per_file, "bytes/file"),
)
