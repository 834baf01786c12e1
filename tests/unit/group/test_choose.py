"""Choose: the next unplaced records, what each wants, and what must be there for it."""

from __future__ import annotations

import pytest

from everynode.config.exclude import Excluder
from everynode.core.plan import Step
from everynode.group import choose as module
from everynode.group.choose import Choice, Later, choose, dots_of
from everynode.index.store import Index
from everynode.index.vault_catalogue import Kept
from everynode.model.entry import Kind
from everynode.model.path import RelPath
from tests.unit.core.samples import B, C, dead, directory, file, live, placed, record, version
from tests.unit.group.fakes import get, new_index, put

DIRECTORY = version(live(B, 9, directory(mtime=77)))


@pytest.fixture
def index() -> Index:
    return new_index()


def chosen(
    index: Index,
    *,
    claimed: frozenset[RelPath] = frozenset(),
    later: Later | None = None,
    exclude: tuple[str, ...] = (),
) -> Choice:
    choice = choose(index, "newest", Excluder(exclude), 0, claimed, later or {})
    assert not choice.last
    return choice


def steps(choice: Choice) -> dict[bytes, Step]:
    return {target.record.path: target.step for target in choice.targets}


def heard(index: Index, *names: bytes) -> None:
    put(index, *(record(version(live(B, number, file(name))), path=name) for number, name in enumerate(names, 1)))


def test_without_work_there_is_nothing_to_choose(index: Index) -> None:
    done = version(live(B, 1))
    put(index, record(done, placed(done), path=b"a"))
    choice = choose(index, "newest", Excluder(()), 0, frozenset(), {})
    assert (choice.last, choice.targets) == (True, [])
    heard(index, b"b")
    assert choose(index, "newest", Excluder(()), index.state.arrival, frozenset(), {}).last


def test_what_is_claimed_is_left_out_and_told(index: Index) -> None:
    heard(index, b"a", b"b")
    choice = chosen(index, claimed=frozenset({RelPath(b"a")}))
    assert (list(steps(choice)), choice.in_hand, choice.not_due) == ([b"b"], [b"a"], [])


def test_what_is_to_be_tried_later_waits_unless_its_record_has_changed(index: Index) -> None:
    heard(index, b"a", b"b")
    later = {RelPath(b"a"): dots_of(get(index, b"a"))}
    choice = chosen(index, later=later)
    assert (list(steps(choice)), choice.in_hand, choice.not_due) == ([b"b"], [], [b"a"])
    put(index, record(version(live(B, 7), B=7), path=b"a"))
    choice = chosen(index, later=later)
    assert (set(steps(choice)), choice.not_due) == ({b"a", b"b"}, [])


def test_what_is_excluded_is_told_apart(index: Index) -> None:
    heard(index, b"a.tmp", b"b")
    put(index, record(DIRECTORY, path=b"cache"))
    choice = chosen(index, exclude=("*.tmp", "cache/"))
    assert list(steps(choice)) == [b"b"]
    assert [r.path for r in choice.excluded] == [b"a.tmp", b"cache"]


def test_a_path_whose_directory_was_not_heard_is_an_orphan(index: Index) -> None:
    heard(index, b"d/e/f", b"top")
    choice = chosen(index)
    assert choice.orphans == {b"d", b"d/e"}
    put(index, record(DIRECTORY, path=b"d"))
    choice = chosen(index)
    assert choice.orphans == {b"d/e"}


def test_a_deletion_has_no_orphans(index: Index) -> None:
    old = version(live(B, 1))
    put(index, record(version(dead(B, 2), B=2), placed(old), path=b"d/f"))
    assert chosen(index).orphans == set()


def test_a_deleted_directory_comes_along_when_something_in_it_is_placed(index: Index) -> None:
    gone = version(dead(B, 9, directory(mode=0o700)))
    put(index, record(gone, placed(gone), path=b"d"))
    heard(index, b"d/f")
    choice = chosen(index)
    assert steps(choice) == {b"d/f": Step.CONTENT, b"d": Step.DIRECTORY}
    assert choice.targets[1].entry == directory(mode=0o700)


def test_a_file_in_the_way_becomes_a_directory_for_what_lives_below(index: Index) -> None:
    there = version(live(B, 9, file(b"in the way")))
    put(index, record(there, placed(there), path=b"d"))
    heard(index, b"d/f")
    assert steps(chosen(index)) == {b"d/f": Step.CONTENT, b"d": Step.DIRECTORY}


