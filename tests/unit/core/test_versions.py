"""Versions: merge, hear, supersede, by example; the laws are in tests/property."""

from __future__ import annotations

import pytest

from everynode.core.versions import full_context, hear, make_version, merge, sibling_at, supersede
from everynode.model.ids import Sequence
from everynode.model.record import Version
from tests.unit.core.samples import A, B, C, dead, dot, file, live, version


def test_the_canonical_form_orders_siblings_and_drops_what_they_say_themselves() -> None:
    made = make_version([live(B, 2), live(A, 1)], {C: Sequence(4), B: Sequence(2), A: Sequence(1)})
    assert [s.origin for s in made.siblings] == [A, B]
    assert made.context == {C: 4}
    assert full_context(made) == {A: 1, B: 2, C: 4}


def test_a_context_above_the_siblings_own_dot_is_kept() -> None:
    made = make_version([live(B, 2)], {B: Sequence(5)})
    assert made.context == {B: 5}
    assert full_context(made) == {B: 5}


def test_concurrent_changes_are_both_kept() -> None:
    assert merge(version(live(A, 1)), version(live(B, 1))) == version(live(A, 1), live(B, 1))


def test_what_the_other_side_superseded_goes() -> None:
    assert merge(version(live(A, 1)), version(live(B, 1), A=1)) == version(live(B, 1), A=1)


def test_a_tombstone_beside_a_live_sibling_stays_a_sibling() -> None:
    assert merge(version(live(A, 1)), version(dead(B, 1))) == version(live(A, 1), dead(B, 1))


def test_the_same_sibling_on_both_sides_stays_though_both_contexts_cover_it() -> None:
    assert merge(version(live(A, 1), B=3), version(live(A, 1), C=2)) == version(live(A, 1), B=3, C=2)


def test_contexts_that_cover_each_others_siblings_leave_one_side() -> None:
    """Only a forged record says so; a version without siblings must not come of it."""
    assert merge(version(live(A, 1), B=5), version(live(B, 5), A=5)).siblings


def test_hearing_what_is_held_changes_nothing() -> None:
    of = version(live(A, 1), B=1)
    assert hear(of, of, {A: Sequence(1)}) is None
    assert hear(version(live(B, 2), A=1), version(live(A, 1)), {}) is None


def test_hearing_news_takes_it() -> None:
    assert hear(None, version(live(A, 1)), {}) == version(live(A, 1))
    assert hear(version(live(A, 1)), version(live(A, 2), A=2), {A: Sequence(1)}) == version(live(A, 2), A=2)


def test_what_is_known_and_not_held_is_dead() -> None:
    assert hear(None, version(live(A, 1)), {A: Sequence(1)}) is None
    heard = hear(version(live(B, 1)), version(live(A, 1)), {A: Sequence(1)})
    assert heard is None or heard.siblings == (live(B, 1),)


def test_of_several_siblings_only_the_dead_ones_are_dropped() -> None:
    heard = hear(None, version(live(A, 1), live(B, 2)), {A: Sequence(1)})
    assert heard == version(live(B, 2), A=1)


def test_what_is_known_and_held_stays() -> None:
    held = version(live(A, 1))
    heard = hear(held, version(live(A, 1), live(B, 1)), {A: Sequence(1)})
    assert heard == version(live(A, 1), live(B, 1))


def test_a_dead_sibling_that_was_heard_again_still_supersedes() -> None:
    """Its context is true even if it is dead itself."""
    assert hear(version(live(A, 1), live(C, 1)), version(live(B, 1), A=1), {B: Sequence(1)}) == version(
        live(C, 1), A=1, B=1
    )


def test_a_change_covers_its_base_and_is_alone() -> None:
    base = version(live(B, 1), dead(C, 2), A=3)
    made = supersede(base, A, Sequence(4), file(b"new"), live=True, content=True)
    assert made == version(live(A, 4, file(b"new")), B=1, C=2)
    assert supersede(None, A, Sequence(1), file(), live=True, content=True) == Version((live(A, 1),), {})


def test_a_sequence_that_does_not_rise_is_a_defect() -> None:
    with pytest.raises(AssertionError, match="only rises"):
        supersede(version(live(A, 4)), A, Sequence(4), file(), live=True, content=True)


def test_a_sibling_is_found_by_its_dot() -> None:
    of = version(live(A, 1), live(B, 2))
    assert sibling_at(of, dot(B, 2)) == live(B, 2)
    assert sibling_at(of, dot(B, 1)) is None
