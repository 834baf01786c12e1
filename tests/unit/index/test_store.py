"""The index: what it is asked for is what was put in, whole transactions only, and counters that count."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from everynode.errors import StoreError
from everynode.index.rows import flags_of
from everynode.index.state import Counters, count
from everynode.index.store import Index
from everynode.index.vault_catalogue import Kept
from everynode.model.entry import Kind
from everynode.model.ids import Digest, Sequence, node_of
from everynode.model.path import ROOT, RelPath, is_below
from everynode.model.record import Record
from tests.unit.core.samples import NODE_A, A, B, C, dead, directory, file, live, placed, record, symlink, version

ONE = version(live(B, 1))
GONE = version(dead(B, 2))


def put(index: Index, *several: Record, excluded: bool = False) -> None:
    with index.transaction():
        for each in several:
            index.put(each, index.get(each.path), excluded=excluded)


def got(index: Index, path: bytes) -> Record | None:
    found = index.get(RelPath(path))
    return msgspec.structs.replace(found, seal=0) if found is not None else None


def paths(several: list[Record]) -> list[bytes]:
    return [each.path for each in several]


# Records.


def test_what_was_put_is_got_and_nothing_else(index: Index) -> None:
    one = record(ONE, placed(ONE), path=b"a/\xff\n")
    put(index, one)
    assert got(index, one.path) == msgspec.structs.replace(one, arrival=1)
    for other in (b"a/\xff", b"a", b"A/\xff\n", b"a/\xff\n\n"):
        assert index.get(RelPath(other)) is None


def test_a_changed_record_moves_to_the_end_of_the_arrivals(index: Index) -> None:
    put(index, *(record(ONE, path=name) for name in (b"a", b"b", b"c")))
    assert paths(index.since(0, 9)) == [b"a", b"b", b"c"]
    put(index, record(GONE, path=b"a"))
    assert paths(index.since(0, 9)) == [b"b", b"c", b"a"]
    assert [r.arrival for r in index.since(0, 9)] == [2, 3, 4]
    assert paths(index.since(2, 1)) == [b"c"]
    assert index.since(4, 9) == []
    assert index.state.arrival == 4


def test_placing_keeps_the_arrival(index: Index) -> None:
    put(index, record(ONE, path=b"a"), record(ONE, path=b"b"))
    old = index.get(RelPath(b"a"))
    assert old is not None
    with index.transaction():
        index.set_placed(msgspec.structs.replace(old, placed=placed(ONE), unplaced=False), old)
    assert got(index, b"a") == Record(RelPath(b"a"), ONE, placed(ONE), False, 1)
    assert paths(index.unplaced(0, 9)) == [b"b"]


def test_placing_over_a_row_that_has_changed_since_it_was_read_changes_nothing(index: Index) -> None:
    put(index, record(ONE, path=b"a"))
    old = index.get(RelPath(b"a"))
    assert old is not None
    done = msgspec.structs.replace(old, placed=placed(ONE), unplaced=False)
    with index.transaction():
        assert index.set_placed(done, old)
        assert not index.set_placed(msgspec.structs.replace(old, placed=None), old)
    assert got(index, b"a") == Record(RelPath(b"a"), ONE, placed(ONE), False, 1)
    put(index, record(version(live(B, 3)), path=b"a"))
    with index.transaction():
        assert not index.set_placed(done, old)
    assert got(index, b"a") == Record(RelPath(b"a"), version(live(B, 3)), None, True, 2)
    assert index.state.counters.unplaced == 1


def test_a_new_record_is_put_only_where_there_is_none(index: Index) -> None:
    with index.transaction():
        assert index.put_new(record(ONE, path=b"a"))
        assert not index.put_new(record(GONE, path=b"a"))
        assert index.put_new(record(GONE, placed(GONE), path=b"b"))
    assert got(index, b"a") == Record(RelPath(b"a"), ONE, None, True, 1)
    assert [r.arrival for r in index.since(0, 9)] == [1, 2]
    assert index.state.counters == recount(index)


def test_arrivals_are_not_used_again_after_forgetting(index: Index) -> None:
    put(index, record(ONE, path=b"a"), record(GONE, placed(GONE), path=b"b"))
    with index.transaction():
        index.forget(index.since(1, 1)[0])
    put(index, record(ONE, path=b"c"))
    assert [(r.path, r.arrival) for r in index.since(0, 9)] == [(b"a", 1), (b"c", 3)]


# Queries.


def test_work_conflicts_deletions_and_exclusions_are_found_by_what_the_records_are(index: Index) -> None:
    conflict = version(live(B, 1), live(C, 1, file(b"2")))
    put(
        index,
        record(ONE, placed(ONE), path=b"quiet"),
        record(ONE, path=b"work"),
        record(conflict, placed(conflict), path=b"z-conflict"),
        record(conflict, path=b"a-conflict"),
        record(GONE, placed(GONE), path=b"gone"),
        record(GONE, path=b"going"),
        record(version(live(B, 1), dead(C, 1)), placed(ONE), path=b"edited", unplaced=False),
    )
    put(index, record(ONE, path=b"left alone", unplaced=False), excluded=True)
    assert paths(index.unplaced(0, 9)) == [b"work", b"a-conflict", b"going"]
    assert paths(index.unplaced(2, 1)) == [b"a-conflict"]
    assert paths(index.conflicts(9)) == [b"a-conflict", b"z-conflict"]
    assert paths(index.conflicts(1)) == [b"a-conflict"]
    assert paths(index.deleted(0, 9)) == [b"gone"]
    assert index.deleted(5, 9) == []
    assert paths(index.excluded(0, 9)) == [b"left alone"]


STRANGE = [
    b"a",
    b"a-b",
    b"a-b/x",
    b"a/b",
    b"a/b/c",
    b"a/\xff",
    b"a/\x01",
    b"a0",
    b"a0/x",
    b"a.",
    b"ab/x",
    b"\x01",
    b"\xff",
    b"\xff\xff\xff\xff\xff\xff\xff",
    b"\xff/\xff",
    b"a\xff/x",
    "ä/ö".encode(),
    b"A/b",
]


@pytest.mark.parametrize("directory_path", [ROOT, *map(RelPath, STRANGE), RelPath(b"a\xff"), RelPath(b"nothing")])
def test_below_is_what_lies_inside_and_nothing_that_only_looks_like_it(index: Index, directory_path: RelPath) -> None:
    put(index, *(record(ONE, path=path) for path in STRANGE))
    expected = sorted(path for path in STRANGE if is_below(RelPath(path), directory_path))
    assert paths(index.below(directory_path, b"", 99)) == expected
    assert index.lives_below(directory_path) == bool(expected)
    found: list[bytes] = []
    while rows := index.below(directory_path, found[-1] if found else b"", 2):
        found += paths(rows)
    assert found == expected


def test_what_a_scan_did_not_meet_is_found_page_by_page(index: Index) -> None:
    put(index, *(record(ONE, path=name) for name in (b"a", b"b", b"c", b"d", b"e")))
    arrivals = {found.path: found.arrival for found in index.below(ROOT, b"", 99)}
    met = {arrivals[b"a"], arrivals[b"c"]}
    last, rows = index.not_met(ROOT, b"", 3, arrivals[b"d"], met)
    assert (last, paths(rows)) == (b"c", [b"b"])
    last, rows = index.not_met(ROOT, b"c", 3, arrivals[b"d"], met)
    assert (last, paths(rows)) == (b"d", [b"d"]), "what came later is not asked about"
    assert index.not_met(ROOT, b"d", 3, arrivals[b"d"], met) == (None, [])


def test_a_directory_lives_by_what_lives_below_it_alone(index: Index) -> None:
    put(
        index,
        record(version(live(B, 1, directory())), path=b"d"),
        record(GONE, path=b"d/gone"),
        record(ONE, path=b"d-not/f"),
    )
    assert not index.lives_below(RelPath(b"d"))
    put(index, record(version(dead(B, 2), live(C, 1)), path=b"d/e/f"))
    assert index.lives_below(RelPath(b"d"))
    assert index.lives_below(RelPath(b"d/e"))


def test_deleted_directories_above_a_path_become_work_and_living_ones_do_not(index: Index) -> None:
    gone, there = version(dead(B, 1, directory())), version(live(B, 1, directory()))
    put(
        index,
        record(gone, placed(gone), path=b"a"),
        record(there, placed(there), path=b"a/b"),
        record(gone, placed(gone), path=b"a/b/c"),
        record(gone, placed(gone), path=b"a/b/c/d"),
        record(gone, placed(gone), path=b"a/b/c-d"),
    )
    with index.transaction():
        index.recheck_ancestors(RelPath(b"a/b/c/d"))
    assert paths(index.unplaced(0, 9)) == [b"a", b"a/b/c"]
    assert index.state.counters.unplaced == 2


# Transactions.


def test_an_exception_takes_everything_back(index: Index) -> None:
    put(index, record(ONE, path=b"before"))
    with index.transaction():
        index.claim({B: Sequence(1)})
    before = msgspec.msgpack.encode(index.state), index.origin, index.life
    with pytest.raises(RuntimeError, match="stop"):
        with index.transaction():
            index.put(record(ONE, path=b"new"), None)
            index.put(record(GONE, placed(GONE), path=b"before"), index.get(RelPath(b"before")))
            index.claim({B: Sequence(9), C: Sequence(1)})
            index.claim_one(A, Sequence(3))
            index.forget(index.since(0, 9)[-1])
            index.change_state().may_change = True
            index.vault.add(Kept(b"n", RelPath(b"before"), file(), 1, "loser"))
            index.begin_new_epoch()
            raise RuntimeError("stop")
    assert (msgspec.msgpack.encode(index.state), index.origin, index.life) == before
    assert paths(index.since(0, 9)) == [b"before"]
    assert index.get(RelPath(b"new")) is None
    assert index.vault.all() == []
    put(index, record(ONE, path=b"after"))
    assert [(r.path, r.arrival) for r in index.since(0, 9)] == [(b"before", 1), (b"after", 2)]


def test_a_disk_that_refuses_changes_nothing(index: Index) -> None:
    put(index, record(ONE, path=b"a"))
    index._connection.execute("PRAGMA query_only=ON")
    with pytest.raises(StoreError, match="cannot be written"):
        put(index, record(ONE, path=b"b"))
    index._connection.execute("PRAGMA query_only=OFF")
    assert index.state.arrival == 1
    assert index.state.counters.records == 1
    put(index, record(ONE, path=b"b"))
    assert [r.arrival for r in index.since(0, 9)] == [1, 2]


def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    name = str(tmp_path / "index")
    first = Index(name, NODE_A, random.Random(1).randbytes)
    assert first.fresh
    put(first, record(ONE, placed(ONE), path=b"a"))
    with first.transaction():
        first.claim({B: Sequence(4)})
        first.change_state().cursors[NODE_A] = (b"life", 7)
    state, origin, life = msgspec.msgpack.encode(first.state), first.origin, first.life
    first.close()
    second = Index(name, NODE_A, random.Random(2).randbytes)
    assert not second.fresh
    assert (msgspec.msgpack.encode(second.state), second.origin, second.life) == (state, origin, life)
    assert paths(second.since(0, 9)) == [b"a"]
    second.close()


# Knowledge and epochs.


def test_knowledge_only_rises(index: Index) -> None:
    with index.transaction():
        index.claim({A: Sequence(3), B: Sequence(5)})
        index.claim({A: Sequence(1), C: Sequence(2)})
        index.claim_one(B, Sequence(4))
        index.claim_one(B, Sequence(6))
    assert index.knowledge == {A: 3, B: 6, C: 2}


def test_the_next_own_sequence_follows_what_is_claimed(index: Index) -> None:
    assert index.next_sequence() == 1
    with index.transaction():
        index.claim_one(index.origin, Sequence(1))
    assert index.next_sequence() == 2


def test_a_new_epoch_is_another_origin_that_knows_the_old_one_and_makes_no_change_yet(index: Index) -> None:
    old_origin, old_life = index.origin, index.life
    put(index, record(ONE, path=b"a"))
    with index.transaction():
        index.change_state().may_change = True
        index.claim_one(index.origin, Sequence(5))
    with index.transaction():
        index.begin_new_epoch()
    assert index.origin != old_origin
    assert index.life != old_life
    assert node_of(index.origin) == NODE_A
    assert index.knowledge == {old_origin: 5}
    assert index.next_sequence() == 1
    assert not index.state.may_change
    assert paths(index.since(0, 9)) == [b"a"]


def test_two_fresh_indexes_of_one_node_are_two_origins() -> None:
    draw = random.Random(3)
    one, other = (Index(":memory:", NODE_A, draw.randbytes) for _ in range(2))
    assert one.origin != other.origin
    assert one.life != other.life


def test_forgetting_remembers_the_highest_dot(index: Index) -> None:
    put(index, record(version(dead(B, 2), dead(C, 7)), path=b"a"), record(version(dead(B, 1)), path=b"b"))
    with index.transaction():
        for each in index.since(0, 9):
            index.forget(each)
    assert index.state.forgotten == {B: 2, C: 7}
    assert index.since(0, 9) == []
    assert index.state.counters == Counters()


# Counters.


def test_counters_tell_what_is_shown(index: Index) -> None:
    put(
        index,
        record(version(live(B, 1, file(b"12345"))), path=b"f"),
        record(version(live(B, 1, directory())), placed(version(live(B, 1, directory()))), path=b"d"),
        record(version(live(B, 1, symlink())), path=b"s"),
        record(GONE, placed(GONE), path=b"g"),
        record(version(live(B, 1, file(b"1")), live(C, 1, file(b"22"))), path=b"c"),
    )
    counters = index.state.counters
    assert (counters.records, counters.files, counters.directories, counters.symlinks) == (5, 2, 1, 1)
    assert (counters.tombstones, counters.conflicts, counters.unplaced) == (1, 1, 3)
    assert counters.bytes - 5 in (1, 2)


def recount(index: Index) -> Counters:
    counters = Counters()
    for each in index.since(0, 10**6):
        count(counters, each, flags_of(each, False), 1)
    return counters


def some_version(draw: random.Random) -> object:
    siblings = []
    for origin in draw.sample([A, B, C], draw.randint(1, 3)):
        entry = draw.choice([file(draw.randbytes(draw.randint(0, 9))), directory(), symlink()])
        make = draw.choice([live, live, dead])
        siblings.append(make(origin, draw.randint(1, 9), entry))
    return version(*siblings)


@pytest.mark.parametrize("seed", range(20))
def test_counters_equal_a_recount_after_any_operations(index: Index, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(60):
        with_failure = draw.random() < 0.2
        try:
            with index.transaction():
                for _ in range(draw.randint(1, 5)):
                    _operate(index, draw)
                if with_failure:
                    raise KeyError
        except KeyError:
            pass
        assert index.state.counters == recount(index)
    assert index.state.counters.records > 0


def _operate(index: Index, draw: random.Random) -> None:
    path = RelPath(draw.choice([b"a", b"a/b", b"a/b/c", b"a-b", b"\xff"]))
    old = index.get(path)
    of = some_version(draw)
    match draw.randrange(4):
        case 0 | 1:
            put_on = placed(of) if draw.random() < 0.5 else None  # type: ignore[arg-type]
            index.put(Record(path, of, put_on, draw.random() < 0.5), old)  # type: ignore[arg-type]
        case 2:
            if old is not None:
                unplaced = draw.random() < 0.5
                index.set_placed(msgspec.structs.replace(old, placed=placed(old.version), unplaced=unplaced), old)
        case _:
            if old is not None and not any(s.live for s in old.version.siblings):
                index.forget(old)
            index.recheck_ancestors(path)


# The vault's catalogue.


def test_the_catalogue_of_the_vault_finds_by_name_path_and_content(index: Index) -> None:
    path, other = RelPath(b"a/\xff"), RelPath(b"b")
    old = Kept(b"1", path, file(b"old"), 5, "replaced")
    new = Kept(b"2", path, file(b"new!"), 6, "loser")
    moved = Kept(b"3", other, file(b"old"), 7, "deleted")
    with index.transaction():
        for kept in (old, new, moved):
            index.vault.add(kept)
    assert index.vault.get(b"2") == new
    assert index.vault.get(b"9") is None
    assert index.vault.of_path(path) == [new, old]
    assert {k.name for k in index.vault.of_digest(Digest(file(b"old").digest))} == {b"1", b"3"}
    assert index.vault.totals() == (3, 10)
    with index.transaction():
        index.vault.drop(b"1")
    assert [k.name for k in index.vault.all()] == [b"2", b"3"]
    assert new.entry.kind is Kind.FILE


# On disk.


def test_an_index_is_written_ahead_and_synced(tmp_path: Path) -> None:
    """A transaction costs one sync, not three; and is on the disk when it returns."""
    path = tmp_path / "index"
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    put(index, record(ONE, path=b"a"))
    settings = {
        name: index._connection.execute(f"PRAGMA {name}").get
        for name in ("journal_mode", "synchronous", "locking_mode", "temp_store", "wal_autocheckpoint", "cache_size")
    }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "locking_mode": "exclusive",
        "temp_store": 2,
        "wal_autocheckpoint": 4000,
        "cache_size": -32768,
    }
    assert (tmp_path / "index-wal").stat().st_size > 0
    index.close()


def test_what_was_committed_is_there_after_a_kill(tmp_path: Path) -> None:
    """The files as they are on the disk while the index is open, copied away: no close wrote anything more."""
    path = tmp_path / "index"
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    put(index, record(ONE, path=b"a"))
    left = tmp_path / "left"
    left.mkdir()
    for name in ("index", "index-wal"):
        (left / name).write_bytes((tmp_path / name).read_bytes())
    again = Index(str(left / "index"), NODE_A, random.Random(2).randbytes)
    assert not again.fresh
    assert again.origin == index.origin
    assert paths(again.since(0, 9)) == [b"a"]
    again.close()
    index.close()


def test_work_is_the_same_from_memory_as_from_the_disk(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens to records, what was heard last is as the rows say."""
    monkeypatch.setattr("everynode.index.recent.RECENT_RECORDS_MAX", 7)
    draw = random.Random(3)

    def step() -> None:
        path = RelPath(b"%d" % draw.randrange(12))
        old = index.get(path)
        match draw.choice(("new", "heard", "heard", "placed", "placed", "work", "forget")):
            case "new":
                index.put_new(record(ONE, path=path))
            case "heard":
                of = draw.choice((ONE, GONE))
                index.put(record(of, placed(of) if draw.random() < 0.2 else None, path=path), old)
            case "placed" if old is not None:
                index.set_placed(msgspec.structs.replace(old, placed=placed(old.version), unplaced=False), old)
            case "work" if old is not None:
                index.set_placed(msgspec.structs.replace(old, unplaced=True), old)
            case "forget" if old is not None:
                index.forget(old)

    for _ in range(1500):
        try:
            with index.transaction():
                for _ in range(draw.randrange(4)):
                    step()
                if draw.random() < 0.1:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        after, limit = draw.choice((0, draw.randrange(index.state.arrival + 1))), draw.choice((3, 99))
        rows = index._list("WHERE flags & 1 AND arrival > ? ORDER BY arrival LIMIT ?", (after, limit))
        assert index.unplaced(after, limit) == rows
