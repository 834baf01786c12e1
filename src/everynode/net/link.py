"""One authenticated link to a peer: hello both ways, then messages, with a heartbeat."""

from __future__ import annotations

import asyncio
import time

from everynode import limits
from everynode.errors import LinkError
from everynode.model.ids import NodeId
from everynode.model.member import Member
from everynode.model.message import (
    AnyMessage,
    Blocks,
    Entries,
    FetchPart,
    Hello,
    Ping,
    RunEnd,
    RunPart,
    TreeParts,
    TreeRequest,
)
from everynode.net.channel import Channel, Lane
from everynode.wire.codec import decode
from everynode.wire.frames import frame_of

PROTOCOL = 1

# What may be large and in a hurry for nobody. RunEnd closes the parts before it and must not overtake them.
_BULK = (FetchPart, Blocks, RunPart, RunEnd, TreeRequest, TreeParts, Entries)

LinkChannel = Channel[AnyMessage | bytes]


class Link:
    """A channel on which both sides have said hello. Made by `greet`; `receive` runs in one task only."""

    def __init__(self, channel: LinkChannel, peer: Member, *, dialled: bool) -> None:
        self.channel = channel
        self.peer = peer
        self.dialled = dialled
        """By us; else by the peer."""
        self.listen: tuple[str, ...] = ()
        """Where the peer says that it may be dialled."""
        self.since = time.time()
        self.rtt_ms: float | None = None
        self._loop = asyncio.get_running_loop()
        self._pings = 0
        self._ping_sent = 0.0
        self._missed = 0
        self._bytes_seen = (0, 0)
        self._beat_timer: asyncio.TimerHandle | None = None

    @property
    def node(self) -> NodeId:
        return self.peer.node

    @property
    def closed(self) -> bool:
        return self.channel.closed.is_set()

    async def hear_hello(self, cluster: bytes) -> None:
        """Wait for the peer's hello. Raises LinkError if it says anything else, or is not who its certificate says."""
        try:
            hello = await self.channel.receive()
        except LinkError as error:
            if not self.dialled:
                raise
            # In TLS 1.3 a client that is refused sees a complete handshake first, and often a reset for an alert.
            raise LinkError(
                f"{self.peer.name} ended the connection without a hello ({error}): "
                "most likely it does not count this node among the members (any more)"
            ) from error
        if not isinstance(hello, Hello):
            raise LinkError(f"{self.peer.name} spoke before it said hello; the link is closed")
        if hello.protocol != PROTOCOL:
            raise LinkError(
                f"{self.peer.name} speaks protocol {hello.protocol}, this node speaks {PROTOCOL}: "
                "run the same version of everynode on both"
            )
        if hello.cluster != cluster:
            raise LinkError(f"{self.peer.name} belongs to another cluster ({hello.cluster.hex()[:16]}...)")
        if hello.node != self.node:
            raise LinkError(f"{self.peer.name} claims to be another node than its certificate says")
        self.listen = hello.listen

    def say_hello(self, hello: Hello) -> None:
        self.channel.send_now(Lane.URGENT, frame_of(hello))

    def start(self) -> None:
        """Both hellos were said: keep the heart beating."""
        self.since = time.time()
        self.channel.read = self._read
        self._ask()
        self._beat_timer = self._loop.call_later(limits.HEARTBEAT_INTERVAL, self._beat)

    async def send(self, message: AnyMessage) -> None:
        """Queue for sending; waits while too much waits for this peer. Raises LinkError when the link has ended."""
        lane = Lane.BULK if isinstance(message, _BULK) else Lane.URGENT
        await self.channel.send(lane, lambda: frame_of(message))

    async def receive(self) -> AnyMessage:
        """The next message, in order. Raises LinkError when the link has ended."""
        while True:
            message = await self.channel.receive()
            match message:
                case Ping():  # one that came in the same read as the hello
                    self._heard_ping(message)
                case Hello() | bytes():
                    raise LinkError(f"{self.peer.name} said hello twice; the link is closed")
                case _:
                    return message

    def probe(self) -> None:
        """Say something: a peer that has forgotten this link resets it."""
        if not self.closed:
            self._ask()

    def abort(self, reason: str | LinkError) -> None:
        self._stop_beating()
        self.channel.abort(reason if isinstance(reason, LinkError) else LinkError(reason))

    def close(self, reason: str) -> None:
        """End after what is urgent has been handed to the network."""
        self._stop_beating()
        self.channel.close(LinkError(reason))

    def _stop_beating(self) -> None:
        if self._beat_timer is not None:
            self._beat_timer.cancel()

    def _read(self, body: memoryview) -> AnyMessage | None:
        message = decode(body)
        if isinstance(message, Ping):  # at once, not behind what waits for the handler: it measures the network
            self._heard_ping(message)
            return None
        return message

    def _ask(self) -> None:
        """An even number asks, the next odd one is the answer."""
        self._pings += 2
        self._ping_sent = self._loop.time()
        self.channel.send_now(Lane.URGENT, frame_of(Ping(self._pings)))

    def _heard_ping(self, ping: Ping) -> None:
        if ping.number == self._pings + 1:
            self.rtt_ms = (self._loop.time() - self._ping_sent) * 1000
        elif ping.number % 2 == 0 and not self.closed and not self.channel.urgent_is_full():
            self.channel.send_now(Lane.URGENT, frame_of(Ping(ping.number + 1)))

    def _beat(self) -> None:
        """Counts beats without a byte from the peer rather than time: a stalled loop of our own is not its silence."""
        if self.closed:
            return
        heard, sent = self.channel.bytes_in, self.channel.bytes_out
        quiet = heard == self._bytes_seen[0] and not self.channel.reading_paused
        self._missed = self._missed + 1 if quiet else 0
        if self._missed >= limits.HEARTBEAT_MISSED_MAX:
            silence = limits.HEARTBEAT_INTERVAL * limits.HEARTBEAT_MISSED_MAX
            self.abort(f"{self.peer.name} was silent for {silence:g} s; the link is closed and dialled again")
            return
        if sent == self._bytes_seen[1]:
            self._ask()
        self._bytes_seen = (heard, self.channel.bytes_out)
        self._beat_timer = self._loop.call_later(limits.HEARTBEAT_INTERVAL, self._beat)
