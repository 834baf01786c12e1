"""Plan: the one step that leads from what was placed to what is shown, and which contents must be kept."""

from __future__ import annotations

import pytest

from everynode.core.plan import Step, plan, wanted_before
from everynode.core.shown import bare_directory
from everynode.model.entry import Entry
from everynode.model.record import Record
from tests.unit.core.samples import A, B, dead, directory, file, live, placed, record, symlink, version


def after(old: Entry | None, new: Entry | None) -> Record:
    """`new` heard where `old` was placed (None: a deletion)."""
    before = version(live(B, 1, old) if old is not None else dead(B, 1))
    now = version(live(B, 2, new) if new is not None else dead(B, 2), B=2)
    return record(now, placed(before))


STEPS = {
    "a new file": (None, file(), Step.CONTENT),
    "a new symlink": (None, symlink(), Step.CONTENT),
    "a new directory": (None, directory(), Step.DIRECTORY),
    "another content": (file(b"1"), file(b"2"), Step.CONTENT),
    "another target": (symlink(b"1"), symlink(b"2"), Step.CONTENT),
    "another mode": (file(), file(mode=0o600), Step.ATTRIBUTES),
    "another owner": (file(), file(uid=9), Step.ATTRIBUTES),
    "another time": (file(), file(mtime=9), Step.ATTRIBUTES),
    "another mode of a directory": (directory(), directory(mode=0o700), Step.ATTRIBUTES),
    "another time of a directory": (directory(), directory(mtime=9), Step.ATTRIBUTES),
    "the same again": (file(), file(), Step.NOTHING),
    "a file becomes a directory": (file(), directory(), Step.DIRECTORY),
    "a directory becomes a file": (directory(), file(), Step.CONTENT),
    "a file becomes a symlink": (file(), symlink(), Step.CONTENT),
    "a deletion": (file(), None, Step.REMOVE),
    "a deletion of what is gone": (None, None, Step.NOTHING),
}


@pytest.mark.parametrize("case", STEPS)
def test_the_step_from_what_was_placed_to_what_is_shown(case: str) -> None:
    old, new, step = STEPS[case]
    target = plan(after(old, new), "newest", derived=False)
    assert (target.step, target.entry, target.shown, target.losers) == (step, new, (B, 2), ())


def test_a_path_that_was_never_placed_is_placed_whole_or_not_at_all() -> None:
    assert plan(record(version(live(B, 1))), "newest", derived=False).step is Step.CONTENT
    assert plan(record(version(dead(B, 1))), "newest", derived=False).step is Step.NOTHING


def test_attributes_that_could_not_be_set_are_not_tried_with_every_change() -> None:
    before, now = version(live(B, 1, file(uid=5))), version(live(B, 2, file(uid=5)), B=2)
    assert plan(record(now, placed(before, file(uid=0))), "newest", derived=False).step is Step.NOTHING


def test_attributes_are_tried_again_when_others_are_wanted() -> None:
    before, now = version(live(B, 1, file(uid=5))), version(live(B, 2, file(uid=6)), B=2)
    assert plan(record(now, placed(before, file(uid=0))), "newest", derived=False).step is Step.ATTRIBUTES


@pytest.mark.parametrize("left", [file(mode=0o600), file(uid=9), file(mtime=9)])
def test_attributes_that_a_power_cut_took_are_set_again(left: Entry) -> None:
    """A record that is work again with the version that was placed: its disk was found otherwise."""
    of = version(live(B, 1, file()))
    target = plan(record(of, placed(of, left), unplaced=True), "newest", derived=False)
    assert (target.step, target.entry) == (Step.ATTRIBUTES, file())


def test_a_content_that_a_power_cut_took_is_put_again() -> None:
    of = version(live(B, 1, file(b"whole")))
    assert plan(record(of, placed(of, file(b"")), unplaced=True), "newest", derived=False).step is Step.CONTENT
    assert plan(record(of, placed(of, None), unplaced=True), "newest", derived=False).step is Step.CONTENT
    assert plan(record(of, placed(of), unplaced=True), "newest", derived=False).step is Step.NOTHING


def test_what_was_wanted_before_is_told_only_where_it_stands() -> None:
    of = version(live(B, 1, file(uid=5)))
    assert wanted_before(placed(of, file(uid=0))) == file(uid=5)
    assert wanted_before(placed(of, file(b"other"))) is None
    assert wanted_before(placed(of, directory())) is None
    assert wanted_before(placed(of, None)) is None


def test_a_deleted_directory_stays_while_something_lives_in_it() -> None:
    target = plan(after(directory(mode=0o700), None), "newest", derived=True)
    assert target.step is Step.ATTRIBUTES  # a tombstone keeps the attributes: here another mode
    assert target.entry == file_as_directory(after(directory(mode=0o700), None))
    gone = version(dead(B, 2, directory(mode=0o700)), B=2)
    stays = plan(record(gone, placed(version(live(B, 1, directory(mode=0o700))))), "newest", derived=True)
    assert (stays.step, stays.entry) == (Step.NOTHING, directory(mode=0o700))
    goes = plan(record(gone, placed(version(live(B, 1, directory(mode=0o700))))), "newest", derived=False)
    assert (goes.step, goes.entry) == (Step.REMOVE, None)


def file_as_directory(of: Record) -> Entry:
    return bare_directory(of.version.siblings[0].entry)


def test_a_deleted_directory_that_is_gone_comes_back_for_what_lives_in_it() -> None:
    gone = version(dead(B, 2, directory(mode=0o700)))
    target = plan(record(gone, placed(gone)), "newest", derived=True)
    assert (target.step, target.entry) == (Step.DIRECTORY, directory(mode=0o700))


def test_a_file_gives_way_to_a_directory_that_something_lives_in_and_is_kept() -> None:
    of = version(live(B, 1, file(b"1")))
    target = plan(record(of, placed(of)), "newest", derived=True)
    assert target.step is Step.DIRECTORY
    assert target.entry == bare_directory(file(b"1"))


def test_losers_are_named_and_the_winner_shown() -> None:
    best, other = live(A, 1, file(b"new", mtime=9)), live(B, 5, file(b"old", mtime=1))
    target = plan(record(version(best, other)), "newest", derived=False)
    assert (target.step, target.entry, target.shown, target.losers) == (Step.CONTENT, best.entry, (A, 1), (other,))


def test_a_loser_that_stood_here_is_replaced_by_the_winner() -> None:
    best, other = live(A, 1, file(b"new", mtime=9)), live(B, 5, file(b"old", mtime=1))
    target = plan(record(version(best, other), placed(version(other))), "newest", derived=False)
    assert (target.step, target.losers) == (Step.CONTENT, (other,))


def test_a_live_sibling_beside_a_deletion_is_put_back() -> None:
    edited, gone = live(A, 2, file(b"edited")), dead(B, 2)
    target = plan(record(version(edited, gone), placed(version(gone))), "newest", derived=False)
    assert (target.step, target.entry) == (Step.CONTENT, file(b"edited"))


def test_a_time_of_a_directory_is_set_again_whatever_was_wanted_before() -> None:
    before, now = version(live(B, 1, directory(mtime=7))), version(dead(B, 2, directory(mtime=7)), B=1)
    moved = placed(before, directory(mtime=9))
    assert plan(record(now, moved), "newest", derived=True).step is Step.ATTRIBUTES
    assert plan(record(now, placed(before)), "newest", derived=True).step is Step.NOTHING
