"""The links seam between simulated nodes: ordered connections that are slow, stall, break and come back.

Every message goes through the wire codec. Of the messages that are sound by themselves old ones are repeated,
also after the connection on which they were sent.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterable

from everynode.errors import LinkError
from everynode.group.seams import LinkEvents
from everynode.model.ids import NodeId
from everynode.model.message import AnyMessage, Batch, GroupMessage, Heads, Hello, Ping, Statements
from everynode.wire.codec import decode, encode
from tests.sim.fake_kernel import Crash
from tests.sim.loop import SimLoop

QUEUE_BYTES = 1 << 20
HISTORY = 40

Pair = tuple[NodeId, NodeId]


class NodeLinks:
    """`group.seams.Links` of one node in one life of its process."""

    def __init__(self, network: Network, node: NodeId) -> None:
        self._network = network
        self.node = node
        self.sides: dict[NodeId, Side] = {}
        self.dead = False

    def peers(self) -> list[NodeId]:
        return list(self.sides)

    async def send(self, peer: NodeId, message: GroupMessage) -> None:
        if self.dead:
            raise Crash("the process has ended")
        side = self.sides.get(peer)
        if side is None:
            raise LinkError(f"not linked with {peer.hex()}: the message was not sent")
        await self._network.carry(side, message)


class Side:
    """One end of a link: what has been sent to its owner and has not been heard yet."""

    def __init__(self, links: NodeLinks, peer: NodeId, link: Link) -> None:
        self.links = links
        self.peer = peer
        self.link = link
        self.inbox: deque[tuple[float, bytes | None]] = deque()
        self.inbox_bytes = 0
        self.last_arrival = 0.0
        self.changed = asyncio.Event()
        self.swallowed = 0
        self.over = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def put(self, arrival: float, body: bytes | None) -> None:
        """`None` closes. Nothing overtakes what was put before."""
        self.last_arrival = max(self.last_arrival, arrival)
        self.inbox.append((self.last_arrival, body))
        self.inbox_bytes += len(body or b"")
        self.changed.set()

    def lose(self, keep: int) -> None:
        while len(self.inbox) > keep:
            self.inbox_bytes -= len(self.inbox.pop()[1] or b"")

    def take(self) -> bytes | None:
        body = self.inbox.popleft()[1]
        self.inbox_bytes -= len(body or b"")
        self.changed.set()
        return body


class Link:
    def __init__(self, one: NodeLinks, two: NodeLinks) -> None:
        self.broken = False
        self.sides = {one.node: Side(one, two.node, self), two.node: Side(two, one.node, self)}

    @property
    def over(self) -> bool:
        return all(side.task is None or side.task.done() for side in self.sides.values())


class Network:
    """`replayed` names the messages of which old copies may come again; `replays` how often."""

    def __init__(
        self,
        loop: SimLoop,
        *,
        delay: float = 0.005,
        redial: float = 1.0,
        replays: float = 0.02,
        replayed: tuple[type[AnyMessage], ...] = (Batch, Heads),
    ) -> None:
        self._loop = loop
        self._rng: random.Random = loop.fork("network")
        self._delay = delay
        self._redial = redial
        self.replays = replays
        self._replayed = replayed
        self._nodes: dict[NodeId, tuple[NodeLinks, LinkEvents]] = {}
        self._links: dict[Pair, Link] = {}
        self._dialing: dict[Pair, asyncio.Task[None]] = {}
        self._history: dict[Pair, deque[bytes]] = {}
        self._unreachable: set[Pair] = set()
        self.failures: list[BaseException] = []
        """What the group's handlers raised; each is a defect."""
        self.messages = 0
        self.bytes = 0

    # -- nodes ------------------------------------------------------------------------------------

    def links_of(self, node: NodeId) -> NodeLinks:
        """The links of a process that is about to start; nothing happens on them before `begin`."""
        return NodeLinks(self, node)

    def begin(self, links: NodeLinks, events: LinkEvents) -> None:
        self._nodes[links.node] = (links, events)
        for other in list(self._nodes):
            if other != links.node:
                self._dial(_pair(links.node, other))

    def end(self, node: NodeId, *, at_once: bool = True) -> None:
        """The process is gone: it hears nothing more, its peers notice some time later.

        Not `at_once`: it only closed its links, and may live on for a while without them.
        """
        if node not in self._nodes:
            return  # it died before it began
        links, _ = self._nodes.pop(node)
        links.dead = at_once
        links.sides.clear()
        for pair in [p for p in self._links if node in p]:
            link = self._links[pair]
            task = link.sides[node].task
            if task is not None:
                task.cancel()
            self._break(link)

    # -- faults -----------------------------------------------------------------------------------

    def cut(self, one: NodeId, two: NodeId) -> None:
        """The connection breaks; it is dialled again."""
        link = self._links.get(_pair(one, two))
        if link is not None:
            self._break(link)

    def partition(self, sides: Iterable[frozenset[NodeId]]) -> None:
        """Only nodes of one side reach each other, until `heal`. Nodes in no side reach nobody."""
        groups = list(sides)
        nodes = sorted(set(self._nodes).union(*groups))
        self._unreachable = {
            (a, b) for a in nodes for b in nodes if a < b and not any(a in g and b in g for g in groups)
        }
        for pair in self._unreachable:
            self.cut(*pair)

    def separate(self, one: NodeId, two: NodeId) -> None:
        self._unreachable.add(_pair(one, two))
        self.cut(one, two)

    def heal(self) -> None:
        self._unreachable.clear()

    def stall(self, sender: NodeId, receiver: NodeId, seconds: float) -> None:
        """What is sent one way from now on comes later by so much; the other way is not touched."""
        link = self._links.get(_pair(sender, receiver))
        if link is not None:
            side = link.sides[receiver]
            side.last_arrival = max(side.last_arrival, self._loop.time()) + seconds

    def all_linked(self) -> bool:
        """Every two nodes that run have an open, unbroken link on both ends."""
        nodes = sorted(self._nodes)
        return all(
            (link := self._links.get((a, b))) is not None
            and not link.broken
            and b in self._nodes[a][0].sides
            and a in self._nodes[b][0].sides
            for a in nodes
            for b in nodes
            if a < b
        )

    # -- one link ---------------------------------------------------------------------------------

    async def carry(self, sender: Side, message: GroupMessage) -> None:
        body = encode(message)
        link = sender.link
        receiver = link.sides[sender.peer]
        while receiver.inbox_bytes > QUEUE_BYTES and not link.broken:
            receiver.changed.clear()
            await receiver.changed.wait()
        if sender.links.dead:
            raise Crash("the process has ended")
        if sender.links.sides.get(sender.peer) is not sender:
            raise LinkError(f"the link with {sender.peer.hex()} closed while a message waited for it")
        if link.broken:  # this end has not noticed yet: its kernel takes what fits a buffer
            sender.swallowed += len(body)
            if sender.swallowed > QUEUE_BYTES:
                await sender.over.wait()
                raise LinkError(f"the link with {sender.peer.hex()} closed while a message waited for it")
            return
        self.messages += 1
        self.bytes += len(body)
        receiver.put(self._arrival(), body)
        history = self._history.setdefault((sender.links.node, sender.peer), deque(maxlen=HISTORY))
        if isinstance(message, self._replayed):
            history.append(body)
        if history and self._rng.random() < self.replays:
            receiver.put(self._arrival(), self._rng.choice(history))

    def _arrival(self) -> float:
        return self._loop.time() + self._rng.expovariate(1 / self._delay)

    def _dial(self, pair: Pair) -> None:
        if pair not in self._dialing:
            self._dialing[pair] = self._loop.create_task(self._keep_linked(pair))

    async def _keep_linked(self, pair: Pair) -> None:
        """As long as both nodes run: link them again whenever they are not."""
        while all(node in self._nodes for node in pair):
            await asyncio.sleep(self._rng.uniform(0.01, self._redial))
            link = self._links.get(pair)
            if pair in self._unreachable or (link is not None and not link.over):
                continue
            if all(node in self._nodes for node in pair):
                self._open(pair)
        del self._dialing[pair]

    def _open(self, pair: Pair) -> None:
        one, two = (self._nodes[node] for node in pair)
        link = self._links[pair] = Link(one[0], two[0])
        for links, events in (one, two):
            side = link.sides[links.node]
            side.task = self._loop.create_task(self._run_side(side, events))

    async def _run_side(self, side: Side, events: LinkEvents) -> None:
        links = side.links
        try:
            await asyncio.sleep(self._rng.expovariate(1 / self._delay))
            links.sides[side.peer] = side
            await events.opened(side.peer)
            while (body := await self._next(side)) is not None:
                try:
                    message = decode(body)
                    assert not isinstance(message, Hello | Ping | Statements), "of links, not of groups"
                    await events.received(side.peer, message)
                except LinkError:
                    self._break(side.link)
            del links.sides[side.peer]
            side.over.set()
            await events.closed(side.peer)
        except (Exception, Crash) as error:
            # A dying process fails in all places at once; only a living one must not.
            if not links.dead:
                self.failures.append(error)
                links.sides.pop(side.peer, None)
                self._break(side.link)

    async def _next(self, side: Side) -> bytes | None:
        while not side.inbox:
            side.changed.clear()
            await side.changed.wait()
        pause = side.inbox[0][0] - self._loop.time()
        if pause > 0:
            await asyncio.sleep(pause)
            if not side.inbox:  # lost meanwhile
                return await self._next(side)
        return side.take()

    def _break(self, link: Link) -> None:
        if link.broken:
            return
        link.broken = True
        for side in link.sides.values():
            side.lose(self._rng.randint(0, len(side.inbox)))
            side.last_arrival = max((arrival for arrival, _ in side.inbox), default=0.0)
            side.put(self._loop.time() + self._rng.expovariate(1 / (20 * self._delay)), None)


def _pair(one: NodeId, two: NodeId) -> Pair:
    return (one, two) if one < two else (two, one)
