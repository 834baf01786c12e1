"""Waiting while a group is opened, closed, or opened again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from everynode.daemon.facade import HeldGroup
from everynode.daemon.waiting import wait_for_targets
from everynode.model.path import ROOT, RelPath
from everynode.report.status import WaitResult
from tests.unit.daemon.fake_node import FakeGroup, FakeNode


class SilentGroup(FakeGroup):
    """One that was closed: its `wait` never ends."""

    async def wait(self, path: RelPath | None, nodes: int | None, timeout: float) -> WaitResult:
        await asyncio.Event().wait()
        raise AssertionError


def test_a_group_that_is_being_opened_is_waited_for(tmp_path: Path) -> None:
    async def run() -> None:
        node = FakeNode(tmp_path)
        group = node.group
        node.held["www"] = HeldGroup(str(tmp_path), None, "it is being opened", opening=True)
        waiting = asyncio.ensure_future(wait_for_targets(node, [("www", ROOT)], "all", 30))
        await asyncio.sleep(0)
        assert not waiting.done()
        node.held["www"] = HeldGroup(str(tmp_path), group)
        assert (await waiting).done

    asyncio.run(run())


def test_a_group_that_cannot_be_opened_ends_the_wait_with_its_reason(tmp_path: Path) -> None:
    async def run() -> None:
        node = FakeNode(tmp_path)
        node.held["www"] = HeldGroup(str(tmp_path), None, "the root is missing")
        async with asyncio.timeout(10):  # far below the time that was asked for
            reply = await wait_for_targets(node, [("www", ROOT)], "all", 1000)
        assert (reply.done, reply.groups["www"].reason) == (False, "the root is missing")

    asyncio.run(run())


def test_a_group_that_is_opened_anew_is_asked_anew(tmp_path: Path) -> None:
    async def run() -> None:
        node = FakeNode(tmp_path)
        node.held["www"] = HeldGroup(str(tmp_path), SilentGroup(tmp_path))
        waiting = asyncio.ensure_future(wait_for_targets(node, [("www", RelPath(b"a"))], 2, 30))
        await asyncio.sleep(0)
        node.held["www"] = HeldGroup(str(tmp_path), node.group)
        assert (await waiting).done
        assert node.group.asked[0][1:3] == (b"a", 2)  # type: ignore[index]

    asyncio.run(run())


def test_of_several_paths_in_one_group_the_worst_counts(tmp_path: Path) -> None:
    class Picky(FakeGroup):
        async def wait(self, path: RelPath | None, nodes: int | None, timeout: float) -> WaitResult:
            return WaitResult(done=path != b"b", reached=1, wanted=2, missing=() if path != b"b" else ("b",))

    async def run() -> None:
        node = FakeNode(tmp_path)
        node.held["www"] = HeldGroup(str(tmp_path), Picky(tmp_path))
        targets = [("www", RelPath(path)) for path in (b"a", b"b", b"c")]
        reply = await wait_for_targets(node, targets, "all", 30)
        assert (reply.done, reply.exit_code, reply.groups["www"].missing) == (False, 1, ("b",))

    asyncio.run(run())


def test_the_node_itself_may_be_missing_and_is_not_unreachable(tmp_path: Path) -> None:
    """A path that waits here for a person, or for room on the disk, is no matter of links."""

    async def run() -> None:
        node = FakeNode(tmp_path)
        own = node.status().name
        node.group.wait_result = WaitResult(done=False, reached=2, wanted=3, missing=(own,), reason="no room")
        reply = await wait_for_targets(node, [("www", ROOT)], "all", 1)
        assert (reply.done, reply.exit_code, reply.unreachable) == (False, 1, ())

    asyncio.run(run())
