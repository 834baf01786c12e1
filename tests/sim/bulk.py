"""Many seeds, several processes: each outcome as it ends; a seed that never ends, or eats all memory, fails alone."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import FrameType

from tests.sim.cluster import run_seed

# Seconds of the processor: a machine with much else to do makes no seed fail. A seed takes about half of one.
SECONDS_MAX = 120
# Of one process, above what it inherits. A run that asks for more is a defect, and not one to stop the machine for.
MEMORY_MAX = 3 << 30
# A process is replaced now and then: nothing that one run leaves behind adds up.
SEEDS_PER_PROCESS = 40


@dataclass(frozen=True)
class Report:
    seed: int
    passed: bool
    text: str
    trace: str = ""
    acts: int = 0
    crashes: int = 0


class TooLong(BaseException):
    """No handler of the simulated daemons may catch it."""


def run_seeds(seeds: Iterable[int], jobs: int) -> Iterator[Report]:
    """In the order in which they end. The process must run with PYTHONHASHSEED=0 for a seed to mean the same again."""
    context = multiprocessing.get_context("fork")
    with context.Pool(jobs, _limit, maxtasksperchild=SEEDS_PER_PROCESS) as pool:
        yield from pool.imap_unordered(report_seed, seeds)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))


def report_seed(seed: int) -> Report:
    """Never raises: whatever goes wrong is a failure of this seed."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"seed {seed} did not end within {SECONDS_MAX} seconds")

    before = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS_MAX)
    try:
        outcome = run_seed(seed)
    except (Exception, TooLong):
        return Report(seed, False, f"seed {seed}: {traceback.format_exc()}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return Report(seed, not outcome.violations, str(outcome), outcome.trace, outcome.acts, outcome.crashes)
