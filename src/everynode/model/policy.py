"""What a group is told to do: settings that hold for all nodes, and this node's overrides."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from everynode import limits

ConflictPolicy = Literal["newest", "oldest", "largest", "smallest"]

Pattern = Annotated[str, Meta(min_length=1, max_length=limits.PATTERN_CHARACTERS_MAX)]


class VaultPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    generations: Annotated[int, Meta(ge=0, le=1_000_000)] = limits.VAULT_GENERATIONS
    """Old copies kept per path."""
    age_days: Annotated[float, Meta(ge=0, le=1_000_000)] = limits.VAULT_AGE_DAYS
    bytes: Annotated[int, Meta(ge=0, le=2**62)] = limits.VAULT_BYTES
    """All generations of the group on one node."""


class GroupPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same on every node. `exclude` has gitignore semantics, decides capture and placing, never knowledge."""

    exclude: Annotated[tuple[Pattern, ...], Meta(max_length=limits.PATTERNS_MAX)] = ()
    conflict: ConflictPolicy = "newest"
    settle_ms: Annotated[int, Meta(ge=0, le=limits.SETTLE_MS_MAX)] = limits.SETTLE_MS
    vault: VaultPolicy = VaultPolicy()
    follow_seconds: Annotated[int, Meta(ge=0, le=limits.FOLLOW_SECONDS_MAX)] = limits.FOLLOW_SECONDS
    """How long a file is held open before what stands in it is sent; 0: it is sent when it is closed."""
    evict_days: Annotated[float, Meta(ge=0, le=1_000_000)] = limits.EVICT_DAYS
    """Deletions are forgotten without members that were not linked for so long. 0: never."""
    scrub_days: Annotated[float, Meta(ge=0, le=limits.SCRUB_DAYS_MAX)] = limits.SCRUB_DAYS
    """In which all contents are read again once, to find what the disk has lost; 0: never."""
    brake_files: Annotated[int, Meta(ge=0, le=2**53)] = limits.BRAKE_FILES
    """Removals by one peer are held when they are more than this, and more than `brake_percent`. 0: never."""
    brake_percent: Annotated[float, Meta(ge=0, le=100)] = limits.BRAKE_PERCENT
    """Of the group's files."""


class GroupSettings(msgspec.Struct, frozen=True):
    """A group as this node is to keep it."""

    id: bytes
    """16 random bytes; never reused."""
    name: str
    """Unique on this node."""
    root: str
    """Absolute directory on this node; may not exist yet."""
    policy: GroupPolicy
    trouble: str = ""
    """Why it must not run here (the root overlaps another one or the node's home), for a person; empty: it may."""
