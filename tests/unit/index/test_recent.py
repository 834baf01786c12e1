"""Work that is still in memory is exactly the work that is in the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import msgspec
import pytest

from everynode.index import recent
from everynode.index.store import Index
from everynode.model.entry import Entry, Kind
from everynode.model.ids import NodeId, Sequence, origin_of
from everynode.model.path import RelPath
from everynode.model.record import Placed, Record, Sibling, Version

NODE = NodeId(b"n" * 16)
ORIGIN = origin_of(NodeId(b"a" * 16), 1)


@pytest.fixture
def index() -> Iterator[Index]:
    index = Index(":memory:", NODE, os.urandom)
    yield index
    index.close()


def version(sequence: int, live: bool = True) -> Version:
    return Version((Sibling(ORIGIN, Sequence(sequence), Entry(Kind.FILE, 0o644, 0, 0, sequence), live, live),))


def in_file(index: Index, after: int, limit: int) -> list[Record]:
    """What `unplaced` says when nothing is in memory."""
    return index._list("WHERE flags & 1 AND arrival > ? ORDER BY arrival LIMIT ?", (after, limit))


def change_something(index: Index, random: Random, sequence: int) -> None:
    path = RelPath(random.choice([b"a", b"b", b"c", b"d", b"d/e", b"d/e/f", b"g"]))
    old = index.get(path)
    new = Record(path, version(sequence, random.random() < 0.7), unplaced=random.random() < 0.7)
    if old is None and random.random() < 0.5:
        index.put_new(new)
    elif old is None or random.random() < 0.4:
        index.put(new, old)
    elif random.random() < 0.2:
        index.forget(old)
    elif random.random() < 0.3:
        index.recheck_ancestors(RelPath(path + b"/below"))
    else:
        placed = Placed(old.version, None, None, old.version.siblings[0].dot)
        index.set_placed(msgspec.structs.replace(old, placed=placed, unplaced=random.random() < 0.4), old)


@pytest.mark.parametrize("seed", range(40))
def test_work_in_memory_is_the_work_in_the_file_after_any_operations(
    index: Index, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "RECENT_RECORDS_MAX", 4)
    random = Random(seed)
    sequence = 0
    for _ in range(60):
        try:
            with index.transaction():
                for _ in range(random.randrange(1, 4)):
                    sequence += 1
                    change_something(index, random, sequence)
                if random.random() < 0.1:
                    raise KeyError
        except KeyError:
            pass
        after, limit = random.randrange(index.state.arrival + 2), random.randrange(1, 9)
        assert index.unplaced(after, limit) == in_file(index, after, limit)
        assert index.unplaced(0, 99) == in_file(index, 0, 99)


def test_a_record_just_heard_is_not_read_again_and_one_that_was_placed_is_not_kept(index: Index) -> None:
    with index.transaction():
        index.put_new(Record(RelPath(b"a"), version(1), unplaced=True))
    (heard,) = index.unplaced(0, 9)
    assert heard is index.unplaced(0, 9)[0]
    with index.transaction():
        assert index.set_placed(msgspec.structs.replace(heard, unplaced=False), heard)
    assert not index._recent
