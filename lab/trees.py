"""Outside comparison of trees: what an independent eye sees, with no line of everynode's own code."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

RESERVED = b".everynode"
"""The folder at the top of each root that belongs to the node and is never replicated."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands at a path: everything that has to be the same on each node."""

    kind: str
    size: int
    digest: str
    target: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int

    def differences(self, other: Seen) -> str:
        """The fields that differ, readable: `mode 33188 / 33152`."""
        return ", ".join(
            f"{field.name} {getattr(self, field.name)!r} / {getattr(other, field.name)!r}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        )


Tree = Mapping[bytes, Seen]


def snapshot(root: Path | str | bytes) -> dict[bytes, Seen]:
    """Every path below root (without the reserved folder), contents hashed; what vanishes meanwhile is left out."""
    top = os.fsencode(root)
    found: dict[bytes, Seen] = {}
    for path, status in _walk(top):
        full = os.path.join(top, path)
        try:
            found[path] = _look(full, status)
        except FileNotFoundError:
            continue
    return found


Outline = dict[bytes, tuple[int, int]]


def outline(root: Path | str | bytes) -> Outline:
    """Path -> (type and mode, size of a file or 0): cheap, no content is read."""
    top = os.fsencode(root)
    return {
        path: (status.st_mode, status.st_size if stat.S_ISREG(status.st_mode) else 0) for path, status in _walk(top)
    }


def difference(one: Tree, other: Tree, *, shown: int = 10) -> list[str]:
    """One readable line per path that differs; at most `shown` lines and a last one with the rest."""
    lines = []
    for path in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(path), other.get(path)
        if mine == theirs:
            continue
        name = os.fsdecode(path)
        if mine is None:
            lines.append(f"{name}: only on the second")
        elif theirs is None:
            lines.append(f"{name}: only on the first")
        else:
            lines.append(f"{name}: {mine.differences(theirs)}")
    rest = len(lines) - shown
    return lines if rest <= 0 else [*lines[:shown], f"... and {rest} more"]


def compare(roots: Sequence[Path]) -> list[str]:
    """Compare every root with the first; an empty list means equal."""
    first = snapshot(roots[0])
    found = []
    for root in roots[1:]:
        found += [f"{roots[0]} / {root}: {line}" for line in difference(first, snapshot(root))]
    return found


def wait_until(condition: Callable[[], T], *, timeout: float, every: float = 0.02) -> T:
    """Ask until the answer is true, and return it; the last (false) answer when the time is over."""
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer or time.monotonic() >= deadline:
            return answer
        time.sleep(every)


def _walk(top: bytes) -> list[tuple[bytes, os.stat_result]]:
    found: list[tuple[bytes, os.stat_result]] = []
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(os.path.join(top, folder)))
        except FileNotFoundError:
            continue
        for entry in entries:
            if not folder and entry.name == RESERVED:
                continue
            path = os.path.join(folder, entry.name)
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            found.append((path, status))
            if stat.S_ISDIR(status.st_mode):
                waiting.append(path)
    return found


def _look(full: bytes, status: os.stat_result) -> Seen:
    mode = status.st_mode
    digest, target, size = "", b"", 0
    if stat.S_ISREG(mode):
        kind, size = "file", status.st_size
        with open(full, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    elif stat.S_ISDIR(mode):
        kind = "directory"
    elif stat.S_ISLNK(mode):
        kind, target = "link", os.readlink(full)
    else:
        kind = "special"
    return Seen(
        kind=kind,
        size=size,
        digest=digest,
        target=target,
        mode=stat.S_IMODE(mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
    )
