"""Daemons die at any moment: restarted, they end with equal trees, and no file was ever seen half."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from tests.cluster.harness import Cluster

CONTENT_BYTES = 40_000  # larger than what rides inline: fetching is cut, too


def whole(content: bytes) -> bool:
    """Every content that the writers write is one byte, repeated: a mixture or a part is seen at once."""
    return len(content) == CONTENT_BYTES and len(set(content)) == 1


class Writer(threading.Thread):
    """Somebody who works on a node's tree, come what may: replaces, makes and deletes whole files."""

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__()
        self._root = root
        self._random = random.Random(seed)
        self._seed = seed
        self._enough = threading.Event()

    def run(self) -> None:
        aside = self._root.with_name(f"aside{self._seed}")
        for number in range(1_000_000):
            path = self._root / f"f{self._random.randrange(60)}"
            if self._random.random() < 0.15:
                path.unlink(missing_ok=True)
            else:
                aside.write_bytes(bytes([number % 256]) * CONTENT_BYTES)
                os.replace(aside, path)
            if self._enough.wait(0.01):
                return

    def stop(self) -> None:
        self._enough.set()
        self.join()


@pytest.mark.parametrize("seed", range(3))
def test_nodes_killed_while_everybody_writes_end_equal(seed: int) -> None:
    dice = random.Random(seed)
    with Cluster(3) as cluster:
        writers = [Writer(node.root, number + 10 * seed) for number, node in enumerate(cluster.nodes)]
        for writer in writers:
            writer.start()
        try:
            for _ in range(8):
                victim = dice.choice(cluster.nodes)
                threading.Event().wait(dice.uniform(0.05, 1.0))
                victim.kill()
                for path in victim.root.glob("f[0-9]*"):
                    assert whole(_read(path)), f"{path} was left half done"
                threading.Event().wait(dice.uniform(0.0, 0.5))
                victim.start()
        finally:
            for writer in writers:
                writer.stop()
        cluster.wait_equal(timeout=90)
        for path in cluster[0].root.glob("f[0-9]*"):
            assert whole(_read(path)), f"{path} is no content that anybody wrote"


def test_all_nodes_killed_at_once_find_together_again() -> None:
    with Cluster(3) as cluster:
        for number in range(300):
            (cluster[number % 3].root / f"f{number}").write_bytes(b"%d" % number * 10_000)
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.start()
        cluster.wait_equal(timeout=90)
        assert len(list(cluster[0].root.glob("f[0-9]*"))) == 300


def test_a_receiver_killed_during_its_first_copy_finishes_it() -> None:
    cluster = Cluster(2, group=False)
    for number in range(3_000):
        folder = cluster[0].root / f"d{number % 30}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_bytes(b"%d" % number * 1_000)
    with cluster:
        cluster[0].add_group()
        for _ in range(3):
            threading.Event().wait(0.2)
            cluster[1].kill()
            cluster[1].start()
        cluster.wait_equal(timeout=90)


def _read(path: Path) -> bytes:
    """The content of a file that may be deleted while we look: then a whole one is as good as any."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return bytes(CONTENT_BYTES)
