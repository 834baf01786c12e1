"""Supervises one group on this node: opens what it needs, says why it does not run, and tries again.

| state   | event                                   | next                                             |
|---------|-----------------------------------------|--------------------------------------------------|
| stopped | run                                     | live (the group's own status says how far)       |
| live    | GroupHalted, no root, no right          | halted: closed, tried again after HALT_RETRY     |
| live    | the index is damaged                    | live on a fresh index; the old one is set aside  |
| stopped | run, with another root than before      | the same                                         |
| live    | a defect                                | stopped: closed, tried again, ever more slowly   |
| any     | cancelled                               | closed                                           |
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from everynode.cluster.home import Home
from everynode.daemon.clock import RealClock
from everynode.daemon.held import Held
from everynode.errors import EverynodeError, GroupHalted, IndexDamaged
from everynode.group.ground import GroupSetup
from everynode.group.life import Group
from everynode.index.schema import set_aside
from everynode.index.store import Index
from everynode.kernel.protocol import Kernel
from everynode.limits import HALT_RETRY, HALT_RETRY_MAX, ROOT_CHECK_INTERVAL
from everynode.model.ids import NodeId
from everynode.model.path import ROOT
from everynode.model.policy import GroupSettings
from everynode.net.routes import GroupRoutes
from everynode.report.audit import Happening, Journal
from everynode.report.status import GroupState, GroupStatus
from everynode.tree.root import Root
from everynode.watch.choose import WatchNotices, open_notices

logger = logging.getLogger("everynode.group")


@dataclass(frozen=True)
class Surroundings:
    """What all groups of the node share."""

    home: Home
    node: NodeId
    kernel: Kernel
    pool: ThreadPoolExecutor
    """Opens roots; all else on a tree is done by threads of its group."""
    confine: bool
    """Whether these may reach nothing but the root and the index."""
    routes: GroupRoutes
    journal: Journal
    members: Callable[[], frozenset[NodeId]]
    node_name: Callable[[NodeId], str]
    founded_here: Callable[[bytes], bool]
    """Whether this node made the group."""
    boot: str


class GroupSupervisor:
    """`run` in its own task; cancelling it closes the group."""

    def __init__(self, around: Surroundings, settings: GroupSettings) -> None:
        self._around = around
        self.settings = settings
        self.running: Group | None = None
        self.state: GroupState = "stopped"
        self.reason = "it is being opened"
        self.opening = True

    def status(self) -> GroupStatus:
        if self.running is not None:
            return self.running.status()
        settings = self.settings
        return GroupStatus(
            name=settings.name, id=settings.id.hex(), root=settings.root, state=self.state, reason=self.reason
        )

    async def run(self) -> None:
        pause = HALT_RETRY
        while True:
            try:
                if self.settings.trouble:
                    raise GroupHalted(self.settings.trouble)
                await self._live()
                pause = HALT_RETRY
            except Exception as error:  # outermost loop of a group: whatever happens stops only it
                halting = _reported(error)
                if halting is None:
                    logger.error("group %s failed: a defect", self.settings.name, exc_info=error)
                    self._stopped("stopped", f"a defect: {_first_leaf(error)!r}; the daemon's log says more")
                    pause = min(pause * 2, HALT_RETRY_MAX)
                elif isinstance(halting, IndexDamaged):
                    self._set_index_aside(halting)
                    continue
                else:
                    self._stopped("halted", str(halting))
                    pause = HALT_RETRY
            await asyncio.sleep(pause)

    def _stopped(self, state: GroupState, reason: str) -> None:
        if (self.state, self.reason) != (state, reason):  # said once, not at every try
            logger.error("group %s is %s: %s", self.settings.name, state, reason)
            self._around.journal.add(self.settings.name, ROOT, Happening.HALTED, detail=reason)
        self.state, self.reason, self.opening = state, reason, False

    def _set_index_aside(self, error: IndexDamaged) -> None:
        path = self._around.home.index_path(self.settings.id)
        kept = set_aside(path)
        detail = f"{error}; it is kept as {kept} and built anew from the tree and the peers"
        logger.error("group %s: %s", self.settings.name, detail)
        self._around.journal.add(self.settings.name, ROOT, Happening.PROBLEM, detail=detail)

    async def _live(self) -> None:
        around, settings = self._around, self.settings
        async with self._opened() as (clock, root, index, notices, first):
            setup = GroupSetup(
                group=settings.id,
                name=settings.name,
                node=around.node,
                index=index,
                root=root,
                notices=notices,
                clock=clock,
                policy=settings.policy,
                members=around.members,
                journal=around.journal,
                random_number=lambda: int.from_bytes(os.urandom(8), "big"),
                node_name=around.node_name,
                boot=around.boot,
                founder=first and around.founded_here(settings.id),
            )
            group = Group(setup)
            attached = around.routes.attach(settings.id, group)
            why = "this node stops the group"
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(group.run(attached))
                    tasks.create_task(attached.run())
                    tasks.create_task(_watch_root(clock, root))
                    self.running = group
                    self.state, self.reason = "live", ""
                    logger.info("group %s is live at %s", settings.name, settings.root)
                    around.journal.add(settings.name, ROOT, Happening.STARTED)
            except asyncio.CancelledError:
                # A clean stop, and only that one, may be told from a power cut at the next start.
                await clock.settled()
                await group.stop()
                raise
            except Exception as error:
                why = str(_reported(error) or "this node's group failed")
                raise
            finally:
                self.running = None
                await around.routes.detach(settings.id, why)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[RealClock, Root, Index, WatchNotices, bool]]:
        """Everything open, and closed in the end when no thread uses it any more. The last one: held here first now."""
        around, settings = self._around, self.settings
        path = os.fsencode(settings.root)
        held = Held(around.home, settings.id, path)
        clock = RealClock(around.pool, settings.name)
        folder = os.open(around.home.index_folder, os.O_PATH | os.O_CLOEXEC)
        try:
            first = not held.ever()
            root = await clock.offload(_open_root, around.kernel, path, settings.id, not held.here())
            try:
                if around.confine:
                    clock.confine([root.fd], [root.fd, folder])
                index_path = around.home.index_path(settings.id)
                if not held.here() and index_path.exists():
                    # It says what was placed in another root: all that is not in this one would read as deleted.
                    kept = set_aside(index_path, "moved")
                    logger.info("group %s has another root; the old one's index is kept as %s", settings.name, kept)
                held.remember()
                index = await clock.offload_index(Index, str(index_path), around.node, os.urandom)
                try:
                    notices = open_notices(path)
                    try:
                        yield clock, root, index, notices, first
                    finally:
                        notices.close()
                finally:
                    await clock.settled()
                    await clock.offload_index(index.close)
            finally:
                await clock.settled()
                root.close()
        finally:
            clock.close()
            os.close(folder)


def _open_root(kernel: Kernel, path: bytes, group: bytes, create: bool) -> Root:
    return Root.open(kernel, path, group, create=create)


async def _watch_root(clock: RealClock, root: Root) -> None:
    """Raises GroupHalted when the root is not where it was: what is open still works then, and hides it."""
    while True:
        await clock.sleep(ROOT_CHECK_INTERVAL)
        await clock.offload(root.check)


def _reported(error: BaseException) -> EverynodeError | None:
    """What was said for a person, the damage of an index before all else; None for a defect."""
    leaves = list(_leaves(error))
    for leaf in leaves:
        if isinstance(leaf, IndexDamaged):
            return leaf
    for leaf in leaves:
        if isinstance(leaf, EverynodeError):
            return leaf
        if isinstance(leaf, OSError):
            return GroupHalted(f"{leaf.strerror or leaf}: {leaf.filename or 'a system call'}")
    return None


def _first_leaf(error: BaseException) -> BaseException:
    return _leaves(error)[0]


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]
