"""Hear: records go into the index, knowledge rises at checkpoints only, an index that is old is noticed."""

from __future__ import annotations

import pytest

from everynode.group import hear as module
from everynode.group.commit import adopt
from everynode.group.hear import Heard, allow_changes, hear_all
from everynode.index.store import Index
from everynode.model.ids import NodeId, Origin, Sequence
from everynode.model.message import Batch, RunEnd, RunPart, WireRecord
from everynode.model.path import RelPath
from everynode.model.record import Vector
from tests.unit.core.samples import NODE_B, NODE_C, A, B, C, dead, directory, file, live, placed, record, version
from tests.unit.group.fakes import GROUP, batch, get, new_index, paths, put, wire


@pytest.fixture
def index() -> Index:
    return new_index()


def hear(index: Index, *messages: Batch | RunPart | RunEnd) -> Heard:
    return hear_all(index, [(NODE_B, message) for message in messages])


def part(*records: WireRecord) -> RunPart:
    return RunPart(GROUP, 1, records)


def end(knows: Vector, arrival: int = 5) -> RunEnd:
    return RunEnd(GROUP, 1, knows, b"theirs" * 2, arrival)


def test_a_batch_without_a_gap_is_heard_and_claimed(index: Index) -> None:
    heard = hear(index, batch(0, 2), batch(2, 3))
    assert (heard.changed, heard.claimed, heard.gaps) == (3, True, set())
    assert index.knowledge == {B: 3}
    assert paths(index.unplaced(0, 9)) == [b"f1", b"f2", b"f3"]


def test_a_batch_after_a_gap_is_heard_and_not_claimed(index: Index) -> None:
    heard = hear(index, batch(4, 5))
    assert (heard.changed, heard.claimed, heard.gaps) == (1, False, {NODE_B})
    assert index.knowledge == {}
    assert get(index, b"f5").unplaced


def test_a_gap_does_not_keep_others_from_being_claimed(index: Index) -> None:
    other = Batch(GROUP, C, Sequence(0), Sequence(1), (wire(b"c", version(live(C, 1))),))
    heard = hear_all(index, [(NODE_B, batch(4, 5)), (NODE_C, other)])
    assert index.knowledge == {C: 1}
    assert heard.gaps == {NODE_B}


def test_a_repeated_batch_changes_nothing(index: Index) -> None:
    hear(index, batch(0, 2))
    arrival = index.state.arrival
    heard = hear(index, batch(0, 2), batch(0, 1))
    assert (heard.changed, heard.gaps, index.knowledge, index.state.arrival) == (0, set(), {B: 2}, arrival)


def test_an_overlapping_batch_takes_knowledge_further_and_never_back(index: Index) -> None:
    hear(index, batch(0, 3))
    hear(index, batch(1, 5))
    assert index.knowledge == {B: 5}
    hear(index, batch(0, 1))
    assert index.knowledge == {B: 5}


def test_parts_of_a_run_claim_nothing_and_its_end_claims_all(index: Index) -> None:
    heard = hear(index, part(wire(b"a", version(live(B, 7)))))
    assert (heard.changed, heard.claimed, heard.ended) == (1, False, set())
    assert index.knowledge == {}
    heard = hear(index, end({B: Sequence(9), C: Sequence(2)}))
    assert (heard.claimed, heard.ended) == (True, {1})
    assert index.knowledge == {B: 9, C: 2}
    assert index.state.cursors == {NODE_B: (b"theirs" * 2, 5)}


def test_the_end_of_a_run_of_one_who_forgot_what_is_not_known_here_claims_nothing(index: Index) -> None:
    closing = RunEnd(GROUP, 1, {B: Sequence(7), C: Sequence(4)}, b"theirs" * 2, 5, {C: Sequence(3)})
    heard = hear(index, part(wire(b"a", version(live(B, 7)))), closing)
    assert (heard.must_compare, heard.ended, heard.claimed) == ({NODE_B: {C: 3}}, {1}, False)
    assert index.knowledge == {} and not index.state.cursors
    assert hear_all(index, [(NODE_B, closing)], young={C: Sequence(3)}).claimed, (
        "nothing was held here that could be dead"
    )


def test_what_was_claimed_and_is_not_held_stays_dead(index: Index) -> None:
    hear(index, end({B: Sequence(9)}))
    heard = hear(index, part(wire(b"a", version(live(B, 7)))), batch(6, 7))
    assert heard.changed == 0
    assert index.since(0, 9) == []


