"""The API's web server on HOME/api.sock: uvicorn inside the daemon's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Generator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from everynode.client.place import SOCKET_NAME, socket_address
from everynode.errors import ConfigError

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


@contextlib.contextmanager
def bound_socket(home: str, path: str) -> Generator[socket.socket, None, None]:
    """The listening socket at `path`, mode 0600, reached by HOME/api.sock as well; both go in the end.

    The caller holds the home's lock, so a socket that lies there is a dead one's. Raises ConfigError.
    """
    known = os.path.join(home, SOCKET_NAME)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        _remove(known, path)
        # 0600 from its first moment: nobody else may connect between bind and chmod.
        before = os.umask(0o177)
        try:
            if path == known:
                with socket_address(home) as address:
                    listener.bind(address)
            else:
                listener.bind(path)
                os.symlink(path, known)
        except OSError as error:
            raise ConfigError(f"the API cannot listen at {path}: {error.strerror}; set `api` in node.toml") from error
        finally:
            os.umask(before)
        try:
            listener.listen(128)
            listener.setblocking(False)
            yield listener
        finally:
            _remove(known, path)


def _remove(*paths: str) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
