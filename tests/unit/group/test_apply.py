"""Apply: what a pass may claim, when it comes again, and what it keeps; a real root, index and fetcher."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Coroutine
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from everynode.content.assemble import Assembly
from everynode.content.blocks import BlockLists
from everynode.errors import PathError
from everynode.group.announce import Announcer
from everynode.group.apply import Applier
from everynode.group.brake import Brake
from everynode.group.capture import Capture
from everynode.group.choose import choose
from everynode.group.fetch import Fetcher
from everynode.group.ground import Ground
from everynode.group.heads import HeadsKeeper
from everynode.group.hear import hear_all
from everynode.group.looks import Look
from everynode.group.notify import Notifier
from everynode.group.placing import place_batch
from everynode.group.requests import Answer, Requests
from everynode.group.scan import Scanner
from everynode.limits import FETCH_BYTES_MAX, PASS_REST, PLACE_WAIT, WRITER_RETRY_MAX
from everynode.model.entry import Entry
from everynode.model.ids import Digest, NodeId, Sequence
from everynode.model.message import Batch, Blocks, BlocksRequest, FetchPart, FetchRequest, Gone
from everynode.model.notice import Notice, What
from everynode.model.path import RelPath
from everynode.model.policy import ConflictPolicy, GroupPolicy
from everynode.model.problem import Trouble
from everynode.model.record import Version
from everynode.tree.digest import digest_bytes, hash_blocks
from everynode.tree.root import Root
from tests.unit.core.samples import NODE_A, NODE_B, A, B, C, file, live, version
from tests.unit.group.fakes import GROUP, Clock, FakeLinks, get, new_ground, put, wire

PATH = RelPath(b"a")


class FakeRequests:
    """Peers that have what a test puts in here, and say so when they do not."""

    def __init__(self) -> None:
        self.has: dict[bytes, bytes] = {}
        self.moved: set[bytes] = set()
        """At these paths they do not have it any more."""
        self.shown: Version | None = None
        """What they say that stands there instead."""
        self.asked: list[bytes] = []

    async def ask(self, peer: NodeId, build: Callable[[int], BlocksRequest | FetchRequest]) -> Answer | None:
        await asyncio.sleep(0)
        request = build(1)
        self.asked.append(request.path)
        content = self.has.get(request.digest) if request.path not in self.moved else None
        if content is None:
            return Gone(GROUP, 1, self.shown)
        if isinstance(request, BlocksRequest):
            return Blocks(GROUP, 1, hash_blocks(content))
        return FetchPart(GROUP, 1, content[request.offset : request.offset + request.length])


class Bench:
    def __init__(self, root: Root, tree: Path) -> None:
        self.tree = tree
        self.ground: Ground = new_ground(root=root, links=FakeLinks(NODE_B, C_NODE))
        self.clock = cast(Clock, self.ground.clock)
        self.ground.root_was_empty = True
        for event in (self.ground.may_change, self.ground.scanned):
            event.set()
        self.announcer = announcer = Announcer(self.ground)
        self.capture = Capture(self.ground, announcer)
        self.requests = FakeRequests()
        self.fetcher = Fetcher(self.ground, cast(Requests, self.requests), BlockLists())
        self.heads = HeadsKeeper(self.ground)
        self.brake = Brake(self.ground)
        self.applier = Applier(self.ground, self.capture, announcer, self.fetcher, self.heads, self.brake)

    def heard(self, of: Version, path: bytes = PATH, *, upto: int | None = None, **contents: bytes) -> None:
        """In a batch of B, as its latest change."""
        index = self.ground.index
        before = index.knowledge.get(B, Sequence(0))
        after = Sequence(upto or before + 1)
        hear_all(index, [(NODE_B, Batch(GROUP, B, before, after, (wire(path, of),)))])
        small = {Digest(mine(content).digest): content for content in contents.values()}
        self.ground.inline.add(small)
        self.requests.has.update(small)

    async def turn(self) -> None:
        """A pass, and whatever it began."""
        self.ground.work.clear()
        await self.applier._pass()
        while self.fetcher.underway():
            await asyncio.sleep(0)
            if not self.fetcher.underway():
                await self.applier._pass()

    def shown(self) -> bytes | None:
        there = self.tree / "a"
        return there.read_bytes() if there.exists() else None

    def run(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            fetching = asyncio.create_task(self.fetcher.run())
            await asyncio.sleep(0)
            await story()
            assert not fetching.done()
            fetching.cancel()

        asyncio.run(run())


C_NODE = NodeId(b"c" * 16)


def mine(content: bytes, *, mtime: int = 1) -> Entry:
    return file(content, mtime=mtime, uid=os.getuid(), gid=os.getgid())


@pytest.fixture
def bench(root: Root, tree: Path) -> Bench:
    return Bench(root, tree)


ONE = version(live(B, 1, mine(b"one")))
TWO = version(live(B, 2, mine(b"two")), B=2)


# What is shown.


@pytest.mark.parametrize(("policy", "shown"), [("newest", b"first"), ("oldest", b"second!")])
def test_the_policy_of_the_group_decides_what_is_shown(bench: Bench, policy: ConflictPolicy, shown: bytes) -> None:
    """And not the order of the nodes: C's change has the higher dot."""
    bench.ground.setup = dataclasses.replace(bench.ground.setup, policy=GroupPolicy(conflict=policy))
    both = version(live(B, 1, mine(b"first", mtime=9)), live(C, 1, mine(b"second!", mtime=1)))

    async def story() -> None:
        bench.heard(both)
        bench.requests.has = {s.entry.digest: c for s, c in zip(both.siblings, (b"first", b"second!"), strict=True)}
        await bench.turn()
        assert bench.shown() == shown

    bench.run(story)


