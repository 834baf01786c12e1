"""Whole trees as anybody sees them: lstat and SHA-256 of each path, compared without the rest of everynode."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from everynode.limits import RESERVED_NAME

# What is said of trees that differ, in lines.
SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Seen:
    mode: int
    """With the type."""
    uid: int
    gid: int
    mtime_ns: int
    size: int
    content: str
    """SHA-256 of a file, target of a symlink."""


Tree = dict[bytes, Seen]


def read_tree(root: str) -> Tree:
    """Everything below `root` but everynode's own folder; what changes under our eyes is left out."""
    top = os.fsencode(root)
    found: Tree = {}
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        for path in _paths_in(top, folder):
            try:
                seen = found[path] = _look(os.path.join(top, path))
            except OSError:
                continue
            if stat.S_ISDIR(seen.mode):
                waiting.append(path)
    return found


def differences(trees: Mapping[str, Tree]) -> list[str]:
    """Each path that is not the same in all trees, by name; empty when all are equal."""
    names = list(trees)
    lines = []
    for path in sorted(set().union(*trees.values())):
        seen = [trees[name].get(path) for name in names]
        if any(one != seen[0] for one in seen):
            lines.append(f"{os.fsdecode(path)}: " + _told(names, seen))
    rest = len(lines) - SHOWN_MAX
    return lines if rest <= 0 else [*lines[:SHOWN_MAX], f"... and {rest} more paths"]


def _told(names: Sequence[str], seen: Sequence[Seen | None]) -> str:
    missing = [name for name, one in zip(names, seen, strict=True) if one is None]
    if missing:
        return f"missing on {', '.join(missing)}"
    known = [one for one in seen if one is not None]
    fields = [field for field in Seen.__slots__ if len({getattr(one, field) for one in known}) > 1]
    return "; ".join(
        f"{field} " + ", ".join(f"{name} {getattr(one, field)}" for name, one in zip(names, known, strict=True))
        for field in fields
    )


def _paths_in(top: bytes, folder: bytes) -> list[bytes]:
    try:
        names = os.listdir(os.path.join(top, folder))
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if folder or name != RESERVED_NAME]


def _look(full: bytes) -> Seen:
    status = os.lstat(full)
    content = ""
    if stat.S_ISREG(status.st_mode):
        with open(full, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = os.fsdecode(os.readlink(full))
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return Seen(status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, size, content)
