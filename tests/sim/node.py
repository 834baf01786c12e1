"""One simulated machine: its disk, its index, its daemon in one life after another, and a user."""

from __future__ import annotations

import asyncio
import copy
import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from everynode.errors import EverynodeError, GroupHalted
from everynode.group.ground import GroupSetup
from everynode.group.seams import LinkEvents, Links
from everynode.index.store import Index
from everynode.limits import RESERVED_NAME
from everynode.model.ids import NodeId
from everynode.model.notice import Notice
from everynode.model.path import RelPath
from everynode.model.policy import ConflictPolicy, GroupPolicy, VaultPolicy
from everynode.report.audit import Journal
from everynode.report.status import WaitResult
from everynode.tree.root import Root
from tests.sim.clock import SimClock
from tests.sim.disk import Did, Disk, Event
from tests.sim.fake_kernel import Crash, FakeKernel, When
from tests.sim.inodes import Inode
from tests.sim.loop import SimLoop
from tests.sim.network import Network, NodeLinks
from tests.sim.notices import SimNotices
from tests.sim.oracle import Oracle
from tests.sim.power import power_cut, rewind, write_back
from tests.sim.user import Seen, Tree, User, find, read_tree, read_vault, seen

GROUP_ID = b"simulated-group!"
ROOT_PATH = b"/srv/tree"
# Virtual seconds in which the first scan after a start is done for sure; trees are small.
FIRST_LOOK_SECONDS = 5.0
# A running daemon has looked at a change after this.
LOOK_SECONDS = 1.0
GIVING_UP_SECONDS = 0.1
"""What is given up for room is looked for while the disk is full, and goes a moment later."""
# Open files are not followed: the oracle holds every content for invented that nobody had finished writing.
# The vault gives up nothing: the oracle cannot tell a loser that was pruned, long after its conflict, from a lost one.
POLICY = GroupPolicy(vault=VaultPolicy(generations=1_000_000, age_days=1_000_000, bytes=1 << 62), follow_seconds=0)


class GroupLife(LinkEvents, Protocol):
    """What the harness asks of a group."""

    async def run(self, links: Links) -> None: ...
    async def stop(self) -> None: ...
    async def wait(self, path: RelPath | None, nodes: int | None, timeout: float) -> WaitResult: ...


Make = Callable[[GroupSetup], GroupLife]


@dataclass
class Faults:
    """How often, per system call of a daemon, something happens there."""

    crash: float = 0.0
    fail: float = 0.0
    """EIO or ENOSPC."""
    act: float = 0.0
    """A user does something between two system calls."""


@dataclass
class Life:
    """A daemon from its start to its end."""

    kernel: FakeKernel
    clock: SimClock
    links: NodeLinks
    notices: SimNotices
    group: GroupLife | None = None
    task: asyncio.Task[None] | None = None
    stopping: bool = False
    """It was asked to stop: being cancelled is no failure."""
    up: bool = False
    """It has begun to listen: its start is over."""
    refused: bool = False
    """A system call failed in it: it may halt, and is started again."""


