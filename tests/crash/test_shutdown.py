"""The quick power cut: a filesystem that is shut down under a daemon keeps what was flushed, and nothing else."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.namespaces import Namespace
from lab.node import Node
from lab.trees import difference, snapshot, wait_until
from tests.crash.mounts import make_filesystem, mounted, why_not_possible
from tests.crash.warm import Daemon, wait_in_sync
from tests.crash.workload import content

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(why_not_possible()), reason=why_not_possible())]

FS_IOC_SHUTDOWN = 0x8004587D
WITHOUT_LOG_FLUSH = 2


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory, with a short name; gone afterwards."""
    made = Path(tempfile.mkdtemp(prefix="en-", dir="/dev/shm"))
    yield made
    shutil.rmtree(made)


def cut_power(mount: Path) -> None:
    fd = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", WITHOUT_LOG_FLUSH))
    finally:
        os.close(fd)


@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
def test_a_shut_down_filesystem_costs_nothing_that_anybody_has(folder: Path, filesystem: str) -> None:
    image, disk = folder / "image", folder / "a"
    make_filesystem(filesystem, image)
    network = Namespace()
    nodes = [
        Node(name, folder / name / "home", folder / name / "root", "127.0.0.1", 7391 + number, enter=network.enter)
        for number, name in enumerate("ab")
    ]
    one, other = nodes
    after = [Daemon(node.name, node.home, node.root, network.pid) for node in nodes]
    try:
        with mounted(image, disk):
            for node in nodes:
                node.root.mkdir(parents=True)
            one.init()
            one.start()
            other.join(one.invite())
            other.start()
            one.add_group_at_once()
            for number in range(30):
                (one.root / f"kept{number}").write_bytes(content(f"kept{number}", 1, 3_000 * number))
            (other.root / "from the other").write_bytes(content("other", 1, 50_000))
            assert after[0].wait(30.0)["done"] and after[1].wait(30.0)["done"]
            for number in range(30):
                (one.root / f"lost{number}").write_bytes(content(f"lost{number}", 1, 1_000 * number))
            (one.root / "kept7").write_bytes(content("kept7", 2, 9_000))
            (one.root / "kept8").unlink()
            assert wait_until(lambda: difference(snapshot(one.root), snapshot(other.root)) == [], timeout=30.0)
            cut_power(disk)
            one.kill()
        shown = snapshot(other.root)
        with mounted(image, disk):
            left = snapshot(one.root)
            assert left != shown, "the cut took nothing: then this test shows nothing"
            for number in (*range(7), *range(9, 30)):
                assert left[b"kept%d" % number] == shown[b"kept%d" % number], "acknowledged, and not there"
            after[0].boot = "boot after the power cut"
            after[0].start()
            wait_in_sync(after)
            assert difference(snapshot(one.root), snapshot(other.root)) == []
            assert difference(shown, snapshot(other.root)) == []
            after[0].kill()
    finally:
        after[0].kill()
        for node in nodes:
            node.kill()
        network.close()
