"""The kill sweep: a daemon is killed at each of its system calls that change something; then it has to come right."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

from lab.namespaces import Namespace, mount_tmpfs
from lab.trees import difference, snapshot, wait_until
from tests.crash.gate import Gate
from tests.crash.history import Tree, what
from tests.crash.mounts import unmount
from tests.crash.recording import daemons
from tests.crash.scenarios import SCENARIOS, fill, write
from tests.crash.warm import Daemon, Trouble, wait_in_sync

QUIET_SECONDS = 0.15
"""A daemon that has made no call for so long, while the trees are equal, has come to the end of the act."""
ACT_SECONDS = 15.0
SURVIVED_MAX = 3
"""How often an act may end before the nth call, one after the other, until it is believed that it has no nth call."""


class Sweep:
    """A cluster of two, put back to where a scenario starts as often as wanted. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._token = ""

    def __enter__(self) -> Sweep:
        # Its own filesystem: the daemons hear of nothing that others do.
        mount_tmpfs(self._folder, size="256M")
        self._network = Namespace()
        try:
            self._prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._network.close()
        unmount(self._folder)
        self._folder.rmdir()

    # -- where scenarios start --------------------------------------------------------------------

    def _prepare(self) -> None:
        victim, peer = both = self._nodes()
        for node in both:
            node.root.mkdir(parents=True)
        fill(peer.root)
        _expect(peer.command("init", *_place(peer, 7392)), peer)
        peer.start()
        _wait_answers(peer)
        peer.client.post("/v1/groups", {"name": "tree", "path": str(peer.root)})
        self._token = str(peer.client.post("/v1/invite", {})["token"])
        self._keep("invited", [peer])
        _expect(self._join(victim), victim)
        self._keep("joined", [peer], again=False)
        for node in both:
            node.start()
        wait_in_sync(both)
        self._keep("equal", both)
        for version in range(20, 28):
            write(peer.root / "two", version, 500)
            wait_in_sync(both)
        self._keep("full vault", both, again=False)

    def _join(self, victim: Daemon, gate: Gate | None = None) -> int:
        return victim.command("join", self._token, *_place(victim, 7391), "--root", str(victim.root), gate=gate)

    def _keep(self, name: str, running: list[Daemon], *, again: bool = True) -> None:
        """Everything on both nodes as it is when the daemons have stopped."""
        for node in running:
            os.kill(node.pid, signal.SIGTERM)
            node.reap()
        kept = self._folder / "kept" / name
        kept.mkdir(parents=True)
        for place in ("a", "b"):
            if (self._folder / place).exists():
                _copy(self._folder / place, kept / place)
        if again:
            for node in running:
                node.start()
                _wait_answers(node)

    def _restore(self, name: str) -> list[Daemon]:
        for node in ("a", "b"):
            shutil.rmtree(self._folder / node, ignore_errors=True)
            _copy(self._folder / "kept" / name / node, self._folder / node)
        for log in self._folder.glob("*/*.log"):
            log.unlink()
        return self._nodes()

    def _nodes(self) -> list[Daemon]:
        return daemons(self._folder, self._network.pid, ("this boot", "this boot"))

    # -- one point --------------------------------------------------------------------------------

    def count(self, name: str) -> list[str]:
        """The calls of a life in which nobody is killed."""
        calls, found = self.kill(name, 0)
        if found:
            raise Trouble("\n".join(found))
        return calls

    def kill(self, name: str, number: int) -> tuple[list[str], list[str]]:
        """Kill at call `number`. (the calls up to there, fewer if it never came so far; what is wrong in the end)."""
        scenario = SCENARIOS[name]
        victim, peer = both = self._restore(scenario.start)
        gate = Gate(number, armed=scenario.during is None)
        try:
            before = [snapshot(node.root) if node.root.exists() else {} for node in both]
            scenario.before(victim.root, peer.root)
            wanted = Wanted(both, before, scenario.actor)
            peer.start()
            if scenario.start == "invited":
                _wait_answers(peer)
                found = self._after_join(victim, gate, number)
            else:
                victim.start(gate)
                if scenario.during is not None:
                    wait_in_sync(both)
                    gate.arm()
                    scenario.during(victim.root, peer.root)
                    wanted = Wanted(both, before, scenario.actor)
                found = _after_act(both, gate, number, wanted)
            found += _come_right(both, wanted)
        except Trouble as trouble:
            return gate.calls, [str(trouble)]
        finally:
            for node in both:
                node.kill()
            gate.join()
        return gate.calls, found

    def _after_join(self, victim: Daemon, gate: Gate, number: int) -> list[str]:
        code = self._join(victim, gate)
        if number and len(gate.calls) == number:
            if code != -signal.SIGKILL:
                return [f"it was to be killed and ended with {code}"]
            # A person tries again; what he is told is that it is done, or it is done then.
            if self._join(victim) and "is in a cluster already" not in victim.last_words():
                return [f"after the kill the node cannot join: {victim.last_words()}"]
        elif code:
            return [f"join failed: {victim.last_words()}"]
        return []


