"""Runs: when a batch closes without a gap, what a run has to send, when running is sound, what may be forgotten."""

from __future__ import annotations

import pytest

from everynode.core.runs import Standing, forgettable, may_claim, standing, wanted
from everynode.model.ids import Sequence
from everynode.model.record import Vector
from tests.unit.core.samples import A, B, C, dead, live, version


@pytest.mark.parametrize(("known", "before", "closes"), [(0, 0, True), (3, 3, True), (5, 3, True), (2, 3, False)])
def test_a_batch_is_claimed_only_when_what_came_before_it_is_known(known: int, before: int, closes: bool) -> None:
    knowledge = {A: Sequence(known)} if known else {}
    assert may_claim(knowledge | {B: Sequence(9)}, A, Sequence(before)) is closes


def test_a_record_is_sent_when_any_of_its_siblings_is_news() -> None:
    both = version(live(A, 3), live(B, 2))
    assert wanted(both, {})
    assert wanted(both, {A: 3, B: 1})
    assert wanted(both, {A: 2, B: 2})
    assert not wanted(both, {A: 3, B: 2})
    assert wanted(version(dead(C, 1)), {A: 3})


def vector(**numbers: int) -> Vector:
    return {{"A": A, "B": B, "C": C}[name]: Sequence(number) for name, number in numbers.items()}


def how(knowledge: Vector, forgotten: Vector, *, empty: bool = False) -> Standing:
    return standing(knowledge, forgotten, empty=empty)


def test_of_one_who_forgot_nothing_anybody_may_learn_by_a_run() -> None:
    assert how(vector(A=5), {}) is Standing.RUN
    assert how({}, {}) is Standing.RUN


def test_who_has_not_heard_what_the_other_forgot_compares() -> None:
    assert how(vector(A=5), vector(A=6)) is Standing.COMPARE
    assert how(vector(A=6), vector(A=6)) is Standing.RUN
    assert how(vector(A=9), vector(A=3, B=1)) is Standing.COMPARE


def test_who_holds_nothing_has_nothing_to_revive() -> None:
    assert how({}, vector(A=6), empty=True) is Standing.RUN
    assert how({}, vector(A=6)) is Standing.COMPARE, "a first run that was cut: what came with it may be dead by now"


def test_a_restored_backup_from_before_an_author_joined_compares() -> None:
    """It holds what a deletion of that author has killed, and the deletion was forgotten: nobody would ever tell it."""
    assert how(vector(B=1), vector(A=5)) is Standing.COMPARE


def test_a_deletion_is_forgotten_only_when_all_have_heard_it() -> None:
    assert forgettable(version(dead(A, 3)), {A: 3})
    assert not forgettable(version(dead(A, 3)), {A: 2})
    assert not forgettable(version(dead(A, 3), dead(B, 1)), {A: 3})
    assert forgettable(version(dead(A, 3), dead(B, 1)), {A: 3, B: 1})


def test_what_lives_is_never_forgotten() -> None:
    assert not forgettable(version(live(A, 3)), {A: 3})
    assert not forgettable(version(dead(A, 3), live(B, 1)), {A: 3, B: 1})


def test_a_deletion_is_kept_until_all_that_it_superseded_is_known_too() -> None:
    """Who has only heard of a version, and not claimed it, knows from this record alone that it is dead."""
    over = version(dead(A, 3), B=2)
    assert not forgettable(over, {A: 3})
    assert not forgettable(over, {A: 3, B: 1})
    assert forgettable(over, {A: 3, B: 2})
