"""What is shown: directory before file, content before attributes, live before tombstone, policy, dot."""

from __future__ import annotations

from itertools import permutations

import pytest

from everynode.core.shown import bare_directory, differs, entry_shown, in_conflict, losers, ranking
from everynode.model.entry import Entry, Kind
from everynode.model.policy import ConflictPolicy
from everynode.model.record import Sibling, Version
from tests.unit.core.samples import A, B, C, dead, directory, file, live, symlink, version

POLICIES: tuple[ConflictPolicy, ...] = ("newest", "oldest", "largest", "smallest")


def winner(*siblings: Sibling, policy: ConflictPolicy = "newest", derived: bool = False) -> Sibling:
    """The same whatever the order in which the siblings are held."""
    winners = {ranking(Version(held), policy, derived)[0].dot for held in permutations(siblings)}
    assert len(winners) == 1
    return next(s for s in siblings if s.dot in winners)


# Each pair differs in the named criterion, and all that decide later speak for the loser.
PAIRS = {
    "a directory before a file": (live(A, 1, directory(mtime=1)), live(B, 9, file(mtime=9))),
    "a file before a directory that was only touched": (
        live(A, 1, file(mtime=1)),
        live(B, 9, directory(mtime=9), content=False),
    ),
    "a content change before an attribute change": (
        live(A, 1, file(mtime=1)),
        live(B, 9, file(mtime=9), content=False),
    ),
    "a content change before a deletion": (live(A, 1, file(mtime=1)), dead(B, 9, file(mtime=9))),
    "an attribute change before a deletion": (live(A, 1, file(mtime=1), content=False), dead(B, 9, file(mtime=9))),
    "the newest": (live(A, 1, file(mtime=9)), live(B, 9, file(mtime=1))),
    "the highest origin": (live(B, 1, file(mtime=1)), live(A, 9, file(mtime=1))),
}


@pytest.mark.parametrize("rule", PAIRS)
def test_the_first_difference_decides(rule: str) -> None:
    better, worse = PAIRS[rule]
    assert winner(better, worse) is better


def test_of_one_origin_the_highest_sequence_wins() -> None:
    assert winner(live(A, 1), live(A, 2)).sequence == 2


def test_a_deleted_directory_ranks_as_one_only_while_something_lives_in_it() -> None:
    gone, put = dead(A, 1, directory()), live(B, 1, file())
    assert winner(gone, put, derived=True) is gone
    assert winner(gone, put, derived=False) is put


@pytest.mark.parametrize(("policy", "expected"), [("newest", B), ("oldest", A), ("largest", A), ("smallest", B)])
def test_the_policy_decides_between_equals(policy: ConflictPolicy, expected: bytes) -> None:
    old_large, new_small = live(A, 5, file(b"large", mtime=1)), live(B, 1, file(b"s", mtime=2))
    assert winner(old_large, new_small, policy=policy).origin == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_prefers_a_deletion_or_an_attribute_change(policy: ConflictPolicy) -> None:
    for entry in (file(b"", mtime=0), file(b"long" * 9, mtime=99)):
        content, attributes, gone = live(A, 1, entry), live(B, 1, content=False), dead(C, 1)
        assert winner(content, attributes, gone, policy=policy) is content
        assert winner(attributes, gone, policy=policy) is attributes


def test_what_is_shown_of_a_winner() -> None:
    assert entry_shown(live(A, 1, file()), derived=False) == file()
    assert entry_shown(dead(A, 1, file()), derived=False) is None
    assert entry_shown(dead(A, 1, directory(mode=0o700)), derived=False) is None


def test_with_a_live_descendant_there_is_a_directory_whatever_the_winner_says() -> None:
    assert entry_shown(live(A, 1, directory(mode=0o700)), derived=True) == directory(mode=0o700)
    assert entry_shown(dead(A, 1, directory(mode=0o700, mtime=7)), derived=True) == directory(mode=0o700, mtime=7)
    displaced = file(uid=5, gid=6, mtime=7)
    for sibling in (live(A, 1, displaced), dead(A, 1, displaced)):
        assert entry_shown(sibling, derived=True) == Entry(Kind.DIRECTORY, 0o755, 5, 6, 7) == bare_directory(displaced)


def test_losers_are_live_and_differ_from_what_is_shown() -> None:
    shown, other, same, gone = live(A, 1, file(b"1")), live(B, 1, file(b"2")), live(C, 1, file(b"1")), dead(C, 2)
    assert losers([shown, other, same, gone], derived=False) == [other]
    assert losers([shown, live(B, 1, file(b"1", mtime=99))], derived=False) == []


def test_a_directory_is_never_vaulted_and_a_file_that_it_displaces_is() -> None:
    put = live(A, 1, file(b"1"))
    assert losers([put, live(B, 1, directory())], derived=False) == []
    assert losers([live(B, 1, directory()), put], derived=False) == [put]


def test_a_deleted_directory_that_lives_on_displaces_the_files() -> None:
    gone, put = dead(B, 1, directory()), live(A, 1, file(b"1"))
    assert losers([gone, put], derived=True) == [put]


def test_conflicts_are_live_siblings_that_a_person_would_tell_apart() -> None:
    assert not in_conflict(version(live(A, 1)))
    assert not in_conflict(version(live(A, 1), dead(B, 1)))
    assert not in_conflict(version(dead(A, 1), dead(B, 1, file(b"2"))))
    assert not in_conflict(version(live(A, 1, file(mtime=1)), live(B, 1, file(mtime=2))))
    assert not in_conflict(version(live(A, 1, directory(mtime=1)), live(B, 1, directory(mtime=2))))
    assert not in_conflict(version(live(A, 1, symlink(mode=0o777)), live(B, 1, symlink(mode=0o755))))
    for other in (file(b"2"), file(mode=0o600), file(uid=7), file(gid=7), directory(), symlink()):
        assert in_conflict(version(live(A, 1, file()), live(B, 1, other))), other
        assert differs(file(), other)
        assert differs(other, file())
    assert in_conflict(version(live(A, 1), live(B, 1), live(C, 1, file(b"2"))))


def test_a_deletion_beside_two_equal_live_ones_is_no_conflict() -> None:
    assert not in_conflict(version(live(A, 1), live(B, 1), dead(C, 1)))
