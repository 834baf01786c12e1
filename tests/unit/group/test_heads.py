"""Heads: what is said of this node's knowledge, and what peers' words prove."""

from __future__ import annotations

import pytest

from everynode.group import heads as module
from everynode.group.ground import Ground
from everynode.group.heads import HeadsKeeper
from everynode.model.ids import Dot, Sequence
from everynode.model.message import Heads
from everynode.model.path import RelPath
from everynode.model.record import Vector
from tests.unit.core.samples import NODE_A, NODE_B, NODE_C, A, B, C, dot
from tests.unit.group.fakes import GROUP, new_ground

EVERYBODY = frozenset({NODE_A, NODE_B, NODE_C})


@pytest.fixture
def ground() -> Ground:
    return new_ground()


def said(heard: Vector, placed: Vector, *exceptions: Dot) -> Heads:
    return Heads(GROUP, heard, placed, exceptions)


def vector(**numbers: int) -> Vector:
    return {{"A": A, "B": B, "C": C}[name]: Sequence(number) for name, number in numbers.items()}


def durable(ground: Ground, sequence: int) -> None:
    """Own changes up to this one stand here, on stable storage."""
    ground.placed = vector(A=sequence)
    with ground.index.transaction():
        ground.index.change_state().synced = sequence


def test_what_is_said_is_what_is_known_and_what_is_placed_but_for_what_is_stuck(ground: Ground) -> None:
    keeper = HeadsKeeper(ground)
    with ground.index.transaction():
        ground.index.claim(vector(B=5))
    ground.placed = vector(B=4)
    keeper.stuck[RelPath(b"a")] = (dot(B, 2), dot(C, 1))
    now = keeper.current()
    assert (now.heard, now.placed, now.exceptions) == (vector(B=5), vector(B=4), (dot(B, 2), dot(C, 1)))


def test_too_many_exceptions_to_name_lower_what_is_claimed(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXCEPTIONS_MAX", 2)
    keeper = HeadsKeeper(ground)
    ground.placed = vector(B=9, C=9)
    for number in (8, 3, 7, 4, 6):
        keeper.stuck[RelPath(b"%d" % number)] = (dot(B, number),)
    now = keeper.current()
    assert now.exceptions == (dot(B, 8), dot(B, 3))
    assert now.placed == vector(B=3, C=9)
    assert ground.placed == vector(B=9, C=9)


def test_a_change_has_reached_those_that_say_they_placed_it(ground: Ground) -> None:
    keeper = HeadsKeeper(ground)
    durable(ground, 3)
    keeper.heard(NODE_B, said(vector(A=3), vector(A=2)))
    keeper.heard(NODE_C, said(vector(A=3), vector(A=3)))
    reached = keeper.reached({dot(A, 3)})
    assert (reached.nodes, reached.missing) == (frozenset({NODE_A, NODE_C}), frozenset({NODE_B}))
    keeper.heard(NODE_B, said(vector(A=3), vector(A=3)))
    assert keeper.reached({dot(A, 3)}).nodes == EVERYBODY


def test_a_change_that_is_an_exception_has_not_reached(ground: Ground) -> None:
    keeper = HeadsKeeper(ground)
    durable(ground, 3)
    keeper.heard(NODE_B, said(vector(A=3), vector(A=3), dot(A, 2)))
    assert keeper.reached({dot(A, 3)}).nodes == frozenset({NODE_A, NODE_B})
    assert keeper.reached({dot(A, 2), dot(A, 3)}).nodes == frozenset({NODE_A})
    keeper.stuck[RelPath(b"a")] = (dot(A, 2),)
    assert keeper.reached({dot(A, 2)}).nodes == frozenset()
    assert keeper.reached({dot(A, 3)}).nodes == frozenset({NODE_A, NODE_B})


def test_all_up_to_a_vector_has_reached_only_without_exceptions_below_it(ground: Ground) -> None:
    keeper = HeadsKeeper(ground)
    durable(ground, 3)
    keeper.heard(NODE_B, said(vector(A=3), vector(A=3), dot(A, 2)))
    keeper.heard(NODE_C, said(vector(A=3), vector(A=3), dot(A, 4)))
    assert keeper.reached(vector(A=3)).nodes == frozenset({NODE_A, NODE_C})
    assert keeper.reached(vector(A=1)).nodes == EVERYBODY


def test_who_never_spoke_has_nothing_and_who_is_no_member_does_not_count(ground: Ground) -> None:
    keeper = HeadsKeeper(ground)
    keeper.heard(b"stranger" * 2, said(vector(A=9), vector(A=9)))  # type: ignore[arg-type]
    assert keeper.reached({dot(A, 1)}).nodes == frozenset()
    assert keeper.reached({dot(A, 1)}).missing == EVERYBODY


def test_own_changes_that_are_not_on_stable_storage_have_not_reached_their_author(ground: Ground) -> None:
    keeper = HeadsKeeper(ground)
    durable(ground, 2)
    ground.placed = vector(A=3)
    assert keeper.current().placed == vector(A=2)
    assert keeper.reached({dot(A, 2)}).nodes == frozenset({NODE_A})
    assert keeper.reached({dot(A, 3)}).nodes == frozenset()


def test_late_heads_take_nothing_back(ground: Ground) -> None:
    keeper = HeadsKeeper(ground)
    keeper.heard(NODE_B, said(vector(A=3, B=1), vector(A=3)))
    keeper.heard(NODE_B, said(vector(A=2), vector(A=2)))
    assert ground.heads[NODE_B].heard == vector(A=3, B=1)


def test_how_far_a_peer_is_behind(ground: Ground) -> None:
    keeper = HeadsKeeper(ground)
    with ground.index.transaction():
        ground.index.claim(vector(A=5, B=2))
    assert keeper.behind(NODE_B) is None
    keeper.heard(NODE_B, said(vector(A=5, B=2), vector(A=3, B=2), dot(A, 1)))
    assert keeper.behind(NODE_B) == 3
