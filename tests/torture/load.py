"""The load of a long run: one process per node that works on its tree, with bursts; bounded in time and count."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.synchronize import Event
from pathlib import Path

from everynode.cli.torture_work import Writer

# What a process tells: [0] changes, [1] bursts.
_COUNTS = 2


class Load:
    """Writers as processes of their own, so that they are no faster or slower for what the run does beside them."""

    def __init__(self, roots: list[Path], seed: int, rate: float, burst: int, burst_seconds: float) -> None:
        context = multiprocessing.get_context("fork")
        self._over = context.Event()
        self._counts = [context.Array("q", _COUNTS) for _ in roots]
        self._processes = []
        for number, (root, counts) in enumerate(zip(roots, self._counts, strict=True)):
            # One burst after another, each on another node: all at once would be another load.
            own_seconds = burst_seconds * len(roots)
            writer = Writer(root, f"w{number}", seed, rate / len(roots), burst, own_seconds)
            writer.burst_delay = burst_seconds * (number + 0.5)
            self._processes.append(context.Process(target=_work, args=(writer, self._over, counts), daemon=True))

    def start(self) -> None:
        for process in self._processes:
            process.start()

    def stop(self) -> None:
        """Nobody writes any more when this returns. May be called twice."""
        self._over.set()
        for process in self._processes:
            if process.pid is not None:
                process.join(60)
                process.kill()

    @property
    def changes(self) -> int:
        return sum(counts[0] for counts in self._counts)

    @property
    def bursts(self) -> int:
        return sum(counts[1] for counts in self._counts)


def _work(writer: Writer, over: Event, counts: list[int]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who runs this says when it is over
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # and what he does at his end is not for us

    def stopped(seconds: float) -> bool:
        counts[0], counts[1] = writer.changes, writer.bursts
        return over.wait(seconds)

    writer.work(stopped)
