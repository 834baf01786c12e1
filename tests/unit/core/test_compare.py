"""Comparing: what the other side knows and does not hold is dead; all else stays."""

from __future__ import annotations

from everynode.core.compare import still_alive
from tests.unit.core.samples import A, B, dead, live, version


def test_what_both_hold_lives() -> None:
    mine = version(live(A, 3))
    assert still_alive(mine, version(live(A, 3)), {A: 9}) is mine


def test_what_the_other_never_heard_of_lives() -> None:
    mine = version(live(A, 3))
    assert still_alive(mine, None, {}) is mine
    assert still_alive(mine, None, {A: 2, B: 9}) is mine


def test_what_the_other_knows_and_does_not_hold_is_dead() -> None:
    assert still_alive(version(live(A, 3)), None, {A: 3}) is None
    assert still_alive(version(live(A, 3)), version(live(B, 1)), {A: 3}) is None


def test_a_version_dies_alone_and_stays_superseded() -> None:
    left = still_alive(version(live(A, 3), live(B, 5)), None, {A: 3, B: 4})
    assert left == version(live(B, 5), A=3)


def test_deletions_that_the_other_has_forgotten_stay() -> None:
    mine = version(dead(A, 3))
    assert still_alive(mine, None, {A: 3}) is mine
    assert still_alive(version(dead(A, 3), live(B, 5)), None, {A: 3, B: 5}) == version(dead(A, 3), B=5)
