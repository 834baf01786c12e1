"""Accepts connections: a bounded number of strangers at once, each with a deadline, the oldest making room."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable

from everynode import limits
from everynode.errors import ConfigError, LinkError
from everynode.net.address import Resolved, parse_address, resolve, show_sockaddr

Greet = Callable[[socket.socket], Awaitable[None]]

_log = logging.getLogger("everynode.net")
_OUT_OF_FILES_PAUSE = 0.1  # accept fails at once while no descriptor is free; do not spin meanwhile


class Listener:
    """Bind first, then `run`; both once."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._strangers: dict[asyncio.Task[None], None] = {}

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
                _log.warning("cannot accept a connection: %s", error.strerror)
                await asyncio.sleep(_OUT_OF_FILES_PAUSE)
                continue
            # The oldest goes, not the newest: a member needs milliseconds, only the silent stay.
            if len(self._strangers) >= limits.CONNECTIONS_UNKNOWN_MAX:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                oldest.cancel()
            task = tasks.create_task(_greet(sock, show_sockaddr(sockaddr), greet))
            self._strangers[task] = None
            task.add_done_callback(lambda done: self._strangers.pop(done, None))


async def _greet(sock: socket.socket, address: str, greet: Greet) -> None:
    try:
        await greet(sock)
    except LinkError as error:
        _log.info("refused a connection from %s: %s", address, error)


def _listening(resolved: Resolved) -> socket.socket:
    sock = socket.socket(resolved.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if resolved.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(resolved.sockaddr)
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock
