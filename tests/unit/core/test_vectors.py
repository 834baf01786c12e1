"""Vectors: cover, join, meet, compare."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from everynode.core.vectors import covers, dominates, join, meet, missing_count
from everynode.model.record import Vector
from tests.unit.core.samples import A, B, C, dot

vectors = st.dictionaries(st.sampled_from([A, B, C]), st.integers(1, 4))
dots = [dot(origin, sequence) for origin in (A, B, C) for sequence in range(1, 6)]


def covered(vector: Vector) -> set[tuple[bytes, int]]:
    return {one for one in dots if covers(vector, one)}


@given(vectors, vectors)
def test_a_join_covers_what_either_covers_and_nothing_else(one: Vector, other: Vector) -> None:
    before = dict(one)
    assert covered(join(one, other)) == covered(one) | covered(other)
    assert one == before


@given(st.lists(vectors, min_size=1, max_size=4))
def test_a_meet_covers_what_all_cover(several: list[Vector]) -> None:
    least = meet(several)
    assert covered(least) == set.intersection(*map(covered, several))
    assert 0 not in least.values()


def test_the_meet_of_nothing_is_nothing() -> None:
    assert meet([]) == {}


@given(vectors, vectors)
def test_dominating_is_covering_all(one: Vector, other: Vector) -> None:
    assert dominates(one, other) == (covered(one) >= covered(other))
    assert missing_count(one, other) == len(covered(other) - covered(one))


def test_a_missing_origin_counts_as_zero() -> None:
    assert not covers({}, dot(A, 1))
    assert covers({A: 2}, dot(A, 2))
    assert not covers({A: 2}, dot(A, 3))
