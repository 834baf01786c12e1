"""What the kill sweep kills daemons in: small acts on a small tree, on one node or on both."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.crash.workload import content

Does = Callable[[Path, Path], None]
"""Something users do on both roots: first that of the node that is killed, then the other one's."""


def nothing(mine: Path, theirs: Path) -> None:
    pass


@dataclass(frozen=True)
class Scenario:
    """`before`: done while the node that is to die does not run. `during`: once it is in sync; calls count from there.

    Without `during` they count from its start. `start`: which of the prepared clusters it begins with. `actor`: whose
    tree is what is wanted in the end: 0 that of the node that dies, 1 that of the other one; None: there is a conflict.
    """

    before: Does = nothing
    during: Does | None = None
    start: str = "equal"
    actor: int | None = 1


def write(path: Path, version: int, size: int) -> None:
    path.write_bytes(content(path.name, version, size))


def _many_changes(root: Path) -> None:
    write(root / "d/one", 2, 3_000)
    write(root / "d/large", 2, 150_000)
    beside = root / ".saving"
    write(beside, 1, 700)
    os.replace(beside, root / "two")
    (root / "d/sub/deep").chmod(0o600)
    os.chown(root / "three", 1234, 2345)
    (root / "new").mkdir()
    write(root / "new/file", 1, 500)
    (root / "new/link").symlink_to("file")
    (root / "empty").touch()


def _renames(root: Path) -> None:
    os.rename(root / "two", root / "d/two")
    os.replace(root / "three", root / "four")
    os.rename(root / "d/sub", root / "moved")


def _deletes(root: Path) -> None:
    (root / "two").unlink()
    (root / "link").unlink()
    shutil.rmtree(root / "d")


def _other_types(root: Path) -> None:
    (root / "two").unlink()
    (root / "two").mkdir()
    write(root / "two/inside", 1, 100)
    (root / "three").unlink()
    (root / "three").symlink_to("four")
    (root / "link").unlink()
    write(root / "link", 1, 200)


def _conflicts(mine: Path, theirs: Path) -> None:
    for number, root in enumerate((mine, theirs)):
        write(root / "two", 10 + number, 900)
        write(root / "d/large", 10 + number, 90_000 + number)
        write(root / "both made it", 10 + number, 80)
    (mine / "three").unlink()
    write(theirs / "three", 12, 60)
    shutil.rmtree(theirs / "d/sub")
    write(mine / "d/sub/deep", 13, 70)


def _all(mine: Path, theirs: Path) -> None:
    _many_changes(theirs)
    _renames(theirs)
    (theirs / "link").unlink()
    shutil.rmtree(theirs / "moved")


SCENARIOS = {
    "join": Scenario(start="invited"),
    "first copy": Scenario(start="joined"),
    "change here": Scenario(during=lambda mine, theirs: _many_changes(mine), actor=0),
    "change there": Scenario(during=lambda mine, theirs: _many_changes(theirs)),
    "rename here": Scenario(during=lambda mine, theirs: _renames(mine), actor=0),
    "rename there": Scenario(during=lambda mine, theirs: _renames(theirs)),
    "delete here": Scenario(during=lambda mine, theirs: _deletes(mine), actor=0),
    "delete there": Scenario(during=lambda mine, theirs: _deletes(theirs)),
    "other type here": Scenario(during=lambda mine, theirs: _other_types(mine), actor=0),
    "other type there": Scenario(during=lambda mine, theirs: _other_types(theirs)),
    "conflict": Scenario(before=_conflicts, actor=None),
    "catch up": Scenario(before=_all),
    "changed while down": Scenario(before=lambda mine, theirs: _many_changes(mine), actor=0),
    "prune": Scenario(start="full vault"),
}


def fill(root: Path) -> None:
    (root / "d/sub").mkdir(parents=True)
    write(root / "d/one", 1, 2_000)
    write(root / "d/large", 1, 130_000)
    write(root / "d/sub/deep", 1, 300)
    write(root / "two", 1, 600)
    write(root / "three", 1, 40)
    write(root / "four", 1, 41)
    (root / "link").symlink_to("two")
