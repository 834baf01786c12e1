"""Judge: looks become changes, or nothing; what a look cannot prove is looked at again."""

from __future__ import annotations

import msgspec
import pytest

from everynode.core.plan import Step, plan
from everynode.group.judge import Judgement, Looked, judge
from everynode.index.store import Index
from everynode.model.entry import Entry
from everynode.model.ids import Origin, Sequence
from everynode.model.path import RelPath
from everynode.model.problem import Trouble
from everynode.model.record import HARD_LINKS, XATTRS, Record
from everynode.report.audit import Happening
from everynode.tree.outcome import Absent, Busy, Observation, Present, Unchanged, Unlookable
from tests.unit.core.samples import A, B, C, dead, directory, file, live, placed, record, stamp, symlink, version
from tests.unit.group.fakes import get, new_index, paths, put
from tests.unit.index.test_store import recount


@pytest.fixture
def index() -> Index:
    return new_index()


def see(entry: Entry, content: bytes | None = None) -> Present:
    return Present(entry, stamp(9), content)


def look(index: Index, path: bytes, seen: Observation, **more: object) -> Looked:
    """As capture does: the record is read before the look."""
    of = index.get(RelPath(path))
    settings = {"placings": index.placings, "changes": index.changes} | more
    return Looked(RelPath(path), of, seen, **settings)  # type: ignore[arg-type]


def judged(index: Index, path: bytes, seen: Observation, suspect_above: int | None = None) -> Judgement:
    return judge(index, [look(index, path, seen)], suspect_above)


def standing(entry: Entry, number: int = 1) -> Record:
    of = version(live(B, number, entry))
    return record(of, placed(of))


def stand(index: Index, **several: Entry) -> None:
    """By path (`__` for a slash), placed as B made them."""
    for number, (name, entry) in enumerate(several.items(), 1):
        of = version(live(B, number, entry))
        put(index, record(of, placed(of), path=name.replace("__", "/").encode()))


def test_new_files_get_dots_without_holes_in_the_order_of_the_looks(index: Index) -> None:
    looks = [look(index, name, see(file(name), name)) for name in (b"b", b"a", b"c")]
    judgement = judge(index, looks, None)
    assert [(a.record.path, a.sequence) for a in judgement.announcements] == [(b"b", 1), (b"a", 2), (b"c", 3)]
    assert index.knowledge == {A: 3}
    assert [a.content for a in judgement.announcements] == [(file(n).digest, n) for n in (b"b", b"a", b"c")]
    assert judgement.happened == [(n, Happening.CREATED) for n in (b"b", b"a", b"c")]
    assert index.unplaced(0, 9) == []
    assert get(index, b"a").placed == placed(version(live(A, 2, file(b"a"))), at=stamp(9))


def test_what_is_not_carried_is_noted_whatever_a_look_means(index: Index) -> None:
    several_names = Present(file(b"x"), stamp(9), None, links=2, xattrs=True)
    heard = version(live(B, 1, file(b"x")))
    put(index, record(heard, path=b"known"))
    for path in (b"new", b"known", b"new"):
        judged(index, path, several_names)
    for path in (b"new", b"known"):
        found = get(index, path).placed
        assert found is not None and found.not_carried == HARD_LINKS | XATTRS
    assert (index.state.counters.hard_links, index.state.counters.xattrs) == (2, 2)


def test_looks_that_prove_nothing_change_nothing(index: Index) -> None:
    stand(index, a=file())
    before = index.since(0, 9)
    unsure = [Busy(1, 1), Unlookable(Trouble.UNREADABLE, "permission"), Unchanged()]
    for seen in unsure:
        judgement = judged(index, b"a", seen)
        assert (judgement.announcements, judgement.again, judgement.work) == ([], [], False)
    assert index.since(0, 9) == before
    assert index.knowledge == {}


def test_what_is_as_placed_gets_its_stamp_and_no_dot(index: Index) -> None:
    stand(index, a=file())
    assert judged(index, b"a", see(file())).announcements == []
    now = get(index, b"a")
    assert now.placed is not None
    assert now.placed.stamp == stamp(9)
    assert (now.arrival, index.knowledge) == (1, {})


@pytest.mark.parametrize("as_read", [True, False])
def test_a_look_during_which_something_was_placed_says_nothing(index: Index, as_read: bool) -> None:
    stand(index, a=file(b"old"))
    old = look(index, b"a", see(file(b"old")))
    newer = version(live(B, 2, file(b"new")), B=1)
    put(index, record(newer, placed(newer), path=b"a"))
    judgement = judge(index, [old], None)
    assert judgement.again == [b"a"]
    assert judgement.announcements == []
    assert get(index, b"a").version == newer


