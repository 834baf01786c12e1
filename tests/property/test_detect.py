"""Detect, for any record and any look: no echo, no invention, and nothing superseded that nobody saw."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from everynode.core.detect import Change, Known, Nothing, Restamp, detect
from everynode.core.plan import Step, plan
from everynode.core.vectors import covers, dominates
from everynode.core.versions import full_context, make_version, merge
from everynode.model.entry import Entry, Kind
from everynode.model.ids import Dot, Sequence
from everynode.model.path import RelPath
from everynode.model.record import Placed, Record, Sibling, Version
from tests.unit.core.samples import A, B, C, stamp

NEXT = Sequence(100)
small = st.integers(0, 2)
files = st.builds(
    lambda mode, uid, mtime, content: Entry(Kind.FILE, mode, uid, 0, mtime, content, bytes([content]) * 32),
    small,
    small,
    small,
    small,
)
directories = st.builds(lambda mode, uid, mtime: Entry(Kind.DIRECTORY, mode, uid, 0, mtime), small, small, small)
symlinks = st.builds(lambda mode, target: Entry(Kind.SYMLINK, mode, 0, 0, 0, 0, bytes([target])), small, small)
entries = files | directories | symlinks


@st.composite
def versions(draw: st.DrawFn) -> Version:
    origins = draw(st.lists(st.sampled_from([A, B, C]), min_size=1, unique=True))
    siblings = []
    for origin in origins:
        alive = draw(st.booleans())
        content = alive and draw(st.booleans())
        siblings.append(Sibling(origin, Sequence(draw(st.integers(1, 5))), draw(entries), alive, content))
    context = draw(st.dictionaries(st.sampled_from([A, B, C]), st.integers(1, 9).map(Sequence), max_size=2))
    held = {s.origin: s.sequence for s in siblings}
    return make_version(siblings, {o: s for o, s in context.items() if s >= held.get(o, 0)})


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Something was placed, or not; something more may have been heard since; attributes may have been denied."""
    version = draw(versions())
    if draw(st.booleans()):
        return Record(RelPath(b"p"), version, None, True)
    old = draw(versions())
    target = plan(Record(RelPath(b"p"), old), "newest", derived=draw(st.booleans()))
    there = target.entry
    if there is not None and draw(st.booleans()):
        there = msgspec.structs.replace(there, uid=2)
    now = merge(old, version) if draw(st.booleans()) else old
    placed = Placed(old, there, stamp() if there is not None else None, target.shown)
    return Record(RelPath(b"p"), now, placed, now != old)


def look(of: Record | None, seen: Entry | None) -> Nothing | Restamp | Known | Change:
    return detect(of, seen, stamp(9) if seen is not None else None, A, NEXT)


@given(st.none() | records(), st.none() | entries)
def test_looking_again_at_the_same_makes_no_second_change(of: Record | None, seen: Entry | None) -> None:
    """No echo: whatever a look came to, it is settled."""
    match look(of, seen):
        case Change(version, placed):
            after = Record(RelPath(b"p"), version, placed, False)
        case Known(placed) | Restamp(placed):
            assert of is not None
            after = msgspec.structs.replace(of, placed=placed)
        case Nothing():
            return
    again = detect(after, seen, stamp(9) if seen is not None else None, A, Sequence(NEXT + 1))
    assert isinstance(again, Nothing | Restamp)


@given(records())
def test_what_was_just_placed_is_no_change(of: Record) -> None:
    target = plan(of, "newest", derived=False)
    placed = Placed(of.version, target.entry, stamp() if target.entry else None, target.shown)
    after = Record(of.path, of.version, placed, False)
    assert isinstance(look(after, target.entry), Nothing | Restamp)
    assert plan(after, "newest", derived=False).step is Step.NOTHING


@given(st.none() | records(), st.none() | entries)
def test_a_change_supersedes_what_was_placed_and_nothing_else(of: Record | None, seen: Entry | None) -> None:
    meaning = look(of, seen)
    if not isinstance(meaning, Change):
        return
    before = _decided(of, seen)
    heard = [s for s in of.version.siblings if s.dot not in before] if of is not None else []
    dots = {s.dot for s in meaning.version.siblings}
    assert meaning.sibling.dot == (A, NEXT)
    assert meaning.sibling.dot in dots
    assert not dots & before
    # An own sibling that is not placed is covered by the next change of the same origin.
    assert {s.dot for s in heard if s.origin != A} <= dots
    assert [s.dot for s in meaning.placed.version.siblings] == [(A, NEXT)]
    if of is not None:
        assert dominates(full_context(meaning.version), full_context(of.version))


def _decided(of: Record | None, seen: Entry | None) -> set[Dot]:
    """What a user who left `seen` had before him: all that was placed; who only made files in a directory, that."""
    if of is None or of.placed is None:
        return set()
    siblings = of.placed.version.siblings
    there = of.placed.entry
    if there is not None and seen is not None and seen.kind == Kind.DIRECTORY and seen.equals(there):
        # The context of a drawn version may cover more than a real one would.
        known = full_context(make_version((), of.placed.version.context))
        siblings = tuple(s for s in siblings if (s.live and s.entry.kind == Kind.DIRECTORY) or covers(known, s.dot))
    return {sibling.dot for sibling in siblings}


@given(st.none() | records(), st.none() | entries)
def test_what_is_placed_afterwards_is_what_was_seen(of: Record | None, seen: Entry | None) -> None:
    meaning = look(of, seen)
    if isinstance(meaning, Change | Known):
        assert meaning.placed.entry == seen
        assert (meaning.placed.stamp is None) == (seen is None)
        assert meaning.placed.shown in {s.dot for s in meaning.placed.version.siblings}
    if isinstance(meaning, Change):
        assert meaning.sibling.live == (seen is not None)
        assert meaning.sibling.live or not meaning.sibling.content
        if seen is not None:
            assert meaning.sibling.entry.same_content(seen) or meaning.sibling.entry.kind != seen.kind


@given(records(), st.none() | entries)
def test_absence_is_a_deletion_only_where_something_stood(of: Record, seen: Entry | None) -> None:
    if of.placed is None or of.placed.entry is None:
        assert look(of, None) == Nothing()
