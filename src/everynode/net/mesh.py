"""All links of this node: listens, dials every member, and keeps exactly one link to each."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Mapping
from typing import Protocol

from everynode import limits
from everynode.errors import EverynodeError, LinkError
from everynode.model.ids import NodeId, show_node
from everynode.model.member import Member
from everynode.model.message import AnyMessage, Hello
from everynode.net.channel import Channel, Lane
from everynode.net.dial import connect, start_tls
from everynode.net.link import PROTOCOL, Link, LinkChannel
from everynode.net.listen import Listener
from everynode.net.peer import Dial, Peer, PeerReport
from everynode.net.tls import TlsContexts
from everynode.trust.identity import Identity, fingerprint_of, node_id_of
from everynode.wire.codec import decode
from everynode.wire.frames import frame_of_bytes

logger = logging.getLogger("everynode.net")


class MeshEvents(Protocol):
    """What the mesh tells. For one peer: `linked`, any number of `received`, `unlinked`, one call after another.

    The next message is read from the link when `received` has returned. Whatever is raised ends that link only: also
    what no peer should be able to bring about, which is logged as a defect.
    """

    async def linked(self, peer: NodeId) -> None: ...
    async def received(self, peer: NodeId, message: AnyMessage) -> None: ...
    async def unlinked(self, peer: NodeId) -> None: ...
    async def join_requested(self, raw: bytes, address: str) -> bytes:
        """Somebody without a certificate of a member asks to be taken in; returns the answer to send."""


class Mesh:
    """`listen` once, then `run` until `close`. A name, an address or a silent peer hinders no other.

    `members` is read at `run` and at each `refresh`; whether this node itself is in it does not matter.
    """

    def __init__(
        self,
        identity: Identity,
        cluster_fingerprint: bytes,
        members: Callable[[], Mapping[NodeId, Member]],
        name: str,
        listen: str | tuple[str, ...],
        advertise: tuple[str, ...],
        events: MeshEvents,
    ) -> None:
        self._identity = identity
        self._cluster = cluster_fingerprint
        self._members = members
        self._listen_at = (listen,) if isinstance(listen, str) else listen
        self._hello = Hello(PROTOCOL, cluster_fingerprint, identity.node, name, advertise)
        self._events = events
        self._tls = TlsContexts(identity)
        self._listener = Listener()
        self._peers: dict[NodeId, Peer] = {}
        self._keepers: dict[NodeId, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._closing = asyncio.Event()

    async def listen(self) -> list[str]:
        """Take the addresses (none: this node only dials); returns where it listens. Raises ConfigError."""
        for address in self._listen_at:
            await self._listener.bind(address)
        return self._listener.addresses

    async def run(self) -> None:
        """Keep links until `close` is called or the task is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            listening = tasks.create_task(self._listener.run(self._greet))
            self.refresh()
            await self._closing.wait()
            listening.cancel()
            for node in list(self._keepers):
                self._keepers.pop(node).cancel()
            for peer in self._peers.values():
                if peer.link is not None:
                    peer.link.close("this node stops")

    def close(self) -> None:
        """Say goodbye to all and let `run` return, when the events under way have been dealt with."""
        self._closing.set()
        if self._tasks is None:
            self._listener.close()

    def refresh(self) -> None:
        """The members changed: cut who is none any more, dial who is new, try again at once who is away."""
        if self._tasks is None or self._closing.is_set():
            return
        members = {node: member for node, member in self._members().items() if node != self._identity.node}
        self._tls.trust(member.certificate for member in members.values())
        for node in self._peers.keys() - members.keys():
            self._drop(node)
        for node, member in members.items():
            peer = self._peers.get(node)
            if peer is not None and peer.member.certificate != member.certificate:
                self._drop(node)
                peer = None
            if peer is None:
                peer = self._peers[node] = Peer(member)
                self._keepers[node] = self._tasks.create_task(self._keep(peer))
            peer.member = member
            peer.hurry = True
            peer.changed()

    async def send(self, peer: NodeId, message: AnyMessage) -> None:
        """Queue for sending; waits while too much waits for this peer. Raises LinkError when not linked (any more)."""
        known = self._peers.get(peer)
        if known is None or known.open is None:
            name = known.member.name if known else show_node(peer)
            raise LinkError(f"there is no link to {name}")
        await known.open.send(message)

    def peers(self) -> list[NodeId]:
        """Who is linked, in no order."""
        return [node for node, peer in self._peers.items() if peer.open is not None]

    def report(self) -> list[PeerReport]:
        """Of every other member, linked or not."""
        return [peer.report() for peer in self._peers.values()]

    def disconnect(self, peer: NodeId, reason: str) -> None:
        """End the link to `peer`, if there is one; it is dialled again."""
        known = self._peers.get(peer)
        if known is not None and known.link is not None:
            known.link.abort(reason)

    def _drop(self, node: NodeId) -> None:
        peer = self._peers.pop(node)
        self._keepers.pop(node).cancel()
        if peer.link is not None:
            # Not cut off in the middle: what it was told last is that it was removed. It is not heard any more.
            peer.link.close(f"{peer.member.name} is no member any more")

    def _member_of(self, certificate: bytes | None) -> Peer:
        """The peer with exactly this certificate. Raises LinkError if it is not a member's."""
        if certificate is None:
            raise LinkError("it showed no certificate")
        node = node_id_of(certificate)
        if node == self._identity.node:
            raise LinkError("this is the node itself: the address leads back here")
        peer = self._peers.get(node)
        if peer is None or fingerprint_of(peer.member.certificate) != fingerprint_of(certificate):
            raise LinkError(f"node {show_node(node)} is not a member of this cluster (any more)")
        return peer

    # -- dialling

    async def _keep(self, peer: Peer) -> None:
        """Dial whenever there is no link, with growing pauses while that fails or links do not last."""
        loop = asyncio.get_running_loop()
        pause = limits.RECONNECT_MIN
        while True:
            while peer.link is None and not peer.addresses:
                await peer.wait_change()
            started = loop.time()
            # A link that the peer opened meanwhile counts as one of ours: when none lasts, two who dial in turn
            # would link and part as fast as they can.
            if peer.link is None:
                try:
                    self._go_live(peer, await self._dial(peer))
                except LinkError as error:
                    if peer.link is None:
                        peer.error = str(error)
                        logger.debug("no link to %s: %s", peer.member.name, error)
            while peer.link is not None:
                await peer.wait_change()
            if loop.time() - started > pause + limits.HANDSHAKE_TIMEOUT:
                pause = limits.RECONNECT_MIN
            # Half of it is chance, so that nodes which lost each other at once do not meet at once for ever.
            until = loop.time() + pause * random.uniform(0.5, 1.0)
            peer.hurry = False
            while peer.link is None and not peer.hurry and (left := until - loop.time()) > 0:
                await peer.wait_change(left)
            pause = min(pause * 2, limits.RECONNECT_MAX)

    async def _dial(self, peer: Peer) -> Link:
        """A link on which both said hello. Raises LinkError."""

        def opened(certificate: bytes | None) -> Callable[[memoryview], AnyMessage]:
            if self._member_of(certificate) is not peer:
                raise LinkError(f"another member answers at the address of {peer.member.name}")
            channel.trust()
            return decode

        channel: LinkChannel = Channel(opened)
        link = Link(channel, peer.member, dialled=True)
        done = False
        try:
            async with asyncio.timeout(limits.HANDSHAKE_TIMEOUT) as peer.dial_deadline:
                peer.dial = Dial.CONNECTING
                sock = await connect(peer.addresses)
                peer.dial = Dial.TALKING
                await start_tls(sock, self._tls.client, channel, server=False)
                link.say_hello(self._hello)
                await link.hear_hello(self._cluster)
                if self._member_of(peer.member.certificate) is not peer:
                    raise LinkError(f"{peer.member.name} is no member any more")
            if peer.link is not None:
                raise LinkError(f"{peer.member.name} dialled at the same time")
            done = True
        except TimeoutError as error:
            raise LinkError(f"no hello from {peer.member.name} within {limits.HANDSHAKE_TIMEOUT:g} s") from error
        finally:
            peer.dial, peer.dial_deadline = Dial.NONE, None
            peer.changed()
            if not done:
                link.abort("the dial was given up")
        return link

    # -- being dialled

    async def _greet(self, sock: socket.socket) -> None:
        peer: Peer | None = None

        def opened(certificate: bytes | None) -> Callable[[memoryview], AnyMessage | bytes]:
            nonlocal peer
            if certificate is None:
                return _one_message()
            peer = self._member_of(certificate)
            channel.trust()
            return decode

        channel: LinkChannel = Channel(opened)
        done = False
        try:
            async with asyncio.timeout(limits.HANDSHAKE_TIMEOUT):
                await start_tls(sock, self._tls.server, channel, server=True)
                if peer is None:
                    await self._answer_join(channel)
                else:
                    await self._welcome(Link(channel, peer.member, dialled=False))
                done = True
        except TimeoutError as error:
            raise LinkError(f"no hello within {limits.HANDSHAKE_TIMEOUT:g} s") from error
        finally:
            if not done:
                channel.abort(LinkError("the connection was refused"))

    async def _welcome(self, link: Link) -> None:
        await link.hear_hello(self._cluster)
        peer = self._member_of(link.peer.certificate)
        if not await peer.wait_admission(link, self._identity.node):
            raise link.channel.reason
        if link.channel.has_received():
            raise LinkError(f"{link.peer.name} spoke before it was answered; the link is closed")
        if self._member_of(link.peer.certificate) is not peer:
            raise LinkError(f"{link.peer.name} is no member any more")
        link.say_hello(self._hello)
        self._go_live(peer, link)

    async def _answer_join(self, channel: LinkChannel) -> None:
        request = await channel.receive()
        assert isinstance(request, bytes)
        try:
            answer = await self._events.join_requested(request, channel.address)
        except EverynodeError as error:
            raise LinkError(f"asked to join, refused: {error}") from error
        await channel.send(Lane.URGENT, lambda: frame_of_bytes(answer))
        await channel.closed.wait()  # by the one who asked, when it has the answer

    # -- links

    def _go_live(self, peer: Peer, link: Link) -> None:
        assert self._tasks is not None
        peer.adopt(link)
        link.start()
        self._tasks.create_task(self._live(peer, link))

    async def _live(self, peer: Peer, link: Link) -> None:
        """Deliver what comes, until the link ends."""
        node = peer.member.node
        async with peer.turn:
            if link.closed:
                return
            peer.open = link
            logger.info("linked with %s at %s", peer.member.name, link.channel.address)
            try:
                await self._events.linked(node)
                while True:
                    await self._events.received(node, await link.receive())
                    if link.channel.has_received():
                        await asyncio.sleep(0)  # else a handler that never waits leaves nobody else a turn
            except EverynodeError as error:
                if not link.closed:
                    link.abort(error if isinstance(error, LinkError) else LinkError(str(error)))
                logger.info("link with %s ended: %s", peer.member.name, link.channel.reason)
            except Exception as error:  # outermost loop of a link: one bad peer stops only itself
                link.abort(f"a defect of this node, met while it dealt with what {peer.member.name} said")
                logger.error("link with %s ended: a defect", peer.member.name, exc_info=error)
            finally:
                if not link.closed:
                    link.abort("this node stops")
                peer.open = None
                await self._events.unlinked(node)
        await link.channel.wait_lost()


def _one_message() -> Callable[[memoryview], bytes]:
    """How to read somebody who is no member: one message, and nothing after it."""
    heard = False

    def read(body: memoryview) -> bytes:
        nonlocal heard
        if heard:
            raise LinkError("it is no member, and said more than one thing")
        heard = True
        return bytes(body)

    return read
