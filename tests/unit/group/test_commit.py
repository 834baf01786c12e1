"""Commit: what became of a placed batch is recorded, and what users did meanwhile is adopted."""

from __future__ import annotations

import pytest

from everynode.core.plan import Step, plan
from everynode.group.commit import Committed, adopt, commit
from everynode.group.gather import Job
from everynode.group.placing import Done
from everynode.index.store import Index
from everynode.index.vault_catalogue import BEING_WRITTEN, Kept
from everynode.model.path import RelPath
from everynode.model.problem import Trouble
from everynode.model.record import Record
from everynode.report.audit import Happening
from everynode.tree.outcome import NotPut, Put, Refusal
from tests.unit.core.samples import A, B, C, dead, directory, file, live, placed, record, stamp, version
from tests.unit.group.fakes import get, new_index, paths, put
from tests.unit.index.test_store import recount

A_PATH = RelPath(b"a")
OLD = version(live(B, 1, file(b"old")))
NEW = version(live(B, 2, file(b"new")), B=2)


@pytest.fixture
def index() -> Index:
    return new_index()


def job(of: Record) -> Job:
    return Job(plan(of, "newest", derived=False))


def placing(index: Index, of: Record, **outcome: object) -> tuple[Job, Put]:
    put(index, of)
    one = job(get(index, of.path))
    entry = one.target.entry
    settings = {"entry": entry, "stamp": stamp(7) if entry is not None else None} | outcome
    return one, Put(of.path, **settings)  # type: ignore[arg-type]


def committed(index: Index, *done: Done) -> Committed:
    return commit(index, list(done), [], 55)


def test_what_was_placed_is_no_work_any_more(index: Index) -> None:
    one, outcome = placing(index, record(NEW, placed(OLD), path=A_PATH))
    result = committed(index, Done(one, outcome))
    now = get(index, A_PATH)
    assert now.placed == placed(NEW, at=stamp(7))
    assert not now.unplaced
    assert result.placed == [A_PATH]
    assert [(path, what) for path, what, *_ in result.happened] == [(A_PATH, Happening.PLACED)]
    assert index.knowledge == {}
    assert index.placings == 1


def test_what_was_really_set_is_what_is_recorded(index: Index) -> None:
    stripped = file(b"new", uid=9)
    one, outcome = placing(index, record(NEW, path=A_PATH), entry=stripped, denied="owner")
    result = committed(index, Done(one, outcome))
    now = get(index, A_PATH)
    assert now.placed is not None
    assert now.placed.entry == stripped
    assert not now.unplaced
    assert result.denied == [(A_PATH, "owner")]


def test_what_was_heard_while_placing_is_work_and_what_was_placed_is_true(index: Index) -> None:
    one, outcome = placing(index, record(OLD, path=A_PATH))
    put(index, record(NEW, None, path=A_PATH))
    committed(index, Done(one, outcome))
    now = get(index, A_PATH)
    assert now.version == NEW
    assert now.placed == placed(OLD, at=stamp(7))
    assert now.unplaced
    assert index.state.counters == recount(index)


def test_what_failed_is_told_and_stays_work(index: Index) -> None:
    one, _ = placing(index, record(NEW, placed(OLD), path=A_PATH))
    failed = NotPut(A_PATH, Refusal.WRITER, Trouble.WRITER, "busy")
    result = committed(index, Done(one, failed))
    assert result.failed == [failed]
    assert get(index, A_PATH).unplaced
    assert get(index, A_PATH).placed == placed(OLD)


def test_nothing_to_do_still_says_which_version_stands(index: Index) -> None:
    both = version(live(B, 1, file(b"old")), dead(C, 1))
    one, outcome = placing(index, record(both, placed(OLD), path=A_PATH))
    assert one.target.step is Step.NOTHING
    result = committed(index, Done(one, outcome))
    now = get(index, A_PATH)
    assert now.placed is not None
    assert (now.placed.version, now.placed.entry, now.placed.stamp) == (both, file(b"old"), stamp(1))
    assert result.happened == []


@pytest.mark.parametrize(("new", "why"), [(NEW, "replaced"), (version(dead(B, 2), B=2), "deleted")])
def test_what_was_replaced_is_in_the_catalogue_of_the_vault(index: Index, new: object, why: str) -> None:
    one, outcome = placing(index, record(new, placed(OLD), path=A_PATH), vaulted=b"v")  # type: ignore[arg-type]
    committed(index, Done(one, outcome))
    assert index.vault.all() == [Kept(b"v", A_PATH, file(b"old"), 55, why)]


def test_losers_that_were_staged_are_in_the_catalogue(index: Index) -> None:
    one, outcome = placing(index, record(NEW, path=A_PATH))
    loser = Kept(b"l", A_PATH, file(b"loser"), 1, "loser")
    committed(index, Done(one, outcome, losers=[loser]))
    assert index.vault.all() == [loser]


