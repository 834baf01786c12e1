"""A small life of a tree: what a user does on one node, with the moments at which he waits until all nodes have it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from tests.crash.history import Does


def content(name: str, version: int, size: int) -> bytes:
    """Bytes that no other file and no other version has, and no part of them twice."""
    seed = hashlib.sha256(f"{name} {version}".encode()).digest()
    return b"".join(hashlib.sha256(seed + bytes([n % 256, n // 256])).digest() for n in range(size // 32 + 1))[:size]


def fill(root: Path) -> Iterator[None]:
    """What stands there before the group is made: the first copy."""
    (root / "d1/sub").mkdir(parents=True)
    (root / "d1/small").write_bytes(content("small", 1, 100))
    (root / "d1/empty").touch()
    (root / "d1/medium").write_bytes(content("medium", 1, 20_000))
    (root / "d1/large").write_bytes(content("large", 1, 300_000))
    (root / "d1/sub/deep").write_bytes(content("deep", 1, 5_000))
    (root / "d1/sub/deep").chmod(0o640)
    (root / "link").symlink_to("d1/small")
    for number in range(20):
        (root / f"first{number}").write_bytes(content(f"first{number}", 1, 700 * number))
    yield


class Then(Enum):
    """What he waits for after an act."""

    NOTHING = "nothing"
    SHOWN = "until the other node shows it: it need not be on stable storage here, and without a wait it is not"
    ACKNOWLEDGED = "until it is on stable storage on all nodes"


def life() -> Iterator[tuple[Does, Then]]:
    yield _overwrite, Then.SHOWN
    yield _replace_by_rename, Then.NOTHING
    yield _change_attributes, Then.ACKNOWLEDGED
    yield _rename_file, Then.NOTHING
    yield _rename_directory, Then.SHOWN
    yield _make_many, Then.SHOWN
    yield _delete_some, Then.ACKNOWLEDGED
    yield _delete_directory, Then.NOTHING
    yield _change_type, Then.SHOWN
    yield _write_new, Then.ACKNOWLEDGED
    for version in range(3, 8):
        yield _save_again(version), Then.NOTHING if version % 2 else Then.SHOWN
    yield _append, Then.ACKNOWLEDGED
    yield _write_large, Then.SHOWN
    yield _save_with_fsync, Then.NOTHING
    yield _overwrite_many, Then.SHOWN
    yield _rename_over, Then.SHOWN
    yield _delete_and_make_again, Then.SHOWN
    yield _change_attributes_again, Then.ACKNOWLEDGED


def _save(path: Path, data: bytes, *, sync: bool = False) -> Iterator[None]:
    """As editors save: beside, then renamed over."""
    beside = path.with_name(".saving")
    with open(beside, "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    yield
    os.replace(beside, path)
    yield


def _overwrite(root: Path) -> Iterator[None]:
    (root / "d1/small").write_bytes(content("small", 2, 150))
    (root / "first19").write_bytes(content("first19", 2, 50_000))
    yield


def _replace_by_rename(root: Path) -> Iterator[None]:
    yield from _save(root / "d1/medium", content("medium", 2, 22_000))
    yield from _save(root / "first18", content("first18", 2, 60_000))


def _change_attributes(root: Path) -> Iterator[None]:
    (root / "d1/large").chmod(0o600)
    os.chown(root / "d1/medium", 1234, 2345)
    os.utime(root / "d1/empty", ns=(0, 1_000_000_000_123_456_789))
    (root / "d1").chmod(0o750)
    yield


def _change_attributes_again(root: Path) -> Iterator[None]:
    (root / "d1/large").chmod(0o640)
    (root / "moved").chmod(0o600)
    yield


def _rename_file(root: Path) -> Iterator[None]:
    os.rename(root / "d1/small", root / "moved")
    os.rename(root / "first17", root / "d1/first17")
    yield


def _rename_directory(root: Path) -> Iterator[None]:
    os.rename(root / "d1/sub", root / "d2")
    yield


def _make_many(root: Path) -> Iterator[None]:
    (root / "many").mkdir()
    for number in range(40):
        (root / f"many/{number}").write_bytes(content(f"many{number}", 1, 50 * number))
    yield


def _delete_some(root: Path) -> Iterator[None]:
    for number in range(4):
        (root / f"first{number}").unlink()
    (root / "link").unlink()
    yield


def _delete_directory(root: Path) -> Iterator[None]:
    shutil.rmtree(root / "d2")
    yield


def _change_type(root: Path) -> Iterator[None]:
    (root / "link").mkdir()
    yield
    (root / "link/inside").write_bytes(content("inside", 1, 1_000))
    (root / "first5").unlink()
    yield
    (root / "first5").symlink_to("first6")
    yield


def _save_again(version: int) -> Does:
    def does(root: Path) -> Iterator[None]:
        yield from _save(root / "d1/medium", content("medium", version, 9_000 + 5_000 * version))
        (root / "first7").write_bytes(content("first7", version, 100 * version))
        yield

    return does


def _append(root: Path) -> Iterator[None]:
    with open(root / "d1/large", "ab") as file:
        file.write(content("large tail", 1, 70_000))
    yield


def _write_large(root: Path) -> Iterator[None]:
    (root / "huge").write_bytes(content("huge", 1, 700_000))
    yield


def _save_with_fsync(root: Path) -> Iterator[None]:
    yield from _save(root / "first8", content("first8", 2, 4_000), sync=True)


def _overwrite_many(root: Path) -> Iterator[None]:
    for number in range(0, 40, 2):
        (root / f"many/{number}").write_bytes(content(f"many{number}", 2, 80 * number + 1))
    yield


def _write_new(root: Path) -> Iterator[None]:
    (root / "d1/new").write_bytes(content("new", 1, 45_000))
    (root / "d1/new small").write_bytes(content("new small", 1, 45))
    yield


def _rename_over(root: Path) -> Iterator[None]:
    os.replace(root / "first9", root / "first10")
    yield


def _delete_and_make_again(root: Path) -> Iterator[None]:
    (root / "moved").unlink()
    yield
    (root / "moved").write_bytes(content("moved", 9, 333))
    (root / "many/39").unlink()
    yield