def test_what_was_heard_during_a_look_is_not_superseded(index: Index) -> None:
    stand(index, a=file(b"old"))
    old = look(index, b"a", see(file(b"mine")))
    newer = version(live(B, 2, file(b"theirs")), B=1)
    put(index, record(newer, get(index, b"a").placed, path=b"a"))
    judgement = judge(index, [old], None)
    assert judgement.again == []
    now = get(index, b"a")
    assert {s.dot for s in now.version.siblings} == {(A, 1), (B, 2)}
    assert now.unplaced
    assert judgement.work


def test_a_disk_that_shows_what_was_heard_is_settled_without_a_dot(index: Index) -> None:
    put(index, record(version(live(B, 1, file())), path=b"a"))
    judgement = judged(index, b"a", see(file()))
    assert (judgement.announcements, index.knowledge) == ([], {})
    assert get(index, b"a").placed == placed(version(live(B, 1, file())), at=stamp(9))
    assert judgement.work  # whoever wrote it may not have synced it
    assert paths(index.unplaced(0, 9)) == [b"a"]


def test_one_of_several_that_were_heard_leaves_work(index: Index) -> None:
    put(index, record(version(live(B, 1, file(b"1")), live(C, 1, file(b"2"))), path=b"a"))
    judgement = judged(index, b"a", see(file(b"2")))
    assert (judgement.announcements, judgement.work, paths(index.unplaced(0, 9))) == ([], True, [b"a"])


def test_a_directory_that_is_gone_takes_what_was_below_along_from_the_bottom(index: Index) -> None:
    stand(index, d=directory(), d__e=directory(), d__e__f=file(), d__g=symlink(), d_x=file())
    judgement = judged(index, b"d", Absent())
    deleted = [(a.record.path, a.sequence) for a in judgement.announcements]
    assert deleted == [(b"d/g", 1), (b"d/e/f", 2), (b"d/e", 3), (b"d", 4)]
    assert all(not get(index, path).version.siblings[0].live for path, _ in deleted)
    assert index.lives_below(RelPath(b"")) is True
    assert get(index, b"d_x").version.siblings[0].live
    assert index.state.counters == recount(index)


def test_what_was_heard_below_a_directory_and_not_placed_lives_on(index: Index) -> None:
    stand(index, d=directory(), d__old=file())
    put(index, record(version(live(C, 1)), path=b"d/heard"))
    judgement = judged(index, b"d", Absent())
    assert [a.record.path for a in judgement.announcements] == [b"d/old", b"d"]
    assert get(index, b"d/heard").version == version(live(C, 1))
    assert b"d/heard" in paths(index.unplaced(0, 9))


def test_a_gone_directory_below_which_something_was_placed_since_the_look_proves_nothing(index: Index) -> None:
    stand(index, d=directory(), d__f=file())
    old = look(index, b"d", Absent())
    index.placings += 1
    judgement = judge(index, [old], None)
    assert (judgement.announcements, judgement.again) == ([], [b"d"])
    assert judgement.directories_gone == [b"d"]
    assert get(index, b"d/f").version.siblings[0].live


def test_a_path_that_went_with_its_directory_is_not_judged_twice(index: Index) -> None:
    stand(index, d=directory(), d__f=file())
    looks = [look(index, b"d", Absent()), look(index, b"d/f", Absent())]
    judgement = judge(index, looks, None)
    assert [a.record.path for a in judgement.announcements] == [b"d/f", b"d"]
    assert index.knowledge == {A: 2}


def test_absence_of_what_was_never_placed_is_no_deletion(index: Index) -> None:
    put(index, record(version(live(B, 1)), path=b"a"))
    assert judged(index, b"a", Absent()).announcements == []
    assert judged(index, b"unheard of", Absent()).announcements == []
    assert get(index, b"a").version.siblings[0].live


def test_a_file_that_comes_or_goes_changes_its_directory(index: Index) -> None:
    stand(index, d=directory(), d__f=file())
    assert judged(index, b"d/new", see(file())).parents == {b"d"}
    assert judged(index, b"d/f", see(file(b"other"))).parents == set()
    assert judged(index, b"d/f", Absent()).parents == {b"d"}
    assert judged(index, b"top", see(file())).parents == set()


def test_directories_that_come_and_go_are_told(index: Index) -> None:
    stand(index, d=directory(), f=file())
    became_file = judged(index, b"d", see(file()))
    assert (became_file.directories_gone, became_file.directories_new) == ([b"d"], [])
    became_directory = judged(index, b"f", see(directory()))
    assert (became_directory.directories_gone, became_directory.directories_new) == ([], [b"f"])


