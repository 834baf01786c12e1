"""One TLS connection as two queues of frames: what comes in, and two lanes of what goes out.

Reading: the transport writes into the splitter's buffer, `read` turns each frame into an item at once, and `receive`
hands the items out. While `RECEIVE_QUEUE_BYTES` wait there, nothing is read from the socket; nor is it after a read
that took long, for as long as that took.

Writing: `send` waits while its lane is full. Frames that are there in one turn of the loop leave in one write, the
urgent lane first; of the bulk lane one frame at a time and only while the transport takes it, so that an urgent frame
waits behind at most one of them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Generic, NoReturn, TypeVar, cast

from everynode import limits
from everynode.errors import LinkError
from everynode.net.address import show_sockaddr
from everynode.wire.frames import LENGTH_BYTES, FrameSplitter

Item = TypeVar("Item")


class Lane(Enum):
    URGENT = "urgent"
    BULK = "bulk"


class _Queue:
    """The frames of one lane."""

    def __init__(self) -> None:
        self.frames: deque[bytearray] = deque()
        self.bytes = 0
        self.turn = asyncio.Lock()  # senders that wait go on in the order in which they came
        self.room: asyncio.Future[None] | None = None

    def put(self, frame: bytearray) -> None:
        self.frames.append(frame)
        self.bytes += len(frame)

    def take(self, bytes_max: int) -> list[bytearray]:
        """At least one frame, and more while they fit into `bytes_max` together."""
        taken = [self.frames.popleft()]
        total = len(taken[0])
        while self.frames and total + len(self.frames[0]) <= bytes_max:
            taken.append(self.frames.popleft())
            total += len(taken[-1])
        self.bytes -= total
        if self.bytes < limits.SEND_LANE_BYTES:
            self.wake()
        return taken

    def drop(self) -> None:
        self.frames.clear()
        self.bytes = 0
        self.wake()

    def wake(self) -> None:
        if self.room is not None and not self.room.done():
            self.room.set_result(None)


class Channel(asyncio.BufferedProtocol, Generic[Item]):
    """`opened` is called when TLS stands, with the peer's certificate (DER; None: it showed none), and returns `read`.

    `read` turns the body of a frame into an item; None: nothing to hand out. LinkError from either ends the channel.
    Until `trust` is called, the peer is anybody: one message as large as joining needs.
    """

    def __init__(self, opened: Callable[[bytes | None], Callable[[memoryview], Item | None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._opened = opened
        self.read: Callable[[memoryview], Item | None]
        self._receive_bytes_max = limits.JOIN_MESSAGE_BYTES_MAX
        self._splitter = FrameSplitter(self._receive_bytes_max)
        self._transport: asyncio.Transport | None = None
        self._inbox: deque[tuple[Item, int]] = deque()
        self._inbox_bytes = 0
        self._inbox_filled: asyncio.Future[None] | None = None
        self._lanes = {lane: _Queue() for lane in Lane}
        self._urgent_in_a_row = 0
        self._writing_paused = False
        self._flush_due = False
        self._reason: LinkError | None = None
        self.closed = asyncio.Event()
        """Set when nothing more will be sent or received; `reason` then says why."""
        self._lost = asyncio.Event()
        self.on_closed: Callable[[], None] = lambda: None
        """Called once, when `closed` is set."""
        self.reading_paused = False
        self._resting: asyncio.TimerHandle | None = None
        self.address = "an unknown address"
        self.bytes_in = 0
        self.bytes_out = 0

    @property
    def reason(self) -> LinkError:
        return self._reason or LinkError("the link was closed")

    @property
    def received_bytes_waiting(self) -> int:
        return self._inbox_bytes

    def urgent_is_full(self) -> bool:
        return self._lanes[Lane.URGENT].bytes >= limits.SEND_LANE_BYTES

    def has_received(self) -> bool:
        """Whether `receive` would return at once."""
        return bool(self._inbox)

    # -- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport has the methods of asyncio.Transport and is none.
        self._transport = transport = cast(asyncio.Transport, transport)
        if self._reason is not None:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=limits.TRANSPORT_BYTES)
        self.address = show_sockaddr(transport.get_extra_info("peername"))
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        assert tls.version() == "TLSv1.3"
        try:
            self.read = self._opened(tls.getpeercert(binary_form=True))
        except LinkError as error:
            self.abort(error)

    def trust(self) -> None:
        """The certificate is the one it has to be: from now on any legal frame is accepted."""
        self._splitter.frame_bytes_max = limits.FRAME_BYTES_MAX
        self._receive_bytes_max = limits.RECEIVE_QUEUE_BYTES

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._splitter.free()

    def buffer_updated(self, nbytes: int) -> None:
        self.bytes_in += nbytes
        if self.closed.is_set():
            return
        began = time.thread_time()
        try:
            for body in self._splitter.received(nbytes):
                item = self.read(body)
                if item is not None:
                    size = len(body) + LENGTH_BYTES
                    self._inbox.append((item, size))
                    self._inbox_bytes += size
        except LinkError as error:
            self.abort(error)
            return
        spent = time.thread_time() - began
        if spent > limits.READ_SECONDS and self._resting is None:
            self._resting = self._loop.call_later(spent, self._rested)
        if (self._inbox_bytes > self._receive_bytes_max or self._resting) and not self.reading_paused:
            assert self._transport is not None
            self.reading_paused = True
            self._transport.pause_reading()
        if self._inbox:
            self._wake_receiver()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(_lost(exc))
        self._lost.set()

    # -- what the link calls

    async def receive(self) -> Item:
        """The next item, in order. Raises LinkError when the channel has ended and all items were handed out."""
        while not self._inbox:
            if self.closed.is_set():
                raise self._again()
            self._inbox_filled = self._loop.create_future()
            await self._inbox_filled
        item, size = self._inbox.popleft()
        self._inbox_bytes -= size
        if self.reading_paused:
            self._read_on()
        return item

    async def send(self, lane: Lane, frame: Callable[[], bytearray]) -> None:
        """Queue a frame, made when there is room for it. Raises LinkError when the channel has ended."""
        queue = self._lanes[lane]
        if queue.bytes < limits.SEND_LANE_BYTES and not queue.turn.locked():
            self.send_now(lane, frame())
            return
        async with queue.turn:
            while queue.bytes >= limits.SEND_LANE_BYTES and not self.closed.is_set():
                queue.room = self._loop.create_future()
                await queue.room
            self.send_now(lane, frame())

    def send_now(self, lane: Lane, frame: bytearray) -> None:
        """The same without waiting, for small frames of our own making."""
        if self.closed.is_set():
            raise self._again()
        self._lanes[lane].put(frame)
        if not self._flush_due and not self._writing_paused:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def close(self, reason: LinkError) -> None:
        """Send what the urgent lane holds, as far as the peer takes it at once, and end. Nothing more is received."""
        self._lanes[Lane.BULK].drop()
        self._flush()
        self._inbox.clear()
        self._end(reason)
        if self._transport is not None:
            self._transport.close()

    def abort(self, reason: LinkError) -> None:
        """End now. Nothing more is sent or received."""
        self._inbox.clear()
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    async def wait_lost(self) -> None:
        """After `close` or `abort`: until the connection is gone, with what was still to be sent, within bounds."""
        if self._transport is None:
            return
        try:
            async with asyncio.timeout(limits.CLOSE_TIMEOUT):
                await self._lost.wait()
        except TimeoutError:
            self._transport.abort()

    # -- inside

    def _flush(self) -> None:
        self._flush_due = False
        urgent, bulk = self._lanes[Lane.URGENT], self._lanes[Lane.BULK]
        while not self._writing_paused and not self.closed.is_set():
            if urgent.frames and (not bulk.frames or self._urgent_in_a_row < limits.URGENT_BYTES_IN_A_ROW):
                taken = urgent.take(limits.COALESCE_BYTES)
                data = taken[0] if len(taken) == 1 else bytearray().join(taken)
                self._urgent_in_a_row += len(data)
            elif bulk.frames:
                data = bulk.take(0)[0]
                self._urgent_in_a_row = 0
            else:
                return
            assert self._transport is not None
            self.bytes_out += len(data)
            self._transport.write(data)

    def _rested(self) -> None:
        self._resting = None
        self._read_on()

    def _read_on(self) -> None:
        """Read again, when both reasons not to are gone."""
        if self._resting is None and self._inbox_bytes <= self._receive_bytes_max // 2:
            self.reading_paused = False
            if not self.closed.is_set() and self._transport is not None:
                self._transport.resume_reading()

    def _again(self) -> LinkError:
        """The reason, to be raised: an error that was raised leads to the frames it went through, and so back here."""
        return LinkError(str(self.reason))

    def _end(self, reason: LinkError) -> None:
        if self.closed.is_set():
            return
        self._reason = reason
        # It leads back here: without it the buffers of each of a thousand strangers go at once, and not with the next
        # collection of garbage.
        self._opened = _never
        self.closed.set()
        for queue in self._lanes.values():
            queue.drop()
        self._wake_receiver()
        self.on_closed()

    def _wake_receiver(self) -> None:
        if self._inbox_filled is not None and not self._inbox_filled.done():
            self._inbox_filled.set_result(None)


def _never(certificate: bytes | None) -> Callable[[memoryview], NoReturn]:
    raise LinkError("the channel has ended")


def tune(sock: socket.socket) -> None:
    """For a connected TCP socket, before TLS."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # What waits in the kernel no urgent frame can overtake: let it hold little that the network has not yet taken.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limits.TRANSPORT_BYTES)


def _lost(error: Exception | None) -> LinkError:
    match error:
        case None:
            return LinkError("the peer closed the link")
        case OSError() if error.strerror:
            return LinkError(f"the link broke: {error.strerror}")
        case _:
            return LinkError(f"the link broke: {error}")
