"""Follow: what is added to an open file is announced within its age limit; what is changed in it is a problem."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from everynode.content.blocks import BlockLists
from everynode.group.announce import Announcer
from everynode.group.brake import Brake
from everynode.group.capture import Capture
from everynode.group.follow import Follower
from everynode.group.ground import Ground
from everynode.group.keeper import Keeper
from everynode.group.provide import Provider
from everynode.group.tidy import tidy
from everynode.limits import BLOCK_BYTES, FOLLOW_AGE_MAX, FOLLOW_BYTES_PER_SECOND, INLINE_BYTES_MAX
from everynode.model.ids import Digest
from everynode.model.message import Blocks, BlocksRequest, FetchPart, FetchRequest, Gone
from everynode.model.path import RelPath
from everynode.model.policy import GroupPolicy
from everynode.model.problem import Trouble
from everynode.model.record import Record
from everynode.tree.digest import digest_bytes, hash_blocks
from everynode.tree.root import Root
from tests.unit.core.samples import NODE_B, A, B, dead, file, live, version
from tests.unit.group.fakes import GROUP, Clock, FakeLinks, get, new_ground, put

LOG = RelPath(b"log")
AGE = 30


class Bench:
    """A node that captures and follows; time passes when a test says so."""

    def __init__(self, root: Root, tree: Path) -> None:
        self.log = tree / "log"
        self.links = FakeLinks(NODE_B)
        self.ground: Ground = new_ground(root=root, links=self.links)
        self.ground.may_change.set()
        self.ground.scanned.set()
        self.clock = cast(Clock, self.ground.clock)
        self.announcer = Announcer(self.ground)
        self.capture = Capture(self.ground, self.announcer)
        self.follower = Follower(self.ground, self.capture)
        self.lists = BlockLists()
        self.doubted: list[RelPath] = []
        self.provider = Provider(self.ground, self.lists, self.doubted.append)

    def set_age(self, seconds: int) -> None:
        self.ground.setup = dataclasses.replace(self.ground.setup, policy=GroupPolicy(follow_seconds=seconds))

    async def notice(self, *, pass_by: float = 0.0) -> None:
        """The kernel says that somebody wrote to it; then time passes."""
        self.capture.look_soon(LOG, forced=True)
        await self.let(pass_by)

    async def let(self, seconds: float) -> None:
        """Time passes, in steps that give everybody his turn."""
        until = self.clock.now + seconds
        await self._turns()
        while self.clock.now < until:
            self.clock.now = min(until, self.clock.now + 0.25)
            await self._turns()

    async def _turns(self) -> None:
        for _ in range(60):
            await asyncio.sleep(0)

    def changes(self) -> int:
        """How many changes this node has made."""
        return self.ground.index.heard.get(A, 0)

    def announced(self) -> bytes | None:
        """The digest of what this node says of the file."""
        record = self.ground.index.get(LOG)
        return record.version.siblings[0].entry.digest if record is not None else None

    def troubles(self) -> list[Trouble]:
        return [problem.trouble for problem in self.ground.problems.all()]

    def run(self, story: Callable[[BinaryIO], Coroutine[Any, Any, None]]) -> None:
        """Tell a story about a file that somebody has open."""

        async def run() -> None:
            tasks = [asyncio.create_task(part) for part in (self.capture.run(), self.follower.run())]
            with open(self.log, "wb", buffering=0) as writer:
                await story(writer)
            assert not any(task.done() for task in tasks)
            for task in tasks:
                task.cancel()

        asyncio.run(run())


@pytest.fixture
def bench(root: Root, tree: Path) -> Bench:
    return Bench(root, tree)


def test_what_was_added_is_announced_within_its_age_and_the_close_announces_the_rest_at_once(bench: Bench) -> None:
    async def story(writer: BinaryIO) -> None:
        writer.write(b"one\n")
        await bench.notice(pass_by=AGE / 2 - 1)
        assert bench.announced() is None
        writer.write(b"two\n")
        await bench.notice(pass_by=AGE / 2 + 1)
        assert bench.announced() == digest_bytes(b"one\ntwo\n")
        placed = get(bench.ground.index, LOG).placed
        assert placed is not None and placed.stamp is not None and placed.stamp.ctime_ns == 0
        writer.write(b"three\n")
        await bench.notice(pass_by=AGE)
        assert bench.announced() == digest_bytes(b"one\ntwo\nthree\n")
        assert not bench.troubles() and not bench.capture.pending()
        writer.write(b"four\n")
        writer.close()
        await bench.notice()
        assert bench.announced() == digest_bytes(b"one\ntwo\nthree\nfour\n")

    bench.run(story)


def test_a_file_to_which_nothing_comes_is_announced_once_and_read_ever_more_rarely(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(writer: BinaryIO) -> None:
        reads = 0
        real = bench.clock.offload

        async def offload(function: Callable[..., Any], *arguments: object) -> Any:
            nonlocal reads
            reads += getattr(function, "__name__", "") == "_read_open"
            return await real(function, *arguments)

        monkeypatch.setattr(bench.clock, "offload", offload)
        writer.write(b"one\n")
        await bench.notice(pass_by=3600)
        assert bench.changes() == 1
        assert reads < 20
        before = reads
        writer.write(b"two\n")
        await bench.notice(pass_by=AGE)
        assert bench.announced() == digest_bytes(b"one\ntwo\n")
        assert reads == before + 2
        writer.close()
        await bench.notice(pass_by=AGE)
        assert bench.changes() == 2, "the closed file is what was announced"
        assert reads == before + 2 and not bench.capture.followed

    bench.run(story)


def test_a_file_that_is_changed_in_the_middle_is_a_problem_until_it_rests(bench: Bench) -> None:
    async def story(writer: BinaryIO) -> None:
        for number in range(8):
            writer.seek(0)
            writer.write(b"page %d, and more" % number)
            await bench.notice(pass_by=AGE / 2)
        assert bench.announced() is None
        assert bench.troubles() == [Trouble.NEVER_QUIET]
        assert bench.capture.pending() == 1
        await bench.let(10 * AGE)
        assert bench.announced() == digest_bytes(b"page 7, and more")
        assert not bench.troubles() and not bench.capture.pending()

    bench.run(story)


def test_a_problem_ends_with_the_close(bench: Bench) -> None:
    async def story(writer: BinaryIO) -> None:
        for number in range(8):
            writer.seek(0)
            writer.write(b"page %d" % number)
            await bench.notice(pass_by=AGE / 2)
        writer.close()
        await bench.notice()
        assert bench.announced() == digest_bytes(b"page 7")
        await bench.let(20 * AGE)
        assert not bench.troubles() and bench.changes() == 1

    bench.run(story)


def test_a_log_that_is_emptied_goes_on_without_a_problem(bench: Bench) -> None:
    async def story(writer: BinaryIO) -> None:
        writer.write(b"old lines\n")
        await bench.notice(pass_by=AGE)
        os.ftruncate(writer.fileno(), 0)
        writer.seek(0)
        writer.write(b"new\n")
        await bench.notice(pass_by=1.5 * AGE)
        assert bench.announced() == digest_bytes(b"new\n")
        assert not bench.troubles()

    bench.run(story)


def test_who_does_not_want_it_gets_a_problem_and_the_file_when_it_is_closed(bench: Bench) -> None:
    bench.set_age(0)

    async def story(writer: BinaryIO) -> None:
        writer.write(b"one\n")
        await bench.notice(pass_by=100 * AGE)
        assert bench.announced() is None and bench.troubles() == [Trouble.NEVER_QUIET]
        writer.close()
        await bench.notice(pass_by=AGE)
        assert bench.announced() == digest_bytes(b"one\n") and not bench.troubles()

    bench.run(story)


def test_the_age_grows_with_the_size_and_is_bounded(bench: Bench) -> None:
    async def story(writer: BinaryIO) -> None:
        size = 200 * FOLLOW_BYTES_PER_SECOND
        os.ftruncate(writer.fileno(), size)
        writer.seek(size)
        await bench.notice(pass_by=101)
        writer.write(b"x")
        await bench.notice(pass_by=98)
        assert bench.announced() is None
        await bench.let(2)
        assert get(bench.ground.index, LOG).version.siblings[0].entry.size == size
        assert bench.follower._pause(2**60) == FOLLOW_AGE_MAX / 2

    bench.run(story)


def test_what_was_placed_or_captured_while_it_was_read_is_not_superseded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(writer: BinaryIO) -> None:
        writer.write(b"one\n")
        await bench.notice(pass_by=AGE - 1)
        real = bench.clock.offload

        async def offload(function: Callable[..., Any], *arguments: object) -> Any:
            result = await real(function, *arguments)
            if getattr(function, "__name__", "") == "_read_open":
                writer.write(b"the end\n")
                writer.close()
                await bench.notice()
                assert bench.announced() == digest_bytes(b"one\nthe end\n")
            return result

        monkeypatch.setattr(bench.clock, "offload", offload)
        await bench.let(10)
        assert bench.announced() == digest_bytes(b"one\nthe end\n")
        assert bench.changes() == 1 and not bench.troubles()

    bench.run(story)


def test_it_supersedes_what_was_placed_and_nothing_that_was_only_heard(bench: Bench) -> None:
    async def story(writer: BinaryIO) -> None:
        writer.write(b"one\n")
        await bench.notice(pass_by=AGE)
        record = get(bench.ground.index, LOG)
        theirs = live(B, 1, file(b"theirs"))
        both = version(*record.version.siblings, theirs)
        put(bench.ground.index, Record(LOG, both, record.placed, unplaced=True))
        writer.write(b"two\n")
        await bench.notice(pass_by=AGE)
        siblings = get(bench.ground.index, LOG).version.siblings
        assert theirs in siblings and len(siblings) == 2
        assert {s.entry.digest for s in siblings} == {theirs.entry.digest, bytes(digest_bytes(b"one\ntwo\n"))}

    bench.run(story)


def test_a_beginning_that_equals_what_was_deleted_elsewhere_is_not_dead(bench: Bench) -> None:
    async def story(writer: BinaryIO) -> None:
        writer.write(b"one\n")
        put(bench.ground.index, Record(LOG, version(dead(B, 1, file(b"one\n"))), None))
        await bench.notice(pass_by=2 * AGE)
        assert get(bench.ground.index, LOG).placed is None

    bench.run(story)


@pytest.mark.parametrize("size", [5, INLINE_BYTES_MAX + 1, BLOCK_BYTES + 9, 3 * BLOCK_BYTES])
def test_peers_get_what_was_announced_while_the_file_grows_and_not_when_it_is_changed(bench: Bench, size: int) -> None:
    content = os.urandom(size)
    digest = Digest(digest_bytes(content))

    async def ask(number: int, offset: int, length: int) -> object:
        bench.provider.request(NODE_B, FetchRequest(GROUP, number, LOG, digest, offset, length))
        await bench.let(0)
        return bench.links.to(NODE_B)[-1]

    async def story(writer: BinaryIO) -> None:
        serving = asyncio.create_task(bench.provider.run_peer(NODE_B))
        writer.write(content)
        await bench.notice(pass_by=AGE)
        assert bench.announced() == digest
        writer.write(b"more")
        bench.provider.request(NODE_B, BlocksRequest(GROUP, 1, LOG, digest))
        await bench.let(0)
        blocks = bench.links.to(NODE_B)[-1]
        assert isinstance(blocks, Blocks) and blocks.blocks == hash_blocks(content)
        part = await ask(2, 0, size)
        assert isinstance(part, FetchPart) and part.data == content
        if size > BLOCK_BYTES:
            part = await ask(3, BLOCK_BYTES, size - BLOCK_BYTES)
            assert isinstance(part, FetchPart) and part.data == content[BLOCK_BYTES:]
            assert isinstance(await ask(4, 1, BLOCK_BYTES), Gone), "what is no whole block cannot be compared"
        os.pwrite(writer.fileno(), bytes([content[0] ^ 1]), 0)
        assert isinstance(await ask(5, 0, size), Gone)
        assert LOG in bench.doubted
        serving.cancel()

    bench.run(story)


@pytest.fixture
def cloning(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a filesystem that can copy at one instant."""

    def clone(source: int, target: int) -> None:
        os.pwrite(target, os.pread(source, 1 << 30, 0), 0)

    monkeypatch.setattr(root.kernel, "clone", clone)


