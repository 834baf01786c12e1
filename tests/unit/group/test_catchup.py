"""Catch up: who is asked, when, and for what; each line of the table."""

from __future__ import annotations

import asyncio
from typing import cast

from everynode.group.catchup import CatchUp
from everynode.group.ground import Ground
from everynode.limits import HEADS_GRACE, RUN_STALL
from everynode.model.ids import NodeId, Sequence
from everynode.model.message import ComparePart, GroupHello, RunEnd, RunPart, RunRequest
from everynode.model.record import Vector
from tests.unit.core.samples import NODE_B, NODE_C, A, B, C, live, record, version
from tests.unit.group.fakes import GROUP, Clock, FakeLinks, new_ground, put


class Bench:
    def __init__(self) -> None:
        self.links = FakeLinks(NODE_B, NODE_C)
        self.ground: Ground = new_ground(links=self.links)
        self.clock = cast(Clock, self.ground.clock)
        self.catch_up = CatchUp(self.ground)

    def hello(self, peer: NodeId, heard: Vector, forgotten: Vector | None = None) -> None:
        origin = B if peer == NODE_B else C
        self.catch_up.hello(peer, GroupHello(GROUP, origin, b"life" * 4, heard, forgotten or {}))

    def heads(self, peer: NodeId, heard: Vector) -> None:
        self.catch_up.heads(peer, heard, True)

    def knows(self, vector: Vector) -> None:
        with self.ground.index.transaction():
            self.ground.index.claim(vector)

    def holds(self, path: bytes) -> None:
        put(self.ground.index, record(version(live(B, 1)), path=path))

    def requests(self) -> list[tuple[NodeId, RunRequest]]:
        return [(peer, message) for peer, message in self.links.sent if isinstance(message, RunRequest)]

    def asked(self) -> list[NodeId]:
        return [peer for peer, _ in self.requests()]

    async def settle(self) -> None:
        """Everything that is due now happens."""
        task = asyncio.create_task(self.catch_up.run())
        for _ in range(30):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def end(self, peer: NodeId, knows: Vector) -> None:
        run = self.requests()[-1][1].run
        self.knows(knows)
        self.catch_up.heard(peer, RunEnd(GROUP, run, knows, b"", 0))


def seq(**numbers: int) -> Vector:
    return {{"A": A, "B": B, "C": C}[name]: Sequence(number) for name, number in numbers.items()}


def test_a_peer_that_knows_more_is_asked_at_once() -> None:
    async def run() -> None:
        bench = Bench()
        bench.knows(seq(C=1))
        bench.hello(NODE_B, seq(B=4, C=1))
        await bench.settle()
        ((peer, request),) = bench.requests()
        assert (peer, request.knows, request.since, request.index) == (NODE_B, seq(C=1), 0, b"")
        assert bench.catch_up.running()
        assert bench.catch_up.behind() == 4

    asyncio.run(run())


def test_a_peer_that_knows_no_more_is_not_asked() -> None:
    async def run() -> None:
        bench = Bench()
        bench.knows(seq(B=4, C=1))
        bench.hello(NODE_B, seq(B=4))
        await bench.settle()
        assert bench.requests() == []
        assert not bench.catch_up.running()

    asyncio.run(run())


def test_a_new_epoch_asks_even_who_knows_no_more() -> None:
    async def run() -> None:
        bench = Bench()
        with bench.ground.index.transaction():
            bench.ground.index.change_state().may_change = False
        bench.hello(NODE_B, {})
        await bench.settle()
        assert bench.asked() == [NODE_B]

    asyncio.run(run())


def test_a_run_starts_where_the_last_one_from_that_peer_ended() -> None:
    async def run() -> None:
        bench = Bench()
        with bench.ground.index.transaction():
            bench.ground.index.change_state().cursors[NODE_B] = (b"their life", 42)
        bench.hello(NODE_B, seq(B=1))
        await bench.settle()
        ((_, request),) = bench.requests()
        assert (request.index, request.since) == (b"their life", 42)

    asyncio.run(run())


