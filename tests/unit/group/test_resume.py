"""Resume: what stands on the disk as it was to be placed is known to have been placed, and nothing else is."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from everynode.core.versions import make_version
from everynode.group.ground import Ground
from everynode.group.hear import hear_all
from everynode.group.resume import resume
from everynode.limits import OVERTAKEN_MAX
from everynode.model.entry import Entry
from everynode.model.ids import Sequence
from everynode.model.message import Batch
from everynode.model.path import RelPath
from everynode.model.record import Placed, Record, Version
from everynode.tree.root import Root
from tests.unit.core.samples import NODE_B, B, dead, file, live, stamp, version
from tests.unit.group.fakes import GROUP, new_ground, wire

PATH = RelPath(b"a")


def mine(content: bytes) -> Entry:
    return file(content, mtime=10**18, uid=os.getuid(), gid=os.getgid())


ONE = version(live(B, 1, mine(b"one")))
TWO = version(live(B, 2, mine(b"two")), B=2)
GONE = version(dead(B, 2, mine(b"one")), B=2)
THREE = version(live(B, 3, mine(b"three")), B=3)


@pytest.fixture
def ground(root: Root) -> Ground:
    return new_ground(root=root)


def hear(ground: Ground, *several: Version) -> None:
    for of in several:
        before = ground.index.knowledge.get(B, Sequence(0))
        hear_all(ground.index, [(NODE_B, Batch(GROUP, B, before, Sequence(before + 1), (wire(PATH, of),)))])


def recorded(ground: Ground) -> Record:
    record = ground.index.get(PATH)
    assert record is not None
    return record


def place(ground: Ground, of: Version) -> None:
    """As if it had been placed and recorded."""
    record = recorded(ground)
    there = of.siblings[0].entry if of.siblings[0].live else None
    with ground.index.transaction():
        placed = Placed(of, there, stamp() if there is not None else None, of.siblings[0].dot)
        ground.index.set_placed(Record(PATH, record.version, placed, unplaced=record.version != of), record)


def stand(tree: Path, content: bytes) -> None:
    (tree / "a").write_bytes(content)
    os.chmod(tree / "a", 0o644)
    os.utime(tree / "a", ns=(10**18, 10**18))


def placed_then(ground: Ground) -> Version | None:
    asyncio.run(resume(ground))
    placed = recorded(ground).placed
    return placed.version if placed is not None else None


def test_what_stands_there_as_heard_was_placed(ground: Ground, tree: Path) -> None:
    hear(ground, ONE)
    stand(tree, b"one")
    assert placed_then(ground) == ONE
    assert recorded(ground).unplaced, "it may not be on stable storage"


def test_what_nobody_is_known_to_have_written_is_left_to_the_scan(ground: Ground, tree: Path) -> None:
    hear(ground, ONE)
    stand(tree, b"mine")
    assert placed_then(ground) is None


def test_what_was_superseded_while_it_was_placed_was_placed(ground: Ground, tree: Path) -> None:
    hear(ground, ONE, TWO)
    stand(tree, b"one")
    assert placed_then(ground) == make_version(ONE.siblings, {})
    assert recorded(ground).version == TWO


def test_a_removal_that_was_superseded_meanwhile_was_done(ground: Ground, tree: Path) -> None:
    hear(ground, ONE)
    place(ground, ONE)
    hear(ground, GONE, THREE)
    assert placed_then(ground) == make_version(GONE.siblings, {})


def test_absence_of_what_was_placed_is_for_the_scan_when_no_removal_was_to_be_done(ground: Ground) -> None:
    hear(ground, ONE)
    place(ground, ONE)
    hear(ground, TWO, THREE)
    assert placed_then(ground) == ONE


def test_what_was_recorded_as_placed_is_not_remembered_as_overtaken(ground: Ground) -> None:
    hear(ground, ONE)
    place(ground, ONE)
    hear(ground, TWO)
    assert recorded(ground).overtaken == ()
    hear(ground, THREE)
    assert recorded(ground).overtaken == TWO.siblings
    place(ground, THREE)
    assert recorded(ground).overtaken == ()


def test_only_the_last_few_are_remembered(ground: Ground) -> None:
    hear(ground, *(version(live(B, n, mine(b"%d" % n)), B=n) for n in range(1, OVERTAKEN_MAX + 4)))
    assert [s.sequence for s in recorded(ground).overtaken] == list(range(3, OVERTAKEN_MAX + 3))
