"""The API's web server on HOME/api.sock: uvicorn inside the daemon's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Generator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from everynode.client.place import SOCKET_NAME, SOCKET_PATH_BYTES_MAX, socket_address

logger = logging.getLogger("everynode.api")

# Requests that wait are cut off at a stop; everything else takes milliseconds.
_STOP_SECONDS = 1


class LocalServer(uvicorn.Server):
    """Leaves signals to the daemon, and sleeps instead of ticking ten times a second."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                date_header=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stop.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        raise AssertionError("signals are the daemon's")

    async def main_loop(self) -> None:
        await self._stop.wait()


def bind_socket(home: str) -> socket.socket:
    """The listening socket, mode 0600. The caller holds the home's lock, so one that lies there is a dead one's."""
    path = os.path.join(home, SOCKET_NAME)
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        logger.warning("the name of the home is long: other programs than everynode cannot name its API socket")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # 0600 from its first moment: nobody else may connect between bind and chmod.
    before = os.umask(0o177)
    try:
        with socket_address(home) as address:
            listener.bind(address)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.listen(128)
    listener.setblocking(False)
    return listener


async def serve(server: LocalServer, home: str) -> None:
    """Answer until `server.stop()`, then remove the socket."""
    listener = bind_socket(home)
    try:
        await server.serve([listener])
    finally:
        listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(home, SOCKET_NAME))
