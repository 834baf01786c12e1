"""The real clock and the threads behind it: a small pool for all groups, one thread for each group's index."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class RealClock:
    """`group.seams.Clock` for one group. Close it when the group has stopped."""

    def __init__(self, pool: ThreadPoolExecutor, name: str) -> None:
        self._pool = pool
        self._index = ThreadPoolExecutor(1, thread_name_prefix=f"index-{name}")

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def offload(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def offload_index(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._index, function, *arguments)

    def close(self) -> None:
        """Wait for what is under way on the index thread."""
        self._index.shutdown()
