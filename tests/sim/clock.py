"""The clock seam over the virtual loop: skewed wall clocks, and work that takes a random while."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar

from tests.sim.fake_kernel import Crash
from tests.sim.loop import SimLoop

T = TypeVar("T")

# Where all virtual clocks start: November 2023.
EPOCH_NS = 1_700_000_000_000_000_000


class SimClock:
    """One node's clock, `offset_ns` off the others'. After `dead` is set whoever still waits gets a Crash."""

    def __init__(self, loop: SimLoop, rng: random.Random, *, offset_ns: int = 0, work_seconds: float = 0.002) -> None:
        self._loop = loop
        self._rng = rng
        self.offset_ns = offset_ns
        self._work_seconds = work_seconds
        self._index_turn = asyncio.Lock()
        self.dead = False

    def now_ns(self) -> int:
        return EPOCH_NS + int(self._loop.time() * 1e9) + self.offset_ns

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def offload(self, function: Callable[..., T], *arguments: object) -> T:
        """Runs `function` whole, some time later: other calls may start or finish in between."""
        await self._wait()
        result = function(*arguments)
        await self._wait()
        return result

    async def offload_index(self, function: Callable[..., T], *arguments: object) -> T:
        async with self._index_turn:  # wakes waiters in the order of their calls
            await self._wait()
            result = function(*arguments)
        await self._wait()
        return result

    async def _wait(self) -> None:
        if self._rng.random() < 0.5:
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(self._rng.expovariate(1 / self._work_seconds))
        if self.dead:
            raise Crash("the process has ended")