# What a pass claims.


def test_what_a_whole_pass_placed_is_claimed(bench: Bench) -> None:
    async def story() -> None:
        bench.heard(ONE, content=b"one")
        await bench.turn()
        assert bench.shown() == b"one"
        assert bench.ground.placed == {B: 1}
        assert bench.heads.current().placed == {B: 1}
        assert bench.ground.news.is_set()

    bench.run(story)


def test_a_path_that_somebody_writes_to_is_not_claimed_until_it_is_placed_or_named(bench: Bench) -> None:
    async def story() -> None:
        bench.heard(ONE, content=b"one")
        await bench.turn()
        bench.heard(TWO, content=b"two")
        with open(bench.tree / "a", "ab"):
            await bench.turn()
            assert bench.shown() == b"one"
            assert bench.ground.placed == {B: 1}
            await bench.turn()  # not due again yet
            assert bench.ground.placed == {B: 1}
            bench.clock.now += PLACE_WAIT
            await bench.turn()
            assert bench.heads.stuck == {PATH: ((B, 2),)}
            assert [p.trouble for p in bench.ground.problems.all()] == [Trouble.WRITER]
            # Now it may be covered: it is named as an exception, and so has not reached.
            assert bench.heads.current().exceptions == ((B, 2),)
            assert bench.heads.reached({(B, Sequence(2))}).nodes == frozenset()
        bench.clock.now += 10 * PLACE_WAIT
        await bench.turn()
        assert bench.shown() == b"two"
        assert bench.ground.placed == {B: 2}
        assert bench.heads.current().exceptions == ()
        assert len(bench.ground.problems) == 0

    bench.run(story)


def test_who_waits_for_a_writer_tries_often_enough_to_say_so_and_to_notice_that_it_is_gone(bench: Bench) -> None:
    async def story() -> None:
        bench.heard(version(live(B, 1, mine(b"old"))), old=b"old")
        await bench.turn()
        with open(bench.tree / "a", "ab"):
            bench.heard(version(live(B, 2, mine(b"new"))), new=b"new")
            began = bench.clock.now
            while not bench.ground.problems.all():
                await bench.turn()
                bench.clock.now = max(bench.clock.now, bench.applier._retries[PATH].due)
            assert PLACE_WAIT <= bench.clock.now - began <= PLACE_WAIT + 2 * WRITER_RETRY_MAX
            bench.clock.now += 100 * PLACE_WAIT
            await bench.turn()
        bench.clock.now += WRITER_RETRY_MAX
        await bench.turn()
        assert bench.shown() == b"new"
        assert bench.ground.problems.all() == []

    bench.run(story)


