"""The laws of the cluster file: whatever was said, in whatever order it is heard, all nodes end with the same."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from everynode.model.policy import GroupPolicy
from everynode.trust.identity import Identity
from everynode.trust.statement_set import StatementSet
from everynode.trust.statements import GroupValue, NodeValue, begin_cluster, state

NODES = 4


@cache
def identities() -> list[Identity]:
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder) / str(number) for number in range(NODES)]
        for home in homes:
            home.mkdir()
        return [Identity.create(home, home.name) for home in homes]


@cache
def genesis() -> tuple[bytes, bytes]:
    """(cluster, raw)"""
    statement = begin_cluster(identities()[0], b"n" * 16)
    return statement.digest, statement.raw


@cache
def node_statement(by: int, of: int, version: int, heirs: int) -> bytes:
    """`heirs`: -1 lets in or changes; else removes, naming those whose bit is set."""
    named = tuple(one.node for number, one in enumerate(identities()) if heirs >= 0 and heirs >> number & 1)
    value = NodeValue(f"n{of}v{version}", identities()[of].certificate, (), named)
    return state(identities()[by], genesis()[0], value, version, removed=heirs >= 0).raw


@cache
def group_statement(by: int, group: int, version: int, removed: bool) -> bytes:
    value = GroupValue(f"g{group}by{by}", "/srv", GroupPolicy())
    key = bytes([group]) * 16
    return state(identities()[by], genesis()[0], value, version, group=key, removed=removed).raw


number = st.integers(0, NODES - 1)
version = st.integers(1, 3)
statement = st.one_of(
    st.builds(node_statement, number, number, version, st.just(-1)),
    st.builds(node_statement, number, number, version, st.integers(-1, 2**NODES - 1)),
    st.builds(group_statement, number, st.integers(0, 1), version, st.booleans()),
)


@st.composite
def histories(draw: st.DrawFn) -> list[bytes]:
    """Mostly connected: everybody is let in by somebody before."""
    let_in = [node_statement(draw(st.integers(0, max(0, of - 1))), of, 1, -1) for of in range(NODES)]
    return [genesis()[1], *let_in, *draw(st.lists(statement, max_size=10))]


def joined(*parts: list[bytes]) -> StatementSet:
    held = StatementSet(genesis()[0])
    for part in parts:
        held.apply(part)
    return held


@settings(max_examples=150, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(history: list[bytes], random: object) -> None:
    shuffled = history[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, two = joined(history), joined(shuffled)
    assert one.raw() == two.raw() and one.digest() == two.digest()
    assert one.meaning == two.meaning


@settings(max_examples=150, deadline=None)
@given(histories(), st.data())
def test_joining_sets_is_commutative_associative_and_idempotent(history: list[bytes], data: st.DataObject) -> None:
    base, rest = history[: NODES + 1], history[NODES + 1 :]
    parts = [base + data.draw(st.lists(st.sampled_from(rest), max_size=8) if rest else st.just([])) for _ in range(3)]
    a, b, c = (list(joined(part).raw()) for part in parts)
    assert joined(a, b).raw() == joined(b, a).raw()
    assert joined(list(joined(a, b).raw()), c).raw() == joined(a, list(joined(b, c).raw())).raw()
    assert joined(a, a).raw() == tuple(a) and not joined(a).apply(a)


@settings(max_examples=150, deadline=None)
@given(histories(), st.lists(statement, max_size=5))
def test_a_removal_once_heard_is_never_taken_back(history: list[bytes], later: list[bytes]) -> None:
    held = joined(history)
    removed = held.meaning.removed
    held.apply(later)
    assert removed <= held.meaning.removed
    assert not held.meaning.removed & held.meaning.nodes.keys()


@settings(max_examples=150, deadline=None)
@given(histories())
def test_nodes_that_send_what_the_other_lacks_become_equal(history: list[bytes]) -> None:
    middle = NODES + 1 + (len(history) - NODES - 1) // 2
    one, two = joined(history[:middle]), joined(history[: NODES + 1], history[middle:])
    to_two, to_one = one.missing_for(two.raw()), two.missing_for(one.raw())
    two.apply(to_two)
    one.apply(to_one)
    assert one.digest() == two.digest()
