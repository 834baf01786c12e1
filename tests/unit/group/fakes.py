"""A ground to stand on without disks or links: a real index in memory, fakes of the seams."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar, cast

from everynode.config.exclude import Excluder
from everynode.errors import LinkError
from everynode.group.ground import Ground, GroupSetup
from everynode.index.store import Index
from everynode.model.ids import NodeId, Sequence
from everynode.model.message import Batch, GroupMessage, WireRecord
from everynode.model.notice import Notice
from everynode.model.path import RelPath
from everynode.model.policy import GroupPolicy
from everynode.model.record import Record, Version
from everynode.report.audit import Journal
from everynode.tree.root import Root
from tests.unit.core.samples import NODE_A, NODE_B, NODE_C, A, B, live, version

GROUP = b"g" * 16
T = TypeVar("T")


class Clock:
    """Time stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def now_ns(self) -> int:
        return int(self.now * 1e9)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            await asyncio.sleep(0)

    async def offload(self, function: Callable[..., T], *arguments: object) -> T:
        return function(*arguments)

    offload_index = offload


class FakeLinks:
    def __init__(self, *peers: NodeId) -> None:
        self.open = list(peers)
        self.sent: list[tuple[NodeId, GroupMessage]] = []

    def peers(self) -> list[NodeId]:
        return list(self.open)

    async def send(self, peer: NodeId, message: GroupMessage) -> None:
        if peer not in self.open:
            raise LinkError("not linked")
        self.sent.append((peer, message))
        await asyncio.sleep(0)

    def to(self, peer: NodeId) -> list[GroupMessage]:
        return [message for to, message in self.sent if to == peer]


def new_index() -> Index:
    """Of node A, in the epoch that `samples.A` names, allowed to make changes."""
    draws = iter([(1).to_bytes(4, "big"), b"life" * 4])
    draw = random.Random(5)
    index = Index(":memory:", NODE_A, lambda size: next(draws, None) or draw.randbytes(size))
    assert index.origin == A
    with index.transaction():
        index.change_state().may_change = True
    return index


class FakeNotices:
    """Nothing is ever noticed but what a test puts into `queue`."""

    method = "fanotify"

    def __init__(self) -> None:
        self.queue: asyncio.Queue[list[Notice]] = asyncio.Queue()
        self.emptied = 0

    def start(self) -> None:
        pass

    def ignore(self, directory: int, wanted: bool) -> None:
        pass

    def waiting(self) -> bool:
        return not self.queue.empty()

    async def next(self) -> list[Notice]:
        notices = await self.queue.get()
        self.emptied += self.queue.empty()
        return notices

    def close(self) -> None:
        pass


def new_setup(
    index: Index | None = None, *, root: Root | None = None, exclude: tuple[str, ...] = (), boot: str = "boot"
) -> GroupSetup:
    return GroupSetup(
        group=GROUP,
        name="g",
        node=NODE_A,
        index=index or new_index(),
        root=cast(Root, root),
        notices=FakeNotices(),
        clock=Clock(),
        policy=GroupPolicy(exclude=exclude),
        members=lambda: frozenset({NODE_A, NODE_B, NODE_C}),
        journal=Journal(now=lambda: 0.0),
        random_number=iter(range(1, 1000)).__next__,
        node_name=lambda node: node.decode()[0],
        boot=boot,
    )


def new_ground(
    index: Index | None = None,
    *,
    root: Root | None = None,
    links: FakeLinks | None = None,
    exclude: tuple[str, ...] = (),
) -> Ground:
    setup = new_setup(index, root=root, exclude=exclude)
    return Ground(setup, links or FakeLinks(NODE_B, NODE_C), Excluder(exclude))


def put(index: Index, *several: Record) -> None:
    with index.transaction():
        for each in several:
            index.put(each, index.get(each.path))


def get(index: Index, path: bytes) -> Record:
    found = index.get(RelPath(path))
    assert found is not None
    return found


def paths(several: list[Record]) -> list[bytes]:
    return [each.path for each in several]


def wire(path: bytes, of: Version) -> WireRecord:
    return WireRecord(RelPath(path), of)


def batch(before: int, after: int, *records: WireRecord) -> Batch:
    """Of origin B."""
    default = tuple(wire(b"f%d" % number, version(live(B, number))) for number in range(before + 1, after + 1))
    return Batch(GROUP, B, Sequence(before), Sequence(after), records or default)
