"""Detect: each line of the table, and what a local change is made of."""

from __future__ import annotations

import msgspec
import pytest

from everynode.core.detect import Change, Known, Nothing, Restamp, detect, overlay
from everynode.core.versions import full_context
from everynode.model.entry import Entry, Kind
from everynode.model.ids import Sequence
from everynode.model.record import Placed, Record, Sibling
from tests.unit.core.samples import A, B, C, dead, directory, file, live, placed, record, stamp, symlink, version

NEXT = Sequence(7)


def look(of: Record | None, seen: Entry | None, donor: Placed | None = None) -> Nothing | Restamp | Known | Change:
    return detect(of, seen, stamp(99) if seen is not None else None, A, NEXT, donor)


def change(of: Record | None, seen: Entry | None, donor: Placed | None = None) -> Change:
    meaning = look(of, seen, donor)
    assert isinstance(meaning, Change), meaning
    return meaning


# Nothing.


def test_absence_of_what_was_never_recorded_is_nothing() -> None:
    assert look(None, None) == Nothing()


def test_absence_of_what_was_heard_and_not_placed_is_no_deletion() -> None:
    assert look(record(version(live(B, 1))), None) == Nothing()


def test_absence_where_nothing_was_placed_is_nothing_whatever_was_heard_since() -> None:
    deleted = version(dead(B, 1))
    assert look(record(deleted, placed(deleted)), None) == Nothing()
    assert look(record(version(live(B, 2)), placed(deleted)), None) == Nothing()


# As placed.


def test_what_is_as_placed_only_gets_its_new_stamp() -> None:
    of = version(live(B, 1, file()))
    assert look(record(of, placed(of)), file()) == Restamp(Placed(of, file(), stamp(99), (B, 1)))


def test_as_placed_means_as_really_placed_not_as_wanted() -> None:
    of = version(live(B, 1, file(uid=5)))
    stripped = file(uid=0)
    assert look(record(of, placed(of, stripped)), stripped) == Restamp(Placed(of, stripped, stamp(99), (B, 1)))


def test_what_is_as_placed_is_no_change_against_what_was_heard_since() -> None:
    old, new = version(live(B, 1, file(b"1"))), version(live(B, 2, file(b"2")), B=2)
    meaning = look(record(new, placed(old)), file(b"1"))
    assert meaning == Restamp(Placed(old, file(b"1"), stamp(99), (B, 1)))


def test_the_mode_of_a_symlink_says_nothing() -> None:
    of = version(live(B, 1, symlink(mode=0o777)))
    assert isinstance(look(record(of, placed(of)), symlink(mode=0o755)), Restamp)


def test_a_new_time_of_a_directory_is_replicated() -> None:
    of = version(live(B, 1, directory(mtime=1)))
    made = change(record(of, placed(of)), directory(mtime=2))
    assert made.sibling == live(A, 7, directory(mtime=2), content=False)


# Known.


def test_a_disk_that_shows_what_was_heard_makes_no_dot() -> None:
    of = version(live(B, 3, file()), C=2)
    assert look(record(of), file()) == Known(Placed(of, file(), stamp(99), (B, 3)))


def test_a_directory_with_another_time_is_the_one_that_was_heard() -> None:
    of = version(live(B, 3, directory(mtime=1)))
    assert look(record(of), directory(mtime=5)) == Known(Placed(of, directory(mtime=5), stamp(99), (B, 3)))


def test_one_of_several_heard_siblings_stands_for_itself_alone() -> None:
    one, other = live(B, 3, file(b"b")), live(C, 4, file(b"c"))
    meaning = look(record(version(one, other)), file(b"c"))
    assert meaning == Known(Placed(version(other), file(b"c"), stamp(99), (C, 4)))


def test_who_changes_one_of_several_siblings_that_stood_there_keeps_the_others() -> None:
    one, other = live(B, 3, file(b"b")), live(C, 4, file(b"c"))
    known = look(record(version(one, other)), file(b"c"))
    assert isinstance(known, Known)
    made = change(record(version(one, other), known.placed), file(b"mine"))
    assert {s.dot for s in made.version.siblings} == {(A, 7), (B, 3)}


def test_a_deletion_that_was_heard_as_well_makes_no_dot() -> None:
    old, gone = version(live(B, 1)), version(dead(B, 2), B=2)
    assert look(record(gone, placed(old)), None) == Known(Placed(gone, None, None, (B, 2)))


def test_a_deletion_heard_beside_a_live_sibling_is_that_deletion() -> None:
    old = version(live(B, 1))
    both = version(dead(B, 2), live(C, 1, file(b"c")))
    assert look(record(both, placed(old)), None) == Known(Placed(version(dead(B, 2)), None, None, (B, 2)))