def test_all_of_a_transaction_or_nothing(index: Index) -> None:
    broken = WireRecord(b"a", None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        hear(index, batch(0, 2), part(broken))
    assert index.since(0, 9) == []
    assert index.knowledge == {}
    assert index.state.counters.records == 0


def test_what_was_placed_is_kept_beside_what_is_heard(index: Index) -> None:
    old = version(live(C, 1))
    put(index, record(old, placed(old), path=b"a"))
    hear(index, part(wire(b"a", version(live(B, 1, file(b"new")), C=1))))
    now = get(index, b"a")
    assert now.placed == placed(old)
    assert now.version == version(live(B, 1, file(b"new")), C=1)
    assert now.unplaced


def test_conflicts_are_told_once(index: Index) -> None:
    put(index, record(version(live(C, 1)), path=b"a"))
    heard = hear(index, part(wire(b"a", version(live(B, 1, file(b"new"))))))
    assert heard.conflicts == [b"a"]
    heard = hear(index, part(wire(b"a", version(live(B, 2, file(b"newer")), B=1))))
    assert (heard.changed, heard.conflicts) == (1, [])


def test_a_directory_that_was_deleted_is_work_when_something_lives_in_it_again(index: Index) -> None:
    gone = version(dead(C, 1, directory()))
    put(index, record(gone, placed(gone), path=b"d"), record(gone, placed(gone), path=b"d-e"))
    hear(index, part(wire(b"d/e/f", version(live(B, 1)))))
    assert paths(index.unplaced(0, 9)) == [b"d", b"d/e/f"]


def test_a_directory_that_was_derived_is_work_when_nothing_lives_in_it_any_more(index: Index) -> None:
    gone, inside = version(dead(C, 1, directory())), version(live(C, 2))
    put(
        index,
        record(gone, placed(gone, directory()), path=b"d", unplaced=False),
        record(inside, placed(inside), path=b"d/f"),
    )
    hear(index, part(wire(b"d/f", version(dead(B, 1), C=2))))
    assert paths(index.unplaced(0, 9)) == [b"d", b"d/f"]


def test_who_sends_changes_of_ours_that_we_never_made_shows_that_our_index_is_old(index: Index) -> None:
    with index.transaction():
        index.claim_one(A, Sequence(3))
    heard = hear(index, part(wire(b"a", version(live(A, 4)))))
    assert heard.foreign_own
    assert index.origin != A
    assert not index.state.may_change
    assert index.next_sequence() == 1
    assert get(index, b"a").version == version(live(A, 4))


def test_own_changes_that_come_back_are_no_surprise(index: Index) -> None:
    own = version(live(A, 3))
    put(index, record(own, placed(own), path=b"a"))
    with index.transaction():
        index.claim_one(A, Sequence(3))
    heard = hear(index, part(wire(b"a", own), wire(b"gone", version(live(A, 2)))), batch(0, 1))
    assert not heard.foreign_own
    assert index.origin == A
    assert index.state.may_change


OWN_TOO_HIGH = {
    "a change": version(live(A, 4)),
    "a change beside another": version(live(A, 4), live(B, 1, file(b"b"))),
    "a change that superseded some": version(live(B, 1), A=9),
}


def heard_ours(index: Index) -> None:
    """Three changes of this node are in its index."""
    with index.transaction():
        index.claim_one(A, Sequence(3))


@pytest.mark.parametrize("case", OWN_TOO_HIGH)
@pytest.mark.parametrize("known_path", [True, False])
def test_whatever_speaks_of_changes_of_ours_that_we_never_made_begins_a_new_epoch(
    index: Index, case: str, known_path: bool
) -> None:
    heard_ours(index)
    if known_path:
        put(index, record(version(live(C, 1, file(b"c"))), path=b"a"))
    heard = hear(index, part(wire(b"a", OWN_TOO_HIGH[case])))
    assert heard.foreign_own
    assert index.origin != A
    assert not index.state.may_change
    assert {s.dot for s in OWN_TOO_HIGH[case].siblings} <= {s.dot for s in get(index, b"a").version.siblings}


@pytest.mark.parametrize("case", OWN_TOO_HIGH)
def test_what_began_a_new_epoch_can_be_changed_in_it(index: Index, case: str) -> None:
    """In the old one a change of ours would have had a sequence that was superseded already."""
    heard_ours(index)
    hear(index, part(wire(b"a", OWN_TOO_HIGH[case])))
    hear(index, end({A: Sequence(9), B: Sequence(1)}))
    with index.transaction():
        allow_changes(index, [{A: Sequence(9)}])
        announced = adopt(index, RelPath(b"a"), file(b"mine"), get(index, b"a").version)
    assert announced.record.version.siblings == (live(index.origin, 1, file(b"mine")),)


@pytest.mark.parametrize("live_batch", [True, False])
def test_what_began_a_new_epoch_is_not_lost_when_its_batch_or_run_is_claimed(index: Index, live_batch: bool) -> None:
    """What is known and not held is dead: it would never be sent again."""
    heard_ours(index)
    told = wire(b"a", version(live(B, 1), A=9))
    if live_batch:
        hear(index, batch(0, 1, told))
    else:
        hear(index, part(told))
        hear(index, end({A: Sequence(9), B: Sequence(1)}))
    assert index.knowledge[B] == 1
    assert get(index, b"a").version == told.version


# Peers that lie.


def test_a_live_batch_is_believed_only_from_its_own_author(index: Index) -> None:
    of_c = Batch(GROUP, C, Sequence(0), Sequence(1), (wire(b"c", version(live(C, 1))),))
    heard = hear(index, of_c, batch(0, 1))
    assert [peer for peer, _ in heard.lies] == [NODE_B]
    assert index.get(RelPath(b"c")) is None
    assert (index.knowledge, heard.gaps) == ({B: 1}, set())


def test_a_batch_of_our_own_changes_claims_nothing(index: Index) -> None:
    forged = Batch(GROUP, A, Sequence(0), Sequence(9), (wire(b"a", version(live(A, 9))),))
    heard = hear(index, forged)
    assert [peer for peer, _ in heard.lies] == [NODE_B]
    assert (index.knowledge, index.origin, index.since(0, 9)) == ({}, A, [])


def test_the_end_of_a_run_that_claims_changes_which_we_never_made_is_not_believed(index: Index) -> None:
    heard_ours(index)
    heard = hear(index, end({A: Sequence(4), B: Sequence(7)}))
    assert [peer for peer, _ in heard.lies] == [NODE_B]
    assert (index.knowledge, heard.claimed, heard.ended) == ({A: 3}, False, {1})
    assert index.state.cursors == {}
    assert index.next_sequence() == 4
    heard = hear(index, end({A: Sequence(3), B: Sequence(7)}))
    assert (index.knowledge, heard.lies) == ({A: 3, B: 7}, [])


def test_the_end_of_a_run_that_names_too_many_origins_is_not_believed(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ORIGINS_MAX", 2)
    hear(index, end({B: Sequence(1)}))
    heard = hear(index, end({C: Sequence(1), A: Sequence(0)}))
    assert [peer for peer, _ in heard.lies] == [NODE_B]
    assert index.knowledge == {B: 1}
    assert hear(index, end({C: Sequence(1), B: Sequence(2)})).lies == []
    assert index.knowledge == {B: 2, C: 1}


# New epochs.


def test_a_new_epoch_counts_nothing_of_the_old_one(index: Index) -> None:
    """What was synced of the old numbers says nothing of the new ones."""
    heard_ours(index)
    with index.transaction():
        index.change_state().synced = 3
        index.change_state().suspect_above = 1
    hear(index, part(wire(b"a", version(live(A, 4)))))
    assert (index.state.synced, index.state.suspect_above, index.next_sequence()) == (0, -1, 1)


def test_a_new_epoch_makes_no_change_before_it_knows_what_some_settled_member_knew(index: Index) -> None:
    with index.transaction():
        index.begin_new_epoch()
    hear_all(index, [(NODE_B, batch(0, 2))], sufficient=[{B: Sequence(3)}])
    assert not index.state.may_change
    hear_all(index, [(NODE_B, batch(2, 3))], sufficient=[{B: Sequence(3)}, {C: Sequence(1)}])
    assert index.state.may_change


def test_nobody_can_know_changes_of_a_life_that_has_just_begun(index: Index) -> None:
    """What tells them is not heard, nor what follows in that run; whoever says nothing of it goes on."""
    doubted: set[NodeId] = set()
    lie = Batch(GROUP, B, Sequence(0), Sequence(1), (wire(b"b", version(live(B, 1), A=9)),))
    own = part(wire(b"a", version(live(A, 9))))
    heard = hear_all(index, [(NODE_B, lie), (NODE_C, own), (NODE_C, end({C: Sequence(5)}))], (), doubted)
    assert (heard.changed, heard.foreign_own, heard.claimed) == (0, False, False)
    assert doubted == {NODE_B, NODE_C} and heard.ended == {1}
    assert (index.knowledge, index.origin, index.since(0, 9)) == ({}, A, [])
    honest = Batch(GROUP, B, Sequence(0), Sequence(1), (wire(b"b", version(live(B, 1))),))
    assert hear_all(index, [(NODE_B, honest)], (), doubted).claimed
    assert hear_all(index, [(NODE_C, own)]).foreign_own, "later it may be true: the index may be a restored one"


def test_a_path_of_which_more_versions_are_told_than_a_message_holds_stays_as_it_was(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everynode.group.hear.VERSION_BYTES_MAX", 450)
    hear(index, batch(0, 1))
    for number in range(1, 5):
        origin = Origin(b"x" * 16 + number.to_bytes(4, "big"))
        told = (wire(b"many", version(live(origin, 1))), wire(b"n%d" % number, version(live(origin, 2))))
        heard = hear(index, part(*told))
    assert heard.too_large == b"many"
    assert len(get(index, b"many").version.siblings) == 2
    assert index.get(RelPath(b"n4")) is not None, "the other paths of the message go on"
