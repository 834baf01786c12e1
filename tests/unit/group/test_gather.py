"""Gather: from where each content comes; what has none yet waits."""

from __future__ import annotations

from typing import cast

from everynode.config.exclude import Excluder
from everynode.group.choose import choose
from everynode.group.fetch import Fetcher
from everynode.group.gather import Gatherer, Job
from everynode.group.ground import Ground
from everynode.index.vault_catalogue import Kept
from everynode.model.entry import Entry
from everynode.model.ids import Digest, Dot
from everynode.model.path import RelPath
from everynode.tree.place import MovedFrom
from tests.unit.core.samples import B, C, dead, directory, file, live, placed, record, stamp, symlink, version
from tests.unit.group.fakes import new_ground, put


class FakeFetcher:
    def __init__(self) -> None:
        self.has: dict[bytes, bytes] = {}
        self.asked: list[tuple[RelPath, Dot]] = []

    def ready(self, path: RelPath, entry: Entry, dot: Dot) -> bytes | None:
        self.asked.append((path, dot))
        return self.has.get(entry.digest)


class Bench:
    def __init__(self) -> None:
        self.ground: Ground = new_ground()
        self.fetcher = FakeFetcher()
        self.gatherer = Gatherer(self.ground, cast(Fetcher, self.fetcher))

    def gather(self) -> tuple[dict[bytes, Job], list[bytes]]:
        choice = choose(self.ground.index, "newest", Excluder(()), 0, frozenset(), {})
        jobs, waiting = self.gatherer.gather(choice)
        return {job.target.record.path: job for job in jobs}, [target.record.path for target in waiting]

    def removed(self, path: bytes, content: bytes) -> None:
        old = version(live(B, 1, file(content)))
        put(self.ground.index, record(version(dead(B, 2, file(content)), B=2), placed(old, at=stamp(4)), path=path))

    def added(self, path: bytes, entry: Entry) -> None:
        put(self.ground.index, record(version(live(B, 3, entry)), path=path))


def test_what_needs_no_content_waits_for_nothing() -> None:
    bench = Bench()
    bench.added(b"d", directory())
    bench.added(b"s", symlink())
    bench.removed(b"f", b"gone")
    jobs, waiting = bench.gather()
    assert {path: job.source for path, job in jobs.items()} == {b"d": None, b"s": None, b"f": None}
    assert waiting == []


def test_an_empty_file_is_always_at_hand() -> None:
    bench = Bench()
    bench.added(b"f", file(b""))
    assert bench.gather()[0][b"f"].source == b""


def test_a_content_that_came_along_is_taken_from_memory() -> None:
    bench = Bench()
    bench.added(b"f", file(b"small"))
    bench.ground.inline.add({Digest(file(b"small").digest): b"small"})
    assert bench.gather()[0][b"f"].source == b"small"
    assert bench.fetcher.asked == []


def test_a_content_that_is_nowhere_here_is_asked_for_and_waited_for() -> None:
    bench = Bench()
    bench.added(b"f", file(b"far"))
    jobs, waiting = bench.gather()
    assert (jobs, waiting) == ({}, [b"f"])
    assert bench.fetcher.asked == [(b"f", (B, 3))]
    bench.fetcher.has[file(b"far").digest] = b"far"
    assert bench.gather()[0][b"f"].source == b"far"


def test_a_content_that_the_vault_has_comes_from_there() -> None:
    bench = Bench()
    kept = Kept(b"v", RelPath(b"f"), file(b"back"), 1, "deleted")
    with bench.ground.index.transaction():
        bench.ground.index.vault.add(kept)
    old = version(live(B, 1, file(b"old")))
    put(bench.ground.index, record(version(live(B, 2, file(b"back")), B=2), placed(old), path=b"f"))
    assert bench.gather()[0][b"f"].source == kept


def test_a_rename_moves_the_file_that_the_same_batch_removes() -> None:
    bench = Bench()
    bench.removed(b"old", b"same")
    bench.added(b"new", file(b"same"))
    jobs, _ = bench.gather()
    assert jobs[b"new"].source == MovedFrom(RelPath(b"old"), stamp(4), file(b"same"))
    assert bench.fetcher.asked == []


def test_one_old_place_is_moved_once() -> None:
    bench = Bench()
    bench.removed(b"old", b"same")
    bench.added(b"new1", file(b"same"))
    bench.added(b"new2", file(b"same"))
    jobs, waiting = bench.gather()
    moved = [path for path, job in jobs.items() if isinstance(job.source, MovedFrom)]
    assert len(moved) == 1
    assert waiting == list({b"new1", b"new2"} - set(moved))


def test_an_old_place_that_proved_useless_is_not_moved_again() -> None:
    bench = Bench()
    bench.removed(b"old", b"same")
    bench.added(b"new", file(b"same"))
    bench.gatherer.immovable.add(RelPath(b"old"))
    assert bench.gather()[1] == [b"new"]


def test_a_file_that_stays_is_never_moved_away() -> None:
    bench = Bench()
    there = version(live(B, 1, file(b"same")))
    changed = version(live(B, 2, file(b"same", mode=0o600)), B=2)
    put(bench.ground.index, record(changed, placed(there), path=b"old"))
    bench.added(b"new", file(b"same"))
    assert bench.gather()[1] == [b"new"]


def test_a_loser_is_needed_before_the_winner_is_placed() -> None:
    bench = Bench()
    both = version(live(B, 1, file(b"wins", mtime=9)), live(C, 1, file(b"loses", mtime=1)))
    put(bench.ground.index, record(both, path=b"f"))
    bench.fetcher.has[file(b"wins").digest] = b"wins"
    assert bench.gather()[1] == [b"f"]
    bench.fetcher.has[file(b"loses").digest] = b"loses"
    job = bench.gather()[0][b"f"]
    assert job.source == b"wins"
    assert [(loser.sibling.dot, loser.source) for loser in job.losers] == [((C, 1), b"loses")]


def test_a_loser_that_stands_here_or_lies_in_the_vault_is_not_fetched() -> None:
    bench = Bench()
    winner, loser = live(B, 1, file(b"wins", mtime=9)), live(C, 1, file(b"loses", mtime=1))
    put(bench.ground.index, record(version(winner, loser), placed(version(loser)), path=b"stands"))
    bench.fetcher.has[file(b"wins").digest] = b"wins"
    assert bench.gather()[0][b"stands"].losers == []
    put(bench.ground.index, record(version(winner, loser), path=b"vaulted"))
    with bench.ground.index.transaction():
        bench.ground.index.vault.add(Kept(b"v", RelPath(b"vaulted"), file(b"loses"), 1, "loser"))
    assert bench.gather()[0][b"vaulted"].losers == []


def test_a_loser_is_kept_even_where_the_winner_stands_already() -> None:
    bench = Bench()
    winner, loser = live(B, 1, file(b"wins", mtime=9)), live(C, 1, file(b"loses", mtime=1))
    put(bench.ground.index, record(version(winner, loser), placed(version(winner)), path=b"f"))
    assert bench.gather()[1] == [b"f"]
    assert bench.fetcher.asked == [(b"f", (C, 1))]
