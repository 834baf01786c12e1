"""Lost: what takes the place of a content that nobody has any more, and what a power cut may bring back whole."""

from __future__ import annotations

import msgspec
import pytest

from everynode.group.lost import earlier, give_up, is_whole, shown_here
from everynode.index.store import Index
from everynode.limits import EARLIER_MAX
from everynode.model.entry import Entry
from everynode.model.path import RelPath
from everynode.model.record import Record, Sibling, Version
from tests.unit.core.samples import A, B, C, dead, directory, dot, file, live, placed, record, version
from tests.unit.group.fakes import get, new_index, put

A_PATH = RelPath(b"a")


@pytest.fixture
def index() -> Index:
    return new_index()


# What takes its place.


@pytest.mark.parametrize("there", [file(b"left"), None])
def test_what_nobody_has_any_more_is_what_the_disk_shows(index: Index, there: Entry | None) -> None:
    own = version(live(A, 1, file(b"lost")))
    with index.transaction():
        index.claim_one(A, 1)  # type: ignore[arg-type]
    put(index, record(own, placed(own, there), path=A_PATH, unplaced=True))
    announced = give_up(index, A_PATH, dot(A, 1))
    assert announced is not None
    now = get(index, A_PATH)
    (sibling,) = now.version.siblings
    assert (sibling.dot, sibling.live) == ((A, 2), there is not None)
    assert now.placed is not None
    assert now.placed.entry == there
    assert not now.unplaced
    assert give_up(index, A_PATH, dot(A, 1)) is None


def test_what_others_wrote_beside_a_lost_content_stays(index: Index) -> None:
    lost, theirs = live(A, 1, file(b"lost", mtime=9)), live(B, 1, file(b"theirs"))
    with index.transaction():
        index.claim_one(A, 1)  # type: ignore[arg-type]
    put(index, record(version(lost, theirs), placed(version(lost, theirs), file(b"left")), path=A_PATH, unplaced=True))
    assert give_up(index, A_PATH, dot(A, 1)) is not None
    now = get(index, A_PATH)
    # What the power cut left is nobody's work: it is no version beside theirs, and goes to the vault.
    assert now.version == version(dead(A, 2, file(b"lost", mtime=9)), theirs)
    assert now.placed is not None
    assert now.placed.entry == file(b"left")
    assert now.unplaced


LOST = live(A, 2, file(b"lost"))
OLD = version(live(B, 1, file(b"old")))


def lose(index: Index, left: Entry | None = None, *others: Sibling) -> None:
    """Of a change upon OLD a power cut has left something."""
    with index.transaction():
        index.claim({A: 2, B: 3, C: 3})  # type: ignore[dict-item]
    was = msgspec.structs.replace(placed(version(LOST), left), remains=True)
    put(index, record(version(LOST, *others, B=1), was, path=A_PATH, unplaced=True))


@pytest.mark.parametrize("left", [None, file(b""), file(b"lo")])
def test_what_a_peer_shows_takes_the_place_of_what_a_power_cut_left(index: Index, left: Entry | None) -> None:
    lose(index, left)
    announced = give_up(index, A_PATH, dot(A, 2), [OLD])
    now = get(index, A_PATH)
    assert now.version == version(live(A, 3, file(b"old")), B=1)
    assert announced is not None and announced.record.version == now.version
    assert now.unplaced and now.placed is not None and now.placed.entry == left, "the vault is to get that"


@pytest.mark.parametrize(
    ("testimonies", "shown"),
    [
        ([OLD, version(live(C, 1, file(b"newer")), B=1)], b"newer"),
        ([version(live(C, 1, file(b"newer")), B=1), OLD], b"newer"),
        ([OLD, version(live(C, 1, file(b"aside", mtime=9)))], b"aside"),
        ([version(live(C, 1, file(b"aside", mtime=9))), OLD], b"aside"),
    ],
)
def test_of_what_several_peers_show_all_would_show_the_same(
    index: Index, testimonies: list[Version], shown: bytes
) -> None:
    lose(index, file(b""))
    assert give_up(index, A_PATH, dot(A, 2), testimonies) is not None
    (now,) = get(index, A_PATH).version.siblings
    assert now.entry.same_content(file(shown))


@pytest.mark.parametrize("testimonies", [[], [version(dead(B, 1))], [OLD, version(dead(C, 1), B=1)]])
def test_where_nobody_shows_anything_that_counts_the_disk_decides(index: Index, testimonies: list[Version]) -> None:
    lose(index, file(b""))
    assert give_up(index, A_PATH, dot(A, 2), testimonies) is not None
    now = get(index, A_PATH)
    assert now.version == version(live(A, 3, file(b"")), B=1)
    assert not now.unplaced and now.placed is not None and not now.placed.remains


