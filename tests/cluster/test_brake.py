"""Somebody removes a whole tree on one node: the others keep it, say so, and do what a person decides."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lab.node import Node
from lab.trees import Seen, wait_until
from tests.cluster.harness import Cluster

FILES = 2000
TIMEOUT = 120.0


def test_a_removed_tree_stays_on_the_others_until_it_is_released() -> None:
    with Cluster(3) as cluster:
        a, b, c = cluster.nodes
        _fill(cluster)
        c.stop()
        shutil.rmtree(a.root / "site")
        said = cluster.wait_said(1, "status", text="HELD", timeout=TIMEOUT)
        assert said.startswith("HELD in tree: 2,000 files removed or emptied by a: `everynode release tree`")
        assert wait_until(lambda: _count(b) == FILES, timeout=30), f"{_count(b)} files; {b.ask('problems').stdout}"
        assert "2,000 files in site" in cluster.wait_said(1, "problems", text="held")
        assert b.ask("problems").returncode == 1
        assert any(event["what"] == "held" for event in _events(b))
        cluster.wait_said(0, "status", text="HELD in tree by b: 2,000", timeout=TIMEOUT)

        c.start()
        cluster.wait_said(2, "status", text="HELD", timeout=TIMEOUT)
        assert _count(c) == FILES
        assert a.ask("status").returncode == b.ask("status").returncode == 1

        # What else happens goes on meanwhile, and a restart changes nothing.
        (a.root / "beside").write_bytes(b"beside")
        cluster.wait_everywhere("beside", b"beside")
        b.kill()
        b.start()
        cluster.wait_said(1, "status", text="HELD", timeout=TIMEOUT)
        assert _count(b) == FILES

        # The author holds nothing; it may decide all the same.
        b.stop()
        assert "released 2,000 files" in a.cli("release", "tree")
        assert wait_until(lambda: _count(c) == 0, timeout=TIMEOUT)
        b.start()
        assert wait_until(lambda: _count(b) == 0, timeout=TIMEOUT)
        cluster.wait_equal()
        _wait_in_sync(cluster)
        assert "nothing is held" in b.cli("release", "tree")


def test_a_removed_tree_comes_back_everywhere_when_that_is_discarded() -> None:
    with Cluster(3) as cluster:
        a, b, c = cluster.nodes
        _fill(cluster)
        before = cluster.tree(1)
        shutil.rmtree(a.root / "site")
        cluster.wait_said(1, "status", text="HELD", timeout=TIMEOUT)
        cluster.wait_said(2, "status", text="HELD", timeout=TIMEOUT)
        c.stop()
        assert "2,000 files come back" in b.cli("discard", "tree", "--by", "a")
        assert wait_until(lambda: _count(a) == FILES, timeout=TIMEOUT)
        c.start()
        assert wait_until(lambda: "HELD" not in c.ask("status").stdout, timeout=TIMEOUT)
        cluster.wait_equal(timeout=TIMEOUT)
        assert _files(cluster.tree(0)) == _files(before)
        _wait_in_sync(cluster)


def test_files_that_are_emptied_are_held_too_and_come_back() -> None:
    with Cluster(2) as cluster:
        a, b = cluster.nodes
        _fill(cluster)
        before = cluster.tree(1)
        for path in _paths(a):
            os.truncate(path, 0)
        cluster.wait_said(1, "status", text="HELD", timeout=TIMEOUT)
        # The first few were emptied here before there was anything to hold; the vault has them.
        assert sum(1 for path in _paths(b) if path.stat().st_size) > FILES - 200
        b.cli("discard", "tree")
        assert wait_until(lambda: _files(cluster.tree(0)) == _files(before), timeout=TIMEOUT)
        cluster.wait_equal()


def test_a_tree_that_is_moved_is_not_held() -> None:
    with Cluster(2) as cluster:
        a, b = cluster.nodes
        _fill(cluster)
        (a.root / "site").rename(a.root / "moved")
        assert wait_until(lambda: _count(b, "moved") == FILES and _count(b) == 0, timeout=TIMEOUT)
        cluster.wait_equal()
        assert not any(event["what"] == "held" for event in _events(b))


def test_a_brake_that_is_set_off_lets_everything_go() -> None:
    with Cluster(2) as cluster:
        a, b = cluster.nodes
        _fill(cluster)
        shutil.rmtree(a.root / "site")
        cluster.wait_said(1, "status", text="HELD", timeout=TIMEOUT)
        text = a.cli("config", "show").replace("brake_files = 1000", "brake_files = 0")
        path = a.home.with_name("cluster.toml")
        path.write_text(text)
        assert "brake_files 1000 -> 0" in a.cli("config", "apply", str(path))
        assert wait_until(lambda: _count(b) == 0, timeout=TIMEOUT)
        cluster.wait_equal()


def _fill(cluster: Cluster) -> None:
    site = cluster[0].root / "site"
    for folder in range(20):
        (site / f"d{folder}" / "empty").mkdir(parents=True)
        for number in range(FILES // 20):
            (site / f"d{folder}" / f"f{number}").write_bytes(b"%d %d" % (folder, number))
    cluster.wait_equal(timeout=TIMEOUT)


def _paths(node: Node, name: str = "site") -> list[Path]:
    return [Path(folder, file) for folder, _, files in os.walk(node.root / name) for file in files]


def _count(node: Node, name: str = "site") -> int:
    return len(_paths(node, name))


def _files(tree: Mapping[bytes, Seen]) -> dict[bytes, Seen]:
    return {path: seen for path, seen in tree.items() if seen.kind == "file"}


def _wait_in_sync(cluster: Cluster) -> None:
    for node in cluster.nodes:
        assert wait_until(partial(_in_sync, node), timeout=30, every=0.2), f"{node.name}: {node.ask('status').stdout}"


def _in_sync(node: Node) -> bool:
    return node.ask("status").returncode == 0


def _events(node: Node) -> list[dict[str, Any]]:
    return [json.loads(line) for line in node.cli("--json", "log", "-n", "10000").splitlines()]
