"""Damaged files: noticed when opened or read, set aside whole, never believed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from everynode.errors import IndexDamaged, StoreError
from everynode.index.schema import set_aside
from everynode.index.store import Index
from everynode.index.vault_catalogue import Kept
from everynode.model.ids import Sequence
from everynode.model.path import RelPath
from tests.unit.core.samples import NODE_A, A, B, file, live, placed, record, version


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


def test_a_flipped_bit_in_the_file_never_changes_a_record_that_is_read(tmp_path: Path) -> None:
    """A sample: each byte of the file that is no free space is a candidate."""
    path = tmp_path / "index"
    make(path, 40)
    whole = path.read_bytes()
    right = read_all(path)
    draw = random.Random(7)
    used = [position for position, byte in enumerate(whole) if byte]
    noticed = 0
    for position in draw.sample(used, 250):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        try:
            found = read_all(path)
        except StoreError:
            noticed += 1
            continue
        assert found.items() <= right.items(), f"byte {position}"
    assert noticed > 80


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
    index._connection.execute("PRAGMA user_version=99")
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
