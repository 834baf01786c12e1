"""Real meshes on loopback, with what they told written down."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from everynode.errors import TrustError
from everynode.model.ids import NodeId
from everynode.model.member import Member
from everynode.model.message import AnyMessage
from everynode.net.mesh import Mesh
from everynode.net.peer import PeerReport
from everynode.trust.identity import Identity
from everynode.wire.frames import FrameSplitter

CLUSTER = b"c" * 32
GROUP = b"g" * 16


def identity(home: Path, name: str) -> Identity:
    home.mkdir(parents=True, exist_ok=True)
    return Identity.create(home, name)


class Events:
    """What a mesh said: `("linked", name)`, `("unlinked", name)`, `(name, message)`."""

    def __init__(self) -> None:
        self.names: dict[NodeId, str] = {}
        self.said: list[tuple[str, str | AnyMessage]] = []
        self.hold = asyncio.Event()  # cleared: the handler of messages waits
        self.hold.set()
        self.refuse: Exception | None = None
        """Raised out of `received`."""
        self._happened = asyncio.Event()

    async def linked(self, peer: NodeId) -> None:
        self._write("linked", self.names[peer])

    async def received(self, peer: NodeId, message: AnyMessage) -> None:
        await self.hold.wait()
        self._write(self.names[peer], message)
        if self.refuse is not None:
            raise self.refuse

    async def unlinked(self, peer: NodeId) -> None:
        self._write("unlinked", self.names[peer])

    async def join_requested(self, raw: bytes, address: str) -> bytes:
        if raw == b"bad":
            raise TrustError("a wrong token")
        return b"answer to " + raw

    async def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Wait for a condition; it is looked at after each event and every 5 ms."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._happened.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.005):
                        await self._happened.wait()

    def messages(self) -> list[AnyMessage]:
        return [said for _, said in self.said if not isinstance(said, str)]

    def _write(self, who: str, what: str | AnyMessage) -> None:
        self.said.append((who, what))
        self._happened.set()


class Node(Events):
    def __init__(self, home: Path, name: str, cluster: bytes = CLUSTER) -> None:
        super().__init__()
        self.name = name
        self.identity = identity(home / name, name)
        self.cluster = cluster
        self.members: dict[NodeId, Member] = {}
        self.mesh: Mesh
        self.address = ""

    @property
    def node(self) -> NodeId:
        return self.identity.node

    async def listen(self, at: str = "127.0.0.1:0") -> None:
        self.mesh = Mesh(self.identity, self.cluster, lambda: self.members, self.name, at, (), self)
        (self.address,) = await self.mesh.listen()

    @property
    def host_port(self) -> tuple[str, int]:
        host, _, port = self.address.partition(":")
        return host, int(port)

    def knows(self, *others: Node, dial: bool = True) -> None:
        for other in others:
            addresses = (other.address,) if dial else ()
            self.members[other.node] = Member(other.node, other.name, other.identity.certificate, addresses)
            self.names[other.node] = other.name

    def linked_with(self) -> set[str]:
        return {self.names[node] for node in self.mesh.peers()}

    def report_of(self, other: Node) -> PeerReport:
        return next(report for report in self.mesh.report() if report.node == other.node)

    def error_with(self, other: Node) -> str:
        return next((report.error for report in self.mesh.report() if report.node == other.node), "")


async def nodes_of(home: Path, *names: str, dial: bool = True) -> list[Node]:
    """Nodes that listen and know each other, not yet running."""
    nodes = [Node(home, name) for name in names]
    for node in nodes:
        await node.listen()
    for node in nodes:
        node.knows(*nodes, dial=dial)
    return nodes


@contextlib.asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    """The meshes run inside; errors of theirs come out here."""
    async with asyncio.TaskGroup() as tasks:
        for node in nodes:
            tasks.create_task(node.mesh.run())
        try:
            yield
        finally:
            for node in nodes:
                node.hold.set()
                node.mesh.close()


async def raw_tls(node: Node, identity: Identity | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to `node` by somebody who speaks TLS with any certificate, and then whatever he likes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if identity is not None:
        context.load_cert_chain(identity.certificate_path, identity.key_path)
    return await asyncio.open_connection(*node.host_port, ssl=context)


async def frames_until_end(reader: asyncio.StreamReader) -> list[bytes]:
    """All that comes until the other side closes, however it does."""
    splitter = FrameSplitter(2**20)
    frames: list[bytes] = []
    async with asyncio.timeout(10):
        with contextlib.suppress(OSError):
            while data := await reader.read(1000):
                splitter.free()[: len(data)] = data
                frames += [bytes(body) for body in splitter.received(len(data))]
    return frames