def test_a_deletion_beside_one_that_was_only_heard_is_a_change_of_its_own() -> None:
    """Somebody made and deleted the path elsewhere; what stood here is nobody's to delete but ours."""
    old = version(live(B, 1))
    both = version(live(B, 1), dead(C, 2))
    made = change(record(both, placed(old)), None)
    assert made.version == version(dead(A, 7), dead(C, 2), B=1)
    assert not any(sibling.live for sibling in made.version.siblings)


@pytest.mark.parametrize("found", [file(b"old"), file(b"old", mtime=9, mode=0o600)])
def test_a_file_that_was_deleted_elsewhere_and_never_known_here_is_dead_here_too(found: Entry) -> None:
    """A root that was copied, or restored, brings nothing back."""
    gone = version(dead(B, 2, file(b"old")))
    assert look(record(gone), found) == Known(Placed(gone, found, stamp(99), (B, 2)))


def test_a_file_like_a_deleted_one_is_news_where_the_deletion_was_placed() -> None:
    gone = version(dead(B, 2, file(b"old")))
    assert change(record(gone, placed(gone)), file(b"old")).version == version(live(A, 7, file(b"old")), B=2)


def test_a_file_like_a_deleted_one_is_the_live_one_that_it_equals() -> None:
    both = version(dead(B, 2, file(b"old")), live(C, 1, file(b"old")))
    meaning = look(record(both), file(b"old"))
    assert isinstance(meaning, Known)
    assert meaning.placed.shown == (C, 1)


def test_a_file_unlike_the_one_that_was_deleted_is_news() -> None:
    made = change(record(version(dead(B, 2, file()))), file(b"other"))
    assert made.sibling == live(A, 7, file(b"other"))
    assert {s.dot for s in made.version.siblings} == {(A, 7), (B, 2)}


# Changes.


def test_a_new_path_is_a_change_with_nothing_before_it() -> None:
    made = change(None, file())
    assert made.version == version(live(A, 7, file()))
    assert made.placed == Placed(made.version, file(), stamp(99), (A, 7))


def test_another_content_supersedes_what_was_placed() -> None:
    of = version(live(B, 1, file(b"1")), C=4)
    made = change(record(of, placed(of)), file(b"2"))
    assert made.version == version(live(A, 7, file(b"2")), B=1, C=4)


def test_a_local_change_supersedes_all_siblings_that_were_placed() -> None:
    of = version(live(B, 1, file(b"1")), live(C, 2, file(b"2")))
    made = change(record(of, placed(of, shown=1)), file(b"3"))
    assert made.version == version(live(A, 7, file(b"3")), B=1, C=2)


def test_a_local_change_never_supersedes_what_was_only_heard() -> None:
    old, new = version(live(B, 1, file(b"1"))), version(live(B, 2, file(b"2")), B=2)
    made = change(record(new, placed(old)), file(b"mine"))
    assert {s.dot for s in made.version.siblings} == {(A, 7), (B, 2)}
    assert made.placed.version == version(live(A, 7, file(b"mine")), B=1)


def test_a_deletion_of_what_stood_there_leaves_a_tombstone_of_it() -> None:
    of = version(live(B, 1, file(b"1", uid=5)))
    made = change(record(of, placed(of, file(b"1", uid=0))), None)
    assert made.sibling == dead(A, 7, file(b"1", uid=5))
    assert made.version == version(made.sibling, B=1)
    assert made.placed == Placed(made.version, None, None, (A, 7))


def test_a_deletion_does_not_reach_what_was_only_heard() -> None:
    old, new = version(live(B, 1)), version(live(B, 2, file(b"2")), B=2)
    made = change(record(new, placed(old)), None)
    assert {(s.dot, s.live) for s in made.version.siblings} == {((A, 7), False), ((B, 2), True)}


def test_who_puts_a_loser_back_by_hand_decides() -> None:
    of = version(live(B, 1, file(b"1")), live(C, 2, file(b"2")))
    made = change(record(of, placed(of, shown=1)), file(b"1"))
    assert made.version == version(live(A, 7, file(b"1")), B=1, C=2)


def test_who_deletes_what_won_against_a_deletion_decides() -> None:
    of = version(dead(B, 1), live(C, 2))
    made = change(record(of, placed(of, shown=1)), None)
    assert made.version == version(dead(A, 7), B=1, C=2)


def test_a_file_where_a_deletion_was_placed_supersedes_it() -> None:
    of = version(dead(B, 1))
    made = change(record(of, placed(of)), file())
    assert made.version == version(live(A, 7, file()), B=1)


