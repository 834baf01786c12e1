"""Serve: a run sends what the other does not know, and closes with what is known at that very moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from everynode.group import serve as module
from everynode.group.announce import Announcement, Announcer
from everynode.group.ground import Ground
from everynode.group.serve import RunServer
from everynode.model.ids import Sequence
from everynode.model.message import Batch, RunCredit, RunEnd, RunPart, RunRequest
from everynode.model.record import Vector
from tests.unit.core.samples import NODE_B, A, B, C, dead, directory, live, placed, record, version
from tests.unit.group.fakes import GROUP, FakeLinks, new_ground, put, wire


class Bench:
    def __init__(self) -> None:
        self.links = FakeLinks(NODE_B)
        self.ground: Ground = new_ground(links=self.links)
        self.announcer = Announcer(self.ground)
        self.server = RunServer(self.ground, self.announcer)

    def heard(self, first: int, last: int, *, prefix: bytes = b"f") -> None:
        """Changes of C; not placed here, so that no content rides along."""
        for number in range(first, last + 1):
            put(self.ground.index, record(version(live(C, number)), path=prefix + b"%d" % number))
        with self.ground.index.transaction():
            self.ground.index.claim({C: Sequence(last)})

    def request(self, knows: Vector, *, run: int = 1, index: bytes = b"", since: int = 0) -> None:
        self.server.request(NODE_B, RunRequest(GROUP, run, knows, index, since))

    def sent(self) -> list[bytes]:
        return [r.path for message in self.links.to(NODE_B) if isinstance(message, RunPart) for r in message.records]

    def ends(self) -> list[RunEnd]:
        return [message for message in self.links.to(NODE_B) if isinstance(message, RunEnd)]

    async def serve(self, until: Callable[[], bool] | None = None) -> None:
        task = asyncio.create_task(self.server.run_peer(NODE_B))
        for _ in range(200):
            if task.done() or (until is not None and until()):
                break
            await asyncio.sleep(0)
        task.cancel()


def test_a_run_sends_everything_to_who_knows_nothing_and_ends_with_all_knowledge() -> None:
    async def run() -> None:
        bench = Bench()
        bench.heard(1, 3)
        bench.request({})
        await bench.serve()
        assert bench.sent() == [b"f1", b"f2", b"f3"]
        (end,) = bench.ends()
        assert (end.knows, end.index, end.arrival, end.run) == ({C: 3}, bench.ground.index.life, 3, 1)
        assert isinstance(bench.links.to(NODE_B)[-1], RunEnd)

    asyncio.run(run())


def test_what_the_other_knows_is_not_sent() -> None:
    async def run() -> None:
        bench = Bench()
        bench.heard(1, 3)
        put(bench.ground.index, record(version(dead(B, 9)), path=b"his own"))
        bench.request({C: Sequence(2), B: Sequence(9)})
        await bench.serve()
        assert bench.sent() == [b"f3"]

    asyncio.run(run())


def test_a_run_goes_on_where_the_last_one_of_the_same_index_ended() -> None:
    async def run() -> None:
        bench = Bench()
        bench.heard(1, 4)
        bench.request({C: Sequence(1)}, index=bench.ground.index.life, since=2)
        await bench.serve()
        assert bench.sent() == [b"f3", b"f4"]
        assert bench.ends()[0].arrival == 4

    asyncio.run(run())


def test_where_it_ended_means_nothing_to_another_life_of_the_index() -> None:
    async def run() -> None:
        bench = Bench()
        bench.heard(1, 4)
        bench.request({C: Sequence(1)}, index=b"another life", since=3)
        await bench.serve()
        assert bench.sent() == [b"f2", b"f3", b"f4"]

    asyncio.run(run())


def test_parts_wait_for_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_RECORDS", 2)
    monkeypatch.setattr(module, "RUN_WINDOW", 2)

    async def run() -> None:
        bench = Bench()
        bench.heard(1, 9)
        bench.request({}, run=7)
        await bench.serve()
        assert len(bench.sent()) == 4
        bench.server.credit(NODE_B, RunCredit(GROUP, 6))
        await bench.serve()
        assert not bench.ends()

    asyncio.run(run())


def test_credit_lets_a_run_go_on_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_RECORDS", 2)
    monkeypatch.setattr(module, "RUN_WINDOW", 1)

    async def run() -> None:
        bench = Bench()
        bench.heard(1, 9)
        bench.request({}, run=7)

        def give() -> bool:
            bench.server.credit(NODE_B, RunCredit(GROUP, 7))
            return bool(bench.ends())

        await bench.serve(give)
        assert bench.sent() == [b"f%d" % number for number in range(1, 10)]
        assert len(bench.ends()) == 1

    asyncio.run(run())


def test_the_end_speaks_of_what_is_known_then_and_not_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_RECORDS", 1)
    monkeypatch.setattr(module, "RUN_WINDOW", 9)

    async def run() -> None:
        bench = Bench()
        bench.heard(1, 2)
        bench.request({})

        def more_is_heard() -> bool:
            if bench.sent() == [b"f1"]:
                bench.heard(3, 3)
            return bool(bench.ends())

        await bench.serve(more_is_heard)
        assert bench.sent() == [b"f1", b"f2", b"f3"]
        assert bench.ends()[0].knows == {C: 3}

    asyncio.run(run())


def test_all_that_the_end_claims_was_sent_or_known() -> None:
    async def run() -> None:
        bench = Bench()
        bench.heard(1, 5)
        put(bench.ground.index, record(version(live(C, 6), C=6), path=b"f1"))
        with bench.ground.index.transaction():
            bench.ground.index.claim({C: Sequence(6)})
        bench.request({C: Sequence(3)})
        await bench.serve()
        assert bench.sent() == [b"f4", b"f5", b"f1"]
        assert bench.ends()[0].knows == {C: 6}

    asyncio.run(run())


def test_a_new_request_ends_the_old_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_RECORDS", 1)

    async def run() -> None:
        bench = Bench()
        bench.heard(1, 3)
        bench.request({}, run=1)

        def ask_again() -> bool:
            if bench.sent() == [b"f1"]:
                bench.request({C: Sequence(2)}, run=2)
            return bool(bench.ends())

        await bench.serve(ask_again)
        assert [end.run for end in bench.ends()] == [2]
        assert bench.sent() == [b"f1", b"f3"]

    asyncio.run(run())


def test_a_new_request_does_not_wait_for_the_credit_of_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_RECORDS", 1)
    monkeypatch.setattr(module, "RUN_WINDOW", 1)

    async def run() -> None:
        bench = Bench()
        bench.heard(1, 3)
        bench.request({}, run=1)
        turns: list[int] = []

        def ask_again() -> bool:
            turns.append(1)
            if len(turns) == 20:  # the old run waits for credit by now
                assert bench.sent() == [b"f1"]
                monkeypatch.setattr(module, "RUN_WINDOW", 9)
                bench.request({C: Sequence(2)}, run=2)
            return bool(bench.ends())

        await bench.serve(ask_again)
        assert [end.run for end in bench.ends()] == [2]
        assert bench.sent() == [b"f1", b"f3"]

    asyncio.run(run())


def test_a_run_that_is_given_up_lets_live_batches_flow_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_RECORDS", 1)
    monkeypatch.setattr(module, "RUN_WINDOW", 1)
    monkeypatch.setattr(module, "RUN_STALL", 0.01)

    async def run() -> None:
        bench = Bench()
        bench.announcer.open(NODE_B)
        bench.heard(1, 3)
        bench.request({}, run=1)
        serving = asyncio.create_task(bench.server.run_peer(NODE_B))
        while bench.server._runs:
            await asyncio.sleep(0.002)
        serving.cancel()
        bench.announcer.announce([Announcement(wire(b"mine", version(live(A, 1))), A, Sequence(1), None)])
        pushing = asyncio.create_task(bench.announcer.run_peer(NODE_B))
        for _ in range(20):
            await asyncio.sleep(0)
        pushing.cancel()
        assert [m.after for m in bench.links.to(NODE_B) if isinstance(m, Batch)] == [1]

    asyncio.run(run())


def test_a_directory_goes_ahead_of_what_is_in_it() -> None:
    async def run() -> None:
        bench = Bench()
        inside, above = version(live(C, 2)), version(live(C, 1, directory()))
        put(bench.ground.index, record(inside, path=b"d/f"), record(above, placed(above), path=b"d"))
        with bench.ground.index.transaction():
            bench.ground.index.claim({C: Sequence(2)})
        bench.request({})
        await bench.serve()
        assert bench.sent()[:2] == [b"d", b"d/f"]

    asyncio.run(run())
