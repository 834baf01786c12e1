"""Damaged files: noticed when opened or read, set aside whole, never believed."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from everynode.errors import IndexDamaged, StoreError
from everynode.index import check, store
from everynode.index.schema import FORMAT, MARK, set_aside
from everynode.index.store import Index
from everynode.index.vault_catalogue import Kept
from everynode.model.ids import Digest, Sequence
from everynode.model.path import ROOT, RelPath
from tests.unit.core.samples import NODE_A, A, B, dead, file, live, placed, record, version


def make(path: Path, records: int = 300) -> None:
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    with index.transaction():
        for number in range(records):
            of = version(live(A, number + 1, file(str(number).encode())))
            index.put(record(of, path=b"directory/file-%d" % number), None)
        index.claim({A: Sequence(records)})
    index.close()


def read_all(path: Path) -> dict[RelPath, int]:
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    try:
        return {each.path: each.version.siblings[0].sequence for each in index.since(0, 10**6)}
    finally:
        index.close()


def test_a_file_that_is_no_index_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "index"
    path.write_bytes(random.Random(1).randbytes(20_000))
    with pytest.raises(IndexDamaged, match=str(path)):
        read_all(path)


@pytest.mark.parametrize("part", [0.05, 0.3, 0.5, 0.9])
def test_a_file_that_was_cut_is_damaged(tmp_path: Path, part: float) -> None:
    path = tmp_path / "index"
    make(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(IndexDamaged):
        read_all(path)


def make_varied(path: Path) -> None:
    """Something of everything that an index holds: work, conflicts, deletions, generations, free pages."""
    make(path, 60)
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    with index.transaction():
        for number in range(20):
            of = version(live(A, 100 + number, file(b"%d" % number)))
            index.put(record(of, placed(of), path=b"placed/%d" % number), None)
            both = version(live(A, 200 + number, file(b"a")), live(B, 200 + number, file(b"b")))
            index.put(record(both, placed(both), path=b"both/%d" % number, unplaced=number % 3 == 0), None)
            gone = version(dead(B, 300 + number))
            index.put(record(gone, placed(gone), path=b"gone/%d" % number), None)
            index.vault.add(Kept(b"v%d" % number, RelPath(b"a%d" % number), file(b"%d" % number), number, "replaced"))
        for number in range(0, 60, 7):
            found = index.get(RelPath(b"directory/file-%d" % number))
            assert found is not None
            index.forget(found)
    index.close()


def read_everything(path: Path) -> object:
    """By every way in which the daemon reads."""
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    try:
        records = index.since(0, 10**6)
        kept = index.vault.all()
        with index.transaction():  # and it can still be written
            index.change_state().boot = "boot"
        return (
            records,
            index.below(ROOT, b"", 10**6),
            [index.get(each.path) for each in records],
            index.unplaced(0, 10**6),
            index.conflicts(10**6),
            index.deleted(0, 10**6),
            kept,
            [index.vault.of_path(each.path) for each in kept],
            [index.vault.of_digest(Digest(each.entry.digest)) for each in kept],
            (index.state, index.origin, index.life),
        )
    finally:
        index.close()


def flip_bits(path: Path, bits: Iterable[int]) -> tuple[int, int]:
    """Each alone, in a fresh copy: how many were noticed, and how many did no harm. Every other one fails the test."""
    whole = path.read_bytes()
    right = read_everything(path)
    noticed = harmless = 0
    for bit in bits:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        path.write_bytes(flipped)
        try:
            found = read_everything(path)
        except IndexDamaged:
            noticed += 1
            continue
        harmless += 1
        assert found == right, f"bit {bit % 8} of byte {bit // 8}, page {bit // 8 // 4096 + 1}"
    return noticed, harmless


def test_a_flipped_bit_anywhere_in_the_file_is_noticed_or_changes_nothing_that_is_read(tmp_path: Path) -> None:
    make_varied(tmp_path / "index")
    bits = (tmp_path / "index").stat().st_size * 8
    noticed, harmless = flip_bits(tmp_path / "index", random.Random(7).sample(range(bits), 100))
    assert noticed > 15  # the rest lies in free space
    assert harmless > 15


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_flipped_bits_are_noticed_or_change_nothing_that_is_read(tmp_path: Path, seed: int) -> None:
    make_varied(tmp_path / "index")
    bits = (tmp_path / "index").stat().st_size * 8
    noticed, harmless = flip_bits(tmp_path / "index", random.Random(seed).sample(range(bits), 1500))
    print(f"{noticed} noticed, {harmless} without harm")
    assert noticed > 250


@pytest.mark.heavy
def test_every_flipped_bit_of_the_header_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    make_varied(tmp_path / "index")
    noticed, _ = flip_bits(tmp_path / "index", range(100 * 8))
    assert noticed > 300


def hide(path: Path, table: str, key: bytes) -> None:
    """Damage the one copy of a path that lies in an index, not in the table: its row is not found any more."""
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    (page,) = index._connection.execute("SELECT rootpage FROM sqlite_schema WHERE name=?", (table,)).fetchall()[0]
    index.close()
    whole = bytearray(path.read_bytes())
    at = whole.index(key, (page - 1) * 4096, page * 4096)
    whole[at + len(key) - 1] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize("table", ["sqlite_autoindex_record_1", "record_conflict"])
def test_a_row_that_its_path_does_not_find_any_more_is_noticed_when_the_index_is_opened(
    tmp_path: Path, table: str
) -> None:
    path = tmp_path / "index"
    make_varied(path)
    hide(path, table, b"both/17")
    with pytest.raises(IndexDamaged, match="damaged"):
        read_all(path)


@pytest.mark.parametrize("table", ["sqlite_autoindex_record_1", "record_conflict"])
def test_what_there_was_no_time_for_when_it_was_opened_is_noticed_later(
    tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "INDEX_CHECK_SECONDS", -1.0)
    monkeypatch.setattr(check, "_STEPS", 1)
    path = tmp_path / "index"
    make_varied(path)
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    assert not index.checked
    assert walk(index) == [r.arrival for r in index.since(0, 10**6)][6::7]
    index.close()
    hide(path, table, b"both/17")
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    with pytest.raises(IndexDamaged, match="1 of the 7 records"):
        walk(index)
    index.close()


def walk(index: Index) -> list[int]:
    """The arrivals at which looking through it stops; the last step finds fewer."""
    found: list[int] = []
    after: int | None = 0
    while (after := index.check_some(after, 7)) is not None:
        found.append(after)
    return found[: len(index.since(0, 10**6)) // 7]


def test_an_index_that_was_looked_through_says_so(tmp_path: Path) -> None:
    path = tmp_path / "index"
    make_varied(path)
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    assert index.checked
    index.close()


def test_fewer_rows_than_were_counted_are_damage(tmp_path: Path) -> None:
    """A page that was written and lost takes its rows out of the table and out of each index alike."""
    path = tmp_path / "index"
    make(path, 5)
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    index._connection.execute("DELETE FROM record WHERE arrival=3")
    index.close()
    with pytest.raises(IndexDamaged, match="4 records"):
        read_all(path)


@pytest.mark.parametrize("key", ["epoch", "life", "state"])
def test_an_index_that_lacks_what_it_is_about_is_damaged(tmp_path: Path, key: str) -> None:
    path = tmp_path / "index"
    make(path, 1)
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    index._connection.execute("DELETE FROM meta WHERE key=?", (key,))
    index.close()
    with pytest.raises(IndexDamaged, match=key):
        read_all(path)


def test_each_flipped_bit_of_what_an_index_is_about_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "index"
    make(path, 1)
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    with index.transaction():
        index.claim({B: Sequence(300)})
    for key in ("epoch", "life", "state"):
        (value,) = index._connection.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchall()[0]
        for bit in range(len(value) * 8):
            flipped = bytearray(value)
            flipped[bit // 8] ^= 1 << bit % 8
            index._connection.execute("UPDATE meta SET value=? WHERE key=?", (bytes(flipped), key))
            with pytest.raises(IndexDamaged, match=key):
                index._required(key)
        index._connection.execute("UPDATE meta SET value=? WHERE key=?", (value, key))
    index.close()
    assert len(read_all(path)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE record SET flags=x'00'",
        "UPDATE record SET flags='text'",
        "UPDATE record SET body=7",
        "UPDATE record SET body=CAST(x'93ff' AS TEXT)",
        "UPDATE record SET path=CAST(path AS TEXT)",
        "UPDATE record SET checksum=x'00'",
        "UPDATE record SET flags=flags | 1",
    ],
)
def test_a_row_with_columns_of_other_types_or_values_is_damage(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "index"
    make(path, 3)
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    with index.transaction():
        of = version(live(A, 9))
        index.put(record(of, placed(of), path=b"placed"), None)
    index._connection.execute(damage)
    index.close()
    with pytest.raises(IndexDamaged):
        read_all(path)


@pytest.mark.parametrize("damage", ["entry=x'c1'", "entry=7", "why=CAST(x'93ff' AS TEXT)"])
def test_a_row_of_the_vaults_catalogue_that_cannot_be_read_is_damage(tmp_path: Path, damage: str) -> None:
    index = Index(str(tmp_path / "index"), NODE_A, random.Random(1).randbytes)
    with index.transaction():
        index.vault.add(Kept(b"v", RelPath(b"a"), file(b"old"), 1, "replaced"))
    index._connection.execute(f"UPDATE vault SET {damage}")
    with pytest.raises(IndexDamaged, match="catalogue"):
        index.vault.all()
    index.close()


def test_what_is_lost_behind_the_first_pages_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "index"
    make(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + bytes(len(whole) - 8192))
    with pytest.raises(IndexDamaged):
        read_all(path)


def test_records_without_an_epoch_are_no_new_index(tmp_path: Path) -> None:
    """A fresh epoch over old records would number changes that peers take for known."""
    path = tmp_path / "index"
    make(path, 3)
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    index._connection.execute("DELETE FROM meta")
    index.close()
    with pytest.raises(IndexDamaged, match="epoch"):
        read_all(path)


def test_a_state_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "index"
    make(path, 1)
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    index._set_meta("state", b"\xc1")
    index.close()
    with pytest.raises(IndexDamaged, match="state cannot be read"):
        read_all(path)


def test_another_format_is_refused_and_not_called_damage(tmp_path: Path) -> None:
    path = tmp_path / "index"
    make(path, 1)
    index = Index(str(path), NODE_A, random.Random(1).randbytes)
    index._connection.execute(f"PRAGMA user_version={FORMAT + 98}; PRAGMA application_id={MARK + 98}")
    index.close()
    with pytest.raises(StoreError, match="format 99") as refused:
        read_all(path)
    assert not isinstance(refused.value, IndexDamaged)


def test_one_index_is_used_by_one_process(tmp_path: Path) -> None:
    path = tmp_path / "index"
    first = Index(str(path), NODE_A, random.Random(1).randbytes)
    with first.transaction():
        first.claim({A: Sequence(1)})
    with pytest.raises(StoreError, match="in use") as refused:
        Index(str(path), NODE_A, random.Random(1).randbytes)
    assert not isinstance(refused.value, IndexDamaged)
    first.close()


def test_a_place_that_cannot_be_written_is_trouble_of_the_node(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        Index(str(tmp_path / "missing" / "index"), NODE_A, random.Random(1).randbytes)


def test_what_is_damaged_is_set_aside_whole_and_a_fresh_one_begins_another_life(tmp_path: Path) -> None:
    path = tmp_path / "index"
    draw = random.Random(1)
    index = Index(str(path), NODE_A, draw.randbytes)
    with index.transaction():
        index.put(record(version(live(A, 1))), None)
    origin, life = index.origin, index.life
    index.close()
    (tmp_path / "index-wal").write_bytes(b"wal")
    kept = set_aside(path)
    assert kept.name == "index.damaged-1"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.damaged-1", "index.damaged-1-wal"]
    fresh = Index(str(path), NODE_A, draw.randbytes)
    assert fresh.fresh
    assert fresh.origin != origin
    assert fresh.life != life
    assert not fresh.state.may_change
    fresh.close()
    assert set_aside(path).name == "index.damaged-2"
    (tmp_path / "index.damaged-1-wal").unlink()
    assert len(read_all(kept)) == 1
