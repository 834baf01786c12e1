"""The life of a group: what it remembers of a power cut, and for how long."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path

import pytest

from everynode.errors import GroupHalted
from everynode.group.announce import Announcer
from everynode.group.capture import Capture
from everynode.group.ground import Ground
from everynode.group.life import Group
from everynode.group.looks import Look
from everynode.group.scan import Scanner
from everynode.index.store import Index
from everynode.model.ids import Sequence
from everynode.model.path import RelPath
from everynode.tree.observe import observe
from everynode.tree.outcome import Present
from everynode.tree.root import Root
from tests.unit.core.samples import NODE_A, A, file, live, placed, record, version
from tests.unit.group.fakes import get, new_ground, new_index, new_setup, put


@pytest.fixture
def index() -> Index:
    """Seven changes of this node, of which four are on stable storage."""
    index = new_index()
    with index.transaction():
        index.claim_one(A, Sequence(7))
        index.change_state().synced = 4
    return index


def start(index: Index, boot: str, **more: object) -> Ground:
    group = Group(dataclasses.replace(new_setup(index, boot=boot), **more))  # type: ignore[arg-type]
    group._open_index()
    return group.ground


def first_scan(index: Index, root: Root, suspect_above: int | None) -> Ground:
    """Until it is over."""
    ground = new_ground(index, root=root)
    ground.suspect_above = suspect_above
    ground.may_change.set()

    async def run() -> None:
        announcer = Announcer(ground)
        capture = Capture(ground, announcer)
        tasks = [asyncio.create_task(capture.run()), asyncio.create_task(Scanner(ground, capture, announcer).run())]
        await asyncio.wait([*tasks, asyncio.create_task(ground.scanned.wait())], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
            assert not task.done()

    asyncio.run(run())
    return ground


def test_after_a_crash_of_the_daemon_alone_nothing_is_suspect(index: Index) -> None:
    assert start(index, "one").suspect_above is None
    assert start(index, "one").suspect_above is None
    assert index.state.suspect_above == -1


def test_after_a_power_cut_what_was_not_synced_is_suspect(index: Index) -> None:
    start(index, "one")
    assert start(index, "two").suspect_above == 4


def test_suspicion_outlives_a_restart_before_the_first_scan_ended(index: Index) -> None:
    start(index, "one")
    start(index, "two")
    with index.transaction():
        index.change_state().synced = 7  # what the cut left was synced, as it was left
    assert start(index, "two").suspect_above == 4
    assert start(index, "two").suspect_above == 4


def test_a_second_power_cut_makes_no_less_suspect(index: Index) -> None:
    start(index, "one")
    start(index, "two")
    with index.transaction():
        index.change_state().synced = 7
    assert start(index, "three").suspect_above == 4


def test_after_a_clean_stop_nothing_is_suspect(index: Index) -> None:
    start(index, "one")
    with index.transaction():
        index.change_state().boot = ""
    assert start(index, "two").suspect_above is None


def test_who_is_alone_has_nobody_to_fetch_from(index: Index) -> None:
    start(index, "one")
    assert start(index, "two", members=lambda: frozenset({NODE_A})).suspect_above is None


def test_suspicion_ends_with_the_first_scan_for_this_and_every_later_start(
    index: Index, root: Root, tree: Path
) -> None:
    start(index, "one")
    suspect_above = start(index, "two").suspect_above
    of = version(live(A, 5, file(b"announced")))
    put(index, record(of, placed(of), path=b"a"))
    (tree / "a").write_bytes(b"")
    ground = first_scan(index, root, suspect_above)
    assert index.knowledge == {A: 7}  # no user did that
    assert get(index, b"a").version == of
    assert get(index, b"a").unplaced
    assert (ground.suspect_above, index.state.suspect_above) == (None, -1)
    assert start(index, "two").suspect_above is None


def test_what_differs_after_the_first_scan_was_done_by_somebody(index: Index, root: Root, tree: Path) -> None:
    (tree / "a").write_bytes(b"announced")
    os.utime(tree / "a", (1, 1))
    (seen,) = observe(root, [(RelPath(b"a"), None)], contents=True, now_ns=10**18)
    assert isinstance(seen, Present)
    of = version(live(A, 5, seen.entry))
    put(index, record(of, placed(of, at=seen.stamp), path=b"a"))
    first_scan(index, root, 4)
    assert index.knowledge == {A: 7}
    (tree / "a").write_bytes(b"users")
    first_scan(index, root, None)
    assert index.knowledge == {A: 8}
    assert get(index, b"a").version.siblings[0].entry.digest == file(b"users").digest


def test_in_a_root_without_its_marker_nothing_is_deleted(root: Root, tree: Path) -> None:
    """Unmounted, emptied, another directory: what is missing there says nothing."""
    index = new_index()
    of = version(live(A, 1, file(b"content")))
    put(index, record(of, placed(of), path=b"a"))
    ground = new_ground(index, root=root)
    ground.may_change.set()
    (tree / ".everynode/marker").unlink()
    with pytest.raises(GroupHalted, match="nothing was taken as deleted"):
        asyncio.run(Capture(ground, Announcer(ground)).look({RelPath(b"a"): Look(0.0)}))
    assert get(index, b"a").version == of


def test_who_waits_for_progress_is_woken_in_the_order_of_waiting() -> None:
    """By address it would be another order in every run, and a simulated life no life that can be had again."""
    ground = new_ground()
    woken: list[int] = []

    async def wait(number: int) -> None:
        await ground.wait_progress()
        woken.append(number)

    async def story() -> None:
        tasks = [asyncio.create_task(wait(number)) for number in range(200)]
        await asyncio.sleep(0)
        ground.progressed()
        await asyncio.gather(*tasks)

    asyncio.run(story())
    assert woken == list(range(200))
