"""Waiting for a file descriptor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from everynode.watch.readable import ReadableWaiter


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_the_fd_is_registered_only_while_somebody_waits(pipe: tuple[int, int]) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        os.write(pipe[1], b"x")
        assert await ReadableWaiter().wait(pipe[0])
        assert not loop.remove_reader(pipe[0])
        os.read(pipe[0], 1)
        assert not await ReadableWaiter().wait(pipe[0], 0.001)
        assert not loop.remove_reader(pipe[0])

    asyncio.run(scene())


def test_a_cancelled_wait_can_be_taken_up_again(pipe: tuple[int, int]) -> None:
    async def scene() -> None:
        waiter = ReadableWaiter()
        waiting = asyncio.create_task(waiter.wait(pipe[0]))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        os.write(pipe[1], b"x")
        assert await waiter.wait(pipe[0])

    asyncio.run(scene())
