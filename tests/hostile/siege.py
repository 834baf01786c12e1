"""Two honest nodes, the key of a third member, and what must be true of the honest ones whatever that member does."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType

from everynode.cluster.home import Home
from everynode.cluster.membership import Membership
from everynode.limits import INBOUND_BYTES_MAX, INLINE_CACHE_BYTES
from everynode.model.ids import NodeId
from everynode.model.message import GroupId
from lab.node import Node, link_nodes
from lab.trees import wait_until
from tests.hostile.attacker import Attacker

GROWTH_BYTES_MAX = INBOUND_BYTES_MAX + INLINE_CACHE_BYTES + (64 << 20)
"""Of a daemon's memory by one attack: what it queues for one peer, the small contents that it keeps until they are
placed, the index's pages (32 MiB) and as much again for messages under way. Bounded, and far below an exhaustion."""


class Siege:
    """`victim` and `friend` are real daemons; `traitor` is a home that joined, and whose daemon never runs."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="en-"))
        self._folder.chmod(0o755)
        self.victim, self.friend, self.traitor = (self._node(name) for name in ("victim", "friend", "traitor"))
        self.outside = self._folder / "outside"
        self._numbers = itertools.count()
        self._memory: dict[str, int] = {}
        self._pids: dict[str, int] = {}
        self._canaries: dict[Path, str] = {}
        self._attackers: list[Attacker] = []

    def __enter__(self) -> Siege:
        try:
            link_nodes([self.victim, self.friend])
            self.victim.add_group("tree")
            self.traitor.join(self.victim.invite())
            self.assert_in_touch()
            self._plant_canaries()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    # -- for attacks

    def attack(self, target: Node | None = None, *, source: str = "127.0.0.1", hello: bool = True) -> Attacker:
        """A link of the traitor to `target` (the victim); closed at the end of the test."""
        target = target or self.victim
        attacker = Attacker(self.traitor.home, (target.address, target.port), self.membership(), source=source)
        self._attackers.append(attacker)
        if hello:
            attacker.greet()
        return attacker

    def membership(self) -> Membership:
        return Membership.load(Home(self.traitor.home))

    @property
    def group(self) -> GroupId:
        membership = Membership.load(Home(self.friend.home))
        (group,) = membership.groups()
        return group

    def node_id(self, node: Node) -> NodeId:
        return Membership.load(Home(node.home)).node

    def confined_threads(self, node: Node) -> int:
        """How many threads of a daemon have given up the right to new privileges, as who is confined must."""
        assert node.process is not None
        statuses = Path(f"/proc/{node.process.pid}/task").glob("*/status")
        return sum("NoNewPrivs:\t1" in status.read_text() for status in statuses)

    # -- what must be true

    def begin(self) -> None:
        for node in (self.victim, self.friend):
            self._memory[node.name] = node.resident_bytes()
            assert node.process is not None
            self._pids[node.name] = node.process.pid

    def assert_unharmed(self) -> None:
        """Both daemons live and keep the trees alike, nothing outside was read or written, memory has not run away."""
        try:
            self.assert_in_touch()
            self.assert_canaries_untouched()
            for node in (self.victim, self.friend):
                assert "a defect" not in node.last_words(10_000), node.last_words(60)
                grown = node.resident_bytes() - self._memory[node.name]
                assert grown < GROWTH_BYTES_MAX, f"{node.name} grew by {grown >> 20} MiB"
        finally:
            for attacker in self._attackers:
                attacker.close()
            self._attackers.clear()

    def assert_in_touch(self, *, timeout: float = 30.0) -> None:
        """A new file of either node gets to the other."""
        for one, other in ((self.victim, self.friend), (self.friend, self.victim)):
            name, content = f"sign-{next(self._numbers)}", os.urandom(20)
            assert one.alive(), one.last_words(40)
            (one.root / name).write_bytes(content)
            if not wait_until(lambda: _read(other.root / name) == content, timeout=timeout):
                raise AssertionError(f"{name} did not get from {one.name} to {other.name}: {other.last_words(40)}")

    def assert_canaries_untouched(self) -> None:
        assert {path: _seen(path) for path in self._canaries} == self._canaries

    def assert_stays_absent(self, *names: str, seconds: float = 1.0) -> None:
        """An absence can only be waited for; a sign of life first, so that all that came before it was dealt with."""
        self.assert_in_touch()
        time.sleep(seconds)
        for node in (self.victim, self.friend):
            for name in names:
                assert not os.path.lexists(node.root / name), f"{name} stands at {node.name}"

    def _plant_canaries(self) -> None:
        self.outside.mkdir(mode=0o755)
        for name in ("canary", "other"):
            (self.outside / name).write_bytes(b"nobody but its owner reads this: " + name.encode())
        for path in (self.outside / "canary", self.outside / "other", self.outside):
            # Older than its mtime: the next read moves it, also on a filesystem mounted with relatime.
            os.utime(path, (1, 2))
        self._canaries = {path: _seen(path) for path in (self.outside, *self.outside.iterdir())}
        for path in self._canaries:
            os.utime(path, (1, 2))
        self._canaries = {path: _seen(path) for path in self._canaries}

    def _node(self, name: str) -> Node:
        home, root = self._folder / name / "home", self._folder / name / "root"
        home.mkdir(parents=True, mode=0o700)
        root.mkdir()
        return Node(name, home, root, "127.0.0.1", _free_port())

    def _close(self) -> None:
        for attacker in self._attackers:
            attacker.close()
        for node in (self.victim, self.friend):
            node.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _seen(path: Path) -> str:
    """Everything that reading or writing it would change, but by us: contents are compared by whoever may read them."""
    status = path.lstat()
    digest = ""
    if path.is_file():
        before = status.st_atime_ns
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        os.utime(path, ns=(before, status.st_mtime_ns))
    return f"{status.st_ino} {status.st_mode} {status.st_size} {status.st_atime_ns} {status.st_mtime_ns} {digest}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