def copies(bench: Bench) -> list[str]:
    return [name for name in os.listdir(bench.log.parent / ".everynode" / "vault") if name.startswith("o-")]


@pytest.mark.usefixtures("cloning")
@pytest.mark.parametrize("size", [9, 3 * BLOCK_BYTES])
def test_a_file_that_is_changed_in_the_middle_is_followed_where_it_can_be_copied(bench: Bench, size: int) -> None:
    async def story(writer: BinaryIO) -> None:
        serving = asyncio.create_task(bench.provider.run_peer(NODE_B))
        writer.write(bytes(size))
        for number in range(1, 5):
            content = bytes([number]) + bytes(size - 1)
            os.pwrite(writer.fileno(), content, 0)
            await bench.notice(pass_by=AGE / 2)
            assert bench.announced() == digest_bytes(content)
            assert len(copies(bench)) == 1 and len(bench.ground.index.vault.all()) == 1
            os.pwrite(writer.fileno(), b"changed", 0)
            digest = Digest(digest_bytes(content))
            bench.provider.request(NODE_B, FetchRequest(GROUP, number, LOG, digest, 0, size))
            await bench.let(0)
            part = bench.links.to(NODE_B)[-1]
            assert isinstance(part, FetchPart) and part.data == content
        assert not bench.troubles()
        writer.close()
        await bench.notice(pass_by=AGE)
        assert not copies(bench) and not bench.ground.index.vault.all()
        serving.cancel()

    bench.run(story)


@pytest.mark.usefixtures("cloning")
def test_a_copy_outlives_the_bounds_of_the_vault_and_the_daemon_but_not_the_close(bench: Bench) -> None:
    async def story(writer: BinaryIO) -> None:
        writer.write(b"content")
        await bench.notice(pass_by=AGE)
        (name,) = copies(bench)
        bench.clock.now += 1000 * 86_400
        keeper = Keeper(bench.ground, Brake(bench.ground))
        await keeper.prune()
        (bench.log.parent / ".everynode" / "vault" / "o-nobody-knows").write_bytes(b"a crash left it")
        await tidy(bench.ground)
        assert copies(bench) == [name]
        again = asyncio.create_task(Follower(bench.ground, bench.capture).run())
        await bench.let(AGE)
        (name,) = copies(bench)
        kept = bench.ground.index.vault.get(name.encode())
        assert kept is not None and kept.entry.digest == bench.announced(), "it is open still"
        writer.close()
        await bench.notice(pass_by=20 * AGE)
        assert not copies(bench)
        again.cancel()

    bench.run(story)
