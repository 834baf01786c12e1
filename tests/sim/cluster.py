"""A whole cluster from one seed: nodes, work, faults; at the end everything heals and the oracle judges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from everynode.group.life import Group
from everynode.limits import START_GRACE
from everynode.model.ids import NODE_ID_BYTES, NodeId
from everynode.model.path import RelPath
from tests.sim.loop import SimLoop, simulate
from tests.sim.network import Network
from tests.sim.node import Faults, Make, SimNode
from tests.sim.oracle import Oracle
from tests.sim.plan import Plan, limits_of
from tests.sim.promises import content_of
from tests.sim.troubles import Disks
from tests.sim.workload import Workload

# Virtual seconds that everything must stay right and unchanged before it counts as quiet,
QUIET_SECONDS = 30.0
# and after which a cluster that is not quiet never will be: twice the longest retry.
QUIET_WAIT_MAX = 700.0
YEAR = 365 * 86_400.0
# Acts in a run, after which nobody acts between two system calls any more.
BUSY_ACTS_MAX = 300


@dataclass(frozen=True)
class Outcome:
    seed: int
    trace: str
    violations: list[str]
    acts: int
    crashes: int
    messages: int
    virtual_seconds: float

    def __str__(self) -> str:
        head = (
            f"seed {self.seed}: trace {self.trace}, {self.acts} acts, {self.crashes} crashes, "
            f"{self.messages} messages, {self.virtual_seconds:.0f} virtual seconds"
        )
        return "\n".join([head, *self.violations])


class Cluster:
    """For tests that direct their own scenario; `run_seed` draws one."""

    def __init__(self, loop: SimLoop, plan: Plan, make: Make) -> None:
        self.loop = loop
        self.plan = plan
        self.rng = loop.fork("cluster")
        self.oracle = Oracle()
        self.network = Network(loop)
        self.workload = Workload(loop, plan.weights, plan.depths)
        self.disks = Disks(loop)
        ids = [NodeId(bytes([n + 1]) * NODE_ID_BYTES) for n in range(plan.nodes)]
        self._members = frozenset(ids)
        self.nodes = [
            SimNode(
                node=node,
                loop=loop,
                network=self.network,
                oracle=self.oracle,
                make=make,
                members=lambda: self._members,
                founder=node == ids[0],
                offset_ns=int(self.rng.uniform(-plan.skew_seconds, plan.skew_seconds) * 1e9),
                tick_ns=plan.tick_ns,
                evict_days=plan.evict_seconds / 86_400,
                conflict=plan.conflict,
            )
            for node in ids
        ]
        self._waits: list[asyncio.Task[None]] = []
        self._doomed: list[SimNode] = []
        """Who acknowledged something just now: they lose power next, all together."""
        for node in self.nodes:
            node.act_here = self._actor(node)

    def _actor(self, node: SimNode) -> Callable[[], None]:
        def act() -> None:
            # Each change makes system calls, and in each of them somebody may act: that must not go on for ever.
            if self.workload.acts < BUSY_ACTS_MAX:
                self.workload.act(node.user)

        return act

    async def start(self) -> None:
        for node in self.nodes:
            node.start()

    async def restart(self, node: SimNode, pause: float = 0.0) -> None:
        """After a crash, or of a running node by killing it."""
        node.die()
        await node.reap()
        await asyncio.sleep(pause)
        node.start()

    async def cut_power(self, *nodes: SimNode) -> None:
        """Of all of them at the same moment."""
        for node in nodes:
            self.workload.power_cut(node.user)
            node.die()
        before = {}
        for node in nodes:
            before[node.node] = await node.lose_power()
        now = {node.node: (node.tree(), node.vault()) for node in self.nodes}
        for node in nodes:
            others = [what for other, what in now.items() if other != node.node]
            self.oracle.power_cut(
                node.node,
                self.loop.time(),
                before[node.node],
                *now[node.node],
                others,
                node.seen_until,
                node.taken,
                node.died_at,
            )

    async def trouble(self) -> None:
        """Work and faults for the time of the plan."""
        plan = self.plan
        for node in self.nodes:
            node.faults = plan.call_faults
        rates = {
            self._work: plan.acts,
            self._crash: plan.crashes,
            self._stop: plan.stops,
            self._lose_power: plan.power_cuts,
            self._lose_all_power: plan.blackouts,
            self._wait: plan.waits,
            self._cut: plan.cuts,
            self._partition: plan.partitions,
            self._stall: plan.stalls,
            self._overflow: plan.overflows,
            self._write_back: plan.write_backs,
            self._raise_the_dead: 1.0,
            self._fill: plan.fills,
            self._sicken: plan.sickness,
            self._go_away: plan.absences,
            self._jump: plan.clock_jumps,
            self._remove: plan.removals,
            self._back_up: plan.restores,
            self._restore: plan.restores,
        }
        total = sum(rates.values())
        end = self.loop.time() + plan.seconds
        while self.loop.time() < end:
            await asyncio.sleep(self.rng.expovariate(total))
            self.disks.mend()
            happen = self.rng.choices(list(rates), list(rates.values()))[0]
            await happen(self.rng.choice(self.nodes))
            doomed, self._doomed = self._doomed, []
            if doomed:
                await self.cut_power(*(node for node in doomed if node in self.nodes))

    async def finish(self) -> list[str]:
        """Heal everything, wait until all is quiet, judge."""
        self.disks.mend(all_of_them=True)
        self.workload.finish()
        self.network.heal()
        for node in self.nodes:
            node.faults = Faults()
            node.away_until = 0.0
            await self._raise_the_dead(node)
        deadline = self.loop.time() + QUIET_WAIT_MAX
        last: object = None
        since = self.loop.time()
        while self.loop.time() < deadline:
            await asyncio.sleep(2.0)
            trees = [node.tree() for node in self.nodes]
            if trees != last or not self.network.all_linked():
                last, since = trees, self.loop.time()
            elif self.loop.time() - since >= QUIET_SECONDS and not self.judge():
                break
        return self.judge()

    def judge(self) -> list[str]:
        found = self.oracle.judge(
            {node.node: node.tree() for node in self.nodes}, {node.node: node.vault() for node in self.nodes}
        )
        found += self._times()
        for node in self.nodes:
            found += [f"failure: the daemon of {node.node.hex()[:4]} ended: {error!r}" for error in node.failures]
        found += [f"failure: while a message was handled: {error!r}" for error in self.network.failures]
        return found

    def _times(self) -> list[str]:
        """Of directories the oracle sees no times; these are replicated as well."""
        first, *others = self.nodes
        found = []
        for path, what in first.tree().items():
            if what.kind != "directory":
                continue
            times = {node.node: node.user.time_of(path) for node in self.nodes}
            if any(times[node.node] not in (None, times[first.node]) for node in others):
                told = ", ".join(f"{time} at {node.hex()[:4]}" for node, time in times.items())
                found.append(f"convergence: the time of {path!r} is {told}")
        return found

    async def stop(self) -> None:
        for task in self._waits:
            task.cancel()
        if self._waits:
            await asyncio.wait(self._waits)
        for node in self.nodes:
            node.die()
            await node.reap()

    # -- what happens -----------------------------------------------------------------------------

    async def _work(self, node: SimNode) -> None:
        self.workload.act(node.user)

    async def _crash(self, node: SimNode) -> None:
        node.die()

    async def _stop(self, node: SimNode) -> None:
        await node.stop_cleanly()

    async def _lose_power(self, node: SimNode) -> None:
        await self.cut_power(node)

    async def _lose_all_power(self, node: SimNode) -> None:
        await self.cut_power(*self.nodes)

    async def _wait(self, node: SimNode) -> None:
        """Somebody writes, and asks whether it is safe on some nodes, or on all; he waits beside everything else."""
        self._waits.append(self.loop.create_task(self._ask(node)))

    async def _ask(self, node: SimNode) -> None:
        if node.early or not node.running:
            return  # before the first look after a power cut nobody can tell a user's change from damage
        path = self.workload.write_one(node.user)
        content = content_of(node.user.see(path)) if path is not None else None
        if path is None or content is None:
            return
        wanted = self.rng.choice([None, *range(1, len(self.nodes) + 1)])
        result = await node.wait(RelPath(path), wanted, self.rng.choice((5.0, 60.0)))
        if result is None or not result.done:
            return
        nodes = frozenset(n.node for n in self.nodes if n.node.hex()[:4] not in result.missing)
        self.oracle.acknowledged(node.node, self.loop.time(), path, content, nodes)
        if self.plan.power_cuts and self.rng.random() < 0.3:
            self._doomed = [n for n in self.nodes if n.node in nodes]

    async def _cut(self, node: SimNode) -> None:
        self.network.cut(node.node, self.rng.choice(self.nodes).node)

    async def _partition(self, node: SimNode) -> None:
        if self.rng.random() < 0.5:
            self.network.heal()
            return
        inside = frozenset(n.node for n in self.nodes if self.rng.random() < 0.5)
        self.network.partition([inside, frozenset(n.node for n in self.nodes) - inside])

    async def _stall(self, node: SimNode) -> None:
        self.network.stall(node.node, self.rng.choice(self.nodes).node, self.rng.uniform(0.1, 5.0))

    async def _overflow(self, node: SimNode) -> None:
        if node.life is not None and node.running:
            node.life.notices.overflow()

    async def _write_back(self, node: SimNode) -> None:
        node.write_back()

    async def _fill(self, node: SimNode) -> None:
        self.disks.fill(node)

    async def _sicken(self, node: SimNode) -> None:
        self.disks.sicken(node)

    async def _go_away(self, node: SimNode) -> None:
        node.away_until = self.loop.time() + self.rng.uniform(1.0, 15.0)
        node.die()

    async def _remove(self, node: SimNode) -> None:
        """Its machine is gone for good, and somebody tells the others."""
        if len(self.nodes) == 2:
            return
        self.workload.power_cut(node.user)
        node.die()
        await node.reap()
        self.nodes.remove(node)
        self._members -= {node.node}
        others = [(other.tree(), other.vault()) for other in self.nodes]
        self.oracle.removed(node.node, node.tree(), node.vault(), others)

    async def _back_up(self, node: SimNode) -> None:
        node.back_up()

    async def _restore(self, node: SimNode) -> None:
        """Noticed when a peer that knows more is met before anything is changed there: so all are linked."""
        if not node.has_backup:
            return
        self.network.heal()
        self.disks.mend(all_of_them=True)
        for other in self.nodes:
            other.faults = Faults()
            other.away_until = 0.0
        if await self._all_meet():
            self.workload.power_cut(node.user)
            index_only = self.rng.random() < 0.5
            kept = node.vault()
            before = await node.restore(index_only=index_only)
            others = [(other.tree(), other.vault()) for other in self.nodes if other is not node]
            vault = node.vault()
            self.oracle.restored(node.node, self.loop.time(), before, node.tree(), vault, others, kept - vault)
            while not await self._all_meet():
                node.die()
        for other in self.nodes:
            other.faults = self.plan.call_faults

    async def _all_meet(self) -> bool:
        """Start who does not run; whether all are linked soon, and have told each other what they know."""
        for node in self.nodes:
            await self._raise_the_dead(node)
        began = self.loop.time()
        while not self.network.all_linked():
            if self.loop.time() - began > START_GRACE - 0.2:
                return False
            await asyncio.sleep(0.05)
        await asyncio.sleep(5.0)
        return self.network.all_linked()

    async def _jump(self, node: SimNode) -> None:
        node.jump(self.rng.choice((1, -1)) * self.rng.choice((60.0, 86_400.0, 30 * YEAR)) * self.rng.random())

    async def _raise_the_dead(self, node: SimNode) -> None:
        if not node.running and self.loop.time() >= node.away_until:
            await node.reap()
            node.start()


def run_seed(seed: int, make: Make = Group, plan: Plan | None = None) -> Outcome:
    """One whole run. The same seed, plan and PYTHONHASHSEED give the same trace."""

    chosen = plan or Plan.drawn(seed)

    async def scenario(loop: SimLoop) -> Outcome:
        cluster = Cluster(loop, chosen, make)
        await cluster.start()
        await cluster.trouble()
        violations = await cluster.finish()
        seconds = loop.time()
        await cluster.stop()
        crashes = sum(node.crashes for node in cluster.nodes) - len(cluster.nodes)
        return Outcome(seed, loop.trace, violations, cluster.workload.acts, crashes, cluster.network.messages, seconds)

    with limits_of(chosen):
        return simulate(seed, scenario)
