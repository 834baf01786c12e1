"""The real clock: order on the index thread, and nothing closed while a thread still works."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from everynode.daemon.clock import RealClock


def test_calls_on_the_index_thread_run_one_after_another_in_order() -> None:
    async def run() -> tuple[list[int], set[str]]:
        with ThreadPoolExecutor(2) as pool:
            clock = RealClock(pool, "www")
            seen: list[int] = []
            threads: set[str] = set()

            def work(number: int) -> None:
                threads.add(threading.current_thread().name)
                seen.append(number)

            await asyncio.gather(*(clock.offload_index(work, number) for number in range(50)))
            clock.close()
            return seen, threads

    seen, threads = asyncio.run(run())
    assert seen == list(range(50))
    assert len(threads) == 1
    assert next(iter(threads)).startswith("index-www")


def test_work_of_a_cancelled_task_is_waited_for() -> None:
    async def run() -> list[str]:
        order: list[str] = []
        may_end = threading.Event()
        begun = threading.Event()

        def work() -> None:
            begun.set()
            assert may_end.wait(10)
            order.append("the thread ended")

        with ThreadPoolExecutor(2) as pool:
            clock = RealClock(pool, "www")
            task = asyncio.ensure_future(clock.offload(work))
            await asyncio.get_running_loop().run_in_executor(None, begun.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            settled = asyncio.ensure_future(clock.settled())
            await asyncio.sleep(0)
            assert not settled.done()
            may_end.set()
            await settled
            order.append("settled")
            clock.close()
        return order

    assert asyncio.run(run()) == ["the thread ended", "settled"]


def test_what_a_thread_raises_arrives() -> None:
    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            clock = RealClock(pool, "www")

            def fail() -> None:
                raise OSError(28, "No space left on device")

            with pytest.raises(OSError, match="No space"):
                await clock.offload(fail)
            await clock.settled()
            clock.close()

    asyncio.run(run())