def test_peers_are_told_that_a_stuck_path_is_placed_though_it_was_claimed_before(bench: Bench) -> None:
    """Else whoever waits for it there waits until something else changes."""

    async def story() -> None:
        bench.heard(ONE)
        await bench.turn()  # nobody has its content at the moment
        await bench.turn()
        assert bench.heads.current().exceptions == ((B, 1),) and bench.ground.placed == {B: 1}
        bench.requests.has = {mine(b"one").digest: b"one"}
        bench.fetcher.hope()
        bench.ground.news.clear()
        await bench.turn()
        assert bench.shown() == b"one" and bench.heads.current().exceptions == ()
        assert bench.ground.news.is_set()

    bench.run(story)


def test_a_newer_version_of_a_path_that_is_stuck_is_not_claimed_until_it_is_named(bench: Bench) -> None:
    three = version(live(B, 3, mine(b"three")), B=3)

    async def story() -> None:
        bench.heard(ONE, content=b"one")
        await bench.turn()
        bench.heard(TWO, content=b"two")
        with open(bench.tree / "a", "ab"):
            await bench.turn()
            bench.clock.now += PLACE_WAIT
            await bench.turn()
            assert bench.heads.current().exceptions == ((B, 2),) and bench.ground.placed == {B: 2}
            bench.heard(three, content=b"three")
            await bench.turn()
            await bench.turn()  # not due again yet
            assert bench.heads.reached({(B, Sequence(3))}).nodes == frozenset()
            bench.clock.now += PLACE_WAIT
            await bench.turn()
            assert bench.heads.current().exceptions == ((B, 3),) and bench.ground.placed == {B: 3}
        bench.clock.now += 10 * PLACE_WAIT
        await bench.turn()
        assert bench.shown() == b"three"
        assert bench.heads.reached({(B, Sequence(3))}).nodes == frozenset({bench.ground.setup.node})

    bench.run(story)


def test_one_path_that_cannot_be_placed_holds_up_no_other(bench: Bench) -> None:
    async def story() -> None:
        bench.heard(ONE, content=b"one")
        await bench.turn()
        bench.heard(TWO, content=b"two")
        bench.heard(version(live(B, 3, mine(b"other"))), b"b", content=b"other")
        with open(bench.tree / "a", "ab"):
            await bench.turn()
            assert (bench.tree / "b").read_bytes() == b"other"
            bench.clock.now += PLACE_WAIT
            await bench.turn()
            await bench.turn()
            assert bench.ground.placed == {B: 3}
            assert bench.heads.current().exceptions == ((B, 2),)

    bench.run(story)


def test_what_is_heard_during_a_pass_is_not_claimed_by_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        bench.heard(ONE, content=b"one")
        real = bench.clock.offload

        async def offload(function: Callable[..., Any], *arguments: object) -> Any:
            if function is place_batch and bench.ground.index.get(RelPath(b"late")) is None:
                bench.heard(version(live(B, 2, mine(b"late"))), b"late", content=b"late")
            return await real(function, *arguments)

        monkeypatch.setattr(bench.clock, "offload", offload)
        await bench.turn()
        assert bench.ground.placed == {B: 1}
        monkeypatch.undo()
        await bench.turn()
        assert bench.ground.placed == {B: 2}

    bench.run(story)


# Paths that capture has in hand.


