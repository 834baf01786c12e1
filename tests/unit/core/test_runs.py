"""Runs: when a batch closes without a gap, what a run has to send, when running is sound, what may be forgotten."""

from __future__ import annotations

import pytest

from everynode.core.runs import Side, Standing, forgettable, may_claim, standing, wanted
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


def side(knowledge: Vector, forgotten: Vector | None = None, *, settled: bool = True) -> Side:
    return Side(knowledge, forgotten or {}, settled)


def vector(**numbers: int) -> Vector:
    return {{"A": A, "B": B, "C": C}[name]: Sequence(number) for name, number in numbers.items()}


def both_ways(one: Side, other: Side) -> Standing:
    assert standing(one, other) is standing(other, one)
    return standing(one, other)


def test_nodes_that_forgot_nothing_run() -> None:
    assert both_ways(side(vector(A=5)), side(vector(B=3))) is Standing.RUN


def test_who_has_not_heard_what_the_other_forgot_compares() -> None:
    forgot = side(vector(A=9), vector(A=6))
    assert both_ways(side(vector(A=5)), forgot) is Standing.COMPARE
    assert both_ways(side(vector(A=6)), forgot) is Standing.RUN


def test_who_forgot_what_the_other_never_heard_compares_whatever_he_knows_himself() -> None:
    assert both_ways(side(vector(A=9), vector(B=2)), side(vector(A=9, B=1), vector(A=3))) is Standing.COMPARE
    assert both_ways(side(vector(A=9, B=2), vector(B=2)), side(vector(A=9, B=2), vector(A=3))) is Standing.RUN


def test_who_knows_nothing_has_nothing_to_revive() -> None:
    assert both_ways(side({}), side(vector(A=9), vector(A=6))) is Standing.RUN


def test_a_restored_backup_from_before_an_author_joined_compares() -> None:
    """It holds what a deletion of that author has killed, and the deletion was forgotten: nobody would ever tell it."""
    backup = side(vector(B=1))
    assert both_ways(backup, side(vector(A=5, B=1), vector(A=5))) is Standing.COMPARE


def test_who_is_still_hearing_his_first_run_goes_on_with_any_member() -> None:
    """His first run was cut: what he holds came from members after they had heard all that they forgot since."""
    young = side(vector(B=1), settled=False)
    assert both_ways(young, side(vector(A=5, B=1), vector(A=5))) is Standing.RUN
    assert both_ways(side(vector(B=1)), side(vector(A=5, B=1), vector(A=5), settled=False)) is Standing.COMPARE


def test_a_deletion_is_forgotten_only_when_all_have_heard_it() -> None:
    assert forgettable(version(dead(A, 3)), {A: 3})
    assert not forgettable(version(dead(A, 3)), {A: 2})
    assert not forgettable(version(dead(A, 3), dead(B, 1)), {A: 3})
    assert forgettable(version(dead(A, 3), dead(B, 1)), {A: 3, B: 1})


def test_what_lives_is_never_forgotten() -> None:
    assert not forgettable(version(live(A, 3)), {A: 3})
    assert not forgettable(version(dead(A, 3), live(B, 1)), {A: 3, B: 1})
