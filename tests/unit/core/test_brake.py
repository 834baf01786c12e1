"""The brake's decision: what counts as removed, how many are too many, and what spans say."""

from __future__ import annotations

import pytest

from everynode.core.brake import Tally, bound, covers, join_spans, removes, spans_of, without
from everynode.limits import BRAKE_WINDOW
from everynode.model.entry import Entry
from everynode.model.hold import Span
from everynode.model.ids import Sequence
from tests.unit.core.samples import A, B, directory, dot, file, symlink


def span(first: int, last: int) -> Span:
    return Span(A, Sequence(first), Sequence(last))


@pytest.mark.parametrize(
    ("there", "wanted", "counts"),
    [
        (file(b"x"), None, True),
        (file(b""), None, True),
        (symlink(), None, True),
        (directory(), None, False),
        (None, None, False),
        (None, file(b""), False),
        (file(b"x"), file(b""), True),
        (file(b""), file(b""), False),
        (file(b"x"), file(b"y"), False),
        (file(b"x"), symlink(), False),
        (symlink(), file(b""), False),
    ],
)
def test_files_that_go_or_are_emptied_count(there: Entry | None, wanted: Entry | None, counts: bool) -> None:
    assert removes(there, wanted) == counts


def test_a_small_tree_may_lose_all_it_has() -> None:
    assert bound(5, 1000, 10) == 1000


def test_a_large_tree_may_lose_its_share() -> None:
    assert bound(100_000, 1000, 10) == 10_000


def test_without_a_share_the_number_alone_decides() -> None:
    assert bound(100_000, 1000, 0) == 1000


def test_zero_files_switch_the_brake_off() -> None:
    assert bound(100_000, 0, 10) is None


def test_what_was_placed_counts_for_a_while() -> None:
    tally = Tally()
    tally.add(100.0, 3, (span(1, 3),))
    tally.add(200.0, 2, (span(7, 8),))
    assert tally.lately(200.0) == 5
    assert tally.spans(200.0) == (span(1, 3), span(7, 8))
    assert tally.lately(100.5 + BRAKE_WINDOW) == 2
    assert tally.spans(100.5 + BRAKE_WINDOW) == (span(7, 8),)
    assert tally.lately(201.0 + BRAKE_WINDOW) == 0


def test_a_burst_is_what_was_placed_in_the_last_moment() -> None:
    tally = Tally()
    tally.add(100.0, 3, ())
    tally.add(100.2, 4, ())
    assert tally.burst(100.3) == 7
    assert tally.burst(102.0) == 0
    assert tally.lately(102.0) == 7


def test_spans_of_single_changes_are_as_long_as_they_can_be() -> None:
    assert spans_of([dot(A, 2), dot(A, 1), dot(B, 3), dot(A, 4)]) == (
        span(1, 2),
        span(4, 4),
        Span(B, Sequence(3), Sequence(3)),
    )


def test_a_span_covers_its_ends_and_no_other_origin() -> None:
    assert covers([span(2, 4)], dot(A, 2)) and covers([span(2, 4)], dot(A, 4))
    assert not covers([span(2, 4)], dot(A, 1)) and not covers([span(2, 4)], dot(A, 5))
    assert not covers([span(2, 4)], dot(B, 3))


def test_of_too_many_spans_the_latest_stay() -> None:
    assert join_spans((span(1, 1), span(3, 3)), (span(5, 5),), 2) == (span(3, 3), span(5, 5))


@pytest.mark.parametrize(
    ("released", "left"),
    [
        ((), span(10, 20)),
        ((span(10, 20),), None),
        ((span(1, 30),), None),
        ((span(5, 14),), span(15, 20)),
        ((span(15, 25),), span(10, 14)),
        ((span(12, 14),), span(10, 20)),
        ((span(10, 12), span(13, 20)), None),
        ((Span(B, Sequence(1), Sequence(99)),), span(10, 20)),
    ],
)
def test_what_is_left_of_a_hold(released: tuple[Span, ...], left: Span | None) -> None:
    assert without(span(10, 20), released) == left
