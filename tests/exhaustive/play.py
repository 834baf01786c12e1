"""Play cases in the simulator: a cluster of two nodes lives through many cases of one time, each in its own folder."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from everynode.group.life import Group
from tests.exhaustive.cases import BELOW, NODES, Case, Step, Time, possible
from tests.sim.cluster import Cluster
from tests.sim.disk import Event
from tests.sim.loop import SimLoop, simulate
from tests.sim.node import SimNode
from tests.sim.plan import Plan, limits_of
from tests.sim.user import Tree, User

PLAN = Plan(nodes=len(NODES), skew_seconds=60.0)
# Virtual seconds: the first looks are done and the links stand,
START = 6.0
# nothing has changed for so long: what was done has arrived,
SETTLED = 1.5
# ... and after that it never will: twice the longest retry.
SETTLE_MAX = 700.0
# A change spreads within this; a node that dies between two steps does so in the middle of it.
SPREAD = 0.06
DOWN = 0.5
# Above what rides along with its record: such contents are fetched.
LARGE = 40_000


@dataclass
class Told:
    """What came of one case. `problems` empty and not `void`: all is well."""

    case: Case
    problems: list[str] = field(default_factory=list)
    void: bool = False
    """A step found nothing to do: it is one of the shorter cases."""
    left: dict[str, str] = field(default_factory=dict)
    """What stands there in the end, as `cases.Tree`."""


def play(cases: Sequence[Case], *, seed: int = 0) -> list[Told]:
    """All must be of one time. The same cases, seed and PYTHONHASHSEED give the same life."""
    [time] = {case.time for case in cases}
    start = zlib.crc32(" ".join(map(str, cases)).encode()) ^ seed

    async def scenario(loop: SimLoop) -> list[Told]:
        life = _Life(Cluster(loop, PLAN, Group), cases, time)
        return await life.live()

    with limits_of(PLAN):
        return simulate(start, scenario)


class _Life:
    def __init__(self, cluster: Cluster, cases: Sequence[Case], time: Time) -> None:
        self.cluster = cluster
        self.time = time
        self.told = {b"c%04d" % number: Told(case) for number, case in enumerate(cases)}
        self.steps = len(cases[0].steps)
        self.expected: dict[bytes, Tree] = {}
        """Where nothing was concurrent: what must stand there in the end."""

    async def live(self) -> list[Told]:
        await self.cluster.start()
        await asyncio.sleep(START)
        for folder, told in self.told.items():
            self._begin(folder, told.case)
        await self._settle()
        await self._meanwhile()
        for folder, problem in self._sorted(await self.cluster.finish()):
            self.told[folder].problems.append(problem)
        self._compare()
        for folder, told in self.told.items():
            told.left = _kinds(folder, _below(folder, self.cluster.nodes[0].user))
        await self.cluster.stop()
        return list(self.told.values())

    def _begin(self, folder: bytes, case: Case) -> None:
        user = self.cluster.nodes[0].user
        user.mkdir(folder)
        for path, kind in sorted(case.tree.items()):
            full = folder + b"/" + path.encode()
            match kind:
                case "d":
                    user.mkdir(full)
                case "f":
                    user.write_file(full, _content(case, f"beginning of {path}"))
                case "l":
                    user.symlink(b"beginning of " + path.encode(), full)

    async def _meanwhile(self) -> None:
        time, cluster = self.time, self.cluster
        victim = cluster.nodes[time.node] if time.node >= 0 else None
        if time.what == "down" and victim is not None:
            victim.die()
            await victim.reap()
            await asyncio.sleep(0.1)  # what users do then is after its end, and not in the same moment
        for number in range(self.steps):
            here = time.during in (-1, number)
            if time.what == "apart" and here:
                cluster.network.partition([frozenset({node.node}) for node in cluster.nodes])
                await asyncio.sleep(1.0)
            for folder, told in self.told.items():
                self._act(folder, told, number)
            if here and time.what in ("end", "between") and victim is not None:
                await self._crash(victim)
            await self._pause(number)

    async def _crash(self, node: SimNode) -> None:
        if self.time.what == "end":
            await self.cluster.restart(node)
        else:
            await asyncio.sleep(self.cluster.rng.uniform(0.0, SPREAD))
            await self.cluster.restart(node, DOWN)

    async def _pause(self, number: int) -> None:
        """After a step, before the next."""
        time = self.time
        if time.shares or number < time.during - 1 + (time.what == "end") or 0 <= time.during < number:
            await self._settle()
        elif time.what == "apart":
            await asyncio.sleep(1.0)
            if time.during == number:
                self.cluster.network.heal()
        elif time.what == "down":
            await asyncio.sleep(1.0)

    async def _settle(self) -> None:
        """Until both trees are equal and nothing has changed for a while; if they never are, the oracle will say so."""
        loop = self.cluster.loop
        end = loop.time() + SETTLE_MAX
        changed = loop.time()

        def note(event: Event) -> None:
            nonlocal changed
            changed = loop.time()

        for node in self.cluster.nodes:
            node.disk.watchers.append(note)
        pause = SETTLED
        while loop.time() < end:
            await asyncio.sleep(pause)
            pause = changed + SETTLED - loop.time()
            if pause <= 0:
                trees = [node.tree() for node in self.cluster.nodes]
                if trees[0] == trees[1]:
                    break
                pause = SETTLED
        for node in self.cluster.nodes:
            node.disk.watchers.remove(note)

    def _act(self, folder: bytes, told: Told, number: int) -> None:
        step = told.case.steps[number]
        user = self.cluster.nodes[step.node].user
        inside = {path[len(folder) + 1 :]: what for path, what in _below(folder, user).items()}
        if told.void or not possible(step, _kinds(folder, _below(folder, user))):
            told.void = True
            return
        try:
            do(user, folder, step, inside, _content(told.case, f"step {number}"))
        except OSError as error:
            raise RuntimeError(f"step {number} of {told.case} is not possible at all: cases.py lies") from error
        if number + 1 == self.steps and (self.time.shares or told.case.alone is not None):
            self.expected[folder] = _below(folder, user)

    def _compare(self) -> None:
        for folder, expected in self.expected.items():
            told = self.told[folder]
            found = _below(folder, self.cluster.nodes[0].user)
            if not told.void and found != expected:
                told.problems.append(
                    "not what was done: "
                    + "; ".join(
                        f"{path!r} is {found.get(path)}, was left as {expected.get(path)}"
                        for path in sorted({*found, *expected})
                        if found.get(path) != expected.get(path)
                    )
                )

    def _sorted(self, violations: list[str]) -> list[tuple[bytes, str]]:
        """Whose it is; what names no folder is everybody's."""
        found = []
        for text in violations:
            named = re.search(r"b['\"](c\d{4})\b", text)
            folders = [named[1].encode()] if named else list(self.told)
            found += [(folder, text) for folder in folders]
        return found