def test_a_deleted_directory_stays_while_something_lives_in_it_and_goes_after(index: Index) -> None:
    old, gone = version(live(B, 9, directory())), version(dead(C, 1, directory()), B=9)
    inside = version(live(B, 10))
    put(index, record(inside, placed(inside), path=b"d/f"), record(gone, placed(old), path=b"d"))
    assert steps(chosen(index)) == {b"d": Step.NOTHING}
    put(index, record(version(dead(B, 11), B=11), placed(inside), path=b"d/f"))
    assert steps(chosen(index)) == {b"d": Step.REMOVE, b"d/f": Step.REMOVE}


def test_a_directory_beside_one_with_the_same_beginning_is_not_kept_by_it(index: Index) -> None:
    old, gone = version(live(B, 9, directory())), version(dead(C, 1, directory()), B=9)
    inside = version(live(B, 10))
    put(index, record(inside, placed(inside), path=b"d-e/f"), record(gone, placed(old), path=b"d"))
    assert steps(chosen(index)) == {b"d": Step.REMOVE}


def test_the_times_of_directories_around_are_noted(index: Index) -> None:
    put(index, record(DIRECTORY, placed(DIRECTORY), path=b"d"))
    heard(index, b"d/f")
    assert chosen(index).directory_times == {b"d": 77}


def test_contents_that_the_vault_has_are_found(index: Index) -> None:
    old = version(live(B, 1, file(b"old")))
    back = version(live(B, 2, file(b"earlier")), B=2)
    put(index, record(back, placed(old), path=b"a"))
    kept = Kept(b"v", RelPath(b"elsewhere"), file(b"earlier"), 1, "deleted")
    with index.transaction():
        index.vault.add(kept)
    assert chosen(index).kept == {file(b"earlier").digest: kept}


def test_a_choice_is_bounded_and_goes_on_where_it_ended(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "APPLY_BATCH", 2)
    heard(index, b"a", b"b", b"c")
    first = chosen(index)
    assert (list(steps(first)), first.cursor) == ([b"a", b"b"], 2)
    second = choose(index, "newest", Excluder(()), first.cursor, frozenset(), {})
    assert (list(steps(second)), second.cursor) == ([b"c"], 3)


def test_a_choice_is_bounded_by_bytes(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "APPLY_BATCH_BYTES", 1)
    heard(index, b"aa", b"bb", b"cc")
    assert list(steps(chosen(index))) == [b"aa"]


def test_what_is_known_when_the_choice_is_made_is_kept_with_it(index: Index) -> None:
    heard(index, b"a")
    with index.transaction():
        index.claim({B: 4})  # type: ignore[dict-item]
    choice = chosen(index)
    with index.transaction():
        index.claim({B: 5})  # type: ignore[dict-item]
    assert choice.knowledge == {B: 4}


def test_a_file_that_an_origin_put_in_the_place_of_its_own_directory_gives_way_to_what_lives_in_it(
    index: Index,
) -> None:
    """Its context is empty all the same: the origin superseded nothing but its own change."""
    was = version(live(B, 1, directory()))
    put(index, record(was, placed(was, entry=directory()), path=b"d"))
    here = version(live(C, 1, directory()))
    put(index, record(here, placed(here, entry=directory()), path=b"d/x"))
    old = get(index, b"d")
    put(index, record(version(live(B, 2, file(b"new"))), old.placed, path=b"d"))
    (target,) = chosen(index).targets
    assert target.step is Step.NOTHING and target.entry is not None and target.entry.kind == Kind.DIRECTORY
    assert [loser.dot for loser in target.losers] == [(B, 2)]


def test_a_file_and_what_lives_below_it_in_one_batch_are_a_directory(index: Index) -> None:
    put(index, record(version(live(B, 2, file(b"new"))), path=b"d"))
    put(index, record(version(live(C, 1, file(b"below"))), path=b"d/x"))
    assert steps(chosen(index)) == {b"d": Step.DIRECTORY, b"d/x": Step.CONTENT}


def test_the_time_of_a_directory_that_only_its_content_keeps_is_noted_for_a_removal_too(index: Index) -> None:
    put(index, record(version(live(B, 1, file(mtime=77))), placed(DIRECTORY, entry=directory()), path=b"d"))
    stays = version(live(B, 2, file(b"stays")))
    put(index, record(stays, placed(stays), path=b"d/stays"))
    put(index, record(version(dead(B, 3, file(b"goes"))), placed(version(live(B, 4, file(b"goes")))), path=b"d/goes"))
    choice = choose(index, "newest", Excluder(()), 0, frozenset({RelPath(b"d")}), {})
    assert steps(choice) == {b"d/goes": Step.REMOVE}
    assert choice.directory_times == {b"d": 77}
