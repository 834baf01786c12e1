"""Placing: what is on stable storage when a batch returns, and what must still stand as it was placed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from everynode.config.exclude import Excluder
from everynode.core.plan import CONTENT, Step, Target, plan
from everynode.group.choose import Choice, choose
from everynode.group.commit import commit
from everynode.group.gather import Job
from everynode.group.placing import Done, place_batch
from everynode.index.store import Index
from everynode.model.entry import Entry
from everynode.model.path import RelPath
from everynode.model.record import Placed, Record, Version
from everynode.tree import attributes
from everynode.tree.observe import observe
from everynode.tree.outcome import NotPut, Present, Put, Refusal
from everynode.tree.place import MovedFrom
from everynode.tree.root import Root
from tests.unit.core.samples import NODE_A, A, B, C, dead, directory, file, live, placed, record, version
from tests.unit.group.fakes import put

NOW = 10**18
PATH = RelPath(b"a")


def mine(content: bytes) -> Entry:
    return file(content, uid=os.getuid(), gid=os.getgid())


def found(root: Root, tree: Path, content: bytes, of: Version) -> Placed:
    """The file as it stands, taken for the first sibling of `of`."""
    (tree / "a").write_bytes(content)
    os.utime(tree / "a", ns=(1, 1))
    (tree / "a").chmod(0o644)
    (seen,) = observe(root, [(PATH, None)], contents=True, now_ns=NOW)
    assert isinstance(seen, Present)
    return Placed(of, seen.entry, seen.stamp, of.siblings[0].dot)


def no_ignoring(directory: int, wanted: bool) -> None:
    """As where nothing is watched."""


def placing(root: Root, of: Record, source: bytes | None = None) -> Done:
    (done,) = place_batch(root, no_ignoring, [Job(plan(of, "newest", derived=False), source)], [], Choice(), NOW)
    return done


@pytest.fixture
def synced(root: Root, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Inodes that were synced one by one."""
    inodes: set[int] = set()
    real = root.kernel.sync_file

    def sync_file(fd: int) -> None:
        inodes.add(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(root.kernel, "sync_file", sync_file, raising=False)
    return inodes


def test_a_file_that_was_found_as_it_had_been_heard_is_synced(root: Root, tree: Path, synced: set[int]) -> None:
    """Somebody copied it here and never synced it; from now on it counts as placed."""
    of = version(live(B, 1, mine(b"found")))
    done = placing(root, Record(PATH, of, found(root, tree, b"found", of), unplaced=True))
    assert done.job.target.step is Step.NOTHING
    assert isinstance(done.outcome, Put)
    assert (tree / "a").stat().st_ino in synced


def test_a_file_that_is_placed_is_synced_with_its_directory(root: Root, tree: Path, synced: set[int]) -> None:
    done = placing(root, Record(PATH, version(live(B, 1, mine(b"new"))), None, unplaced=True), b"new")
    assert isinstance(done.outcome, Put)
    assert {(tree / "a").stat().st_ino, tree.stat().st_ino} <= synced


def test_what_only_gets_another_version_must_still_stand_as_it_was_placed(root: Root, tree: Path) -> None:
    """Else a user's change would count as made after he saw the losers."""
    old = version(live(B, 1, mine(b"old")))
    placed = found(root, tree, b"old", old)
    both = version(live(B, 1, mine(b"old")), dead(C, 1))
    of = Record(PATH, both, placed, unplaced=True)
    assert isinstance(placing(root, of).outcome, Put)
    (tree / "a").write_bytes(b"users")
    outcome: Any = placing(root, of).outcome
    assert isinstance(outcome, NotPut)
    assert outcome.refusal is Refusal.CHANGED
    with open(tree / "a", "ab"):
        outcome = placing(root, of).outcome
        assert isinstance(outcome, NotPut)
    (tree / "a").unlink()
    outcome = placing(root, of).outcome
    assert isinstance(outcome, NotPut)
    assert outcome.refusal is Refusal.CHANGED


def test_what_was_deleted_elsewhere_and_found_here_is_removed_into_the_vault(root: Root, tree: Path) -> None:
    gone = version(dead(B, 2, mine(b"old")))
    placed = found(root, tree, b"old", gone)
    done = placing(root, Record(PATH, gone, placed, unplaced=True))
    assert done.job.target.step is Step.REMOVE
    assert isinstance(done.outcome, Put)
    assert not (tree / "a").exists()
    kept = tree / ".everynode" / "vault" / done.outcome.vaulted.decode()
    assert kept.read_bytes() == b"old"


def test_a_move_that_is_taken_back_leaves_the_times_of_both_directories(root: Root, tree: Path) -> None:
    for name in ("from", "to"):
        (tree / name).mkdir()
    (tree / "from" / "a").write_bytes(b"content")
    (tree / "to" / "a").write_bytes(b"users")
    for name in ("from", "to"):
        os.utime(tree / name, ns=(5, 5))
    old, new = RelPath(b"from/a"), RelPath(b"to/a")
    (seen,) = observe(root, [(old, None)], contents=True, now_ns=NOW)
    assert isinstance(seen, Present)
    target = Target(
        Record(new, version(live(B, 1, seen.entry)), None), CONTENT, seen.entry, (B, live(B, 1).sequence), ()
    )
    choice = Choice(directory_times={RelPath(b"from"): 5, RelPath(b"to"): 5})
    job = Job(target, MovedFrom(old, seen.stamp, seen.entry))
    (done,) = place_batch(root, no_ignoring, [job], [], choice, NOW)
    assert isinstance(done.outcome, NotPut) and (tree / "from" / "a").read_bytes() == b"content"
    assert {name: (tree / name).stat().st_mtime_ns for name in ("from", "to")} == {"from": 5, "to": 5}


def test_the_time_of_a_directory_that_could_not_be_set_is_work_still(
    root: Root, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "stood").mkdir()
    (stood,) = observe(root, [(RelPath(b"stood"), None)], contents=False, now_ns=NOW)
    assert isinstance(stood, Present)
    index = Index(":memory:", NODE_A, os.urandom)
    of = version(live(B, 1, stood.entry))
    put(index, record(of, placed(of), path=b"stood"))
    made, within = RelPath(b"made"), RelPath(b"stood/f")
    for path, entry in ((made, directory(mtime=5, uid=os.getuid())), (within, mine(b""))):
        put(index, record(version(live(B, 2, entry)), None, path=path))
    choice = choose(index, "newest", Excluder([]), 0, frozenset(), {})
    jobs = [Job(target, b"") for target in choice.targets]

    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(attributes, "_set_and_look", fail)
        done = place_batch(root, no_ignoring, jobs, [], choice, NOW)
    committed = commit(index, done, [], NOW, choice.times_set)
    assert (tree / "made").is_dir() and (tree / "stood" / "f").exists()
    assert [failed.path for failed in committed.failed] == [made] and committed.rechecked
    assert {again.path for again in index.unplaced(0, 10)} == {made, b"stood"}
    choice = choose(index, "newest", Excluder([]), 0, frozenset(), {})
    done = place_batch(root, no_ignoring, [Job(target) for target in choice.targets], [], choice, NOW)
    commit(index, done, [], NOW, choice.times_set)
    assert not index.unplaced(0, 10)
    assert (tree / "made").stat().st_mtime_ns == 5
    assert (tree / "stood").stat().st_mtime_ns == stood.entry.mtime_ns


def test_a_directory_that_is_to_go_and_is_kept_by_a_change_in_that_moment_gets_its_time_back(
    root: Root, tree: Path
) -> None:
    """What is removed in it moves its time, and nothing is recorded that it could get back: it was deleted."""
    (tree / "d").mkdir()
    (tree / "d" / "a").write_bytes(b"content")
    os.utime(tree / "d", ns=(5, 5))
    path, within = RelPath(b"d"), RelPath(b"d/a")
    stood, inside = observe(root, [(path, None), (within, None)], contents=True, now_ns=NOW)
    assert isinstance(stood, Present) and isinstance(inside, Present)
    index = Index(":memory:", NODE_A, os.urandom)
    for name, seen in ((path, stood), (within, inside)):
        was = version(live(B, 1, seen.entry))
        put(
            index,
            Record(
                name,
                version(dead(B, 2, seen.entry)),
                Placed(was, seen.entry, seen.stamp, (B, was.siblings[0].sequence)),
                True,
            ),
        )
    claimed = frozenset({path})
    choice = choose(index, "newest", Excluder([]), 0, claimed, {})
    done = place_batch(root, no_ignoring, [Job(target) for target in choice.targets], [], choice, NOW)
    assert not (tree / "d" / "a").exists() and (tree / "d").stat().st_mtime_ns != 5
    kept = version(live(A, 1, stood.entry), B=2)
    put(index, Record(path, kept, Placed(kept, stood.entry, stood.stamp, kept.siblings[0].dot)))
    commit(index, done, [], NOW, choice.times_set)
    choice = choose(index, "newest", Excluder([]), 0, frozenset(), {})
    done = place_batch(root, no_ignoring, [Job(target) for target in choice.targets], [], choice, NOW)
    commit(index, done, [], NOW, choice.times_set)
    assert (tree / "d").stat().st_mtime_ns == 5 and not index.unplaced(0, 10)