@pytest.mark.parametrize(
    ("seen", "content"),
    [
        (file(b"other"), True),
        (directory(), True),
        (symlink(), True),
        (file(mode=0o600), False),
        (file(uid=9), False),
        (file(mtime=9), False),
    ],
)
def test_a_change_says_whether_content_changed(seen: Entry, content: bool) -> None:
    of = version(live(B, 1, file()))
    assert change(record(of, placed(of)), seen).sibling.content is content


def test_what_was_excluded_and_is_included_again_is_news() -> None:
    of = version(live(B, 1, file(b"1")))
    assert {s.dot for s in change(record(of, None), file(b"2")).version.siblings} == {(A, 7), (B, 1)}


# Only differences are ours.


def test_an_owner_that_could_not_be_set_here_is_not_stripped_elsewhere() -> None:
    of = version(live(B, 1, file(b"1", uid=5, gid=6, mode=0o4755, mtime=3)))
    there = file(b"1", uid=0, gid=0, mode=0o755, mtime=3)
    made = change(record(of, placed(of, there)), file(b"22", uid=0, gid=0, mode=0o755, mtime=4))
    assert made.sibling.entry == file(b"22", uid=5, gid=6, mode=0o4755, mtime=4)
    assert made.placed.entry == file(b"22", uid=0, gid=0, mode=0o755, mtime=4)


FIELDS = {"mode": 0o600, "uid": 8, "gid": 8, "mtime_ns": 8}


@pytest.mark.parametrize("field", FIELDS)
def test_overlay_takes_a_field_from_the_disk_only_where_it_differs_from_what_was_there(field: str) -> None:
    intended = Entry(Kind.FILE, 0o4711, 5, 5, 5, 1, b"i" * 32)
    there = Entry(Kind.FILE, 0o711, 1, 1, 1, 1, b"i" * 32)
    seen = Entry(**{name: getattr(there, name) for name in there.__struct_fields__} | {field: FIELDS[field]})
    result = overlay(intended, there, seen)
    for name in intended.__struct_fields__:
        assert getattr(result, name) == (FIELDS[field] if name == field else getattr(intended, name))


def test_overlay_of_what_did_not_change_is_what_was_intended() -> None:
    assert overlay(file(uid=5), file(uid=0), file(uid=0)) == file(uid=5)


def test_overlay_of_another_kind_takes_its_mode() -> None:
    assert overlay(file(mode=0o644, uid=5), file(mode=0o755, uid=0), directory(mode=0o755)).mode == 0o755


def test_an_attribute_change_of_a_stand_in_directory_speaks_of_the_directory() -> None:
    """A live descendant keeps a directory where the winner is a file: what stands there is not the file."""
    of = version(live(B, 1, file(b"1", mode=0o600)))
    made = change(record(of, placed(of, directory(mode=0o755))), directory(mode=0o700))
    assert (made.sibling.entry.kind, made.sibling.entry.mode) == (Kind.DIRECTORY, 0o700)


def test_what_changes_on_a_stand_in_directory_takes_nothing_from_the_file_that_was_deleted_there() -> None:
    gone = version(dead(B, 1, file(mode=0o600, uid=7, mtime=5)))
    stand_in = placed(gone, directory(mode=0o755, uid=7))
    seen = directory(mode=0o755, uid=8)
    assert change(record(gone, stand_in), seen).sibling.entry == seen
    assert change(record(gone, stand_in), None).sibling.entry == directory(mode=0o755, uid=7)


def test_the_context_of_a_change_covers_what_it_superseded_and_itself() -> None:
    of = version(live(B, 1), live(C, 3, file(b"2")), A=2)
    made = change(record(of, placed(of)), file(b"3"))
    assert full_context(made.version) == {A: 7, B: 1, C: 3}


def test_what_moved_with_its_directory_keeps_what_was_wanted_of_it() -> None:
    """An owner that cannot be set here is not stripped elsewhere by moving the directory around it."""
    wanted, there = file(b"1", uid=5, gid=6, mode=0o4755), file(b"1", mode=0o755)
    made = change(None, there, placed(version(live(B, 1, wanted)), there))
    assert made.version == version(live(A, 7, wanted))
    assert made.placed == Placed(made.version, there, stamp(99), (A, 7))


def test_what_was_changed_after_its_directory_moved_differs_in_that_alone() -> None:
    wanted, there = file(b"1", uid=5), file(b"1", uid=0)
    made = change(None, file(b"1", uid=0, mode=0o600), placed(version(live(B, 1, wanted)), there))
    assert made.sibling.entry == file(b"1", uid=5, mode=0o600)