def do(user: User, folder: bytes, step: Step, inside: Tree, content: bytes) -> None:
    """One step by this user; `inside` is what he finds."""
    name, other = folder + b"/" + step.name.encode(), folder + b"/" + step.other.encode()
    below = b"/" + BELOW.encode()
    match step.verb:
        case "create" | "write":
            user.write_file(name, content)
        case "append":
            user.append(name, content)
        case "replace":
            user.replace_file(name, content)
        case "delete":
            user.unlink(name)
        case "mkdir":
            user.mkdir(name)
        case "rmdir":
            user.rmtree(name)
        case "symlink":
            user.symlink(content.rstrip(b"\0"), name)
        case "chmod":
            user.chmod(name, 0o600 + 0o100 * (inside[step.name.encode()].mode & 0o700 == 0o600) + 0o040 * step.node)
        case "to-file" | "to-directory" | "to-symlink":
            (user.rmtree if inside[step.name.encode()].kind == "directory" else user.unlink)(name)
            if step.verb == "to-directory":
                user.mkdir(name)
            elif step.verb == "to-file":
                user.write_file(name, content)
            else:
                user.symlink(content.rstrip(b"\0"), name)
        case "write-below":
            user.replace_file(name + below, content)
        case "delete-below":
            user.unlink(name + below)
        case "link":
            user.link(name, other)
        case "rename":
            user.rename(name, other)
        case "move-below":
            user.rename(name, other + below)
        case unknown:
            raise ValueError(unknown)


def _below(folder: bytes, user: User) -> Tree:
    return user.below(folder)


def _kinds(folder: bytes, tree: Tree) -> dict[str, str]:
    return {path[len(folder) + 1 :].decode(): what.kind[0] for path, what in tree.items()}


def _content(case: Case, what: str) -> bytes:
    """No two are equal, in no case; some are large."""
    mark = f"{what} of {case};".encode()
    return mark + bytes(LARGE) if zlib.crc32(mark) % 4 == 0 else mark
