"""Reaches out: a TCP connection to the first address that answers, TLS on it, and the client side of joining."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence

from everynode import limits
from everynode.errors import ConfigError, LinkError
from everynode.net.address import Resolved, parse_address, resolve, show_sockaddr
from everynode.net.channel import Channel, Item, Lane, tune
from everynode.net.tls import joining_context
from everynode.trust.identity import fingerprint_of
from everynode.wire.frames import frame_of_bytes


async def connect(addresses: Sequence[str]) -> socket.socket:
    """TCP to the first of `host:port` that answers. Raises LinkError that says what was wrong with each."""
    failures: list[str] = []
    for text in addresses:
        try:
            for resolved in await resolve(parse_address(text)):
                try:
                    return await _connect_one(resolved)
                except OSError as error:
                    # asyncio puts its own words into strerror.
                    reason = os.strerror(error.errno) if error.errno else f"silent for {limits.CONNECT_TIMEOUT:g} s"
                    failures.append(f"{show_sockaddr(resolved.sockaddr)}: {reason}")
        except (LinkError, ConfigError) as error:  # an address may be a peer's word: no fault of ours
            failures.append(str(error))
    raise LinkError(f"cannot be reached: {'; '.join(failures) or 'no address is known'}")


async def _connect_one(resolved: Resolved) -> socket.socket:
    sock = socket.socket(resolved.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        async with asyncio.timeout(limits.CONNECT_TIMEOUT):
            await asyncio.get_running_loop().sock_connect(sock, resolved.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


async def start_tls(sock: socket.socket, context: ssl.SSLContext, channel: Channel[Item], *, server: bool) -> None:
    """TLS on a connected socket, which belongs to `channel` from now on. Raises LinkError."""
    loop = asyncio.get_running_loop()
    try:
        tune(sock)
        if server:
            await loop.connect_accepted_socket(
                lambda: channel,
                sock,
                ssl=context,
                ssl_handshake_timeout=limits.HANDSHAKE_TIMEOUT,
                ssl_shutdown_timeout=limits.CLOSE_TIMEOUT,
            )
        else:
            await loop.create_connection(
                lambda: channel,
                sock=sock,
                ssl=context,
                server_hostname="",
                ssl_handshake_timeout=limits.HANDSHAKE_TIMEOUT,
                ssl_shutdown_timeout=limits.CLOSE_TIMEOUT,
            )
    except ssl.SSLCertVerificationError as error:
        raise LinkError(f"its certificate is not a member's: {error.verify_message}") from error
    except OSError as error:
        raise LinkError(f"no TLS with it: {error.strerror or error}") from error


async def ask_join(addresses: Sequence[str], fingerprint: bytes, build: Callable[[bytes], bytes]) -> bytes:
    """Ask the node with this certificate fingerprint to take us in; the answer is as the inviter wrote it.

    `build` makes the request from the server's certificate (DER). Nothing is said to a server with another
    fingerprint. Raises LinkError.
    """

    def opened(certificate: bytes | None) -> Callable[[memoryview], bytes]:
        if certificate is None or fingerprint_of(certificate) != fingerprint:
            raise LinkError(
                "the node at this address is not the one that made the token: its certificate differs; "
                "nothing was sent to it"
            )
        channel.trust()
        channel.send_now(Lane.URGENT, frame_of_bytes(build(certificate)))
        return bytes

    channel: Channel[bytes] = Channel(opened)
    try:
        async with asyncio.timeout(limits.HANDSHAKE_TIMEOUT):
            try:
                sock = await connect(addresses)
            except LinkError as error:
                raise LinkError(
                    f"the inviting node {error}; everynode must run there (everynode up) and the port be open; other "
                    "addresses come with a new token: everynode invite --advertise HOST:PORT"
                ) from error
            await start_tls(sock, joining_context(), channel, server=False)
            return await channel.receive()
    except TimeoutError as error:
        raise LinkError(f"the inviting node did not answer within {limits.HANDSHAKE_TIMEOUT:g} s") from error
    finally:
        channel.close(LinkError("joining is over"))