def test_a_path_that_capture_has_is_left_alone_and_tried_when_it_lets_go(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        bench.heard(ONE, content=b"one")
        real = bench.clock.offload
        met: list[bytes | None] = []

        async def offload(function: Callable[..., Any], *arguments: object) -> Any:
            if function == bench.capture._observe:
                await bench.turn()
                met.append(bench.shown())
                assert bench.ground.placed == {}
                assert not bench.ground.work.is_set()  # else apply would spin
            return await real(function, *arguments)

        monkeypatch.setattr(bench.clock, "offload", offload)
        await bench.capture.look({PATH: Look(0.0)})
        assert met == [None]
        assert bench.ground.work.is_set()
        monkeypatch.undo()
        await bench.turn()
        assert bench.shown() == b"one"
        assert bench.ground.placed == {B: 1}

    bench.run(story)


def test_a_path_that_capture_let_go_of_while_it_was_left_out_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        bench.heard(ONE, content=b"one")
        real = bench.clock.offload_index
        bench.ground.claims.add(PATH)

        async def offload_index(function: Callable[..., Any], *arguments: object) -> Any:
            answer = await real(function, *arguments)
            if function is choose:
                bench.ground.claims.discard(PATH)
            return answer

        monkeypatch.setattr(bench.clock, "offload_index", offload_index)
        await bench.turn()
        assert bench.ground.placed == {}
        assert bench.ground.work.is_set()
        await bench.turn()
        assert bench.shown() == b"one"

    bench.run(story)


# What nobody has.


async def lose(bench: Bench) -> Version:
    """A change of this node over what B wrote, of which a power cut leaves an empty file; what B wrote."""
    bench.heard(ONE, content=b"one")
    await bench.turn()
    (bench.tree / "a").write_bytes(b"nobody got that")
    await bench.capture.look({PATH: Look(0.0)})
    bench.ground.suspect_above = 0
    (bench.tree / "a").write_bytes(b"")
    await bench.capture.look({PATH: Look(0.0)})
    return ONE


def test_what_a_power_cut_left_gives_way_to_what_the_others_show_and_is_kept(bench: Bench) -> None:
    async def story() -> None:
        bench.requests.shown = await lose(bench)
        for _ in range(3):
            await bench.turn()
        assert bench.shown() == b"one"
        (sibling,) = get(bench.ground.index, PATH).version.siblings
        assert sibling.origin == bench.ground.index.origin and sibling.entry == ONE.siblings[0].entry
        kept = bench.ground.index.vault.of_digest(Digest(digest_bytes(b"")))
        assert [(one.path, one.why) for one in kept] == [(PATH, "replaced")]

    bench.run(story)


def test_a_peer_that_testifies_of_what_it_has_not_is_believed_once(bench: Bench) -> None:
    async def story() -> None:
        await lose(bench)
        sequences = set()
        for number in range(20):
            bench.requests.shown = version(live(B, 1, mine(b"a lie %d" % number)))
            await bench.turn()
            sequences.add(bench.ground.index.next_sequence())
        assert len(sequences) <= 3, "each change of its mind would go to all nodes"
        assert bench.shown() == b""

    bench.run(story)


@pytest.mark.parametrize("first", [True, False])
def test_what_only_a_removed_member_had_is_given_up_by_the_first_of_the_others(bench: Bench, first: bool) -> None:
    """Else the path would wait for ever, on every node."""
    members = frozenset({NODE_A, C_NODE} if first else {NodeId(b"0" * 16), NODE_A, C_NODE})
    bench.ground.setup = dataclasses.replace(bench.ground.setup, members=lambda: members)
    bench.ground.links = FakeLinks(*(members - {NODE_A}))

    async def story() -> None:
        (bench.tree / "a").write_bytes(b"what everybody has")
        await bench.capture.look({PATH: Look(0.0)})
        old = get(bench.ground.index, PATH).version
        large = mine(b"x" * 100_000)
        bench.heard(version(live(B, 1, large), A=old.siblings[0].sequence))
        await bench.turn()
        await bench.turn()
        now = get(bench.ground.index, PATH).version
        assert bench.shown() == b"what everybody has"
        if first:
            (sibling,) = now.siblings
            assert sibling.origin == bench.ground.index.origin and now.context == {B: 1}
            assert sibling.entry.digest == old.siblings[0].entry.digest
        else:
            assert [sibling.origin for sibling in now.siblings] == [B]

    bench.run(story)


# What was settled elsewhere.


def test_a_directory_that_is_renamed_while_something_is_placed_into_it_is_scanned_after_that(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What landed under its new name did so after the notice of the rename, and gives none of its own."""
    notifier = Notifier(bench.ground, bench.capture)
    kernel = bench.ground.setup.root.kernel
    rename_at = kernel.rename_at

    def rename_first(*arguments: Any) -> None:
        if (bench.tree / "d").exists():
            os.rename(bench.tree / "d", bench.tree / "e")
        rename_at(*arguments)

    async def offload(function: Callable[..., Any], *arguments: object) -> Any:
        result = function(*arguments)
        if function is place_batch:
            await notifier.notice([Notice(What.RENAMED | What.DIRECTORY, RelPath(b"e"), RelPath(b"d"))])
        return result

    async def story() -> None:
        (bench.tree / "d").mkdir()
        (bench.tree / "d" / "other").write_bytes(b"so that it does not come whole")
        await bench.capture.look({RelPath(b"d"): Look(0.0)})
        bench.heard(version(live(B, 1, mine(b"one"))), b"d/a", content=b"one")
        monkeypatch.setattr(kernel, "rename_at", rename_first)
        monkeypatch.setattr(bench.clock, "offload", offload)
        bench.ground.placing_now = True
        await bench.turn()
        assert (bench.tree / "e" / "a").read_bytes() == b"one"
        assert bench.capture.scan_wanted.get_nowait() == b"d"
        assert bench.capture.scan_wanted.get_nowait() == b"e"

    bench.run(story)


@pytest.mark.parametrize("into", ["e", "../outside"])
def test_what_went_with_its_directory_before_it_was_recorded_is_looked_for_at_its_old_name(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, into: str
) -> None:
    """Else the record says that it stands there, for ever: the look at all that was below came too soon for it."""
    notifier = Notifier(bench.ground, bench.capture)

    async def offload(function: Callable[..., Any], *arguments: object) -> Any:
        result = function(*arguments)
        if function is place_batch and not (bench.tree / into).exists():
            os.rename(bench.tree / "d", bench.tree / into)
            (bench.tree / "d").mkdir()
            renamed = Notice(What.RENAMED | What.DIRECTORY, RelPath(b"e"), RelPath(b"d"))
            await notifier.notice([renamed if into == "e" else Notice(What.GONE | What.DIRECTORY, RelPath(b"d"))])
            await bench.capture.look({RelPath(b"d"): Look(0.0), RelPath(b"e"): Look(0.0)})
        return result

    async def story() -> None:
        (bench.tree / "d").mkdir()
        (bench.tree / "d" / "other").write_bytes(b"so that it does not come whole")
        await bench.capture.look({RelPath(b"d"): Look(0.0)})
        bench.heard(version(live(B, 1, mine(b"one"))), b"d/a", content=b"one")
        with monkeypatch.context() as patched:
            patched.setattr(bench.clock, "offload", offload)
            bench.ground.placing_now = True
            await bench.turn()
        assert get(bench.ground.index, RelPath(b"d/a")).placed is not None and not (bench.tree / "d" / "a").exists()
        scanner = Scanner(bench.ground, bench.capture, bench.announcer)
        while not bench.capture.scan_wanted.empty():
            await scanner.scan(bench.capture.scan_wanted.get_nowait())
        assert not get(bench.ground.index, RelPath(b"d/a")).version.siblings[0].live

    bench.run(story)


def test_what_capture_has_settled_is_neither_tried_nor_stuck_nor_a_problem_any_more(bench: Bench) -> None:
    async def story() -> None:
        bench.heard(ONE, content=b"one")
        await bench.turn()
        bench.heard(TWO, content=b"two")
        with open(bench.tree / "a", "ab"):
            await bench.turn()
            bench.clock.now += PLACE_WAIT
            await bench.turn()
        assert bench.heads.stuck
        assert len(bench.ground.problems) == 1
        now = get(bench.ground.index, PATH)
        assert now.placed is not None
        of = version(live(A, 1, mine(b"users")), B=2)
        put(bench.ground.index, type(now)(PATH, of, type(now.placed)(of, None, None, (A, Sequence(1))), False))
        bench.ground.news.clear()
        await bench.turn()
        assert bench.heads.stuck == {}
        assert len(bench.ground.problems) == 0
        assert bench.applier._retries == {}
        assert bench.ground.news.is_set()
        assert bench.ground.placed == {B: 2}

    bench.run(story)


# Contents.


def test_a_content_that_is_not_at_one_path_any_more_is_asked_for_at_the_other_at_once(bench: Bench) -> None:
    """As when an editor has renamed what it saved, before it was fetched."""
    content = os.urandom(40_000)

    async def story() -> None:
        bench.heard(version(live(B, 1, mine(content))), b"saving")
        bench.requests.has = {mine(content).digest: content}
        bench.requests.moved = {b"saving"}
        await bench.turn()
        assert bench.requests.asked.count(b"saving") == 2, "each peer once"
        bench.heard(version(live(B, 2, mine(content))))
        await bench.turn()
        assert bench.shown() == content
        assert bench.requests.asked.count(b"saving") == 2

    bench.run(story)


def test_a_content_that_nobody_has_is_asked_for_once_for_each_path_and_then_waited_for(bench: Bench) -> None:
    content = os.urandom(40_000)

    async def story() -> None:
        for number, path in enumerate((b"x", b"y", b"z"), 1):
            bench.heard(version(live(B, number, mine(content))), path)
        for _ in range(5):
            await bench.turn()
        assert sorted(set(bench.requests.asked)) == [b"x", b"y", b"z"]
        assert len(bench.requests.asked) == 6
        bench.clock.now += 100.0
        await bench.turn()
        assert len(bench.requests.asked) == 8

    bench.run(story)


def test_a_content_that_was_fetched_is_kept_while_another_of_the_same_path_is_missing(bench: Bench) -> None:
    winner, loser = mine(b"winner", mtime=9), mine(b"loser", mtime=1)

    async def story() -> None:
        bench.heard(version(live(B, 1, winner), live(C, 1, loser)))
        bench.requests.has = {winner.digest: b"winner"}
        await bench.turn()
        await bench.turn()
        assert bench.shown() is None
        bench.requests.has = {loser.digest: b"loser"}  # whoever had the winner is gone
        bench.fetcher.hope()
        await bench.turn()
        await bench.turn()
        assert bench.shown() == b"winner"
        (kept,) = bench.ground.index.vault.all()
        assert (kept.entry, kept.why) == (loser, "loser")
        assert bench.heads.stuck == {}

    bench.run(story)


def test_a_disk_that_refuses_a_large_content_is_a_problem_of_that_path(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several requests are under way when it happens; none of them may end the group."""
    content = os.urandom(FETCH_BYTES_MAX + 5000) * 4
    large = file(content, uid=os.getuid(), gid=os.getgid())
    large = type(large)(large.kind, large.mode, large.uid, large.gid, 1, len(content), digest_bytes(content))

    def refuse(self: Assembly, offset: int, data: bytes) -> None:
        raise PathError("no space left on device; free space", path=PATH)

    async def story() -> None:
        bench.heard(version(live(B, 1, large)))
        bench.requests.has = {large.digest: content}
        with monkeypatch.context() as full:
            full.setattr(Assembly, "add", refuse)
            await bench.turn()
        (problem,) = bench.ground.problems.all()
        assert (problem.path, problem.trouble) == (PATH, Trouble.PLACING)
        assert "free space" in problem.detail
        await bench.turn()
        assert bench.heads.stuck == {PATH: ((B, 1),)}
        bench.heard(version(live(B, 2, mine(b"small"))), b"b", content=b"small")
        await bench.turn()
        assert (bench.tree / "b").exists()
        bench.fetcher.hope()
        await bench.turn()
        await bench.turn()
        assert bench.shown() == content
        assert len(bench.ground.problems) == 0

    bench.run(story)


def test_passes_rest_while_contents_are_on_their_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that arrives wants a pass over all that wait: thousands of them would keep the node from all else."""
    passes: list[float] = []
    real = bench.applier._pass

    async def slow_pass() -> None:
        passes.append(bench.clock.now)
        bench.clock.now += 0.1
        await real()
        bench.ground.work.set()  # another content has arrived

    monkeypatch.setattr(bench.applier, "_pass", slow_pass)

    async def story() -> None:
        bench.heard(ONE)  # nobody has its content
        running = asyncio.create_task(bench.applier.run())
        while len(passes) < 4:
            bench.clock.now += 0.01
            await asyncio.sleep(0)
        running.cancel()

    bench.run(story)
    pauses = [later - earlier for earlier, later in pairwise(passes)]
    assert all(pause >= 0.1 * (1 + PASS_REST) for pause in pauses), pauses


def test_a_directory_without_a_record_is_not_described_while_nobody_is_there_who_may_have_it(bench: Bench) -> None:
    path = RelPath(b"d")

    async def story() -> None:
        bench.applier._bare.add(path)
        bench.applier._look_at_bare()
        assert not bench.capture.pending(), "else 0755 and the present time may win over what its record says"
        bench.ground.heads[NODE_B] = cast(Any, SimpleNamespace(heard={}))
        bench.applier._look_at_bare()
        assert bench.capture.pending() == 1

    bench.run(story)
