"""A deterministic asyncio loop: virtual clock, seeded order of what is ready, no selector, no threads.

What a run does depends on the seed alone, given PYTHONHASHSEED: sets of bytes are ordered by it.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import itertools
import random
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

# Steps without any time passing after which a run is called endless.
STANDING_STEPS_MAX = 200_000


class Deadlock(Exception):
    """Nothing is ready and no timer runs: whoever waits, waits for ever."""


class Livelock(Exception):
    """Callbacks run for ever at one moment of virtual time."""


class SimTask(asyncio.Task[Any]):
    """A task whose place in sets depends on its number, not on its address."""

    def __init__(self, *arguments: Any, number: int, **named: Any) -> None:
        self._number = number
        super().__init__(*arguments, **named)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _NoSelector:
    """Instead of waiting for files it turns the virtual clock."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise Deadlock("nothing is ready, no timer runs, and the simulation has not ended")
        if timeout > 0:
            self._loop.now += timeout
            self._loop.standing = 0
        return []

    def close(self) -> None:
        pass


class SimLoop(asyncio.BaseEventLoop):
    """`rng` orders the callbacks; `fork` gives independent streams to everything else that needs chance."""

    # Of BaseEventLoop, whose stubs do not show them.
    _ready: Any
    _clock_resolution: float

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.now = 0.0
        self.steps = 0
        self.standing = 0
        self.rng = self.fork("loop")
        self._trace = hashlib.sha256()
        self._clock_resolution = 1e-9
        self._selector = _NoSelector(self)
        numbers = itertools.count(1)

        def new_task(
            loop: asyncio.AbstractEventLoop,
            coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
            *,
            name: str | None = None,
            context: contextvars.Context | None = None,
        ) -> asyncio.Future[T]:
            return SimTask(coroutine, loop=loop, name=name, context=context, number=next(numbers))

        self.set_task_factory(new_task)
        self.set_exception_handler(self._remember)
        self.unhandled: list[dict[str, Any]] = []

    def fork(self, purpose: str) -> random.Random:
        """The stream of chance for one purpose: drawing from it moves no other stream."""
        return chance(self.seed, purpose)

    def note(self, text: bytes) -> None:
        """Something happened that makes two runs equal or different."""
        self._trace.update(b"%d:%s;" % (len(text), text))

    @property
    def trace(self) -> str:
        return self._trace.hexdigest()[:16]

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        ready = self._ready
        if len(ready) > 1:
            order = list(ready)
            self.rng.shuffle(order)
            ready.clear()
            ready.extend(order)
        self.steps += 1
        self.standing += 1
        if self.standing > STANDING_STEPS_MAX:
            raise Livelock(f"{self.standing} rounds at second {self.now:.6f} of virtual time")
        self.note(b"%d@%.9f" % (len(ready), self.now))
        super()._run_once()  # type: ignore[misc]  # not in the stubs

    def _process_events(self, events: list[object]) -> None:
        assert not events

    def _write_to_self(self) -> None:
        """Nobody waits in a selector."""

    def run_in_executor(self, executor: Any, function: Callable[..., T], *arguments: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("threads are forbidden in the simulation: use the clock seam")

    def _remember(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.unhandled.append(context)


def chance(seed: int, purpose: str) -> random.Random:
    return random.Random(f"{seed}/{purpose}")


def simulate(seed: int, scenario: Callable[[SimLoop], Coroutine[Any, Any, T]]) -> T:
    """Run `scenario` to its end in a loop of its own. What was left unhandled in tasks is raised."""
    loop = SimLoop(seed)
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(scenario(loop))
        if loop.unhandled:
            context = loop.unhandled[0]
            raise RuntimeError(f"nobody handled: {context.get('message')}") from context.get("exception")
        return result
    finally:
        asyncio.set_event_loop(None)
        loop.close()
