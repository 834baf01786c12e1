"""Retention: too many, too old, too large; the oldest first, pinned never."""

from __future__ import annotations

from everynode.core.retention import Generation, surplus
from everynode.model.path import RelPath
from everynode.model.policy import VaultPolicy

DAY = 86_400 * 10**9
NOW = 1000 * DAY


def kept(name: str, age_days: float = 0, *, path: bytes = b"p", size: int = 1, pinned: bool = False) -> Generation:
    return Generation(name.encode(), RelPath(path), size, NOW - int(age_days * DAY), pinned)


def removed(*generations: Generation, policy: VaultPolicy | None = None, short: int = 0) -> list[str]:
    policy = policy or VaultPolicy(generations=3, age_days=30, bytes=100)
    return [g.name.decode() for g in surplus(generations, policy, NOW, short)]


def test_within_all_bounds_nothing_is_given_up() -> None:
    assert removed(kept("a", 1), kept("b", 2), kept("c", 30), kept("d", 1, path=b"q")) == []


def test_too_many_of_one_path_cost_its_oldest() -> None:
    assert removed(*(kept(str(age), age) for age in range(5)), kept("q", 9, path=b"q")) == ["4", "3"]


def test_what_is_too_old_goes() -> None:
    assert removed(kept("new", 29), kept("old", 30.1)) == ["old"]


def test_too_many_bytes_cost_the_oldest_of_all_paths() -> None:
    assert removed(kept("a", 3, size=60), kept("b", 2, path=b"q", size=60), kept("c", 1, size=40)) == ["a"]


def test_a_disk_that_is_short_of_space_costs_more() -> None:
    generations = [kept(str(age), age, path=bytes([97 + age]), size=10) for age in range(5)]
    assert removed(*generations, short=15) == ["4", "3"]
    assert removed(*generations, short=1000) == ["4", "3", "2", "1", "0"]


def test_what_goes_anyway_counts_for_the_space_that_is_short() -> None:
    assert removed(kept("old", 31, size=15), kept("new", 1, size=15), short=15) == ["old"]


def test_a_pinned_loser_is_never_given_up_and_does_not_count_as_a_generation() -> None:
    pinned = kept("pinned", 99, size=1000, pinned=True)
    assert removed(pinned, kept("a", 1), kept("b", 2), kept("c", 3), short=10**9) == ["c", "b", "a"]
    assert removed(pinned, kept("a", 1), kept("b", 2), kept("c", 3)) == []


def test_no_generations_wanted_means_none_kept() -> None:
    assert removed(kept("a"), policy=VaultPolicy(generations=0)) == ["a"]


def test_equal_times_are_decided_by_name() -> None:
    one, other = kept("a", 1, size=60), kept("b", 1, size=60)
    assert removed(one, other) == removed(other, one) == ["a"]
