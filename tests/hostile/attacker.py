"""A client with a member's real key that says whatever it likes: no daemon, plain blocking sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from everynode.cluster.membership import Membership
from everynode.errors import LinkError
from everynode.model.ids import Origin, origin_of
from everynode.model.message import AnyMessage, GroupHello, Hello, Message
from everynode.model.record import Vector
from everynode.net.link import PROTOCOL
from everynode.trust.identity import CERTIFICATE_NAME, KEY_NAME
from everynode.wire.codec import decode
from everynode.wire.frames import FrameSplitter, frame_of_bytes


class Attacker:
    """One TLS connection. `greet` makes a link of it; before that it is a member who has said nothing."""

    def __init__(
        self, home: Path, address: tuple[str, int], membership: Membership, *, source: str = "127.0.0.1"
    ) -> None:
        self.node = membership.node
        self.cluster = membership.cluster
        self.origin: Origin = origin_of(self.node, 666)
        self.heard: list[AnyMessage] = []
        """All that came so far, but what `until` handed out."""
        self._splitter = FrameSplitter(8 << 20)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(home / CERTIFICATE_NAME, home / KEY_NAME)
        plain = socket.create_connection(address, timeout=10, source_address=(source, 0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain)

    def greet(self) -> None:
        self.say(Hello(PROTOCOL, self.cluster, self.node, "traitor", ()))
        self.until(Hello)

    def open_group(self, group: bytes, heard: Vector | None = None, *, settled: bool = True) -> GroupHello:
        """Open the group on the link; returns the target's hello."""
        self.say(GroupHello(group, self.origin, b"i" * 16, heard or {}, {}, settled))
        found = self.until(GroupHello)
        assert isinstance(found, GroupHello)
        return found

    def say(self, *messages: Message) -> None:
        self.send(b"".join(bytes(frame_of_bytes(msgspec.msgpack.encode(message))) for message in messages))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def until(self, kind: type[Message], also: Callable[[AnyMessage], bool] = lambda _: True) -> AnyMessage:
        """The next message of a kind; what came before it stays in `heard`."""
        deadline = time.monotonic() + 20
        while True:
            for message in self.heard:
                if isinstance(message, kind) and also(message):
                    self.heard.remove(message)
                    return message
            assert time.monotonic() < deadline, f"no {kind.__name__} came; {self.heard[-5:]}"
            if not self.listen(1.0):
                raise AssertionError(f"the link ended before a {kind.__name__} came")

    def listen(self, seconds: float) -> bool:
        """Take in what comes within some time, at least once; False: the link has ended."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            return True
        except OSError:
            return False
        if not data:
            return False
        while data:
            free = self._splitter.free()
            count = min(len(free), len(data))
            free[:count] = data[:count]
            data = data[count:]
            for body in self._splitter.received(count):
                self.heard.append(decode(bytes(body)))
        return True

    def is_cut(self, *, within: float = 15.0) -> bool:
        """Whether the target ends the link."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            try:
                if not self.listen(0.2):
                    return True
            except LinkError:
                continue
        return False

    def flood(self, data: bytes, seconds: float) -> int:
        """Send the same bytes over and over, as far as they are taken; how many were."""
        sent = 0
        self.socket.settimeout(0.5)
        deadline = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline:
                self.socket.sendall(data)
                sent += len(data)
        return sent

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()
