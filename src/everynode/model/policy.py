"""What a group is told to do: settings that hold for all nodes, and this node's overrides."""

from __future__ import annotations

from typing import Literal

import msgspec

from everynode import limits

ConflictPolicy = Literal["newest", "oldest", "largest", "smallest"]


class VaultPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    generations: int = limits.VAULT_GENERATIONS
    """Old copies kept per path."""
    age_days: float = limits.VAULT_AGE_DAYS
    bytes: int = limits.VAULT_BYTES
    """All generations of the group on one node."""


class GroupPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same on every node. `exclude` has gitignore semantics, decides capture and placing, never knowledge."""

    exclude: tuple[str, ...] = ()
    conflict: ConflictPolicy = "newest"
    settle_ms: int = limits.SETTLE_MS
    vault: VaultPolicy = VaultPolicy()
