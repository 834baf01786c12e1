"""The simulator itself: same seed, same trace; links and clocks keep what they promise; idleness is caught."""

from __future__ import annotations

import asyncio

import pytest

from everynode.errors import LinkError
from everynode.group.ground import GroupSetup
from everynode.group.seams import Links
from everynode.model.ids import NodeId
from everynode.model.message import Batch, GroupMessage, Heads
from everynode.model.path import RelPath
from everynode.report.status import WaitResult
from tests.sim.clock import SimClock
from tests.sim.cluster import Cluster, run_seed
from tests.sim.fake_kernel import Crash
from tests.sim.loop import Deadlock, SimLoop, simulate
from tests.sim.network import Network
from tests.sim.node import GROUP_ID, Faults
from tests.sim.plan import Plan

A, B, C = (NodeId(bytes([n]) * 16) for n in (1, 2, 3))


def heads(number: int) -> Heads:
    return Heads(GROUP_ID, {}, {}, backlog=number)


class Listener:
    """Keeps what it hears; checks that calls for one peer come one after another."""

    def __init__(self) -> None:
        self.heard: list[tuple[NodeId, str | int]] = []
        self._busy: set[NodeId] = set()

    async def opened(self, peer: NodeId) -> None:
        await self._hear(peer, "opened")

    async def received(self, peer: NodeId, message: GroupMessage) -> None:
        assert isinstance(message, Heads)
        await self._hear(peer, message.backlog)

    async def closed(self, peer: NodeId) -> None:
        await self._hear(peer, "closed")

    async def _hear(self, peer: NodeId, what: str | int) -> None:
        assert peer not in self._busy
        self._busy.add(peer)
        await asyncio.sleep(0.001)
        self.heard.append((peer, what))
        self._busy.discard(peer)


class IdleGroup(Listener):
    """A group that reads a little and keeps nothing alike."""

    def __init__(self, setup: GroupSetup) -> None:
        super().__init__()
        self._setup = setup

    async def received(self, peer: NodeId, message: GroupMessage) -> None:
        pass

    async def run(self, links: Links) -> None:
        clock, kernel = self._setup.clock, self._setup.root.kernel
        self._setup.notices.start()
        while True:
            await clock.offload(kernel.list_directory, self._setup.root.fd)
            for peer in links.peers():
                try:
                    await links.send(peer, heads(1))
                except LinkError:
                    pass
            await clock.sleep(0.5)

    async def stop(self) -> None:
        pass

    async def wait(self, path: RelPath | None, nodes: int | None, timeout: float) -> WaitResult:
        return WaitResult(done=False, reached=0, wanted=1)


BUSY = Plan(seconds=20.0, crashes=0.2, power_cuts=0.1, partitions=0.1, call_faults=Faults(crash=0.01, act=0.05))


def test_the_same_seed_gives_the_same_trace_and_another_gives_another() -> None:
    first, again, other = (run_seed(seed, IdleGroup, BUSY) for seed in (7, 7, 8))
    assert first == again
    assert first.trace != other.trace
    assert first.acts > 20
    assert first.crashes > 0


def test_a_cluster_that_does_nothing_is_caught() -> None:
    outcome = run_seed(1, IdleGroup, Plan(nodes=2, seconds=20.0, crashes=0.0, power_cuts=0.0))
    assert any(text.startswith("convergence") for text in outcome.violations)


def test_waiting_for_nothing_is_a_deadlock() -> None:
    async def scenario(loop: SimLoop) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        simulate(1, scenario)


def test_threads_are_refused() -> None:
    async def scenario(loop: SimLoop) -> None:
        await asyncio.to_thread(print)

    with pytest.raises(RuntimeError, match="threads"):
        simulate(1, scenario)


def test_time_is_virtual_and_order_is_by_seed() -> None:
    def run(seed: int) -> list[int]:
        async def scenario(loop: SimLoop) -> list[int]:
            order: list[int] = []

            async def one(number: int) -> None:
                await asyncio.sleep(3600)
                await asyncio.sleep(0)
                order.append(number)

            await asyncio.gather(*(one(n) for n in range(8)))
            assert 3600 <= loop.time() < 3601
            return order

        return simulate(seed, scenario)

    assert run(1) == run(1)
    assert len({tuple(run(seed)) for seed in range(10)}) > 1


def test_index_work_is_done_in_the_order_of_the_calls() -> None:
    async def scenario(loop: SimLoop) -> None:
        clock = SimClock(loop, loop.fork("clock"))
        done: list[int] = []
        calls = []
        for number in range(20):
            calls.append(loop.create_task(clock.offload_index(done.append, number)))
            await asyncio.sleep(0)  # a task of its own starts in an order of its own
            await asyncio.sleep(0)
        await asyncio.gather(*calls)
        assert done == list(range(20))

    for seed in range(5):
        simulate(seed, scenario)


def test_a_dead_process_does_no_more_work() -> None:
    async def scenario(loop: SimLoop) -> None:
        clock = SimClock(loop, loop.fork("clock"))
        done: list[int] = []
        work = loop.create_task(clock.offload(done.append, 1))
        clock.dead = True
        with pytest.raises(Crash):
            await work
        assert done == []

    simulate(1, scenario)