def test_heads_of_linked_authors_are_given_a_grace() -> None:
    async def run() -> None:
        bench = Bench()
        bench.hello(NODE_B, {})
        bench.heads(NODE_B, seq(B=1))
        await bench.settle()
        assert bench.asked() == [] or bench.clock.now >= 100 + HEADS_GRACE
        bench.clock.now += HEADS_GRACE
        await bench.settle()
        assert bench.asked() == [NODE_B]

    asyncio.run(run())


def test_what_came_within_the_grace_is_not_asked_for() -> None:
    async def run() -> None:
        bench = Bench()
        bench.hello(NODE_B, {})
        bench.heads(NODE_B, seq(B=1))
        bench.knows(seq(B=1))
        bench.clock.now += 2 * HEADS_GRACE
        await bench.settle()
        assert bench.asked() == []

    asyncio.run(run())


def test_heads_of_an_author_that_is_not_linked_are_asked_about_at_once() -> None:
    async def run() -> None:
        bench = Bench()
        bench.links.open.remove(NODE_C)
        bench.hello(NODE_B, {})
        bench.heads(NODE_B, seq(C=1))
        await bench.settle()
        assert bench.asked() == [NODE_B]

    asyncio.run(run())


def test_a_gap_is_asked_about_at_once() -> None:
    async def run() -> None:
        bench = Bench()
        bench.hello(NODE_B, {})
        bench.heads(NODE_B, seq(B=5))
        bench.catch_up.want(NODE_B)
        await bench.settle()
        assert bench.asked() == [NODE_B]

    asyncio.run(run())


def test_one_run_at_a_time_and_who_knows_most_first() -> None:
    async def run() -> None:
        bench = Bench()
        bench.hello(NODE_B, seq(B=1))
        bench.hello(NODE_C, seq(B=1, C=5))
        await bench.settle()
        assert bench.asked() == [NODE_C]
        bench.end(NODE_C, seq(C=5))
        await bench.settle()
        assert bench.asked() == [NODE_C, NODE_B]
        bench.end(NODE_B, seq(B=1))
        assert not bench.catch_up.running()

    asyncio.run(run())


def test_who_has_nothing_more_after_another_run_is_not_asked() -> None:
    async def run() -> None:
        bench = Bench()
        bench.hello(NODE_B, seq(B=1))
        bench.hello(NODE_C, seq(B=1, C=5))
        await bench.settle()
        bench.end(NODE_C, seq(B=1, C=5))
        await bench.settle()
        assert bench.asked() == [NODE_C]

    asyncio.run(run())


def test_only_messages_of_the_run_under_way_are_expected() -> None:
    async def run() -> None:
        bench = Bench()
        bench.hello(NODE_B, seq(B=1))
        await bench.settle()
        number = bench.requests()[0][1].run
        assert bench.catch_up.expects(NODE_B, number)
        assert not bench.catch_up.expects(NODE_B, number + 1)
        assert not bench.catch_up.expects(NODE_C, number)
        bench.end(NODE_B, seq(B=1))
        assert not bench.catch_up.expects(NODE_B, number)

    asyncio.run(run())


def test_the_end_of_another_run_ends_nothing() -> None:
    async def run() -> None:
        bench = Bench()
        bench.hello(NODE_B, seq(B=1))
        await bench.settle()
        number = bench.requests()[0][1].run
        bench.catch_up.heard(NODE_B, RunEnd(GROUP, number + 1, {}, b"", 0))
        bench.catch_up.heard(NODE_C, RunEnd(GROUP, number, {}, b"", 0))
        bench.catch_up.heard(NODE_B, RunPart(GROUP, number, ()))
        assert bench.catch_up.running()

    asyncio.run(run())


def test_a_run_from_which_nothing_comes_is_given_up_and_another_peer_asked() -> None:
    async def run() -> None:
        bench = Bench()
        bench.hello(NODE_B, seq(B=1, C=1))
        await bench.settle()
        number = bench.requests()[0][1].run
        bench.hello(NODE_C, seq(C=1))
        bench.clock.now += RUN_STALL + 1
        await bench.settle()
        assert bench.asked()[:2] == [NODE_B, NODE_C]
        assert not bench.catch_up.expects(NODE_B, number)

    asyncio.run(run())


