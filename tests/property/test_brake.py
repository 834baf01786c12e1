"""Released spans travel in any order, any number of times: joining them must not depend on either."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from everynode.core.brake import covers, join_spans, without
from everynode.model.hold import Span
from everynode.model.ids import Dot, Sequence
from tests.unit.core.samples import A, B

NUMBERS = st.integers(1, 12)
SPANS = st.lists(
    st.tuples(st.sampled_from([A, B]), NUMBERS, NUMBERS).map(
        lambda of: Span(of[0], Sequence(min(of[1:])), Sequence(max(of[1:])))
    ),
    max_size=6,
).map(tuple)
DOTS: list[Dot] = [(origin, Sequence(number)) for origin in (A, B) for number in range(1, 13)]


@given(SPANS, SPANS, SPANS)
def test_joining_is_a_join(one: tuple[Span, ...], other: tuple[Span, ...], third: tuple[Span, ...]) -> None:
    joined = join_spans(one, other)
    assert joined == join_spans(other, one)
    assert join_spans(joined, third) == join_spans(one, join_spans(other, third))
    assert join_spans(joined, joined) == joined == join_spans(joined, one)


@given(SPANS, SPANS)
def test_joined_spans_cover_exactly_what_one_of_them_covers(one: tuple[Span, ...], other: tuple[Span, ...]) -> None:
    joined = join_spans(one, other)
    for dot in DOTS:
        assert covers(joined, dot) == (covers(one, dot) or covers(other, dot))


@given(SPANS, SPANS, st.integers(1, 4))
def test_a_bounded_join_is_done_once(one: tuple[Span, ...], other: tuple[Span, ...], most: int) -> None:
    joined = join_spans(one, other, most)
    assert len(joined) <= most
    assert join_spans(joined, one, most) == joined, "else two nodes would tell each other for ever"


@given(SPANS.filter(bool), SPANS)
def test_what_is_left_of_a_hold_is_not_released(spans: tuple[Span, ...], released: tuple[Span, ...]) -> None:
    hold = spans[0]
    left = without(hold, join_spans((), released))
    for dot in DOTS:
        if hold.covers(dot) and not covers(released, dot):
            assert left is not None and left.covers(dot)
    if left is not None:
        assert hold.covers((left.origin, left.first)) and hold.covers((left.origin, left.last))
        assert not covers(released, (left.origin, left.first)) and not covers(released, (left.origin, left.last))
