"""`host:port` as people write it, and the socket addresses that it stands for."""

from __future__ import annotations

import asyncio
import socket
from typing import NamedTuple

from everynode import limits
from everynode.errors import ConfigError, LinkError


class Address(NamedTuple):
    host: str
    """A name or a number; empty: every interface (only to listen)."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Resolved(NamedTuple):
    family: int
    sockaddr: tuple[object, ...]
    """As the `socket` module wants it for this family."""


def parse_address(text: str) -> Address:
    """`name`, `name:7000`, `10.0.0.1:7000`, `[::1]:7000`, `[::1]`, `::1`, `:7000`. Raises ConfigError."""
    host, port = _split(text.strip())
    if port is None:
        number = limits.PORT_DEFAULT
    elif len(port) <= 5 and port.isascii() and port.isdigit() and int(port) <= 65535:
        number = int(port)
    else:
        raise ConfigError(f"{text!r} is no address: write host:port, with IPv6 numbers in brackets: [::1]:7000")
    if any(c.isspace() or c in "/@[]" or not c.isprintable() for c in host):
        raise ConfigError(f"{text!r} is no address: {host!r} is no host name or number")
    return Address(host, number)


def _split(text: str) -> tuple[str, str | None]:
    """(host, what stands where a port belongs; None: nothing does)"""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if bracket and not rest:
            return host, None
        return host, rest[1:] if rest.startswith(":") else ""
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


async def resolve(address: Address, *, to_listen: bool = False) -> list[Resolved]:
    """All socket addresses of `address`, best first. Raises LinkError for a name that nobody knows."""
    flags = socket.AI_PASSIVE if to_listen else 0
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=flags
        )
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise LinkError(f"the name {address.host!r} cannot be resolved: {reason}") from error
    return [Resolved(family, sockaddr) for family, _, _, _, sockaddr in found]


def show_sockaddr(sockaddr: object) -> str:
    """For messages: `10.0.0.1:7000`, `[::1]:7000`."""
    match sockaddr:
        case (str(host), int(port), *_):
            return str(Address(host, port))
        case _:
            return "an unknown address"