def test_a_deleted_directory_lives_again_with_a_new_file_in_it(index: Index) -> None:
    gone = version(dead(B, 1, directory()))
    put(index, record(gone, placed(gone), path=b"d"))
    judgement = judged(index, b"d/f", see(file()))
    assert judgement.work
    assert paths(index.unplaced(0, 9)) == [b"d"]


def test_what_was_moved_with_its_directory_keeps_its_content_without_reading(index: Index) -> None:
    stand(index, old__f=file(b"1"))
    moved = look(index, b"new/f", Unchanged(), donor=get(index, b"old/f"))
    judgement = judge(index, [moved], None)
    assert judgement.announcements[0].record.version == version(live(A, 1, file(b"1")))
    assert get(index, b"new/f").placed == placed(version(live(A, 1, file(b"1"))), at=stamp(1))


def test_what_was_moved_with_its_directory_keeps_what_could_not_be_set_here(index: Index) -> None:
    wanted, there = file(b"1", uid=5), file(b"1", uid=0)
    of = version(live(B, 1, wanted))
    put(index, record(of, placed(of, there), path=b"old/f"))
    judge(index, [look(index, b"new/f", Unchanged(), donor=get(index, b"old/f"))], None)
    assert get(index, b"new/f").version == version(live(A, 1, wanted))
    judge(index, [look(index, b"other/f", see(there), donor=get(index, b"new/f"))], None)
    # Without the proof that it is the same object its attributes are what they are.
    assert get(index, b"other/f").version == version(live(A, 2, there))


def test_a_file_that_was_deleted_elsewhere_and_never_known_here_is_removed(index: Index) -> None:
    put(index, record(version(dead(B, 2, file(b"old"))), path=b"a"))
    judgement = judged(index, b"a", see(file(b"old")))
    assert (judgement.announcements, index.knowledge, judgement.work) == ([], {}, True)
    (work,) = index.unplaced(0, 9)
    target = plan(work, "newest", derived=False)
    assert (target.record.path, target.step) == (b"a", Step.REMOVE)


def test_a_deletion_beside_a_heard_one_is_a_change(index: Index) -> None:
    both = version(live(B, 1), dead(C, 2))
    put(index, record(both, placed(version(live(B, 1))), path=b"a"))
    assert len(judged(index, b"a", Absent()).announcements) == 1
    assert not any(s.live for s in get(index, b"a").version.siblings)


@pytest.mark.parametrize("suspect_above", [None, 0])
@pytest.mark.parametrize("author", [A, B])
def test_a_derived_directory_that_is_gone_is_counted_once(
    index: Index, suspect_above: int | None, author: Origin
) -> None:
    """Its last descendant goes with it, which makes it work in the same transaction."""
    gone, inside = version(dead(author, 1, directory())), version(live(B, 2))
    for name in (b"d", b"d/e"):
        put(index, record(gone, placed(gone, directory()), path=name, unplaced=False))
    put(index, record(inside, placed(inside), path=b"d/e/f"))
    with index.transaction():
        index.claim_one(A, Sequence(1))
    judged(index, b"d", Absent(), suspect_above)
    for name in (b"d", b"d/e", b"d/e/f"):
        of = get(index, name).placed
        assert of is not None
        assert of.entry is None
    assert index.state.counters == recount(index)


# After a power cut.


def own(index: Index, sequence: int, entry: Entry) -> None:
    of = version(live(A, sequence, entry))
    put(index, record(of, placed(of), path=b"a"))
    with index.transaction():
        index.claim_one(A, Sequence(sequence))


@pytest.mark.parametrize("seen", [Absent(), see(file(b"")), see(file(b"older"))])
def test_an_own_change_that_was_not_synced_is_fetched_back(index: Index, seen: Observation) -> None:
    own(index, 5, file(b"announced"))
    judgement = judged(index, b"a", seen, suspect_above=4)
    assert judgement.announcements == []
    assert judgement.work
    now = get(index, b"a")
    assert now.version == version(live(A, 5, file(b"announced")))
    assert now.placed is not None
    assert now.placed.entry == (seen.entry if isinstance(seen, Present) else None)
    assert now.unplaced
    assert index.knowledge == {A: 5}


def test_an_own_change_that_was_synced_is_a_users_when_it_changes(index: Index) -> None:
    own(index, 4, file(b"announced"))
    assert len(judged(index, b"a", see(file(b"")), suspect_above=4).announcements) == 1


