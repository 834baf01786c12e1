"""Vectors (origin -> highest sequence): cover, join, compare."""

from __future__ import annotations

from everynode.model.ids import Dot
from everynode.model.record import Vector


def covers(vector: Vector, dot: Dot) -> bool:
    return vector.get(dot[0], 0) >= dot[1]


def dominates(mine: Vector, theirs: Vector) -> bool:
    """True if `mine` covers everything that `theirs` covers."""
    return all(mine.get(origin, 0) >= sequence for origin, sequence in theirs.items())


def join(mine: Vector, theirs: Vector) -> Vector:
    """The least vector that covers both."""
    joined = dict(mine)
    for origin, sequence in theirs.items():
        if joined.get(origin, 0) < sequence:
            joined[origin] = sequence
    return joined


def meet(vectors: list[Vector]) -> Vector:
    """The greatest vector that each of `vectors` covers; empty for none."""
    if not vectors:
        return {}
    first, *others = vectors
    least = {}
    for origin, sequence in first.items():
        for other in others:
            sequence = min(sequence, other.get(origin, 0))  # type: ignore[assignment]  # min() of Sequence and int
        if sequence:
            least[origin] = sequence
    return least


def missing_count(mine: Vector, theirs: Vector) -> int:
    """How many changes `theirs` covers that `mine` does not: how far behind I am."""
    return sum(max(0, sequence - mine.get(origin, 0)) for origin, sequence in theirs.items())
