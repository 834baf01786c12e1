"""Retention: which old contents the vault gives up first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from everynode.model.path import RelPath
from everynode.model.policy import VaultPolicy


@dataclass(frozen=True, slots=True)
class Generation:
    """One content in the vault. `pinned`: a loser of a live conflict; never given up."""

    name: bytes
    path: RelPath
    bytes: int
    kept_ns: int
    """When it was replaced, by this node's clock: good enough to choose by, decides nothing else."""
    pinned: bool


def surplus(generations: Iterable[Generation], policy: VaultPolicy, now_ns: int, bytes_short: int) -> list[Generation]:
    """Generations to remove: too many of a path, too old, too many bytes; then `bytes_short` more for the reserve.

    Deterministic; pinned ones are never returned. Oldest first.
    """
    by_path: dict[RelPath, list[Generation]] = defaultdict(list)
    for generation in generations:
        by_path[generation.path].append(generation)
    out: list[Generation] = []
    kept: list[Generation] = []
    oldest_ns = now_ns - int(policy.age_days * 86_400e9)
    for of_path in by_path.values():
        of_path.sort(key=lambda g: (g.kept_ns, g.name), reverse=True)
        free = [g for g in of_path if not g.pinned]
        for position, generation in enumerate(free):
            spare = position >= policy.generations or generation.kept_ns < oldest_ns
            (out if spare else kept).append(generation)
    kept.sort(key=lambda g: (g.kept_ns, g.name))
    over = max(sum(g.bytes for g in kept) - policy.bytes, bytes_short - sum(g.bytes for g in out))
    for generation in kept:
        if over <= 0:
            break
        out.append(generation)
        over -= generation.bytes
    return sorted(out, key=lambda g: (g.kept_ns, g.name))