class TestNetwork:
    async def pair(self, loop: SimLoop, **options: float) -> tuple[Network, Listener, Listener]:
        network = Network(loop, **options)  # type: ignore[arg-type]  # numbers only
        listeners = Listener(), Listener()
        self.links = [network.links_of(node) for node in (A, B)]
        for links, listener in zip(self.links, listeners, strict=True):
            network.begin(links, listener)
        await self.wait_linked(network)
        return network, *listeners

    async def wait_linked(self, network: Network) -> None:
        while not network.all_linked():
            await asyncio.sleep(0.01)

    def test_messages_arrive_in_order(self) -> None:
        async def scenario(loop: SimLoop) -> None:
            _, _, at_b = await self.pair(loop, replays=0.0)
            for number in range(50):
                await self.links[0].send(B, heads(number))
            await asyncio.sleep(10)
            assert at_b.heard == [(A, "opened"), *((A, n) for n in range(50))]

        simulate(1, scenario)

    def test_a_cut_closes_both_ends_loses_the_rest_and_is_dialled_again(self) -> None:
        async def scenario(loop: SimLoop) -> None:
            network, at_a, at_b = await self.pair(loop, replays=0.0)
            for number in range(50):
                await self.links[0].send(B, heads(number))
            network.cut(A, B)
            await asyncio.sleep(10)
            await self.wait_linked(network)
            assert at_a.heard == [(B, "opened"), (B, "closed"), (B, "opened")]
            numbers = [what for _, what in at_b.heard if isinstance(what, int)]
            assert numbers == list(range(len(numbers)))
            assert len(numbers) < 50
            assert at_b.heard[-2:] == [(A, "closed"), (A, "opened")]

        simulate(3, scenario)

    def test_a_partition_lasts_until_it_is_healed(self) -> None:
        async def scenario(loop: SimLoop) -> None:
            network, at_a, _ = await self.pair(loop)
            network.partition([frozenset({A}), frozenset({B})])
            await asyncio.sleep(60)
            assert self.links[0].peers() == []
            with pytest.raises(LinkError):
                await self.links[0].send(B, heads(1))
            network.heal()
            await self.wait_linked(network)
            assert at_a.heard[-1] == (B, "opened")

        simulate(1, scenario)

    def test_a_dead_node_hears_nothing_and_its_peer_learns_of_it(self) -> None:
        async def scenario(loop: SimLoop) -> None:
            network, at_a, at_b = await self.pair(loop)
            network.end(B)
            heard = len(at_b.heard)
            await self.links[0].send(B, heads(1))  # not noticed yet
            await asyncio.sleep(10)
            assert len(at_b.heard) == heard
            assert at_a.heard[-1] == (B, "closed")
            with pytest.raises(Crash):
                await self.links[1].send(A, heads(1))

        simulate(1, scenario)

    def test_a_stall_delays_one_way(self) -> None:
        async def scenario(loop: SimLoop) -> None:
            network, at_a, at_b = await self.pair(loop, replays=0.0)
            network.stall(A, B, 100.0)
            await self.links[0].send(B, heads(1))
            await self.links[1].send(A, heads(2))
            await asyncio.sleep(50)
            assert (at_a.heard[-1], at_b.heard[-1]) == ((B, 2), (A, "opened"))
            await asyncio.sleep(60)
            assert at_b.heard[-1] == (A, 1)

        simulate(1, scenario)

    def test_old_messages_come_again_also_after_a_reconnect(self) -> None:
        async def scenario(loop: SimLoop) -> None:
            network, _, at_b = await self.pair(loop, replays=0.5)
            for number in range(20):
                await self.links[0].send(B, heads(number))
            await asyncio.sleep(10)
            network.cut(A, B)
            await asyncio.sleep(10)
            await self.wait_linked(network)
            again = len(at_b.heard)
            for number in range(20, 40):
                await self.links[0].send(B, heads(number))
            await asyncio.sleep(10)
            numbers = [what for _, what in at_b.heard[again:] if isinstance(what, int)]
            assert set(range(20, 40)) <= set(numbers)
            assert any(number < 20 for number in numbers)

        simulate(1, scenario)

    def test_a_full_queue_makes_the_sender_wait(self) -> None:
        async def scenario(loop: SimLoop) -> None:
            network, _, _ = await self.pair(loop, replays=0.0)
            network.stall(A, B, 100.0)
            big = Batch(GROUP_ID, A + bytes(4), 0, 0, (), {bytes(32): bytes(32_000)})  # type: ignore[arg-type, dict-item]
            sent = 0

            async def flood() -> None:
                nonlocal sent
                while True:
                    await self.links[0].send(B, big)
                    sent += 1

            flooding = loop.create_task(flood())
            await asyncio.sleep(50)
            assert sent * 32_000 < 2_000_000
            network.cut(A, B)
            with pytest.raises(LinkError):
                await flooding

        simulate(1, scenario)


def test_a_node_comes_back_from_crashes_and_power_cuts_with_its_committed_index() -> None:
    async def scenario(loop: SimLoop) -> None:
        cluster = Cluster(loop, Plan(nodes=2), IdleGroup)
        await cluster.start()
        await asyncio.sleep(5)
        node = cluster.nodes[0]
        with node.index.transaction():
            node.index.change_state().boot = "committed"
        node.index._connection.execute("BEGIN")
        node.index.change_state().boot = "not committed"
        await cluster.restart(node)
        assert node.index.state.boot == "committed"
        await cluster.cut_power(node)
        node.start()
        await asyncio.sleep(5)
        assert node.running
        assert cluster.network.all_linked()
        assert not [text for text in cluster.judge() if text.startswith("failure")]
        await cluster.stop()

    simulate(1, scenario)
