"""A comparison, part by part: what dies here, what is said about it, and when knowledge is claimed."""

from __future__ import annotations

import pytest

from everynode.group.hear import Heard, hear_all
from everynode.index.store import Index
from everynode.model.ids import Sequence
from everynode.model.message import ComparePart, WireRecord
from everynode.model.path import RelPath
from everynode.model.record import Vector
from tests.unit.core.samples import NODE_B, B, C, live, placed, record, version
from tests.unit.group.fakes import GROUP, get, new_index, paths, put, wire

KNOWS: Vector = {B: Sequence(9)}
FORGOTTEN: Vector = {C: Sequence(4)}


@pytest.fixture
def index() -> Index:
    """Holds a, b, c, d: all placed, all of B, all known."""
    index = new_index()
    for number, name in enumerate((b"a", b"b", b"c", b"d")):
        of = version(live(B, number + 1))
        put(index, record(of, placed(of), path=name))
    with index.transaction():
        index.claim({B: Sequence(4)})
    return index


def part(*records: WireRecord, after: bytes = b"", upto: bytes = b"", last: bool = True) -> ComparePart:
    return ComparePart(GROUP, 1, after, upto or after, records, KNOWS, FORGOTTEN, last)


def hear(index: Index, message: ComparePart) -> Heard:
    return hear_all(index, [(NODE_B, message)])


def living(index: Index) -> list[bytes]:
    return [r.path for r in index.below(RelPath(b""), b"", 99) if any(s.live for s in r.version.siblings)]


def test_what_the_other_does_not_hold_is_deleted_and_the_rest_stays(index: Index) -> None:
    heard = hear(index, part(wire(b"a", version(live(B, 1))), wire(b"c", version(live(B, 3)))))
    assert living(index) == [b"a", b"c"]
    assert paths(index.unplaced(0, 9)) == [b"b", b"d"], "the disk still shows them"
    assert [(a.record.path, a.origin, a.sequence) for a in heard.made] == [
        (b"b", index.origin, 1),
        (b"d", index.origin, 2),
    ]
    gone = get(index, b"b").version
    assert not gone.siblings[0].live and gone.context == {B: 2}


def test_what_was_never_placed_here_is_dropped_without_a_word(index: Index) -> None:
    put(index, record(version(live(B, 4)), path=b"d"))
    heard = hear(index, part(*(wire(n, version(live(B, i + 1))) for i, n in enumerate((b"a", b"b", b"c")))))
    assert index.get(RelPath(b"d")) is None and heard.made == []
    assert index.state.counters.records == 3


def test_what_is_new_there_is_heard(index: Index) -> None:
    hear(index, part(wire(b"a", version(live(B, 8), B=0)), wire(b"new", version(live(B, 9)))))
    assert get(index, b"new").unplaced
    assert get(index, b"a").version.siblings[0].sequence == 8


def test_a_part_says_nothing_of_paths_beyond_it(index: Index) -> None:
    hear(index, part(wire(b"a", version(live(B, 1))), upto=b"b", last=False))
    assert living(index) == [b"a", b"c", b"d"]
    hear(index, part(wire(b"d", version(live(B, 4))), after=b"b", upto=b"d", last=False))
    assert living(index) == [b"a", b"d"]


def test_knowledge_is_claimed_with_the_last_part_only(index: Index) -> None:
    heard = hear(index, part(upto=b"a", last=False))
    assert index.knowledge[B] == 4 and not index.state.forgotten and not heard.claimed
    heard = hear(index, part(after=b"a", upto=b"d"))
    assert index.knowledge[B] == 9 and index.state.forgotten == FORGOTTEN and heard.claimed and heard.ended == {1}


def test_what_was_changed_here_meanwhile_lives(index: Index) -> None:
    of = version(live(index.origin, 1), B=2)
    put(index, record(of, placed(of), path=b"b"))
    hear(index, part())
    assert living(index) == [b"b"]


def test_a_peer_that_claims_changes_of_ours_that_were_never_made_is_not_believed(index: Index) -> None:
    lie = ComparePart(GROUP, 1, b"", b"", (), {index.origin: Sequence(7), B: Sequence(9)}, {}, True)
    heard = hear(index, lie)
    assert heard.lies and heard.ended == {1}
    assert living(index) == [b"a", b"b", b"c", b"d"] and index.knowledge[B] == 4
