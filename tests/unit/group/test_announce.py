"""Announce: batches of own changes without holes; who is too far behind is left a gap that he notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from everynode.core.runs import may_claim
from everynode.group import announce as module
from everynode.group.announce import Announcement, Announcer
from everynode.group.ground import Ground
from everynode.model.ids import Digest, NodeId, Sequence
from everynode.model.message import Batch
from everynode.model.record import Vector
from tests.unit.core.samples import NODE_B, NODE_C, A, file, live, version
from tests.unit.group.fakes import FakeLinks, new_ground, wire


def change(number: int, content: bytes | None = None) -> Announcement:
    of = wire(b"f%d" % number, version(live(A, number, file(content or b"x"))))
    inline = (Digest(file(content).digest), content) if content is not None else None
    return Announcement(of, A, Sequence(number), inline)


def changes(first: int, last: int) -> list[Announcement]:
    return [change(number) for number in range(first, last + 1)]


class Bench:
    def __init__(self) -> None:
        self.links = FakeLinks(NODE_B, NODE_C)
        self.ground: Ground = new_ground(links=self.links)
        self.announcer = Announcer(self.ground)

    def batches(self, peer: NodeId = NODE_B) -> list[Batch]:
        return [message for message in self.links.to(peer) if isinstance(message, Batch)]

    def spans(self, peer: NodeId = NODE_B) -> list[tuple[int, int]]:
        return [(batch.before, batch.after) for batch in self.batches(peer)]

    async def push(self, *peers: NodeId) -> None:
        """Let the tasks of these peers send whatever they would."""
        tasks = [asyncio.create_task(self.announcer.run_peer(peer)) for peer in peers or (NODE_B,)]
        await spin(lambda: all(task.done() for task in tasks))
        for task in tasks:
            task.cancel()


async def spin(until: Callable[[], bool]) -> None:
    """Every task gets its turn until nothing can move any more."""
    for _ in range(50):
        if until():
            return
        await asyncio.sleep(0)


def test_changes_go_out_as_batches_that_join_without_holes() -> None:
    async def run() -> None:
        bench = Bench()
        bench.announcer.open(NODE_B)
        bench.announcer.announce(changes(1, 3))
        bench.announcer.announce(changes(4, 4))
        await bench.push()
        assert bench.spans() == [(0, 3), (3, 4)]
        assert [r.path for b in bench.batches() for r in b.records] == [b"f1", b"f2", b"f3", b"f4"]
        assert {b.origin for b in bench.batches()} == {A}
        assert bench.ground.news.is_set()

    asyncio.run(run())


def test_small_contents_ride_along() -> None:
    async def run() -> None:
        bench = Bench()
        bench.announcer.open(NODE_B)
        bench.announcer.announce([change(1, b"one"), change(2)])
        await bench.push()
        assert [b.contents for b in bench.batches()] == [{file(b"one").digest: b"one"}]

    asyncio.run(run())


def test_what_comes_back_out_of_order_goes_out_in_order() -> None:
    async def run() -> None:
        bench = Bench()
        bench.announcer.open(NODE_B)
        bench.announcer.announce(changes(3, 4))
        await bench.push()
        assert bench.spans() == []
        bench.announcer.announce(changes(5, 5))
        bench.announcer.announce(changes(1, 2))
        await bench.push()
        assert bench.spans() == [(0, 2), (2, 4), (4, 5)]

    asyncio.run(run())


def test_nothing_to_announce_is_nothing() -> None:
    bench = Bench()
    bench.announcer.announce([])
    assert not bench.ground.news.is_set()


def test_who_is_linked_later_gets_what_comes_later() -> None:
    async def run() -> None:
        bench = Bench()
        bench.announcer.announce(changes(1, 2))
        bench.announcer.open(NODE_B)
        await bench.push()
        bench.announcer.announce(changes(3, 3))
        await bench.push()
        assert bench.spans() == [(2, 3)]

    asyncio.run(run())


def test_one_batch_goes_to_all_and_is_kept_once() -> None:
    async def run() -> None:
        bench = Bench()
        bench.announcer.open(NODE_B)
        bench.announcer.open(NODE_C)
        bench.announcer.announce(changes(1, 2))
        await bench.push(NODE_B, NODE_C)
        assert bench.spans(NODE_B) == bench.spans(NODE_C) == [(0, 2)]
        assert bench.batches(NODE_B)[0] is bench.batches(NODE_C)[0]

    asyncio.run(run())


@contextmanager
def small_ring(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "ANNOUNCE_RING_BYTES", 1000)
    yield


def test_what_fell_out_of_the_ring_leaves_a_gap_that_no_receiver_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        bench = Bench()
        bench.announcer.open(NODE_B)
        for number in range(1, 21):
            bench.announcer.announce(changes(number, number))
        await bench.push()
        spans = bench.spans()
        assert spans[-1] == (19, 20)
        assert 1 <= len(spans) < 10
        assert spans[0][0] > 0
        assert all(before == after for (_, after), (before, _) in pairwise(spans))
        knowledge: Vector = {}
        assert not any(may_claim(knowledge, batch.origin, batch.before) for batch in bench.batches())

    with small_ring(monkeypatch):
        asyncio.run(run())


def test_large_batches_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        bench = Bench()
        bench.announcer.open(NODE_B)
        bench.announcer.announce(changes(1, 7))
        await bench.push()
        assert bench.spans() == [(0, 3), (3, 6), (6, 7)]

    monkeypatch.setattr(module, "BATCH_RECORDS", 3)
    asyncio.run(run())


def test_a_content_that_fills_a_batch_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        bench = Bench()
        bench.announcer.open(NODE_B)
        bench.announcer.announce([change(1, b"c" * 900), change(2), change(3)])
        await bench.push()
        assert bench.spans() == [(0, 1), (1, 3)]

    monkeypatch.setattr(module, "BATCH_BYTES", 1000)
    asyncio.run(run())


def test_a_link_that_is_gone_ends_its_task_and_harms_nobody() -> None:
    async def run() -> None:
        bench = Bench()
        bench.links.open.remove(NODE_B)
        for peer in (NODE_B, NODE_C):
            bench.announcer.open(peer)
        bench.announcer.announce(changes(1, 1))
        task = asyncio.create_task(bench.announcer.run_peer(NODE_B))
        await asyncio.wait_for(task, 1)
        await bench.push(NODE_C)
        assert bench.spans(NODE_C) == [(0, 1)]

    asyncio.run(run())


def test_a_new_epoch_counts_from_one_again_and_pushes_nothing_of_the_old_one() -> None:
    async def run() -> None:
        bench = Bench()
        bench.announcer.open(NODE_B)
        bench.announcer.announce(changes(1, 2))
        index = bench.ground.index
        with index.transaction():
            index.begin_new_epoch()
        bench.announcer.begin_epoch()
        of = wire(b"new", version(live(index.origin, 1)))
        bench.announcer.announce([Announcement(of, index.origin, Sequence(1), None)])
        await bench.push()
        assert [(b.origin, b.before, b.after) for b in bench.batches()] == [(index.origin, 0, 1)]

    asyncio.run(run())


def test_changes_of_an_epoch_that_ended_while_they_were_judged_are_not_announced() -> None:
    """They would be taken for the next ones of the new epoch; peers get them by runs."""

    async def run() -> None:
        bench = Bench()
        bench.announcer.open(NODE_B)
        bench.announcer.announce(changes(1, 2))
        index = bench.ground.index
        with index.transaction():
            index.begin_new_epoch()
        bench.announcer.begin_epoch()
        bench.announcer.announce(changes(3, 3))
        bench.announcer.announce(changes(1, 1))
        for number in (1, 2, 3, 4):
            of = wire(b"new%d" % number, version(live(index.origin, number)))
            bench.announcer.announce([Announcement(of, index.origin, Sequence(number), None)])
        await bench.push()
        assert [r.path for b in bench.batches() for r in b.records] == [b"new1", b"new2", b"new3", b"new4"]
        assert {b.origin for b in bench.batches()} == {index.origin}

    asyncio.run(run())


def test_while_a_run_brings_everything_nothing_is_pushed_beside_it() -> None:
    async def run() -> None:
        bench = Bench()
        bench.announcer.open(NODE_B)
        bench.announcer.pause(NODE_B)
        bench.announcer.announce(changes(1, 2))
        bench.announcer.announce(changes(3, 4))
        await bench.push()
        assert bench.spans() == []
        bench.announcer.resume(NODE_B, Sequence(2))
        await bench.push()
        assert bench.spans() == [(2, 4)]

    asyncio.run(run())


def test_a_peer_that_does_not_say_what_it_heard_is_sent_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        bench = Bench()
        bench.announcer.open(NODE_B)
        for number in range(1, 11):
            bench.announcer.announce(changes(number, number))
        await bench.push()
        underway = len(bench.spans())
        assert 0 < underway < 10
        bench.announcer.acknowledged(NODE_B, Sequence(underway))
        await bench.push()
        assert bench.spans() == [(number, number + 1) for number in range(len(bench.spans()))]
        assert len(bench.spans()) > underway

    monkeypatch.setattr(module, "LIVE_WINDOW_BYTES", 600)
    asyncio.run(run())
