"""Peers: what a group does when links open and close, and where each message goes."""

from __future__ import annotations

import asyncio
from typing import assert_never

from everynode.errors import LinkError
from everynode.group.announce import Announcer
from everynode.group.apply import Applier
from everynode.group.brake import Brake
from everynode.group.catchup import CatchUp
from everynode.group.fetch import Fetcher
from everynode.group.ground import Ground
from everynode.group.heads import HeadsKeeper
from everynode.group.hear import allow_changes
from everynode.group.provide import Provider
from everynode.group.receive import Receiver
from everynode.group.requests import Requests
from everynode.group.serve import RunServer
from everynode.group.testify import Testifier
from everynode.model.ids import NodeId, Sequence
from everynode.model.message import (
    Batch,
    Blocks,
    BlocksRequest,
    ComparePart,
    Entries,
    EntriesRequest,
    FetchPart,
    FetchRequest,
    Gone,
    GroupBye,
    GroupHello,
    GroupMessage,
    Heads,
    ReadRequest,
    ReadState,
    Released,
    RunCredit,
    RunEnd,
    RunPart,
    RunRequest,
    TreeParts,
    TreeRequest,
)


class Peers:
    """Implements `seams.LinkEvents`. Handlers do not wait for work: what takes long is queued for a task."""

    def __init__(
        self,
        ground: Ground,
        announcer: Announcer,
        receiver: Receiver,
        catch_up: CatchUp,
        heads: HeadsKeeper,
        fetcher: Fetcher,
        requests: Requests,
        provider: Provider,
        server: RunServer,
        applier: Applier,
        brake: Brake,
        testifier: Testifier,
    ) -> None:
        self._ground = ground
        self._announcer = announcer
        self._receiver = receiver
        self._catch_up = catch_up
        self._heads = heads
        self._fetcher = fetcher
        self._requests = requests
        self._provider = provider
        self._server = server
        self._applier = applier
        self._brake = brake
        self._testifier = testifier
        self._tasks: dict[NodeId, list[asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._ready = asyncio.Event()
        self._lives: dict[NodeId, bytes] = {}

    async def run(self) -> None:
        """The tasks that serve single peers live in here."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._ready.set()
            await asyncio.Event().wait()

    def open_peers(self) -> frozenset[NodeId]:
        return frozenset(self._tasks)

    async def opened(self, peer: NodeId) -> None:
        await self._ready.wait()
        assert self._group is not None
        if peer in self._tasks:
            await self.closed(peer)
        ground = self._ground
        self._announcer.open(peer)
        self._tasks[peer] = [
            self._group.create_task(task)
            for task in (
                self._announcer.run_peer(peer),
                self._server.run_peer(peer),
                self._provider.run_peer(peer),
                self._testifier.run_peer(peer),
            )
        ]
        state = ground.index.state
        hello = GroupHello(
            ground.setup.group,
            ground.index.origin,
            ground.index.life,
            ground.index.heard,
            dict(state.forgotten),
            state.may_change,
        )
        try:
            await ground.links.send(peer, hello)
            await ground.links.send(peer, self._heads.current())
            await self._brake.tell(peer)
        except LinkError:
            return  # closed() follows
        self._fetcher.hope()

    async def closed(self, peer: NodeId) -> None:
        for task in self._tasks.pop(peer, []):
            task.cancel()
        self._announcer.close(peer)
        self._server.close(peer)
        self._provider.close(peer)
        self._testifier.close(peer)
        self._requests.closed(peer)
        self._receiver.closed(peer)
        self._catch_up.closed(peer)
        self._ground.progressed()

    async def received(self, peer: NodeId, message: GroupMessage) -> None:
        if peer not in self._tasks:
            return
        match message:
            case GroupHello():
                await self._hello(peer, message)
            case Heads():
                placed_more = peer not in self._ground.heads or self._ground.heads[peer].placed != message.placed
                self._heads.heard(peer, message)
                self._catch_up.heads(peer, message.heard, message.settled)
                await self._settle_with_peers()
                self._announcer.acknowledged(peer, Sequence(message.heard.get(self._ground.index.origin, 0)))
                if placed_more:
                    self._fetcher.hope()
            case Released():
                self._brake.heard(peer, message)
            case Batch() | RunPart() | RunEnd() | ComparePart():
                self._receiver.take(peer, message)
            case RunRequest():
                self._server.request(peer, message)
            case RunCredit():
                self._server.credit(peer, message)
            case BlocksRequest() | FetchRequest():
                self._provider.request(peer, message)
            case TreeRequest() | EntriesRequest() | ReadRequest():
                self._testifier.request(peer, message)
            case Blocks() | FetchPart() | Gone() | TreeParts() | Entries() | ReadState():
                self._requests.answered(peer, message)
            case GroupBye():
                await self.closed(peer)
            case _:
                assert_never(message)

    async def _hello(self, peer: NodeId, hello: GroupHello) -> None:
        ground = self._ground
        index = ground.index
        if hello.heard.get(index.origin, 0) > index.heard.get(index.origin, 0):
            # Changes of ours that we do not know: this index is a restored backup or a clone.
            if self._announcer.epoch_is_young():
                raise LinkError("it says of an index that has just begun anew that it is old")
            ground.may_change.clear()
            await ground.clock.offload_index(self._begin_epoch)
            self._announcer.begin_epoch()
        if self._lives.get(peer) != hello.index:
            # Another index than the one that spoke before: what that one had heard and placed is void.
            self._lives[peer] = hello.index
            ground.heads.pop(peer, None)
        self._catch_up.hello(peer, hello)
        await self._settle_with_peers()
        ground.met.set()

    async def _settle_with_peers(self) -> None:
        ground = self._ground
        if not ground.index.state.may_change:
            await ground.clock.offload_index(self._allow_changes)
            if ground.index.state.may_change:
                ground.may_change.set()

    def _allow_changes(self) -> None:
        """Runs on the index thread."""
        with self._ground.index.transaction():
            allow_changes(self._ground.index, self._catch_up.sufficient())

    def _begin_epoch(self) -> None:
        """Runs on the index thread."""
        with self._ground.index.transaction():
            self._ground.index.begin_new_epoch()
