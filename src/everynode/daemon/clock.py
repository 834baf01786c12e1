"""The real clock and the threads behind it: a few workers of a group, one thread for its index, both confined."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

from everynode.kernel.landlock import confine_thread
from everynode.limits import WORKERS

T = TypeVar("T")

logger = logging.getLogger("everynode.daemon")


class RealClock:
    """`group.seams.Clock` for one group. Close it when the group has stopped.

    `pool` opens the root; by then it is known what the group's own threads may reach, and `confine` tells.
    """

    def __init__(self, pool: ThreadPoolExecutor, name: str) -> None:
        self._name = name
        self._pool = pool
        self._workers: ThreadPoolExecutor | None = None
        self._index = ThreadPoolExecutor(1, thread_name_prefix=f"index-{name}")
        self._under_way: set[Future[object]] = set()

    def confine(self, work: Sequence[int], index: Sequence[int]) -> None:
        """From now on, work runs on threads of this group alone, which reach nothing outside these open directories.

        Nor does the index thread outside its own. To be called before that has had anything to do.
        """
        assert self._workers is None
        self._index.shutdown(wait=False)
        self._index = ThreadPoolExecutor(1, f"index-{self._name}", _confine, (index,))
        self._workers = self._pool = ThreadPoolExecutor(WORKERS, f"work-{self._name}", _confine, (work,))

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
        """End the group's threads. Nothing may be under way."""
        self._index.shutdown(wait=False)
        if self._workers is not None:
            self._workers.shutdown(wait=False)


def _confine(directories: Sequence[int]) -> None:
    try:
        confine_thread(directories)
    except OSError as error:  # a second net only: the group runs without it
        logger.error("a thread is not confined to its directories: %s", error)