def test_others_changes_are_durable_before_they_are_placed_and_so_never_suspect(index: Index) -> None:
    stand(index, a=file(b"1"), b=file(b"2"))
    assert len(judged(index, b"a", Absent(), suspect_above=0).announcements) == 1


def test_what_somebody_was_seen_to_do_is_no_damage(index: Index) -> None:
    own(index, 5, file(b"announced"))
    seen = look(index, b"a", Absent(), noticed=True)
    assert len(judge(index, [seen], 4).announcements) == 1


def test_attributes_that_a_power_cut_took_are_work_and_set_again(index: Index) -> None:
    own(index, 5, file(b"x", mode=0o600))
    judgement = judged(index, b"a", see(file(b"x", mode=0o644)), suspect_above=4)
    assert (judgement.announcements, judgement.work) == ([], True)
    target = plan(get(index, b"a"), "newest", derived=False)
    assert (target.step, target.entry) == (Step.ATTRIBUTES, file(b"x", mode=0o600))


def test_attributes_that_a_power_cut_took_are_set_again_whatever_is_heard_before(index: Index) -> None:
    """A later version that wants the same attributes does not find them set."""
    own(index, 5, file(b"x", mode=0o600))
    judged(index, b"a", see(file(b"x", mode=0o644)), suspect_above=4)
    newer = version(live(B, 1, file(b"x", mode=0o600)), A=5)
    put(index, record(newer, get(index, b"a").placed, path=b"a"))
    assert plan(get(index, b"a"), "newest", derived=False).step is Step.ATTRIBUTES


def test_what_was_found_as_it_had_been_heard_and_not_synced_yet_is_no_users_change(index: Index) -> None:
    """Nobody but the cut can have taken it: a copy in the root that was equal, and in no node's memory durable."""
    of = version(live(B, 1, file(b"found")))
    put(index, record(of, placed(of), path=b"a", unplaced=True))
    assert judged(index, b"a", see(file(b"")), suspect_above=4).announcements == []
    assert get(index, b"a").version == of


# What the disk has lost.


def quiet(index: Index, entry: Entry) -> Present:
    """Something else stands there under the very stamp that was recorded."""
    stand(index, f=file(b"good"))
    record = get(index, b"f")
    assert record.placed is not None and record.placed.stamp is not None
    return Present(entry, record.placed.stamp)


def test_another_content_under_the_same_stamp_is_nobodys_work_and_only_doubted(index: Index) -> None:
    seen = quiet(index, file(b"bad!"))
    before = get(index, b"f")
    judgement = judged(index, b"f", seen)
    assert judgement.doubtful == [b"f"]
    assert not judgement.announcements and get(index, b"f") == before


def test_who_was_seen_to_write_is_believed_whatever_the_stamp_says(index: Index) -> None:
    seen = quiet(index, file(b"new!"))
    judgement = judge(index, [look(index, b"f", seen, noticed=True)], None)
    assert not judgement.doubtful and len(judgement.announcements) == 1


def test_a_damaged_file_that_went_with_its_directory_is_work_under_its_new_name(index: Index) -> None:
    stand(index, f=file(b"good"))
    old = get(index, b"f")
    assert old.placed is not None
    damaged = msgspec.structs.replace(old.placed, entry=file(b"bad!"), damaged=True)
    moved = Looked(RelPath(b"new"), None, Unchanged(), msgspec.structs.replace(old, placed=damaged))
    judgement = judge(index, [moved], None)
    assert judgement.work and get(index, b"new").unplaced
    assert get(index, b"new").version.siblings[0].entry == file(b"good")


def test_a_new_time_of_a_directory_that_only_its_content_keeps_is_taken_back(index: Index) -> None:
    deleted = version(dead(B, 1, directory(mtime=7)))
    put(index, record(deleted, placed(deleted, entry=directory(mtime=7)), path=b"d"))
    judgement = judged(index, b"d", see(directory(mtime=9)))
    assert judgement.work and not judgement.announcements
    now = get(index, b"d")
    assert now.unplaced
    target = plan(now, "newest", derived=True)
    assert target.step is Step.ATTRIBUTES and target.entry is not None and target.entry.mtime_ns == 7


def test_a_directory_in_which_something_was_placed_since_its_look_is_looked_at_again(index: Index) -> None:
    stand(index, d=directory())
    old = look(index, b"d", see(directory(mtime=9)))
    index.placings += 1
    assert judge(index, [old], None).again == [b"d"]
    assert not judge(index, [look(index, b"d", see(directory(mtime=9)))], None).again
