"""Comparing two indexes path by path: what one side knows and does not hold any more is dead, on either side.

Runs send what the other does not know. That is not enough for who was away so long that deletions were forgotten
without him: nobody has a record of them any more. So he goes through both indexes side by side, with one vector of the
other side from before the walk: whatever it covers was held there then or was dead, and what changed since has newer
dots.
"""

from __future__ import annotations

from everynode.core.vectors import covers
from everynode.core.versions import full_context, make_version
from everynode.model.record import Vector, Version


def still_alive(mine: Version, theirs: Version | None, their_knowledge: Vector) -> Version | None:
    """What is left of `mine`, which has heard `theirs`; None: everything was superseded there, and that forgotten.

    Deletions that the other side has forgotten stay: they are forgotten here in time, and tell nobody anything new.
    """
    held_there = {sibling.dot for sibling in theirs.siblings} if theirs is not None else set()
    rest = [s for s in mine.siblings if not s.live or s.dot in held_there or not covers(their_knowledge, s.dot)]
    if len(rest) == len(mine.siblings):
        return mine
    return make_version(rest, full_context(mine)) if rest else None
