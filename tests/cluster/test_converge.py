"""Nodes that hear each other become equal: joining, changing on every node, renaming, deleting, catching up."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lab.trees import outline
from tests.cluster.harness import Cluster


def fill(root: Path, *, directories: int = 5, files: int = 20) -> None:
    """A tree with something of each kind that is replicated."""
    for directory in range(directories):
        folder = root / f"d{directory}"
        folder.mkdir(exist_ok=True)
        for file in range(files):
            path = folder / f"f{file}"
            path.write_bytes(os.urandom(file * 997))
            path.chmod((0o644, 0o600, 0o755, 0o440)[file % 4])
            os.chown(path, file % 3 * 1000, file % 2 * 1000)
        (folder / "link").symlink_to(f"../d{directory}/f1")
        (folder / "dangling").symlink_to("nowhere")
        (folder / "empty").touch()
        (folder / "hollow").mkdir(mode=0o700)
    (root / os.fsdecode(b"not \xff utf-8 \n \xc3\xa4")).write_bytes(b"strange name")
    (root / "big").write_bytes(os.urandom(5 << 20))
    (root / "sparse").write_bytes(b"")
    os.truncate(root / "sparse", 3 << 20)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_nodes_that_joined_have_everything_that_was_there_before_them(count: int) -> None:
    cluster = Cluster(count, group=False)
    fill(cluster[0].root)
    with cluster:
        cluster[0].add_group()
        cluster.wait_equal(timeout=90)
        assert len(cluster.tree(count - 1)) > 100


def test_what_stood_at_the_joining_node_is_news_and_not_deleted() -> None:
    cluster = Cluster(2, group=False)
    (cluster[0].root / "of-a").write_bytes(b"a")
    (cluster[1].root / "of-b").write_bytes(b"b")
    with cluster:
        cluster[0].add_group()
        cluster.wait_everywhere("of-a", b"a")
        cluster.wait_everywhere("of-b", b"b")
        cluster.wait_equal()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_change_on_any_node_reaches_all(count: int) -> None:
    with Cluster(count) as cluster:
        for number in range(count):
            (cluster[number].root / f"by-{number}").write_bytes(b"%d" % number)
            (cluster[number].root / "shared").write_bytes(b"last by %d" % number)
            cluster.wait_everywhere("shared", b"last by %d" % number)
        for number in range(count):
            cluster.wait_everywhere(f"by-{number}", b"%d" % number)
        cluster.wait_equal()


def test_renames_and_deletions_on_different_nodes_reach_all() -> None:
    with Cluster(3) as cluster:
        a, b, c = (node.root for node in cluster.nodes)
        fill(a)
        cluster.wait_equal()
        os.rename(b / "d0", b / "renamed")
        os.rename(c / "d1/f1", c / "d2/moved")
        shutil.rmtree(a / "d3")
        (c / "d4/f2").unlink()
        cluster.wait_equal()
        names = outline(a).keys()
        assert {b"renamed/f1", b"d2/moved"} <= names
        assert not {b"d0", b"d1/f1", b"d3", b"d4/f2"} & names


def test_a_path_changes_its_type_and_back() -> None:
    with Cluster(2) as cluster:
        a, b = (node.root for node in cluster.nodes)
        (a / "thing").write_bytes(b"a file")
        cluster.wait_everywhere("thing", b"a file")
        (a / "thing").unlink()
        (a / "thing").mkdir()
        (a / "thing/inside").write_bytes(b"in a directory")
        cluster.wait_everywhere("thing/inside", b"in a directory")
        shutil.rmtree(b / "thing")
        (b / "thing").symlink_to("first")
        cluster.wait_equal()
        assert (a / "thing").is_symlink()


def test_modes_owners_and_times_follow_without_the_content() -> None:
    with Cluster(2) as cluster:
        a, b = (node.root for node in cluster.nodes)
        (a / "file").write_bytes(os.urandom(1 << 20))
        (a / "folder").mkdir()
        cluster.wait_equal()
        inode = (b / "file").stat().st_ino
        (a / "file").chmod(0o4755)
        os.chown(a / "file", 1234, 2345)
        os.chown(a / "folder", 1234, 2345)
        (a / "file").chmod(0o4755)
        os.utime(a / "file", ns=(0, 1_000_000_000_123_456_789))
        os.utime(a / "folder", ns=(0, 1_000_000_000_987_654_321))
        cluster.wait_equal()
        assert (b / "file").stat().st_mtime_ns == 1_000_000_000_123_456_789
        assert (b / "file").stat().st_ino == inode, "an attribute needs no new file"


def test_a_node_that_was_away_during_ten_thousand_changes_catches_up_exactly() -> None:
    with Cluster(3) as cluster:
        cluster[2].stop()
        roots = [cluster[0].root, cluster[1].root]
        for directory in range(50):
            for root in roots:
                (root / f"many{directory}").mkdir(exist_ok=True)
        for number in range(9_000):
            (roots[number % 2] / f"many{number % 50}/f{number}").write_bytes(b"%d" % number)
        cluster.wait_equal([0, 1], timeout=120)
        for number in range(1_000):
            (roots[0] / f"many{number % 50}/f{number}").unlink()
        cluster.wait_equal([0, 1], timeout=120)
        cluster[2].start()
        cluster.wait_equal(timeout=120)
        assert sum(name.startswith(b"many") for name in cluster.tree(2)) == 8_000 + 50


def test_changes_made_while_the_daemon_is_down_are_found_at_its_start() -> None:
    with Cluster(2) as cluster:
        fill(cluster[0].root)
        cluster.wait_equal()
        cluster[1].stop()
        root = cluster[1].root
        (root / "new").write_bytes(b"made while down")
        (root / "d0/f1").write_bytes(b"changed while down")
        (root / "d0/f2").unlink()
        os.rename(root / "d1", root / "d1-renamed")
        cluster[1].start()
        cluster.wait_equal()
        assert (cluster[0].root / "d0/f1").read_bytes() == b"changed while down"
        assert not (cluster[0].root / "d0/f2").exists()
        assert (cluster[0].root / "d1-renamed/f1").exists()
        assert not (cluster[0].root / "d1").exists()


def test_wait_for_all_returns_when_every_node_has_it() -> None:
    with Cluster(3) as cluster:
        path = cluster[0].root / "important"
        path.write_bytes(b"important")
        cluster[0].cli("wait", str(path), "--nodes", "all", "--timeout", "30")
        assert all((node.root / "important").read_bytes() == b"important" for node in cluster.nodes)


def test_wait_for_all_fails_in_time_when_a_node_is_away() -> None:
    with Cluster(2) as cluster:
        cluster[1].stop()
        path = cluster[0].root / "important"
        path.write_bytes(b"important")
        assert cluster[0].ask("wait", str(path), "--nodes", "all", "--timeout", "2").returncode not in (0, 5)


def test_what_is_written_through_one_name_of_a_file_reaches_its_other_names() -> None:
    with Cluster(2) as cluster:
        first = cluster[0].root / "first-name"
        first.write_bytes(b"before")
        os.link(first, cluster[0].root / "other-name")
        cluster.wait_everywhere("other-name", b"before")
        with open(first, "ab") as file:
            file.write(b" and after")
        cluster.wait_everywhere("other-name", b"before and after")
        cluster.wait_equal()


def test_the_time_of_a_directory_follows_when_only_a_name_came_and_went() -> None:
    with Cluster(2) as cluster:
        folder = cluster[0].root / "folder"
        folder.mkdir()
        (folder / "file").write_bytes(b"1")
        cluster.wait_equal()
        (folder / "lock").write_bytes(b"")
        (folder / "lock").unlink()
        cluster.wait_equal(timeout=10)
        (folder / "new").write_bytes(b"2")
        (folder / "new").rename(folder / "file")
        cluster.wait_equal(timeout=10)
