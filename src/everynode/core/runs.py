"""Runs: when knowledge may be claimed, and what a catch-up has to send.

Knowledge claimed dot by dot loses changes; it is claimed only at the checkpoint that closes a run. A live batch is a
run of one author: it holds, for every change of the origin in (before, after], the present record of its path, and a
record of a path always covers all changes of this path by its own author.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from everynode.core.vectors import covers, dominates
from everynode.model.ids import Origin, Sequence
from everynode.model.record import Vector, Version


class Standing(Enum):
    """How two nodes that meet may learn from each other."""

    RUN = "run"
    COMPARE = "compare"
    """One has forgotten tombstones that the other never heard: what it holds may be dead. A run would revive it."""


def may_claim(knowledge: Vector, origin: Origin, before: Sequence) -> bool:
    """Whether a batch that starts after `before` closes without a gap."""
    return knowledge.get(origin, 0) >= before


def wanted(version: Version, knows: Vector) -> bool:
    """Whether a record has anything for one who knows `knows`."""
    return any(not covers(knows, sibling.dot) for sibling in version.siblings)


@dataclass(frozen=True, slots=True)
class Side:
    """What one of two nodes that meet knows and has forgotten, and whether it has closed a run before."""

    knowledge: Vector
    forgotten: Vector
    settled: bool


def standing(mine: Side, theirs: Side) -> Standing:
    """Each must know what the other has forgotten, or be young.

    Who has not closed a run yet holds nothing but what members sent it since it joined; these had heard, before they
    forgot. Anything older may hold what is dead.
    """
    fits = _fits(mine, theirs.forgotten) and _fits(theirs, mine.forgotten)
    return Standing.RUN if fits else Standing.COMPARE


def _fits(side: Side, forgotten: Vector) -> bool:
    return not side.settled or not side.knowledge or dominates(side.knowledge, forgotten)


def forgettable(version: Version, heard_by_all: Vector) -> bool:
    """A deletion that every member has heard."""
    return all(not sibling.live and covers(heard_by_all, sibling.dot) for sibling in version.siblings)
