"""The brake: how many removals are too many, which of them count, and which spans a decision covers.

Counted is, for each origin, what it removes or empties: what waits here to be placed, and what was placed here in the
last while; less contents that the same origin created again elsewhere, for these were moved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from everynode.limits import BRAKE_BURST, BRAKE_WINDOW
from everynode.model.entry import DIRECTORY, FILE, Entry
from everynode.model.hold import Span
from everynode.model.ids import Dot, Sequence


def removes(there: Entry | None, wanted: Entry | None) -> bool:
    """Whether putting `wanted` (None: nothing) where `there` stands removes or empties a file. A directory is none."""
    if there is None or there.kind is DIRECTORY:
        return False
    if wanted is None:
        return True
    return there.kind is FILE and there.size > 0 and wanted.kind is FILE and wanted.size == 0


def bound(files: int, at_least: int, percent: float) -> int | None:
    """How many of a group's `files` may go before it is too many. None: the brake is off (`at_least` is 0)."""
    if at_least == 0:
        return None
    return max(at_least, int(files * percent / 100))


@dataclass(frozen=True, slots=True)
class _Placed:
    when: float
    files: int
    spans: tuple[Span, ...]


@dataclass(slots=True)
class Tally:
    """What was placed here lately of one origin's removals. Times are seconds of a clock that only rises."""

    _placed: deque[_Placed] = field(default_factory=deque)

    def add(self, now: float, files: int, spans: Iterable[Span]) -> None:
        """`spans`: the changes that did it; none where files were moved among them: they say nothing of single ones."""
        last = self._placed[-1] if self._placed else None
        if last is not None and now - last.when < BRAKE_BURST:
            # One entry for each such moment: that bounds how many there are.
            joined = join_spans(last.spans, spans)
            self._placed[-1] = _Placed(last.when, last.files + files, joined)
        else:
            self._placed.append(_Placed(now, files, join_spans((), spans)))
        self._forget(now)

    def lately(self, now: float) -> int:
        self._forget(now)
        return sum(placed.files for placed in self._placed)

    def burst(self, now: float) -> int:
        """Of these, in the last moment."""
        return sum(placed.files for placed in self._placed if now - placed.when < BRAKE_BURST)

    def spans(self, now: float) -> tuple[Span, ...]:
        self._forget(now)
        return join_spans((), (span for placed in self._placed for span in placed.spans))

    def _forget(self, now: float) -> None:
        while self._placed and now - self._placed[0].when > BRAKE_WINDOW:
            self._placed.popleft()


def covers(spans: Iterable[Span], dot: Dot) -> bool:
    return any(span.covers(dot) for span in spans)


def spans_of(dots: Iterable[Dot]) -> tuple[Span, ...]:
    return join_spans((), (Span(origin, sequence, sequence) for origin, sequence in dots))


def join_spans(one: Iterable[Span], other: Iterable[Span], most: int | None = None) -> tuple[Span, ...]:
    """The union, in order, touching spans made one: commutative, associative, idempotent.

    Of more than `most` spans those with the highest last changes stay: who is further behind is asked again.
    """
    joined: list[Span] = []
    for span in sorted([*one, *other]):
        last = joined[-1] if joined else None
        if last is not None and last.origin == span.origin and span.first <= last.last + 1:
            joined[-1] = Span(last.origin, last.first, max(last.last, span.last))
        else:
            joined.append(span)
    if most is not None and len(joined) > most:
        joined = sorted(sorted(joined, key=lambda span: (span.last, span.origin))[-most:])
    return tuple(joined)


def without(span: Span, released: Iterable[Span]) -> Span | None:
    """What is left of a held span, from its first to its last change that is not released; None: nothing."""
    first, last = span.first, span.last
    mine = sorted(other for other in released if other.origin == span.origin)
    for other in mine:
        if other.first <= first <= other.last:
            first = Sequence(other.last + 1)
    for other in reversed(mine):
        if other.first <= last <= other.last:
            last = Sequence(other.first - 1)
    return Span(span.origin, first, last) if first <= last else None
