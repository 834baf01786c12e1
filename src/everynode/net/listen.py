"""Accepts connections: a bounded number of strangers at once, each with a deadline; whoever has most makes room."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

from everynode import limits
from everynode.errors import ConfigError, LinkError
from everynode.net.address import Resolved, parse_address, resolve, show_sockaddr

Greet = Callable[[socket.socket], Awaitable[None]]

logger = logging.getLogger("everynode.net")
_OUT_OF_FILES_PAUSE = 0.1  # accept fails at once while no descriptor is free; do not spin meanwhile


class Listener:
    """Bind first, then `run`; both once."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._strangers: dict[asyncio.Task[None], str] = {}
        """Who is not known yet, oldest first, and where from."""
        self._refusals = _Refusals()

    @property
    def addresses(self) -> list[str]:
        """Where it listens, with the port that was really taken."""
        return [show_sockaddr(sock.getsockname()) for sock in self._sockets]

    async def bind(self, listen: str) -> None:
        """Raises ConfigError for an address that cannot be had."""
        try:
            found = await resolve(parse_address(listen), to_listen=True)
        except LinkError as error:
            raise ConfigError(f"cannot listen at {listen!r}: {error}") from error
        for resolved in dict.fromkeys(found):
            try:
                self._sockets.append(_listening(resolved))
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and len(found) > 1:
                    continue  # a machine without IPv6
                self.close()
                raise ConfigError(
                    f"cannot listen at {show_sockaddr(resolved.sockaddr)}: {error.strerror}; "
                    "stop what uses this address, or choose another to listen at"
                ) from error

    async def run(self, greet: Greet) -> None:
        """Until cancelled. `greet` finds out who it is, hands a member on, and returns.

        `greet` may be cancelled at any time, owns the socket, and raises LinkError for those who are nobody.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for sock in self._sockets:
                    tasks.create_task(self._accept(sock, tasks, greet))
        finally:
            self.close()

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    async def _accept(self, listening: socket.socket, tasks: asyncio.TaskGroup, greet: Greet) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, sockaddr = await loop.sock_accept(listening)
            except OSError as error:
                logger.warning("cannot accept a connection: %s", error.strerror)
                await asyncio.sleep(_OUT_OF_FILES_PAUSE)
                continue
            if len(self._strangers) >= limits.CONNECTIONS_UNKNOWN_MAX:
                self._make_room()
            task = tasks.create_task(self._greet(sock, show_sockaddr(sockaddr), greet))
            self._strangers[task] = _source(sockaddr)
            task.add_done_callback(lambda done: self._strangers.pop(done, None))

    def _make_room(self) -> None:
        """The oldest goes, not the newest: a member needs milliseconds, only the silent stay.

        Of whoever has most of them: a flood from one place drowns itself, not the members who dial from others.
        """
        crowd = Counter(self._strangers.values())
        most = max(crowd.values())
        oldest = next(task for task, source in self._strangers.items() if crowd[source] == most)
        del self._strangers[oldest]
        oldest.cancel()

    async def _greet(self, sock: socket.socket, address: str, greet: Greet) -> None:
        try:
            await greet(sock)
        except LinkError as error:
            self._refusals.say(f"refused a connection from {address}: {error}")
        except Exception as error:  # outermost loop of one stranger: whatever it brings about ends with it
            sock.close()
            logger.error("a defect, while somebody at %s was greeted", address, exc_info=error)


class _Refusals:
    """Says why connections were refused; of a flood only the first few, and how many there were."""

    def __init__(self) -> None:
        self._since = 0.0
        self._count = 0

    def say(self, text: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._since > limits.REFUSALS_INTERVAL:
            if self._count > limits.REFUSALS_LOGGED:
                logger.info("refused %d more connections", self._count - limits.REFUSALS_LOGGED)
            self._since, self._count = now, 0
        self._count += 1
        if self._count <= limits.REFUSALS_LOGGED:
            logger.info("%s", text)


def _source(sockaddr: object) -> str:
    """Where a connection comes from, as far as one party may have many addresses: an IPv6 network, an IPv4 host."""
    match sockaddr:
        case (str(host), int(), int(), int()):
            return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
        case (str(host), int()):
            return host
        case _:
            return ""


def _listening(resolved: Resolved) -> socket.socket:
    sock = socket.socket(resolved.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if resolved.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(resolved.sockaddr)
        sock.listen(limits.ACCEPT_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
