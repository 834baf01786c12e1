"""Paths inside a root: bytes of their own type, checked component by component."""

from __future__ import annotations

from typing import NewType

from everynode.errors import PathError
from everynode.limits import NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX, RESERVED_NAME

RelPath = NewType("RelPath", bytes)
"""Components joined by `/`; no leading or trailing slash. The root itself is `ROOT` (empty)."""

ROOT = RelPath(b"")


def parse_path(raw: bytes) -> RelPath:
    """`raw` as a path below a root.

    Raises PathError for what could leave the root or cannot be a name: empty components, `.`, `..`,
    NUL, names or paths that are too long, and everynode's own folder.
    """
    if not raw:
        raise _refused(raw, "it is empty")
    if len(raw) > PATH_BYTES_MAX:
        raise _refused(raw, f"it is longer than {PATH_BYTES_MAX} bytes")
    if b"\0" in raw:
        raise _refused(raw, "it contains a NUL byte")
    names = raw.split(b"/")
    if len(names) > PATH_DEPTH_MAX:
        raise _refused(raw, f"it is deeper than {PATH_DEPTH_MAX} directories")
    if names[0] == RESERVED_NAME:
        raise _refused(raw, "that folder is everynode's own")
    for name in names:
        if name in (b"", b".", b".."):
            raise _refused(raw, f"a component is {name.decode()!r}")
        if len(name) > NAME_BYTES_MAX:
            raise _refused(raw, f"a component is longer than {NAME_BYTES_MAX} bytes")
    return RelPath(raw)


def _refused(raw: bytes, why: str) -> PathError:
    return PathError(f"not a path inside a root: {show_path(raw[:300])}: {why}", path=raw)


def parent_of(path: RelPath) -> RelPath:
    """The directory that holds `path`; ROOT for a top-level path."""
    return RelPath(path.rpartition(b"/")[0])


def ancestors_of(path: RelPath) -> list[RelPath]:
    """The directories above `path`, the nearest first, without ROOT."""
    found = []
    while path := parent_of(path):
        found.append(path)
    return found


def name_of(path: RelPath) -> bytes:
    return path.rpartition(b"/")[2]


def join(directory: RelPath, name: bytes) -> RelPath:
    return RelPath(directory + b"/" + name if directory else name)


def is_below(path: RelPath, directory: RelPath) -> bool:
    """True if `path` lies strictly inside `directory`."""
    return path.startswith(directory + b"/") if directory else bool(path)


def subtree_range(directory: RelPath) -> tuple[bytes, bytes]:
    """(low, high): exactly the paths strictly inside `directory` satisfy low <= path < high.

    `0` follows `/` in ASCII, so the children of a directory are one contiguous range of bytes.
    """
    return (directory + b"/", directory + b"0") if directory else (b"\x01", b"\xff" * 8)


def show_path(path: bytes) -> str:
    """For people and JSON: UTF-8 where possible, otherwise and for control characters `\\xNN`."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