def test_what_a_user_wrote_meanwhile_is_adopted_beside_what_was_placed(index: Index) -> None:
    one, outcome = placing(index, record(NEW, placed(OLD), path=A_PATH), vaulted=b"v", swapped_other=True)
    result = committed(index, Done(one, outcome, vaulted_entry=file(b"users")))
    now = get(index, A_PATH)
    assert {s.dot: s.entry for s in now.version.siblings} == {(A, 1): file(b"users"), (B, 2): file(b"new")}
    assert now.placed == placed(NEW, at=stamp(7))
    assert now.unplaced
    assert index.vault.all() == [Kept(b"v", A_PATH, file(b"users"), 55, "replaced")]
    assert index.knowledge == {A: 1}
    (announced,) = result.adopted
    assert (announced.sequence, announced.record.version) == (1, now.version)


def test_what_a_user_wrote_over_the_old_version_supersedes_it(index: Index) -> None:
    one, outcome = placing(index, record(NEW, placed(OLD), path=A_PATH), vaulted=b"v", swapped_other=True)
    committed(index, Done(one, outcome, vaulted_entry=file(b"users")))
    assert not any(s.dot == (B, 1) for s in get(index, A_PATH).version.siblings)


def test_what_has_a_writer_still_is_adopted_later(index: Index) -> None:
    one, outcome = placing(index, record(NEW, placed(OLD), path=A_PATH), vaulted=b"v", swapped_other=True)
    result = committed(index, Done(one, outcome, vaulted_entry=None))
    assert (result.adopted, result.written) == ([], [(b"v", OLD)])
    kept = index.vault.get(b"v")
    assert kept is not None and kept.why == BEING_WRITTEN


def test_what_is_excluded_is_not_placed_and_no_work(index: Index) -> None:
    put(index, record(NEW, placed(OLD), path=A_PATH))
    old = get(index, A_PATH)
    commit(index, [], [old], 55)
    now = get(index, A_PATH)
    assert (now.version, now.placed, now.unplaced) == (NEW, None, False)
    assert paths(index.excluded(0, 9)) == [A_PATH]


def test_what_is_excluded_and_was_changed_meanwhile_waits_for_the_next_choice(index: Index) -> None:
    put(index, record(OLD, path=A_PATH))
    old = get(index, A_PATH)
    put(index, record(NEW, path=A_PATH))
    commit(index, [], [old], 55)
    assert get(index, A_PATH).unplaced


def test_a_removal_makes_the_directories_above_work(index: Index) -> None:
    gone = version(dead(C, 1, directory()))
    put(index, record(gone, placed(gone, directory()), path=b"d", unplaced=False))
    one, outcome = placing(index, record(version(dead(B, 2), B=2), placed(OLD), path=b"d/f"))
    committed(index, Done(one, outcome))
    assert paths(index.unplaced(0, 9)) == [b"d"]


def test_a_record_that_was_forgotten_meanwhile_is_left_alone(index: Index) -> None:
    one, outcome = placing(index, record(version(dead(B, 2)), path=A_PATH))
    with index.transaction():
        index.forget(get(index, A_PATH))
    committed(index, Done(one, outcome))
    assert index.get(A_PATH) is None


def test_adopting_takes_the_next_dot_and_supersedes_only_its_base(index: Index) -> None:
    put(index, record(NEW, placed(OLD), path=A_PATH))
    with index.transaction():
        announced = adopt(index, A_PATH, file(b"w"), OLD)
    assert announced.record.version == version(live(A, 1, file(b"w")), live(B, 2, file(b"new")))
    assert get(index, A_PATH).version == announced.record.version
    with index.transaction():
        fresh = adopt(index, RelPath(b"new"), file(b"w"), None)
    assert fresh.record.version == version(live(A, 2, file(b"w")))


def test_a_time_that_was_set_over_a_newer_one_is_set_again(index: Index) -> None:
    """The user's change of the directory was judged while its recorded time was on its way to the disk."""
    newer = version(live(A, 1, directory(mtime=9)))
    put(index, record(newer, placed(newer), path=b"d"))
    result = commit(index, [], [], 55, {RelPath(b"d"): 7})
    now = get(index, b"d")
    assert result.rechecked and now.unplaced
    target = plan(now, "newest", derived=False)
    assert target.step is Step.ATTRIBUTES and target.entry is not None and target.entry.mtime_ns == 9
    recount(index)


def test_a_time_that_was_set_as_recorded_is_no_work(index: Index) -> None:
    as_is = version(live(A, 1, directory(mtime=9)))
    put(index, record(as_is, placed(as_is), path=b"d"))
    assert not commit(index, [], [], 55, {RelPath(b"d"): 9, RelPath(b"gone"): 5}).rechecked
    assert not get(index, b"d").unplaced
