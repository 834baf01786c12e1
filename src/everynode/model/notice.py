"""The kernel's, or an application's, word that a path may have changed. Never believed, only looked at."""

from __future__ import annotations

from enum import IntFlag

import msgspec

from everynode.model.path import RelPath


class What(IntFlag):
    WRITTEN = 1
    """Closed after writing, or renamed to here: complete, look at once."""
    TOUCHED = 2
    """Created, being written, attributes changed: look when settled."""
    GONE = 4
    """Deleted, or renamed away."""
    RENAMED = 8
    """`source` became `path` in one step."""
    DIRECTORY = 16
    """The notice is about a directory."""
    OVERFLOW = 32
    """Notices were lost: `path` (ROOT: everything) must be scanned."""
    VAULT = 64
    """Somebody wrote to the vaulted file named `path` (a single name in the vault folder)."""


class Notice(msgspec.Struct, frozen=True):
    what: What
    path: RelPath
    source: RelPath | None = None
    pid: int = 0
    """The process that did it; 0: unknown."""
