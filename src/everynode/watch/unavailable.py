"""The error of a way of watching that does not work here."""

from __future__ import annotations

from everynode.errors import EverynodeError


class MethodUnavailable(EverynodeError):
    """This way of watching does not work for this root; the message says why. Another way may."""