def test_what_a_peer_shows_that_was_not_heard_yet_is_waited_for(index: Index) -> None:
    lose(index, file(b""))
    assert give_up(index, A_PATH, dot(A, 2), [version(live(B, 4, file(b"new")), B=1)]) is None
    assert get(index, A_PATH).version == version(LOST, B=1)


def test_what_others_wrote_meanwhile_is_enough(index: Index) -> None:
    theirs = live(C, 3, file(b"theirs"))
    lose(index, file(b""), theirs)
    assert give_up(index, A_PATH, dot(A, 2), [OLD]) is not None
    assert get(index, A_PATH).version == version(dead(A, 3, file(b"lost")), theirs, B=1)


def test_what_somebody_wrote_here_counts_more_than_what_others_show(index: Index) -> None:
    lose(index, file(b"mine"))
    now = get(index, A_PATH)
    assert now.placed is not None
    whole = msgspec.structs.replace(now, placed=msgspec.structs.replace(now.placed, remains=False))
    with index.transaction():
        index.set_placed(whole, now)
    assert give_up(index, A_PATH, dot(A, 2), [OLD]) is not None
    (sibling,) = get(index, A_PATH).version.siblings
    assert sibling.entry == file(b"mine")


# What is testified.


def test_nobody_testifies_of_what_nobody_wrote(index: Index) -> None:
    assert shown_here(index, A_PATH) is None
    lose(index, file(b""))
    assert shown_here(index, A_PATH) is None
    put(index, record(OLD, placed(OLD), path=b"b"))
    assert shown_here(index, RelPath(b"b")) == OLD
    put(index, record(OLD, msgspec.structs.replace(placed(OLD, file(b"rot")), damaged=True), path=b"c"))
    assert shown_here(index, RelPath(b"c")) is None
    put(index, record(OLD, path=b"d"))
    assert shown_here(index, RelPath(b"d")) is None


# What may come back whole.


def upon(index: Index, before: Version, change: Sibling, *remembered: Sibling) -> tuple[Sibling, ...]:
    return earlier(index, Record(A_PATH, before, placed(before), earlier=remembered), change)


def test_what_stood_there_durable_is_remembered_and_what_came_since(index: Index) -> None:
    with index.transaction():
        index.change_state().synced = 3
    theirs, synced, young = live(B, 9, file(b"b")), live(A, 3, file(b"s")), live(A, 4, file(b"y"))
    change = live(A, 5, file(b"now"))
    assert upon(index, version(theirs), change, synced) == (theirs,), "placed: durable"
    assert upon(index, version(synced), change, theirs) == (synced,)
    assert upon(index, version(dead(A, 3)), change) == (dead(A, 3),)
    assert upon(index, version(young), change, synced) == (synced, young)
    assert upon(index, version(young), live(A, 5, file(b"y"), content=False), synced) == (synced,)
    assert upon(index, version(young), dead(A, 5), synced) == ()
    assert upon(index, version(young), live(A, 5, directory()), synced) == ()


def test_however_often_a_file_is_written_few_are_remembered_and_the_durable_one_always(index: Index) -> None:
    remembered: tuple[Sibling, ...] = (live(B, 1, file(b"durable")),)
    for number in range(1, 20):
        change = live(A, number + 1, file(b"%d" % (number + 1)))
        remembered = upon(index, version(live(A, number, file(b"%d" % number))), change, *remembered)
    assert remembered[0].origin == B
    assert [s.sequence for s in remembered[1:]] == list(range(21 - EARLIER_MAX, 20))


def test_only_what_was_written_or_deleted_is_whole() -> None:
    now = version(live(A, 5, file(b"now")))
    one = Record(A_PATH, now, placed(now), earlier=(live(A, 4, file(b"before")),))
    assert is_whole(one, file(b"now", mode=0o600)) and is_whole(one, file(b"before"))
    assert not is_whole(one, file(b"")) and not is_whole(one, file(b"bef")) and not is_whole(one, None)
    assert is_whole(Record(A_PATH, now, placed(now), earlier=(dead(A, 4),)), None)
    found = msgspec.structs.replace(placed(version(live(A, 5, file(b"")))), remains=True)
    assert not is_whole(Record(A_PATH, now, found), file(b""))
