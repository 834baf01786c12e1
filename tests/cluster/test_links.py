"""Links break: both sides go on, and nothing is lost when they meet again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.trees import wait_until
from tests.cluster.harness import Cluster


def versions_kept(cluster: Cluster, number: int, path: str) -> set[bytes]:
    """The contents of a path that a node still holds: the one shown, and those in its vault."""
    root = cluster[number].root
    vault = {file.read_bytes() for file in (root / ".everynode").rglob("*") if file.is_file()}
    return vault | {(root / path).read_bytes()}


@pytest.mark.parametrize("count", [2, 3])
def test_both_sides_of_a_cut_change_the_same_file_and_both_versions_are_kept_everywhere(count: int) -> None:
    with Cluster(count) as cluster:
        (cluster[0].root / "file").write_bytes(b"before")
        cluster.wait_everywhere("file", b"before")
        cluster.isolate(count - 1)
        (cluster[0].root / "file").write_bytes(b"of the first")
        (cluster[count - 1].root / "file").write_bytes(b"of the last")
        (cluster[0].root / "only-first").write_bytes(b"1")
        (cluster[count - 1].root / "only-last").write_bytes(b"2")
        cluster.heal()
        cluster.wait_everywhere("only-first", b"1", timeout=60)
        cluster.wait_everywhere("only-last", b"2", timeout=60)
        cluster.wait_equal()
        for number in range(count):
            cluster.wait_said(number, "conflicts", text="file")
            assert {b"of the first", b"of the last"} <= versions_kept(cluster, number, "file")
            assert cluster[number].ask("status").returncode == 3


def test_a_conflict_ends_everywhere_when_somebody_writes_the_file_again() -> None:
    with Cluster(2) as cluster:
        cluster.cut(0, 1)
        (cluster[0].root / "file").write_bytes(b"one")
        (cluster[1].root / "file").write_bytes(b"other")
        cluster.heal()
        cluster.wait_said(0, "conflicts", text="file", timeout=60)
        cluster.wait_said(1, "conflicts", text="file")
        (cluster[0].root / "file").write_bytes(b"both thoughts")
        cluster.wait_everywhere("file", b"both thoughts")
        cluster.wait_equal()
        assert all("file" not in node.ask("conflicts").stdout for node in cluster.nodes)


def test_an_edit_beats_a_deletion_on_the_other_side() -> None:
    with Cluster(2) as cluster:
        (cluster[0].root / "file").write_bytes(b"before")
        cluster.wait_everywhere("file", b"before")
        cluster.cut(0, 1)
        (cluster[0].root / "file").unlink()
        (cluster[1].root / "file").write_bytes(b"edited")
        cluster.heal()
        cluster.wait_everywhere("file", b"edited", timeout=60)
        cluster.wait_equal()


def test_a_deleted_file_stays_deleted_after_a_cut() -> None:
    with Cluster(3) as cluster:
        (cluster[0].root / "file").write_bytes(b"before")
        cluster.wait_everywhere("file", b"before")
        cluster.isolate(2)
        (cluster[0].root / "file").unlink()
        cluster.wait_there(1, "file", None)
        (cluster[2].root / "other").write_bytes(b"a sign of life")
        cluster.heal()
        cluster.wait_everywhere("other", b"a sign of life", timeout=60)
        cluster.wait_everywhere("file", None)
        cluster.wait_equal()


def test_two_nodes_that_cannot_reach_each_other_are_kept_alike_by_the_third() -> None:
    with Cluster(3) as cluster:
        cluster.cut(0, 1)
        (cluster[0].root / "from-a").write_bytes(b"a" * 200_000)
        (cluster[1].root / "from-b").write_bytes(b"b")
        cluster.wait_there(1, "from-a", b"a" * 200_000, timeout=60)
        cluster.wait_there(0, "from-b", b"b", timeout=60)
        cluster.wait_equal()


def test_what_a_dead_node_changed_is_told_by_who_heard_it() -> None:
    with Cluster(3) as cluster:
        cluster.isolate(2)
        (cluster[0].root / "last-words").write_bytes(b"of a")
        cluster.wait_there(1, "last-words", b"of a")
        cluster[0].kill()
        cluster.heal()
        cluster.wait_there(2, "last-words", b"of a", timeout=60)
        cluster.wait_equal([1, 2])


def test_an_unreachable_node_is_said_to_be_so() -> None:
    with Cluster(2) as cluster:
        cluster[1].kill()
        assert wait_until(lambda: cluster[0].ask("status").returncode == 4, timeout=60, every=0.2)
        assert cluster[1].name in cluster[0].ask("status").stdout


def test_every_answer_can_be_had_as_json() -> None:
    with Cluster(2) as cluster:
        for command in ("status", "members", "conflicts"):
            assert isinstance(json.loads(cluster[0].ask("--json", command).stdout), dict | list)


def test_nothing_of_the_reserved_folder_travels() -> None:
    with Cluster(2) as cluster:
        (cluster[0].root / ".everynode/secret").write_bytes(b"never to leave")
        (cluster[0].root / "later").write_bytes(b"a later change")
        cluster.wait_everywhere("later", b"a later change")
        found = [file for file in Path(cluster[1].root).rglob("*") if file.is_file()]
        assert all(file.read_bytes() != b"never to leave" for file in found)