@dataclass
class SimNode:
    node: NodeId
    loop: SimLoop
    network: Network
    oracle: Oracle
    make: Make
    members: Callable[[], frozenset[NodeId]]
    founder: bool = False
    offset_ns: int = 0
    tick_ns: int = 0
    evict_days: float = 30.0
    conflict: ConflictPolicy = "newest"
    faults: Faults = field(default_factory=Faults)
    act_here: Callable[[], None] = lambda: None
    """Lets a user of this node do something now."""

    def __post_init__(self) -> None:
        self.rng: random.Random = self.loop.fork(f"node {self.node.hex()}")
        self._wall = SimClock(self.loop, self.rng, offset_ns=self.offset_ns)
        self.disk = Disk(self._wall.now_ns, tick_ns=self.tick_ns)
        self.index = Index(":memory:", self.node, self.rng.randbytes)
        self.boots = 1
        self.lives = 0
        self.life: Life | None = None
        self.crashes = 0
        self.failures: list[BaseException] = []
        """Ends of a daemon that no fault explains; each is a defect."""
        self.refused: dict[tuple[str, bytes], int] = {}
        """(call, what about) -> errno: what the kernel refuses the daemon until further notice."""
        self._acting = False
        self.full_until = float("-inf")
        """When somebody made room on the disk, which had been full."""
        self._ended_at = 0.0
        self._left: Tree = {}
        """What stood there when the last daemon ended."""
        self.died_at = 0.0
        self._backup: tuple[Inode, bytes] | None = None
        self.away_until = 0.0
        """Nobody starts it before that."""
        self.taken: frozenset[tuple[str, bytes]] = frozenset()
        """What the last power cut took from the vault."""
        self._started_at = 0.0
        self.seen_until = 0.0
        """Whatever a user did here before that, a daemon has looked at."""
        self._claimed = False
        self._looked_at: float | None = 0.0
        setup = FakeKernel(self.disk)
        top = setup.open_root(b"/")
        setup.mkdir_at(top, b"srv", 0o755)
        setup.mkdir_at(setup.open_beneath(top, b"srv", os.O_RDONLY | os.O_DIRECTORY), b"tree", 0o755)
        setup.sync_filesystem(top)
        setup.kill()
        self._log_in()

    @property
    def early(self) -> bool:
        """Whether the daemon may not have looked at everything since the last power cut."""
        return self.boots > 1 and (self._looked_at is None or self.loop.time() < self._looked_at)

    def _log_in(self) -> None:
        self.user = User(self.disk, ROOT_PATH, self._acted)
        self.disk.watchers.append(self._watch_daemon)

    def jump(self, seconds: float) -> None:
        """Somebody sets the clock of this machine."""
        self.offset_ns += int(seconds * 1e9)
        self._wall.offset_ns = self.offset_ns
        self.disk.clock_was_set()
        if self.life is not None:
            self.life.clock.offset_ns = self.offset_ns

    @property
    def running(self) -> bool:
        return self.life is not None and not self.life.kernel.dead

    # -- a daemon's life --------------------------------------------------------------------------

    def start(self) -> None:
        assert self.life is None, "reap the last life first"
        if self._looked_at is None or self.early:
            self._looked_at = self.loop.time() + FIRST_LOOK_SECONDS
        if self.lives:
            self.oracle.nobody_looked(self.node, self._ended_at, self._left, self.tree())
            self.oracle.crashed(self.node, self.died_at)
        self.lives += 1
        self._started_at = self.loop.time()
        kernel = FakeKernel(self.disk, self._gate)
        clock = SimClock(self.loop, self.rng, offset_ns=self.offset_ns)
        links = self.network.links_of(self.node)
        notices = _Notices(self.disk, ROOT_PATH, kernel.pid)
        notices.listening = self._listens
        self.life = Life(kernel, clock, links, notices)
        self.life.task = self.loop.create_task(self._live(self.life))

    def _listens(self) -> None:
        """It is up: what it is asked and told from here on it knows; what it placed last is noted by now."""
        if self.life is not None and not self.life.up:
            self.life.up = True
            if self.lives > 1:
                self.oracle.crashed(self.node, self.died_at)

    async def _live(self, life: Life) -> None:
        try:
            root = Root.open(life.kernel, ROOT_PATH, GROUP_ID, create=not self._claimed, life=b"%x" % self.lives)
            self._claimed = True
            life.group = self.make(self._setup(life, root))
            self.network.begin(life.links, life.group)
            await life.group.run(life.links)
            if not life.kernel.dead:
                self.failures.append(RuntimeError("the group ended by itself"))
        except BaseException as error:
            # In a dying process everything fails; asked for is only that a living one does not.
            if not life.kernel.dead and not life.stopping:
                if not (_halts(life, error) or self._has_no_room(error)):
                    self.failures.append(error)
                self.die()
        finally:
            life.notices.close()

    def _has_no_room(self, error: BaseException) -> bool:
        """For the folders of a root that begins on a full disk."""
        return not self._claimed and self.disk.hog > 0 and isinstance(error, GroupHalted)

    def _setup(self, life: Life, root: Root) -> GroupSetup:
        return GroupSetup(
            group=GROUP_ID,
            name="tree",
            node=self.node,
            index=self.index,
            root=root,
            notices=life.notices,
            clock=life.clock,
            policy=msgspec.structs.replace(POLICY, evict_days=self.evict_days, conflict=self.conflict),
            members=self.members,
            journal=Journal(),
            random_number=lambda: self.rng.getrandbits(63),
            node_name=lambda node: node.hex()[:4],
            boot=f"boot {self.boots}",
            founder=self.founder and self.lives == 1,  # who comes again may be an old copy, also of the founder
        )

    def die(self) -> None:
        """The process is gone at once, wherever it is; `reap` waits until its tasks know it too."""
        life = self.life
        if life is None or life.kernel.dead:
            return
        self.crashes += 1
        now = self._ended_at = self.loop.time()
        self._left = self.tree()
        if life.up:  # else it placed nothing, nor did it note what the one before it had placed
            self.died_at = now
        if now - self._started_at > FIRST_LOOK_SECONDS:
            self.seen_until = now - LOOK_SECONDS
        if self.early:
            self._looked_at = None
        self.loop.note(b"death of " + self.node)
        life.kernel.kill()
        life.clock.dead = True
        life.links.dead = True
        self.network.end(self.node)
        life.notices.close()
        if life.task is not None and life.task is not asyncio.current_task():
            life.task.cancel()

    async def stop_cleanly(self) -> None:
        """As a service manager does it."""
        life = self.life
        if life is None or life.kernel.dead or life.task is None:
            return
        life.stopping = True
        self.network.end(self.node, at_once=False)
        life.task.cancel()
        await asyncio.wait([life.task])
        if not life.kernel.dead and life.group is not None:
            try:
                await life.group.stop()
            except Crash:
                pass
        self.die()

    async def reap(self) -> None:
        """After `die`: the index is as its last commit left it, and another life may start."""
        life = self.life
        if life is None:
            return
        assert life.kernel.dead
        if life.task is not None:
            await asyncio.wait([life.task])
        revive(self.index)
        self.life = None

    async def lose_power(self) -> Tree:
        """The machine is off, its daemon gone; what the tree was. `cluster` tells the oracle."""
        self.die()
        await self.reap()
        before = self.tree()
        vault = self.vault()
        power_cut(self.disk, self.rng)
        self.taken = vault - self.vault()
        self.boots += 1
        self._looked_at = None
        self.loop.note(b"power cut of " + self.node)
        self._log_in()
        return before

    @property
    def has_backup(self) -> bool:
        return self._backup is not None

    def back_up(self) -> None:
        """Disk and index, as they are at this moment."""
        self._backup = copy.deepcopy(self.disk.root), self.index._connection.serialize("main")

    async def restore(self, *, index_only: bool) -> Tree:
        """Bring back the last backup, or of it just the index; what the tree was before."""
        assert self._backup is not None
        self.die()
        await self.reap()
        before = self.tree()
        root, index = self._backup
        if not index_only:
            rewind(self.disk, copy.deepcopy(root))
            self.boots += 1
            self._looked_at = None
            self._log_in()
        self.index._connection.deserialize("main", index)
        revive(self.index)
        self.index._open()
        self.index.fresh = False
        self.index.heard = dict(self.index.state.knowledge)
        self.loop.note(b"backup of " + self.node)
        return before

    async def wait(self, path: RelPath | None, nodes: int | None, seconds: float) -> WaitResult | None:
        """What the daemon answers; None: it ended before it could."""
        life = self.life
        if life is None or life.group is None or life.kernel.dead:
            return None
        try:
            return await life.group.wait(path, nodes, seconds)
        except (Exception, Crash) as error:
            if not (life.kernel.dead or life.stopping or _halts(life, error)):
                self.failures.append(error)
            return None

    def write_back(self) -> None:
        write_back(self.disk, self.rng)

    # -- what stands on the disk ------------------------------------------------------------------

    def tree(self) -> Tree:
        return read_tree(self.disk, ROOT_PATH)

    def vault(self) -> frozenset[tuple[str, bytes]]:
        return read_vault(self.disk, ROOT_PATH)

    # -- hooks ------------------------------------------------------------------------------------

    def _acted(self, path: bytes, before: Seen | None, after: Seen | None, finished: bool, vaulted: bool) -> None:
        self.loop.note(b"act " + self.node + path)
        act = self.oracle.acted(
            self.node, self.loop.time(), path, before, after, self.vault(), finished=finished, early=self.early
        )
        act.vaulted = vaulted

    def _gate(self, call: str, about: bytes, when: When) -> None:
        faults = self.faults
        if self.refused and not self._acting and (number := self.refused.get((call, about))) is not None:
            if self.life is not None:
                self.life.refused = True
            raise OSError(number, os.strerror(number), about)
        if self._acting or not (faults.crash or faults.fail or faults.act):
            return
        chance = self.rng.random()
        if chance < faults.crash:
            self.die()
            raise Crash(f"{when} {call}")
        chance -= faults.crash
        if chance < faults.act:
            self._acting = True
            try:
                self.act_here()
            finally:
                self._acting = False
        elif chance - faults.act < faults.fail and when == "before" and call in _FAILING:
            number = self.rng.choice(_FAILING[call])
            if self.life is not None:
                self.life.refused = True
            raise OSError(number, os.strerror(number), about)

    def _watch_daemon(self, event: Event) -> None:
        path, source = _in_tree(event.path), _in_tree(event.source)
        full = self.disk.hog or self.loop.time() - self.full_until < GIVING_UP_SECONDS
        if event.did is Did.DELETED and full and _in_vault(event.path):
            self.oracle.gave_up(self.node, seen(event.inode))
        if self.life is None or event.process != self.life.kernel.pid:
            if event.did is Did.RENAMED and event.inode.is_directory and path is not None and source is not None:
                self.oracle.renamed(self.node, self.loop.time(), source, path)
            return
        if path is not None and event.inode.is_file and event.did in (Did.CREATED, Did.MODIFIED):
            self.oracle.wrote_in_place(self.node, path, event.did.value)
        elif event.did in (Did.CREATED, Did.RENAMED, Did.DELETED):
            if path is not None and source is not None and event.inode.mtime_ns == event.inode.ctime_ns:
                self.oracle.moved_in_the_tick_of_a_write(self.node, self.loop.time(), source, path, seen(event.inode))
            for changed in (source, path):
                if changed is not None:
                    self._placed(changed)

    def _placed(self, path: bytes) -> None:
        inode = find(self.disk, ROOT_PATH + b"/" + path)
        now = self.loop.time()
        if inode is not None and inode.is_file and inode.writers:
            return  # a user is at it: what was moved forth and back under his hands is his, and not done
        self.oracle.placed(self.node, now, path, None if inode is None else seen(inode))
        if inode is not None and inode.is_directory:
            for name in inode.children:
                self._placed(path + b"/" + name)