def test_what_moved_over_something_supersedes_that_and_not_where_it_came_from() -> None:
    stood, moved = version(live(C, 3, file(b"stood"))), version(live(B, 1, file(b"moved")))
    made = change(record(stood, placed(stood)), file(b"moved"), placed(moved))
    assert made.version == version(live(A, 7, file(b"moved")), C=3)


# The time of a directory.


def test_a_new_time_of_a_directory_decides_nothing_about_what_stands_beside_it() -> None:
    of = version(live(B, 1, directory()), live(C, 2, file(b"loser")))
    made = change(record(of, placed(of)), directory(mtime=9))
    assert made.version == version(live(A, 7, directory(mtime=9), content=False), live(C, 2, file(b"loser")), B=1)
    assert made.placed.version == version(live(A, 7, directory(mtime=9), content=False), B=1)


@pytest.mark.parametrize("beside", [dead(B, 1, directory()), live(B, 1, file(b"1"))])
def test_a_directory_that_only_its_descendants_keep_makes_no_dot_for_its_time(beside: Sibling) -> None:
    of = version(beside)
    there = directory(mtime=1)
    meaning = look(record(of, placed(of, there)), directory(mtime=9))
    assert meaning == Restamp(Placed(of, directory(mtime=9), stamp(99), (B, 1)))


def test_the_file_that_shows_again_where_nothing_lives_below_is_nobodys_decision() -> None:
    """It was placed, and a crash kept that from being noted: the other version stays."""
    of = version(live(B, 1, file(b"shown", mtime=9)), live(C, 2, file(b"loser", mtime=1)))
    there = placed(of, directory(mtime=9))
    assert look(record(of, there), file(b"shown", mtime=9)) == Known(
        Placed(of, file(b"shown", mtime=9), stamp(99), (B, 1))
    )
    change(record(of, there), file(b"other"))


@pytest.mark.parametrize("now", [dead(B, 2, directory()), live(B, 2, directory(mode=0o700))])
def test_a_new_time_of_a_directory_says_nothing_against_what_superseded_it(now: Sibling) -> None:
    """Its content was removed here, and the crash came before the directory was."""
    old, seen = version(live(B, 1, directory(mtime=1))), directory(mtime=2)
    assert look(record(version(now, B=2), placed(old)), seen) == Restamp(Placed(old, seen, stamp(99), (B, 1)))


def test_a_new_mode_of_a_directory_is_a_decision() -> None:
    of = version(live(B, 1, directory()), live(C, 2, file(b"loser")))
    made = change(record(of, placed(of)), directory(mtime=9, mode=0o700))
    assert made.version == version(live(A, 7, directory(mtime=9, mode=0o700), content=False), B=1, C=2)


def test_a_new_time_of_a_directory_does_not_strip_an_owner_that_could_not_be_set() -> None:
    of = version(live(B, 1, directory(uid=5)))
    made = change(record(of, placed(of, directory(uid=0))), directory(uid=0, mtime=9))
    assert made.sibling.entry == directory(uid=5, mtime=9)


# What the disk has lost.

GOOD = version(live(B, 1, file(b"good")))
DAMAGED = msgspec.structs.replace(placed(GOOD, file(b"bad!")), damaged=True)
LOST = record(GOOD, DAMAGED, unplaced=True)


def test_a_damaged_file_that_is_looked_at_again_stays_damaged_and_makes_no_dot() -> None:
    meaning = look(LOST, file(b"bad!"))
    assert isinstance(meaning, Restamp) and meaning.placed.damaged


def test_a_damaged_file_that_shows_its_content_again_was_repaired() -> None:
    meaning = look(LOST, file(b"good"))
    assert isinstance(meaning, Restamp)
    assert (meaning.placed.damaged, meaning.placed.entry) == (False, file(b"good"))


def test_who_changes_the_mode_of_a_damaged_file_changes_that_alone() -> None:
    meaning = change(LOST, file(b"bad!", mode=0o600))
    assert meaning.sibling.entry == file(b"good", mode=0o600)
    assert meaning.placed.damaged and meaning.placed.entry == file(b"bad!", mode=0o600)


def test_who_renames_the_directory_of_a_damaged_file_takes_no_damage_along() -> None:
    meaning = change(None, file(b"bad!"), donor=DAMAGED)
    assert meaning.sibling.entry == file(b"good")
    assert meaning.placed.damaged


def test_who_writes_over_a_damaged_file_decides() -> None:
    meaning = change(LOST, file(b"new"))
    assert meaning.sibling.entry == file(b"new")
    assert not meaning.placed.damaged
