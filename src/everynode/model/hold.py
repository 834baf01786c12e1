"""Removals that are held back: spans of one origin's changes, and what a node says of them."""

from __future__ import annotations

import msgspec

from everynode.model.ids import Dot, Origin, Sequence


class Span(msgspec.Struct, frozen=True, array_like=True, order=True):
    """The changes of `origin` from `first` to `last`, both included."""

    origin: Origin
    first: Sequence
    last: Sequence

    def covers(self, dot: Dot) -> bool:
        return self.origin == dot[0] and self.first <= dot[1] <= self.last


class Held(msgspec.Struct, frozen=True, array_like=True):
    """Removals in `span` that a node has heard of and does not place until a person has decided."""

    span: Span
    files: int
    """How many they remove or empty, less what was created again elsewhere."""


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """A hold as the index of the node that holds keeps it."""

    span: Span
    files: int
    since: float
    """Unix seconds."""
    arrival: int
    """Where in the index the run may begin: what was created elsewhere in the same run arrived after it."""
    place: bytes = b""
    """The directory that has all of it."""