class _Notices(SimNotices):
    """They tell when the daemon asks for the first ones."""

    listening: Callable[[], None]

    async def next(self) -> list[Notice]:
        self.listening()
        return await super().next()


_FAILING = {
    "write": (errno.ENOSPC, errno.EIO),
    "mkdir_at": (errno.ENOSPC,),
    "rename_at": (errno.ENOSPC, errno.EIO),
    "sync_data": (errno.EIO,),
    "sync_file": (errno.EIO,),
    "pread": (errno.EIO,),
    "open_beneath": (errno.EIO,),
    "create_at": (errno.EIO, errno.ENOSPC),
    "stat_at": (errno.EIO,),
}


def _halts(life: Life, error: BaseException) -> bool:
    """Whether a failed system call explains it: then a group may stop, and is opened again."""
    return life.refused and isinstance(error, OSError | EverynodeError)


def revive(index: Index) -> None:
    """Make an in-memory index what a new process would read from the disk: committed state, nothing else."""
    index._roll_back()
    index.state = index._load_state()
    index.fresh = False


def _in_vault(path: bytes) -> bool:
    return path.startswith(ROOT_PATH.strip(b"/") + b"/" + RESERVED_NAME + b"/vault/")


def _in_tree(path: bytes | None) -> bytes | None:
    prefix = ROOT_PATH.strip(b"/") + b"/"
    if path is None or not path.startswith(prefix):
        return None
    inside = path.removeprefix(prefix)
    return None if inside == RESERVED_NAME or inside.startswith(RESERVED_NAME + b"/") else inside
