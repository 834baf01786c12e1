"""The real clock and the threads behind it: a small pool for all groups, one thread for each group's index."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class RealClock:
    """`group.seams.Clock` for one group. Close it when the group has stopped."""

    def __init__(self, pool: ThreadPoolExecutor, name: str) -> None:
        self._pool = pool
        self._index = ThreadPoolExecutor(1, thread_name_prefix=f"index-{name}")
        self._under_way: set[Future[object]] = set()

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def offload(self, function: Callable[..., T], *arguments: object) -> T:
        return await self._hand_over(self._pool, function, *arguments)

    async def offload_index(self, function: Callable[..., T], *arguments: object) -> T:
        return await self._hand_over(self._index, function, *arguments)

    async def _hand_over(self, executor: Executor, function: Callable[..., T], *arguments: object) -> T:
        work = executor.submit(function, *arguments)
        self._under_way.add(work)  # type: ignore[arg-type]  # only waited for, its result is not looked at
        work.add_done_callback(self._under_way.discard)
        return await asyncio.wrap_future(work)

    async def settled(self) -> None:
        """Wait until no thread works for this group: one whose task was cancelled goes on to its end all the same.

        To be awaited before the descriptors that such work uses are closed.
        """
        # A copy, taken again: what ends meanwhile leaves the set from its own thread.
        while under_way := [work for work in list(self._under_way) if not work.done()]:
            await asyncio.wait([asyncio.wrap_future(work) for work in under_way])

    def close(self) -> None:
        """End the index thread. Nothing may be under way."""
        self._index.shutdown(wait=False)
