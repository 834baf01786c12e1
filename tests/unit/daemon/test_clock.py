"""The real clock: order on the index thread, and nothing closed while a thread still works."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from everynode.daemon.clock import RealClock
from everynode.kernel.landlock import why_unavailable


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


@pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "-")
def test_work_of_a_confined_group_reaches_its_root_and_its_index_and_nothing_else(tmp_path: Path) -> None:
    for name in ("root", "index"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(name.encode())
    (tmp_path / "canary").write_bytes(b"outside")

    async def run() -> None:
        root, index = (os.open(tmp_path / name, os.O_PATH) for name in ("root", "index"))
        with ThreadPoolExecutor(1) as pool:
            clock = RealClock(pool, "www")
            assert await clock.offload((tmp_path / "canary").read_bytes) == b"outside"
            clock.confine([root], [root, index])
            assert await clock.offload((tmp_path / "root/file").read_bytes) == b"root"
            assert await clock.offload_index((tmp_path / "root/file").read_bytes) == b"root"
            assert await clock.offload_index((tmp_path / "index/file").read_bytes) == b"index"
            for outside in ("canary", "index/file"):
                with pytest.raises(PermissionError):
                    await clock.offload((tmp_path / outside).read_bytes)
            with pytest.raises(PermissionError):
                await clock.offload_index((tmp_path / "canary").read_bytes)
            assert (tmp_path / "canary").read_bytes() == b"outside"
            clock.close()
        os.close(root)
        os.close(index)

    asyncio.run(run())
