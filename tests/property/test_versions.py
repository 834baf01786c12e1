"""The laws of versions over all that can be reached, and whole histories: all nodes end alike and nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everynode.core import detect, plan, runs, versions
from everynode.core.shown import ranking
from everynode.core.vectors import covers, join
from everynode.core.versions import full_context, make_version, merge
from everynode.model.record import Record, Vector, Version
from tests.property.protocol import (
    Receive,
    play,
    run,
    run_claiming_dot_by_dot,
    run_or_compare,
    run_that_keeps_what_was_forgotten_to_itself,
    run_without_comparing,
)

seeds = st.integers(0, 2**32)
HISTORIES = 3000


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_merge_of_reachable_versions_is_commutative_associative_and_idempotent(seed: int) -> None:
    draw = random.Random(seed)
    nodes = play(draw, steps=40, nodes=3, note=True)
    for known in nodes.reachable.values():
        for _ in range(30):
            one, two, three = draw.choices(known, k=3)
            assert merge(one, two) == merge(two, one)
            assert merge(merge(one, two), three) == merge(one, merge(two, three))
            assert merge(one, one) == one
            assert merge(merge(one, two), two) == merge(one, two)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_reachable_versions_are_canonical_and_hold_one_sibling_of_an_origin(seed: int) -> None:
    nodes = play(random.Random(seed), steps=40, nodes=4, note=True)
    for known in nodes.reachable.values():
        for version in known:
            assert version.siblings
            assert version == make_version(reversed(version.siblings), full_context(version))
            assert len({sibling.origin for sibling in version.siblings}) == len(version.siblings)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_a_merge_covers_what_both_cover_and_the_winner_does_not_depend_on_the_order(seed: int) -> None:
    draw = random.Random(seed)
    nodes = play(draw, steps=40, nodes=3, note=True)
    for known in nodes.reachable.values():
        one, two = draw.choices(known, k=2)
        merged = merge(one, two)
        assert full_context(merged) == join(full_context(one), full_context(two))
        assert {s.dot for s in merged.siblings} <= {s.dot for v in (one, two) for s in v.siblings}
        assert ranking(merged, "newest") == ranking(merge(two, one), "newest")


def harms(receive: Receive = run) -> Iterator[str]:
    """What goes wrong in history after history; who looks for a fault stops at the first."""
    for seed in range(HISTORIES):
        draw = random.Random(seed)
        world = play(draw, steps=draw.randint(20, 60), nodes=draw.randint(2, 4), receive=receive)
        if harm := world.harm():
            yield harm


def test_all_nodes_end_alike_and_nothing_is_lost_or_comes_back() -> None:
    assert not list(harms())


@given(seeds, st.integers(2, 5), st.integers(5, 80))
@settings(max_examples=100, deadline=None)
def test_any_history_ends_well(seed: int, nodes: int, steps: int) -> None:
    assert play(random.Random(seed), steps=steps, nodes=nodes).harm() == ""


def harms_among_halves(receive: Receive = run_or_compare) -> Iterator[str]:
    """The same where the nodes fall into halves that give each other up, and find together again, many times."""
    for seed in range(HISTORIES):
        draw = random.Random(seed)
        world = play(draw, steps=draw.choice((40, 80, 120)), nodes=draw.randint(2, 5), receive=receive, evict=True)
        if harm := world.harm():
            yield harm


def test_halves_that_gave_each_other_up_end_alike_all_the_same() -> None:
    assert not list(harms_among_halves())


# Each rule broken on purpose: what the histories above are worth.


def test_claiming_dot_by_dot_is_caught() -> None:
    assert any(harms(run_claiming_dot_by_dot))


def test_knowledge_not_used_as_context_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = versions.hear
    monkeypatch.setattr(versions, "hear", lambda held, incoming, knowledge: real(held, incoming, {}))
    assert any(harms())


def test_a_deletion_forgotten_early_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def early(version: Version, heard_by_all: object) -> bool:
        return not any(sibling.live for sibling in version.siblings)

    monkeypatch.setattr(runs, "forgettable", early)
    assert any(harms())


def test_a_run_where_a_comparison_is_needed_is_caught() -> None:
    assert any(harms_among_halves(run_without_comparing))


def test_not_learning_what_the_other_has_forgotten_is_caught() -> None:
    assert any(harms_among_halves(run_that_keeps_what_was_forgotten_to_itself))


def test_forgetting_a_deletion_of_what_is_not_known_yet_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_its_dots(version: Version, heard_by_all: Vector) -> bool:
        return all(not sibling.live and covers(heard_by_all, sibling.dot) for sibling in version.siblings)

    monkeypatch.setattr(runs, "forgettable", by_its_dots)
    assert any(harms_among_halves())


def test_a_batch_claimed_over_a_gap_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "may_claim", lambda knowledge, origin, before: True)
    assert any(harms())


def test_plain_version_vectors_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(mine: Version, theirs: Version) -> Version:
        """One vector for all siblings: they stay or go together."""
        one, other = full_context(mine), full_context(theirs)
        if join(one, other) == one:
            return mine
        if join(one, other) == other:
            return theirs
        both = {s.dot: s for s in (*mine.siblings, *theirs.siblings)}
        return make_version(both.values(), join(one, other))

    def hear(held: Version | None, incoming: Version, knowledge: object) -> Version | None:
        merged = incoming if held is None else plain(held, incoming)
        return merged if merged != held else None

    monkeypatch.setattr(versions, "hear", hear)
    monkeypatch.setattr(detect, "merge", plain)
    assert any(harms())


def test_a_tombstone_dropped_at_the_merge_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = versions._merge

    def drop(*sides: object) -> Version | None:
        merged = real(*sides)  # type: ignore[arg-type]
        if merged is None or not any(s.live for s in merged.siblings):
            return merged
        return make_version([s for s in merged.siblings if s.live], full_context(merged))

    monkeypatch.setattr(versions, "_merge", drop)
    assert any(harms())


def test_a_local_change_that_supersedes_what_was_only_heard_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_it(mine: Version, theirs: Version) -> Version:
        (own,) = theirs.siblings
        return make_version([own], join(full_context(mine), full_context(theirs)))

    monkeypatch.setattr(detect, "merge", all_of_it)
    assert "lost update" in harms()


def test_a_winner_that_depends_on_placed_state_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = plan.plan

    def stay(record: Record, policy: object, derived: bool) -> plan.Target:
        target = real(record, policy, derived)  # type: ignore[arg-type]
        placed = record.placed
        if placed is not None and placed.entry is not None and len(record.version.siblings) > 1:
            return plan.Target(record, plan.Step.NOTHING, placed.entry, target.shown, ())
        return target

    monkeypatch.setattr(plan, "plan", stay)
    assert any(harms())
