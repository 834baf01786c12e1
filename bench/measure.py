"""Clocks and eyes of the benchmark: wait until the receiver's tree is equal, seen from outside, and say since when."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.hosts import Pair
from lab.namespaces import LabError
from lab.trees import Outline, Seen, Tree, difference, outline, snapshot

TREE_TIMEOUT = 240.0
CHANGE_TIMEOUT = 60.0
# Looking costs time that the systems under test need: a whole look every so many times what it took.
LOOK_PAUSE = 2.0
POLL = 0.0002


def wait_tree_equal(
    pair: Pair,
    process: subprocess.Popen[bytes] | None,
    wanted: Outline | None = None,
    *,
    timeout: float = TREE_TIMEOUT,
) -> float:
    """Wait until both trees are equal (names, types, modes, sizes; then contents); return the moment of it.

    `process` is the one-shot tool at work, if any: when it fails, there is nothing to wait for. `wanted` is the outline
    of the sender's tree, taken before there was anything to measure: looking takes a core that the systems need. So the
    moment is the one at which the last name was there, if a whole look right after it finds all equal.
    """
    if wanted is None:
        wanted = outline(pair.sender.tree)
    inodes = len(wanted)
    left = _names_by_directory(wanted)
    deadline = time.perf_counter() + timeout
    while time.perf_counter() < deadline:
        if process is not None and process.poll():
            raise LabError(f"exit {process.returncode}: {process.args!r}")
        # The number of used inodes costs nothing to ask for, and spares looking before the end is near.
        if _inodes_used(pair.receiver.filesystem) < inodes or not _names_there(pair.receiver.tree, left):
            time.sleep(0.005)
            continue
        began = time.perf_counter()
        if outline(pair.receiver.tree) == wanted:
            looked = time.perf_counter() - began
            if not _contents_differ(pair):
                return began
        else:
            looked = time.perf_counter() - began
        time.sleep(max(0.005, LOOK_PAUSE * looked))
    differing = _contents_differ(pair)
    raise LabError(f"not equal after {timeout:.0f} s: {'; '.join(differing[:3])}")


def _names_by_directory(wanted: Outline) -> list[tuple[bytes, set[bytes]]]:
    names: dict[bytes, set[bytes]] = {}
    for path in wanted:
        above, _, name = path.rpartition(b"/")
        names.setdefault(above, set()).add(name)
    return sorted(names.items())


def _names_there(tree: Path, left: list[tuple[bytes, set[bytes]]]) -> bool:
    """Whether all names are there; directories that are complete are taken out of `left`, and not listed again."""
    while left:
        above, names = left[-1]
        try:
            if names.difference(os.listdir(os.path.join(os.fsencode(tree), above))):
                return False
        except FileNotFoundError:
            return False
        left.pop()
    return True


def wait_file_equal(
    source: Path, target: Path, process: subprocess.Popen[bytes] | None, *, timeout: float = CHANGE_TIMEOUT
) -> float:
    """Wait until the file at `target` has the content of `source`; return the moment its final state appeared.

    `process` is the one-shot tool at work, if any: what it has not done when it ends, it will not do.
    """
    wanted = source.read_bytes()
    deadline = time.perf_counter() + timeout
    last: tuple[int, int, int] | None = None
    while True:
        ended = process is not None and process.poll() is not None
        now = time.perf_counter()
        try:
            status = os.stat(target)
        except FileNotFoundError:
            status = None
        look = (status.st_ino, status.st_mtime_ns, status.st_size) if status else None
        if status and look != last and status.st_size == len(wanted) and target.read_bytes() == wanted:
            return now
        last = look
        if process is not None and ended:
            raise LabError(f"{target} is not equal after exit {process.returncode}: {process.args!r}")
        if now > deadline:
            raise LabError(f"{target} is not equal after {timeout:.0f} s")
        time.sleep(POLL)


def percentile(values: Sequence[float], part: float) -> float:
    """The value that `part` (0..1) of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def make_files(folder: Path, count: int, size: int, *, per_directory: int = 100, seed: int = 1) -> None:
    """`count` files of `size` random bytes, the same for the same seed."""
    source = random.Random(seed)
    for first in range(0, count, per_directory):
        directory = folder / f"d{first // per_directory:04}"
        directory.mkdir(parents=True)
        for number in range(first, min(first + per_directory, count)):
            (directory / f"f{number:06}").write_bytes(source.randbytes(size))


def make_file(path: Path, size: int, *, seed: int = 1) -> None:
    """One file of random bytes, in pieces."""
    source = random.Random(seed)
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(source.randbytes(1 << 20))


def _contents_differ(pair: Pair) -> list[str]:
    return difference(_comparable(snapshot(pair.sender.tree)), _comparable(snapshot(pair.receiver.tree)))


def _comparable(tree: Tree) -> Tree:
    """Not every system carries nanoseconds and directory times: compared is what all of them promise."""
    return {path: _without_time(seen) for path, seen in tree.items()}


def _without_time(seen: Seen) -> Seen:
    return replace(seen, mtime_ns=0)


def _inodes_used(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_files - status.f_ffree