def test_a_sign_of_life_keeps_a_run() -> None:
    bench = Bench()

    async def run() -> None:
        bench.hello(NODE_B, seq(B=1))
        task = asyncio.create_task(bench.catch_up.run())
        for _ in range(10):
            await asyncio.sleep(0)
        number = bench.requests()[0][1].run
        bench.clock.now += RUN_STALL - 1
        assert bench.catch_up.expects(NODE_B, number)
        bench.clock.now += RUN_STALL - 1
        for _ in range(10):
            await asyncio.sleep(0)
        assert bench.catch_up.running()
        task.cancel()

    asyncio.run(run())


def test_a_run_ends_with_its_link_and_another_peer_is_asked() -> None:
    async def run() -> None:
        bench = Bench()
        bench.hello(NODE_B, seq(B=1, C=2))
        bench.hello(NODE_C, seq(C=2))
        await bench.settle()
        assert bench.asked() == [NODE_B]
        bench.catch_up.closed(NODE_B)
        await bench.settle()
        assert bench.asked() == [NODE_B, NODE_C]
        assert bench.catch_up.behind() == 2

    asyncio.run(run())


def test_a_link_that_breaks_while_asking_leaves_nobody_waiting() -> None:
    async def run() -> None:
        bench = Bench()
        bench.links.open.clear()
        bench.hello(NODE_B, seq(B=1))
        await bench.settle()
        assert not bench.catch_up.running()

    asyncio.run(run())


def test_who_has_not_heard_what_the_other_has_forgotten_asks_for_a_comparison() -> None:
    async def run() -> None:
        bench = Bench()
        bench.holds(b"old")
        bench.knows(seq(A=1, B=4))
        bench.hello(NODE_B, seq(A=1, B=9), forgotten=seq(B=5))
        await bench.settle()
        ((peer, request),) = bench.requests()
        assert (peer, request.compare) == (NODE_B, True)
        assert bench.catch_up.comparing() == NODE_B
        bench.knows(seq(B=9))
        bench.catch_up.heard(NODE_B, ComparePart(GROUP, request.run, b"", b"", (), seq(B=9), seq(B=5), False))
        assert bench.catch_up.comparing() == NODE_B
        bench.catch_up.heard(NODE_B, ComparePart(GROUP, request.run, b"", b"", (), seq(B=9), seq(B=5), True))
        assert bench.catch_up.comparing() is None

    asyncio.run(run())


def test_who_has_heard_all_that_the_other_has_forgotten_runs() -> None:
    async def run() -> None:
        bench = Bench()
        bench.holds(b"old")
        bench.knows(seq(A=1, B=5))
        bench.hello(NODE_B, seq(A=1, B=9), forgotten=seq(B=5))
        await bench.settle()
        assert [request.compare for _, request in bench.requests()] == [False]
        assert bench.catch_up.comparing() is None

    asyncio.run(run())


def test_who_holds_nothing_may_run_from_anybody() -> None:
    async def run() -> None:
        bench = Bench()
        bench.hello(NODE_B, seq(B=9), forgotten=seq(B=5))
        await bench.settle()
        assert [(peer, request.compare) for peer, request in bench.requests()] == [(NODE_B, False)]

    asyncio.run(run())


def test_a_first_run_that_was_cut_goes_on_as_a_run_with_who_has_forgotten_nothing_since() -> None:
    async def run() -> None:
        bench = Bench()
        bench.hello(NODE_C, seq(B=9, C=5), forgotten=seq(C=3))
        await bench.settle()
        bench.holds(b"part")  # came with it
        bench.catch_up.closed(NODE_C)
        bench.hello(NODE_B, seq(B=9, C=5), forgotten=seq(C=3))
        await bench.settle()
        assert [request.compare for _, request in bench.requests()] == [False, False]
        bench.catch_up.closed(NODE_B)
        bench.hello(NODE_C, seq(B=9, C=5), forgotten=seq(C=4))
        await bench.settle()
        assert [request.compare for _, request in bench.requests()] == [False, False, True]

    asyncio.run(run())
