"""Pace: how much of a round that takes days is due by now."""

from __future__ import annotations


def due(total: int, elapsed: float, round_seconds: float) -> int:
    """How many of `total` are to be done when `elapsed` of `round_seconds` has passed: evenly, the first at once."""
    if round_seconds <= 0 or elapsed < 0:
        return 0
    return min(total, int(total * (elapsed / round_seconds)) + 1)


def is_new_round(elapsed: float, round_seconds: float) -> bool:
    """Whether the round is over, or its beginning lies in the future: then the clock was set, and nothing is known."""
    return elapsed < 0 or elapsed >= round_seconds
