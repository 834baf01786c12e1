"""Waiting for a file descriptor in the event loop, by asyncio or uvloop."""

from __future__ import annotations

import asyncio


class ReadableWaiter:
    """Waits for one fd, registered only while somebody waits: else a slow reader would make the loop spin."""

    def __init__(self) -> None:
        self._waiting: asyncio.Future[None] | None = None

    async def wait(self, fd: int, timeout: float | None = None) -> bool:
        """True when `fd` can be read; False when `timeout` seconds have passed. One task at a time."""
        assert self._waiting is None, "two tasks wait for the same notices"
        loop = asyncio.get_running_loop()
        self._waiting = waiting = loop.create_future()
        loop.add_reader(fd, _wake, waiting)
        try:
            async with asyncio.timeout(timeout):
                await waiting
            return True
        except TimeoutError:
            return False
        finally:
            self._waiting = None
            loop.remove_reader(fd)

    async def pause(self, seconds: float) -> None:
        """Not to be woken for a while, however much there is to read. One task at a time; `cancel` ends it, too."""
        assert self._waiting is None, "two tasks wait for the same notices"
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._waiting
        except TimeoutError:
            pass
        finally:
            self._waiting = None

    def cancel(self) -> None:
        """Whoever waits is cancelled: nothing will come any more."""
        if self._waiting is not None:
            self._waiting.cancel()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
