"""Trouble with one path, kept as data until it is solved."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from everynode.model.path import RelPath


class Trouble(StrEnum):
    UNREADABLE = "unreadable"  # no permission, or an I/O error, while looking
    NEVER_QUIET = "never-quiet"  # has a writer, or changes while it is read
    UNSUPPORTED = "unsupported"  # a kind that is not replicated (socket, FIFO, device)
    NO_SPACE = "no-space"  # disk or inodes full while staging
    ATTRIBUTE = "attribute"  # an owner, mode or time cannot be set here
    WRITER = "writer"  # placing waits for a local writer
    NO_CONTENT = "no-content"  # no reachable node has the bytes
    PLACING = "placing"  # the kernel refused a step of placing
    DAMAGED = "damaged"  # the disk has lost what was there: nobody changed it, and it is not what was written
    HELD = "held"  # a peer removed or emptied so much at once that a person is asked
    NAME = "name"  # the name cannot exist on this filesystem


class Problem(msgspec.Struct, frozen=True):
    path: RelPath
    trouble: Trouble
    detail: str
    """What happened and what to do, for a person."""
    since: float = 0.0
    """Unix seconds when first seen."""
    blocks: bool = True
    """Whether the path is kept from being in sync (an attribute that cannot be set does not)."""
