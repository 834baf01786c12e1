"""Many cases, several processes: in bundles of one time; what fails in a bundle is tried alone, and named."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import FrameType

from tests.exhaustive.cases import Case, Time
from tests.exhaustive.play import Told, play

# Real seconds for one case, and for each more in a bundle.
SECONDS_MAX = 60
SECONDS_MORE = 3
# A process is replaced now and then: nothing that one life leaves behind adds up.
BUNDLES_PER_PROCESS = 40


@dataclass(frozen=True)
class Failure:
    case: Case
    bundle: tuple[Case, ...]
    """With which it failed; alone when it does so alone."""
    text: str


@dataclass(frozen=True)
class Report:
    played: int
    void: int
    failures: tuple[Failure, ...] = ()


class TooLong(BaseException):
    """No handler of the simulated daemons may catch it."""


def bundles(cases: Iterable[Case], together: int) -> Iterator[tuple[Case, ...]]:
    """Cases of one time and length, so many at once at most; each bundle as soon as it is full."""
    waiting: dict[tuple[Time, int], list[Case]] = {}
    for case in cases:
        bundle = waiting.setdefault((case.time, len(case.steps)), [])
        bundle.append(case)
        if len(bundle) == together:
            yield tuple(bundle)
            bundle.clear()
    yield from (tuple(bundle) for bundle in waiting.values() if bundle)


def share(cases: Iterable[Case], number: int, of: int) -> Iterator[Case]:
    """Every `of`th case, from `number` on: all shares together are all cases."""
    return itertools.islice(cases, number, None, of)


def run(work: Iterable[Sequence[Case]], jobs: int) -> Iterator[Report]:
    """In the order in which they end. The process must run with PYTHONHASHSEED=0 for a case to mean the same again."""
    context = multiprocessing.get_context("fork")
    with context.Pool(jobs, maxtasksperchild=BUNDLES_PER_PROCESS) as pool:
        yield from pool.imap_unordered(report, work)


def report(bundle: Sequence[Case]) -> Report:
    """Never raises: whatever goes wrong is a failure of these cases."""
    told = _play(bundle)
    failures = tuple(
        Failure(one.case, tuple(bundle), "\n".join(one.problems)) for one in told if one.problems and not one.void
    )
    if len(bundle) > 1:
        failures = tuple(_alone(failure) for failure in failures)
    return Report(len(told), sum(one.void for one in told), failures)


def _alone(failure: Failure) -> Failure:
    """A case that fails alone is the easier to replay."""
    [told] = _play([failure.case])
    if told.problems:
        return Failure(failure.case, (failure.case,), "\n".join(told.problems))
    return replace(failure, text=f"only in its bundle of {len(failure.bundle)}: {failure.text}")


def _play(bundle: Sequence[Case]) -> list[Told]:
    seconds = SECONDS_MAX + SECONDS_MORE * len(bundle)

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"it did not end within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        return play(bundle)
    except (Exception, TooLong):
        return [Told(case, [traceback.format_exc()]) for case in bundle]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
