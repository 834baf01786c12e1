"""One node as one object: membership, mesh, routes, groups and journal wired together, started and stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from everynode import __version__
from everynode.cluster.home import Home
from everynode.cluster.membership import Membership
from everynode.daemon.admin import Admin
from everynode.daemon.facade import HeldGroup
from everynode.daemon.gossip import Gossip
from everynode.daemon.held import release_given_up
from everynode.daemon.processes import ProcessNames
from everynode.daemon.supervisor import GroupSupervisor, Surroundings
from everynode.errors import ConfigError, EverynodeError, LinkError
from everynode.kernel.landlock import why_unavailable
from everynode.kernel.linux import LinuxKernel
from everynode.kernel.process import boot_id
from everynode.limits import LEAVE_SECONDS, WORKERS
from everynode.model.ids import NodeId, show_node
from everynode.model.message import AnyMessage, GroupId, Hello, Ping, Statements
from everynode.net.mesh import Mesh
from everynode.net.peer import PeerReport
from everynode.net.routes import GroupRoutes
from everynode.report.audit import Journal
from everynode.report.status import GroupView, Invitation, MemberView, NodeStatus, PeerStatus
from everynode.report.verdict import verdict
from everynode.trust.statement_set import Changes

logger = logging.getLogger("everynode.node")


class Node:
    """`daemon.facade.NodeFacade` and `net.mesh.MeshEvents`. Make it in the loop, `run` it once."""

    def __init__(self, home: Home, membership: Membership) -> None:
        self.membership = membership
        self.admin = Admin(membership)
        self.journal = Journal(node_name=self._node_name, process_name=ProcessNames())
        settings = membership.settings
        own = membership.members().get(membership.node)
        self._name = own.name if own else show_node(membership.node)[:8]
        self._mesh = Mesh(
            membership.identity,
            membership.cluster,
            membership.members,
            self._name,
            settings.listen,
            own.addresses if own else (),
            self,
        )
        self._listening: tuple[str, ...] = ()
        self._routes = GroupRoutes(self._mesh)
        self._gossip = Gossip(membership, self._mesh)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="work")
        self._unconfined = why_unavailable() if settings.confine else "switched off in node.toml"
        self._around = Surroundings(
            home=home,
            node=membership.node,
            kernel=LinuxKernel(),
            pool=self._pool,
            confine=not self._unconfined,
            routes=self._routes,
            journal=self.journal,
            members=lambda: frozenset(membership.members()),
            node_name=self._node_name,
            founded_here=self.admin.founded_here,
            boot=boot_id(),
        )
        self._supervisors: dict[GroupId, tuple[GroupSupervisor, asyncio.Task[None]]] = {}
        self._changes: asyncio.Queue[Changes] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._started = time.monotonic()

    # -- life

    async def listen(self) -> None:
        """Take the addresses. Raises ConfigError."""
        self._listening = tuple(await self._mesh.listen())

    async def run(self) -> None:
        """Until `stop`. Everything is closed on return."""
        self.membership.listener = self._changes.put_nowait
        try:
            async with asyncio.TaskGroup() as tasks:
                mesh = tasks.create_task(self._mesh.run())
                await self._hold_groups(tasks)
                following = tasks.create_task(self._follow_changes(tasks))
                await self._stopping.wait()
                following.cancel()
                await self._stop_groups(list(self._supervisors))
                self._mesh.close()
                await mesh
        finally:
            self.membership.listener = None
            self._pool.shutdown()

    def stop(self) -> None:
        self._stopping.set()
        self.journal.close()

    async def wait_stopping(self) -> None:
        await self._stopping.wait()

    async def _follow_changes(self, tasks: asyncio.TaskGroup) -> None:
        """What the membership came to know, from here or from a peer, becomes true for links and groups."""
        while True:
            changes = await self._changes.get()
            # Told first: a node that is removed shall hear it before its link is cut.
            await self._gossip.spread(changes)
            self._mesh.refresh()
            await self._hold_groups(tasks)

    async def _hold_groups(self, tasks: asyncio.TaskGroup) -> None:
        """Exactly the groups of the cluster file run, with exactly these settings."""
        try:
            self.admin.settle_first_root()
        except (EverynodeError, OSError) as error:
            logger.error("the root given at `join --root` cannot be used: %s", error)
        wanted = {} if self.membership.removed else self.membership.groups()
        await self._stop_groups(
            [group for group, (supervisor, _) in self._supervisors.items() if wanted.get(group) != supervisor.settings]
        )
        if not self.membership.removed:
            try:
                release_given_up(self._around.home, self._around.kernel, wanted)
            except OSError as error:
                logger.error("a group that was given up is not put away: %s", error)
        for group, settings in wanted.items():
            if group not in self._supervisors:
                supervisor = GroupSupervisor(self._around, settings)
                self._supervisors[group] = (supervisor, tasks.create_task(supervisor.run()))

    async def _stop_groups(self, groups: list[GroupId]) -> None:
        stopping = [self._supervisors.pop(group)[1] for group in groups]
        for task in stopping:
            task.cancel()
        await asyncio.gather(*stopping, return_exceptions=True)

    # -- what the mesh tells

    async def linked(self, peer: NodeId) -> None:
        await self._gossip.linked(peer)
        await self._routes.linked(peer)

    async def received(self, peer: NodeId, message: AnyMessage) -> None:
        match message:
            case Statements():
                await self._gossip.heard(peer, message)
            case Hello() | Ping():
                raise LinkError("it said hello twice")
            case _:
                await self._routes.received(peer, message)

    async def unlinked(self, peer: NodeId) -> None:
        await self._routes.unlinked(peer)

    async def join_requested(self, raw: bytes, address: str) -> bytes:
        before = set(self.membership.members())
        answer = self.membership.redeem(raw)
        for node in set(self.membership.members()) - before:
            logger.info("%s joined from %s", self._node_name(node), address)
        return answer

    # -- what the API asks

    def status(self) -> NodeStatus:
        status = NodeStatus(
            name=self._name,
            node=show_node(self.membership.node),
            version=__version__,
            pid=os.getpid(),
            uptime=time.monotonic() - self._started,
            memory_bytes=_resident_bytes(),
            cluster=self.membership.cluster.hex(),
            listen=self._listening,
            settings=self._settings_troubles(),
            unconfined=self._unconfined,
            groups=tuple(
                sorted((supervisor.status() for supervisor, _ in self._supervisors.values()), key=lambda g: g.name)
            ),
            peers=tuple(sorted((self._peer_status(report) for report in self._mesh.report()), key=lambda p: p.name)),
        )
        line, code = verdict(status)
        return msgspec.structs.replace(status, verdict=line, exit_code=code)

    def _settings_troubles(self) -> tuple[str, ...]:
        if self.membership.removed:
            return ("this node is no longer a member of the cluster: stop it, or join again with a new token",)
        return self.membership.ties()

    def _peer_status(self, report: PeerReport) -> PeerStatus:
        member = self.membership.members().get(report.node)
        return PeerStatus(
            node=show_node(report.node),
            name=report.name,
            linked=report.linked_since is not None,
            address=", ".join(member.addresses) if member else "",
            since=report.linked_since or report.away_since,
            rtt_ms=report.rtt_ms,
            bytes_in=report.bytes_in,
            bytes_out=report.bytes_out,
            last_error=report.error,
        )

    def held_groups(self) -> Mapping[str, HeldGroup]:
        # Also those that are to be opened next: whoever waits for everything waits for them, too.
        wanted = {} if self.membership.removed else self.membership.groups()
        held = {one.name: HeldGroup(one.root, None, "it is being opened", opening=True) for one in wanted.values()}
        for supervisor, _ in self._supervisors.values():
            held[supervisor.settings.name] = HeldGroup(
                supervisor.settings.root, supervisor.running, supervisor.reason, supervisor.opening
            )
        return held

    def members(self) -> list[MemberView]:
        return self.admin.members()

    def groups(self) -> list[GroupView]:
        return self.admin.groups()

    def config_text(self) -> str:
        return self.admin.config_text()

    async def invite(self, valid_seconds: float, advertise: Sequence[str]) -> Invitation:
        return self.admin.invite(valid_seconds, advertise)

    async def remove_member(self, node: str) -> None:
        self.admin.remove_member(node)

    async def leave(self) -> None:
        """Raises ConfigError when nobody is there to hear it: the others would go on waiting for this node."""
        if not self._mesh.peers() and len(self.membership.members()) > 1:
            raise ConfigError(
                "no other node is linked, so none would hear that this one leaves; try again when one is, "
                "or run `everynode remove` for this node on another one"
            )
        self.admin.leave()
        asyncio.get_running_loop().call_later(LEAVE_SECONDS, self.stop)

    async def add_group(self, name: str, path: str, exclude: Sequence[str], conflict: str) -> None:
        self.admin.add_group(name, path, exclude, conflict)

    async def remove_group(self, name: str) -> None:
        self.admin.remove_group(name)

    async def set_root(self, name: str, path: str | None) -> None:
        self.admin.set_root(name, path)

    async def check_config(self, text: str, file: str) -> list[str]:
        return self.admin.check_config(text, file)

    async def apply_config(self, text: str, file: str) -> list[str]:
        return self.admin.apply_config(text, file)

    def _node_name(self, node: NodeId) -> str:
        member = self.membership.members().get(node)
        return member.name if member else show_node(node)[:8]


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
