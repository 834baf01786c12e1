"""Pace: a round is spread evenly over its time."""

from __future__ import annotations

import pytest

from everynode.core.pace import due, is_new_round


@pytest.mark.parametrize(
    ("total", "elapsed", "expected"),
    [(100, 0, 1), (100, 5, 51), (100, 10, 100), (100, 99, 100), (1, 0, 1), (0, 5, 0), (100, -1, 0)],
)
def test_so_much_is_due(total: int, elapsed: float, expected: int) -> None:
    assert due(total, elapsed, 10.0) == expected


def test_a_round_that_takes_no_time_is_none() -> None:
    assert due(100, 5.0, 0.0) == 0


@pytest.mark.parametrize(("elapsed", "new"), [(-1, True), (0, False), (9.9, False), (10, True)])
def test_a_round_ends_with_its_time_or_when_the_clock_was_set_back(elapsed: float, new: bool) -> None:
    assert is_new_round(elapsed, 10.0) is new
