"""Looks: the paths that want looking at, each with when, and how thoroughly."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

from everynode.group.seams import Clock
from everynode.model.path import RelPath, is_below

FIRST_AGAIN = 0.002
"""Seconds until a path is looked at again whose record changed during the look."""
IN_HAND_PAUSE = 0.002
"""Seconds until a path is tried again that apply has in hand, for a batch at most."""


@dataclass(slots=True)
class Look:
    """A path that wants looking at."""

    due: float
    forced: bool = False
    """Read the content even if the stamp says that nothing happened."""
    attempts: int = 0
    pid: int = 0
    donor: RelPath | None = None
    """Where it stood before its directory was renamed."""
    noticed: bool = False
    """Somebody was seen to write, rename or delete it."""
    renamed: bool = False
    """Its name was given up or taken over: whatever stands there now, its directory has a new time."""
    waited_for: bool = False
    """Somebody wants one more try of it before it is given up as busy."""
    scan_after: RelPath | None = None
    """A directory to be scanned when this look is judged."""
    deep: bool = False
    """If a directory stands there, everything below it is to be looked at."""


SCANNED = Look(0.0)
"""Of every path that a scan finds; never changed, and not put among those that wait."""


class Looks:
    """What waits to be looked at. Asking again makes a look sooner and more thorough, never later or less."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looks: dict[RelPath, Look] = {}
        self.wake = asyncio.Event()
        """Something is to be looked at, or earlier than it was."""

    def __len__(self) -> int:
        return len(self._looks)

    def __contains__(self, path: RelPath) -> bool:
        return path in self._looks

    def get(self, path: RelPath) -> Look | None:
        return self._looks.get(path)

    def ask(
        self,
        path: RelPath,
        *,
        delay: float,
        forced: bool,
        pid: int,
        donor: RelPath | None,
        noticed: bool,
        renamed: bool,
        deep: bool,
        scan_after: RelPath | None,
    ) -> None:
        due = self._clock.monotonic() + delay
        look = self._looks.setdefault(path, Look(due))
        look.due = min(look.due, due)
        look.forced = look.forced or forced
        look.pid = pid or look.pid
        look.donor = None if look.forced else donor or look.donor
        look.noticed = look.noticed or noticed
        look.renamed = look.renamed or renamed
        look.deep = look.deep or deep
        look.scan_after = scan_after or look.scan_after
        self.wake.set()

    def take_due(self, in_hand: Container[RelPath], limit: int) -> tuple[dict[RelPath, Look], float | None]:
        """What is due and not in somebody's hand; and when the next is, if all that is due was taken."""
        now = self._clock.monotonic()
        batch: dict[RelPath, Look] = {}
        next_due: float | None = None
        for path, look in self._looks.items():
            due = look.due
            if due <= now:
                if path not in in_hand:
                    batch[path] = look
                    if len(batch) >= limit:
                        break
                    continue
                due = now + IN_HAND_PAUSE
            if next_due is None or due < next_due:
                next_due = due
        for path in batch:
            del self._looks[path]
        return batch, next_due

    def at_once_again(self, path: RelPath, look: Look) -> None:
        """Its record changed during the look."""
        now = self._looks.setdefault(path, replace(look))
        now.due = self._clock.monotonic() + FIRST_AGAIN
        _keep_what_was_seen(now, look)
        self.wake.set()  # who looks may be the scanner

    def later_again(self, path: RelPath, look: Look, delay: float) -> None:
        """It could not be looked at, once more than `look` says."""
        newer = self._looks.get(path)
        if newer is None:
            due = self._clock.monotonic() + delay
            self._looks[path] = replace(look, due=due, attempts=look.attempts + 1, waited_for=False)
            self.wake.set()
        else:
            newer.attempts = look.attempts + 1
            _keep_what_was_seen(newer, look)

    def below(self, above: RelPath) -> Iterator[tuple[RelPath, Look]]:
        """Those at or below a path."""
        return ((path, look) for path, look in self._looks.items() if path == above or is_below(path, above))

    def once_more(self, above: RelPath) -> None:
        """Try now what could not be looked at, at or below a path."""
        for _, look in self.below(above):
            if look.attempts:
                look.waited_for = True
                look.due = self._clock.monotonic()
        self.wake.set()


def _keep_what_was_seen(look: Look, earlier: Look) -> None:
    look.noticed = look.noticed or earlier.noticed
    look.renamed = look.renamed or earlier.renamed
