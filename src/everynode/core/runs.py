"""Runs: when knowledge may be claimed, and what a catch-up has to send.

Knowledge claimed dot by dot loses changes; it is claimed only at the checkpoint that closes a run. A live batch is a
run of one author: it holds, for every change of the origin in (before, after], the present record of its path, and a
record of a path always covers all changes of this path by its own author.
"""

from __future__ import annotations

from enum import Enum

from everynode.core.vectors import covers, dominates
from everynode.core.versions import full_context
from everynode.model.ids import Origin, Sequence
from everynode.model.record import Vector, Version


class Standing(Enum):
    """How two nodes that meet may learn from each other."""

    RUN = "run"
    COMPARE = "compare"
    """The other has forgotten tombstones that this one never heard: what this one holds may be dead."""


def may_claim(knowledge: Vector, origin: Origin, before: Sequence) -> bool:
    """Whether a batch that starts after `before` closes without a gap."""
    return knowledge.get(origin, 0) >= before


def wanted(version: Version, knows: Vector) -> bool:
    """Whether a record has anything for one who knows `knows`."""
    return any(not covers(knows, sibling.dot) for sibling in version.siblings)


def standing(knowledge: Vector, forgotten: Vector, *, empty: bool) -> Standing:
    """How one who has this `knowledge` may learn from one who has `forgotten` this.

    Who knows all that the other has forgotten holds nothing that is dead there, and who holds nothing at all (`empty`)
    neither. In the other direction nothing can go wrong: what the other holds and is dead here is known here.
    """
    return Standing.RUN if empty or dominates(knowledge, forgotten) else Standing.COMPARE


def forgettable(version: Version, heard_by_all: Vector) -> bool:
    """A deletion that every member has heard, and all that it superseded.

    For what it superseded may be heard of and not known yet: then this record alone says that it is dead.
    """
    return all(not sibling.live for sibling in version.siblings) and dominates(heard_by_all, full_context(version))
