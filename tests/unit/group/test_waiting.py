"""Wait: what was written before the call is captured, synced and placed where it says, or it is not done."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from everynode.content.blocks import BlockLists
from everynode.group.announce import Announcer
from everynode.group.apply import Applier
from everynode.group.brake import Brake
from everynode.group.capture import Capture
from everynode.group.fetch import Fetcher
from everynode.group.follow import Follower
from everynode.group.ground import Ground
from everynode.group.heads import HeadsKeeper
from everynode.group.keeper import Keeper
from everynode.group.notify import Notifier
from everynode.group.requests import Requests
from everynode.group.scan import Scanner
from everynode.group.waiting import Waiter
from everynode.model.hold import Held, Span
from everynode.model.ids import Dot, NodeId, Sequence
from everynode.model.message import Heads
from everynode.model.notice import Notice, What
from everynode.model.path import ROOT, RelPath
from everynode.model.policy import GroupPolicy
from everynode.model.problem import Trouble
from everynode.report.status import WaitResult
from everynode.tree.root import Root
from tests.unit.core.samples import NODE_B, NODE_C, A, dot
from tests.unit.group.fakes import GROUP, Clock, FakeNotices, get, new_ground

SHORT = 0.05
"""Seconds for what never comes."""
LONG = 20.0


class Bench:
    """A node on which capture and apply run; its peers are what a test says of them."""

    def __init__(self, root: Root, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tree = tree
        self.ground: Ground = new_ground(root=root)
        self.ground.root_was_empty = True
        for event in (self.ground.may_change, self.ground.scanned):
            event.set()
        clock = cast(Clock, self.ground.clock)

        async def sleep(seconds: float) -> None:
            clock.now += seconds
            await asyncio.sleep(0)

        monkeypatch.setattr(clock, "sleep", sleep)
        announcer = Announcer(self.ground)
        self.capture = Capture(self.ground, announcer)
        self.follower = Follower(self.ground, self.capture)
        fetcher = Fetcher(self.ground, Requests(self.ground), BlockLists())
        self.heads = HeadsKeeper(self.ground)
        brake = Brake(self.ground)
        self.applier = Applier(self.ground, self.capture, announcer, fetcher, self.heads, brake)
        scanner = Scanner(self.ground, self.capture, announcer)
        keeper = Keeper(self.ground, brake)
        self.waiter = Waiter(self.ground, self.capture, scanner, keeper, self.heads)

    def write(self, name: str, content: bytes = b"x") -> None:
        (self.tree / name).write_bytes(content)
        os.utime(self.tree / name, (1, 1))

    def peer(self, node: NodeId, placed: int, *exceptions: Dot) -> None:
        """It has placed own changes of this node up to `placed`, but for some."""
        vector = {A: Sequence(placed)}
        self.heads.heard(node, Heads(GROUP, vector, vector, exceptions))

    async def wait(self, path: str | None = None, nodes: int | None = None, timeout: float = LONG) -> WaitResult:
        return await self.waiter.wait(RelPath(path.encode()) if path is not None else None, nodes, timeout)

    def run(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            parts = (self.capture.run(), self.applier.run(), self.follower.run())
            tasks = [asyncio.create_task(part) for part in parts]
            await story()
            assert not any(task.done() for task in tasks)
            for task in tasks:
                task.cancel()

        asyncio.run(run())


@pytest.fixture
def bench(root: Root, tree: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(root, tree, monkeypatch)


def test_what_was_written_before_the_call_is_captured_and_on_stable_storage(bench: Bench) -> None:
    async def story() -> None:
        bench.write("a")
        result = await bench.wait("a", 1)
        assert (result.done, result.reached) == (True, 1)
        assert get(bench.ground.index, b"a").version.siblings[0].dot == dot(A, 1)
        assert bench.ground.index.state.synced == 1

    bench.run(story)


def test_what_was_noticed_before_the_call_is_waited_for_however_late_the_notices_are_read(bench: Bench) -> None:
    """On a busy machine the loop comes to them when it does; until then nothing may be said to be safe."""
    notices = cast(FakeNotices, bench.ground.setup.notices)

    async def story() -> None:
        bench.write("a")
        notices.queue.put_nowait([Notice(What.WRITTEN, RelPath(b"a"))])
        assert not (await bench.wait(None, 1, SHORT)).done
        waiting = asyncio.create_task(bench.wait(None, 1))
        reading = asyncio.create_task(Notifier(bench.ground, bench.capture).run())
        assert (await waiting).done
        assert get(bench.ground.index, b"a").version.siblings[0].dot == dot(A, 1)
        assert bench.ground.index.state.synced == 1
        reading.cancel()

    bench.run(story)


def test_what_was_busy_when_it_was_looked_at_and_closed_before_the_call_is_waited_for(bench: Bench) -> None:
    async def story() -> None:
        with open(bench.tree / "a", "wb") as writer:
            writer.write(b"half")
            writer.flush()
            bench.capture.look_soon(RelPath(b"a"))
            while not bench.capture.is_busy(RelPath(b"a")):
                await asyncio.sleep(0)
            # That of a writer who goes on is not waited for.
            await asyncio.wait_for(bench.capture.flush(ROOT, busy=False), LONG)
            assert bench.ground.index.get(RelPath(b"a")) is None
        await bench.wait(None, 1)
        assert get(bench.ground.index, b"a").version.siblings[0].dot == dot(A, 1)
        assert bench.ground.index.state.synced == 1

    bench.run(story)


def test_where_nothing_is_noticed_everything_is_looked_at_before_it_is_said_to_be_safe(bench: Bench) -> None:
    cast(FakeNotices, bench.ground.setup.notices).method = "none"

    async def story() -> None:
        waiting = asyncio.create_task(bench.wait(None, 1))
        assert await bench.capture.scan_wanted.get() == ROOT
        assert not waiting.done()
        bench.capture.scan_wanted.task_done()
        assert (await waiting).done

    bench.run(story)


def test_it_is_done_when_enough_nodes_say_that_they_placed_it(bench: Bench) -> None:
    async def story() -> None:
        bench.write("a")
        result = await bench.wait("a", 2, SHORT)
        assert (result.done, result.reached, result.wanted, result.missing) == (False, 1, 2, ("b", "c"))
        assert result.reason.startswith("time is up; `everynode status`")
        waiting = asyncio.create_task(bench.wait("a", 2))
        bench.peer(NODE_B, 1)
        result = await waiting
        assert (result.done, result.reached, result.missing) == (True, 2, ("c",))
        bench.peer(NODE_C, 1)
        assert (await bench.wait("a")).done

    bench.run(story)


def test_more_nodes_than_there_are_are_not_waited_for(bench: Bench) -> None:
    async def story() -> None:
        bench.write("a")
        async with asyncio.timeout(LONG):
            result = await bench.wait("a", 4, 1000 * LONG)
        assert (result.done, result.reason) == (False, "the group has only 3 members")

    bench.run(story)


def test_who_waits_in_vain_is_told_of_paths_in_trouble_and_of_what_is_held(bench: Bench) -> None:
    async def story() -> None:
        bench.write("a")
        await bench.wait("a", 1)
        bench.ground.problems.placing(RelPath(b"b"), Trouble.NO_SPACE, "no room")
        assert "everynode problems" in (await bench.wait("a", 2, SHORT)).reason
        vector = {A: Sequence(0)}
        held = Held(Span(A, Sequence(1), Sequence(1)), 1)
        bench.heads.heard(NODE_B, Heads(GROUP, vector, vector, (), holds=(held,)))
        assert "held" in (await bench.wait("a", 2, SHORT)).reason

    bench.run(story)


def test_what_a_peer_names_as_not_placed_does_not_count_below_a_higher_one(bench: Bench) -> None:
    async def story() -> None:
        bench.write("a")
        await bench.wait("a", 1)
        bench.write("b")
        await bench.wait("b", 1)
        bench.peer(NODE_B, 2, dot(A, 1))
        bench.peer(NODE_C, 2)
        assert (await bench.wait("b", timeout=SHORT)).done
        for path in ("a", None):
            result = await bench.wait(path, timeout=SHORT)
            assert (result.done, result.missing) == (False, ("b",)), path
        bench.peer(NODE_B, 2)
        assert (await bench.wait(timeout=SHORT)).done

    bench.run(story)


def test_what_this_node_cannot_place_itself_does_not_count(bench: Bench) -> None:
    async def story() -> None:
        bench.write("a")
        await bench.wait("a", 1)
        bench.write("b")
        await bench.wait("b", 1)
        bench.heads.stuck[RelPath(b"a")] = (dot(A, 1),)
        assert (await bench.wait("b", 1, SHORT)).done
        assert not (await bench.wait(None, 1, SHORT)).done

    bench.run(story)


@pytest.mark.parametrize("path", ["a", None])
def test_a_scan_that_is_wanted_is_waited_for(bench: Bench, path: str | None) -> None:
    async def story() -> None:
        bench.write("a")
        await bench.wait("a", 1)
        bench.capture.scan_wanted.put_nowait(RelPath(b""))
        result = await bench.wait(path, 1, SHORT)
        assert not result.done
        assert "not looked at yet" in result.reason
        bench.capture.scan_wanted.get_nowait()
        # Taken up is not finished.
        assert not (await bench.wait(path, 1, SHORT)).done
        bench.capture.scan_wanted.task_done()
        assert (await bench.wait(path, 1, SHORT)).done

    bench.run(story)


def test_the_first_scan_is_waited_for(bench: Bench) -> None:
    async def story() -> None:
        bench.ground.scanned.clear()
        bench.write("a")
        assert not (await bench.wait("a", 1, SHORT)).done
        bench.ground.scanned.set()
        assert (await bench.wait("a", 1)).done

    bench.run(story)


def test_a_path_that_is_being_written_is_not_done_until_its_writer_is(bench: Bench) -> None:
    bench.ground.setup = dataclasses.replace(bench.ground.setup, policy=GroupPolicy(follow_seconds=0))

    async def story() -> None:
        bench.write("other")
        with open(bench.tree / "a", "wb") as writer:
            writer.write(b"half")
            writer.flush()
            result = await bench.wait("a", 1, SHORT)
            assert not result.done
            assert "being written" in result.reason
            assert bench.ground.index.get(RelPath(b"a")) is None
            # A log that is always open must not keep everything else for ever.
            assert (await bench.wait("other", 1)).done
            while not len(bench.ground.problems):
                await asyncio.sleep(0)
            refused = await bench.wait(None, 1)
            assert not refused.done and "problems" in refused.reason
        assert (await bench.wait("a", 1)).done

    bench.run(story)


def test_a_path_of_which_nothing_is_known_is_not_done_and_says_so(bench: Bench) -> None:
    async def story() -> None:
        result = await bench.wait("typo", 1, SHORT)
        assert not result.done
        assert "typo" in result.reason
        assert "does not exist" in result.reason

    bench.run(story)


def test_a_deleted_path_is_waited_for_like_any_other(bench: Bench) -> None:
    async def story() -> None:
        bench.write("a")
        await bench.wait("a", 1)
        (bench.tree / "a").unlink()
        result = await bench.wait("a", 2, SHORT)
        assert (result.done, result.reached) == (False, 1)
        bench.peer(NODE_B, 2)
        assert (await bench.wait("a", 2)).done

    bench.run(story)


def test_more_nodes_than_there_are_is_said_so(bench: Bench) -> None:
    async def story() -> None:
        bench.write("a")
        result = await bench.wait("a", 9, SHORT)
        assert not result.done
        assert "only 3 members" in result.reason

    bench.run(story)


def test_nothing_is_done_before_a_member_was_met(bench: Bench) -> None:
    async def story() -> None:
        bench.ground.may_change.clear()
        result = await bench.wait(None, 1, SHORT)
        assert not result.done
        assert "no member was met" in result.reason

    bench.run(story)