class Wanted:
    """What has to come of an act, taken right after it. `actor`: whose tree it is to be; None: both acted."""

    def __init__(self, both: list[Daemon], before: list[Tree], actor: int | None) -> None:
        after = [snapshot(node.root) if node.root.exists() else {} for node in both]
        self.contents = {what(seen) for tree in (*before, *after) for seen in tree.values()}
        self.tree = after[actor] if actor is not None else None
        self.digests = {seen.digest for tree in after for seen in tree.values() if seen.kind == "file"}
        """Of a conflict: all of it is kept on both nodes, in the tree or in the vault."""


def _after_act(both: list[Daemon], gate: Gate, number: int, wanted: Wanted) -> list[str]:
    """Until the victim is dead, or has brought the act to its end."""
    victim, peer = both
    deadline = time.monotonic() + ACT_SECONDS
    calls, since, asked = -1, time.monotonic(), False
    while not victim.ended():
        now = time.monotonic()
        if len(gate.calls) != calls or difference(snapshot(victim.root), snapshot(peer.root)):
            calls, since = len(gate.calls), now
        elif not asked:
            for node in both:  # they sync what was written there, and that is part of the act
                Thread(target=node.wait, args=(5.0,), daemon=True).start()
            asked = True
        elif now - since > QUIET_SECONDS:
            gate.disarm()
            return []
        if now > deadline:
            differences = difference(snapshot(victim.root), snapshot(peer.root))
            raise Trouble(f"the act did not come to its end: {differences}, {gate.calls[-5:]}, {victim.last_words()}")
        time.sleep(0.005)
    code = victim.reap()
    found = []
    if code != -signal.SIGKILL or len(gate.calls) != number:
        found.append(f"it was to be killed at call {number} and ended with {code} at {len(gate.calls)}")
    if victim.root.exists():
        for path, seen in snapshot(victim.root).items():
            if what(seen) not in wanted.contents:
                found.append(f"after the kill {path!r} is nothing that anybody made: {seen}")
    return found


def _come_right(both: list[Daemon], wanted: Wanted) -> list[str]:
    """Nobody does anything but start the daemon again."""
    victim, _ = both
    if not victim.pid:
        victim.start()
    wait_in_sync(both)
    trees = [snapshot(node.root) for node in both]
    found = [f"the nodes differ: {line}" for line in difference(*trees)]
    for node in both:
        status = node.status()
        if status is None or status["groups"][0]["root"] != str(node.root):
            return [*found, f"{node.name} keeps the group elsewhere: {status}"]
    if wanted.tree is not None:
        found += [f"wanted / there: {line}" for line in difference(*map(_timeless, (wanted.tree, trees[0])))]
    else:
        for node, tree in zip(both, trees, strict=True):
            kept = {seen.digest for seen in [*tree.values(), *snapshot(node.root / ".everynode/vault").values()]}
            found += [f"{node.name} lost the content {digest[:8]}" for digest in sorted(wanted.digests - kept)]
    for node in both:
        found += [
            f"{node.name}: left in the stage folder: {name}" for name in os.listdir(node.root / ".everynode/stage")
        ]
    return found


def _timeless(tree: Tree) -> Tree:
    """Directories without their times: one that was filled when the daemon died is found with a new time, by a scan."""
    return {path: replace(seen, mtime_ns=0) if seen.kind == "directory" else seen for path, seen in tree.items()}


def points(sweep: Sweep, name: str, numbers: Iterator[int]) -> Iterator[tuple[int, str, list[str]]]:
    """(number, the call at which it was killed, what was wrong), until the act has no such call any more.

    Two lives are never the same number of calls: it ends where none of several comes so far.
    """
    usual = len(sweep.count(name))
    survived = 0
    for number in numbers:
        calls, found = sweep.kill(name, number)
        reached = len(calls) == number
        survived = 0 if reached else survived + 1
        if reached or found:
            yield number, calls[-1] if reached else "nothing", found
        if survived >= SURVIVED_MAX and number > usual:
            return


def _place(node: Daemon, port: int) -> tuple[str, ...]:
    where = f"127.0.0.1:{port}"
    return ("--name", node.name, "--listen", where, "--advertise", where)


def _expect(code: int, node: Daemon) -> None:
    if code:
        raise Trouble(f"{node.name}: exit {code}: {node.last_words()}")


def _wait_answers(node: Daemon) -> None:
    if not wait_until(lambda: node.status() is not None, timeout=20.0):
        raise Trouble(f"{node.name} does not answer: {node.last_words()}")


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)
