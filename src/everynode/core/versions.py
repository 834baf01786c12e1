"""Versions: the algebra of siblings and contexts (dotted version vectors).

Preguiça, Baquero, Almeida, Fonte, Gonçalves: Dotted Version Vectors, 2010. Per path an origin has at most one
sibling, because a local change always supersedes what was placed, and that descends from its own last change.
"""

from __future__ import annotations

from collections.abc import Iterable

from everynode.core.vectors import covers
from everynode.model.entry import Entry
from everynode.model.ids import Dot, Origin, Sequence
from everynode.model.record import Record, Sibling, Vector, Version


def full_context(version: Version) -> Vector:
    """Everything the version supersedes or is: its context and its siblings' own dots."""
    context = dict(version.context)
    for sibling in version.siblings:
        if context.get(sibling.origin, 0) < sibling.sequence:
            context[sibling.origin] = sibling.sequence
    return context


def make_version(siblings: Iterable[Sibling], context: Vector) -> Version:
    """The canonical form: siblings by dot, and of the context only what they do not say themselves."""
    ordered = tuple(sorted(siblings, key=_dot_of))
    own = {sibling.origin: sibling.sequence for sibling in ordered}
    return Version(ordered, {o: s for o, s in sorted(context.items()) if own.get(o) != s})


def _dot_of(sibling: Sibling) -> Dot:
    return (sibling.origin, sibling.sequence)


def merge(mine: Version, theirs: Version) -> Version:
    """Join two versions of one path: commutative, associative, idempotent.

    A sibling stays unless the other side's context covers its dot and the other side does not hold it.
    """
    if mine == theirs:
        return mine
    return _merge(mine.siblings, full_context(mine), theirs.siblings, full_context(theirs)) or mine


def _merge(
    mine: tuple[Sibling, ...], my_context: Vector, theirs: tuple[Sibling, ...], their_context: Vector
) -> Version | None:
    my_dots = {sibling.dot for sibling in mine}
    their_dots = {sibling.dot for sibling in theirs}
    kept = [s for s in mine if s.dot in their_dots or not covers(their_context, s.dot)]
    kept += [s for s in theirs if s.dot not in my_dots and not covers(my_context, s.dot)]
    if not kept:  # two contexts that cover each other's siblings: only a forged record can say so
        return None
    context = dict(my_context)
    for origin, sequence in their_context.items():
        if context.get(origin, 0) < sequence:
            context[origin] = sequence
    return make_version(kept, context)


def hear(held: Version | None, incoming: Version, knowledge: Vector) -> Version | None:
    """What the record becomes when `incoming` is heard; None: nothing changes.

    Knowledge is context: an incoming sibling whose dot is known but not held is dead, however late it comes.
    """
    if held is not None and held == incoming:
        return None
    if held is None and len(incoming.siblings) == 1:  # nearly all of a first copy
        (only,) = incoming.siblings
        return None if knowledge.get(only.origin, 0) >= only.sequence else incoming
    held_dots = {sibling.dot for sibling in held.siblings} if held is not None else ()
    alive = tuple(s for s in incoming.siblings if s.dot in held_dots or not covers(knowledge, s.dot))
    if held is None:
        if len(alive) == len(incoming.siblings):
            return incoming
        return make_version(alive, full_context(incoming)) if alive else None
    merged = _merge(held.siblings, full_context(held), alive, full_context(incoming))
    return merged if merged is not None and merged != held else None


def supersede(
    base: Version | None, origin: Origin, sequence: Sequence, entry: Entry, live: bool, content: bool
) -> Version:
    """The version made by a local change on top of what was placed (`base`): one sibling that covers it all."""
    sibling = Sibling(origin, sequence, entry, live, content)
    if base is None:
        return Version((sibling,))
    context = full_context(base)
    assert context.get(origin, 0) < sequence, "an origin's sequence only rises"
    context[origin] = sequence
    return make_version([sibling], context)


def dots_of(record: Record) -> tuple[Dot, ...]:
    return tuple(sibling.dot for sibling in record.version.siblings)


def same_content_before(record: Record) -> tuple[Dot, ...]:
    """Changes that never were placed and whose content is still wanted: later ones changed its attributes alone."""
    version, placed = record.version, record.placed
    if not any(sibling.live and not sibling.content for sibling in version.siblings):
        return ()
    had = full_context(placed.version) if placed is not None else {}
    return tuple(dot for dot in version.context.items() if not covers(had, dot))


def sibling_at(version: Version, dot: Dot) -> Sibling | None:
    for sibling in version.siblings:
        if sibling.dot == dot:
            return sibling
    return None
