"""A block that changes below a real filesystem: found by reading, where neither time nor notice tells of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from everynode.group.announce import Announcer
from everynode.group.capture import Capture
from everynode.group.scrub import Scrubber
from everynode.kernel.linux import LinuxKernel, ignore_lease_breaks
from everynode.model.path import RelPath
from everynode.tree.observe import observe
from everynode.tree.outcome import Present
from everynode.tree.reread import Reading, reread
from everynode.tree.root import Root
from tests.crash.mounts import make_filesystem, mounted, why_not_possible
from tests.unit.core.samples import A, live, placed, record, version
from tests.unit.group.fakes import GROUP, get, new_ground, put

REASON = why_not_possible() or ("" if shutil.which("debugfs") else "not installed: debugfs")
pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(REASON), reason=REASON)]

CONTENT = b"0123456789abcdef" * 100_000


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    image = tmp_path / "image"
    make_filesystem("ext4", image)
    with mounted(image, tmp_path / "mounted"):
        yield image


def flip_below(image: Path, name: str, block: int) -> None:
    """Change a bit of a block of a file on the device: the filesystem does not hear of it."""
    asked = ["debugfs", "-R", f"bmap {name} {block}", str(image)]
    physical = int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    assert physical
    with open(image, "r+b") as device:
        device.seek(physical * os.statvfs(image.with_name("mounted")).f_bsize + 100)
        (byte,) = device.read(1)
        device.seek(-1, os.SEEK_CUR)
        device.write(bytes([byte ^ 4]))
        os.fsync(device.fileno())


def test_a_bit_lost_below_the_filesystem_is_found_and_marked_and_no_time_has_moved(image: Path) -> None:
    ignore_lease_breaks()
    tree = image.with_name("mounted") / "tree"
    root = Root.open(LinuxKernel(), bytes(tree), GROUP, create=True)
    try:
        for name in ("good", "bad"):
            (tree / name).write_bytes(CONTENT)
            os.utime(tree / name, (1, 1))
        os.sync()
        ground = new_ground(root=root)
        for number, name in enumerate((b"bad", b"good"), 1):
            (seen,) = observe(root, [(RelPath(name), None)], contents=False, now_ns=10**19)
            assert isinstance(seen, Present) and seen.stamp.ctime_ns
            of = version(live(A, number, seen.entry))
            put(ground.index, record(of, placed(of, at=seen.stamp), path=name))
        before = os.stat(tree / "bad")
        flip_below(image, "tree/bad", 7)
        assert (tree / "bad").read_bytes() == CONTENT  # memory still has it

        async def scrub() -> None:
            scrubber = Scrubber(ground, Capture(ground, Announcer(ground)))
            assert await scrubber._read(ground.index.below(RelPath(b""), b"", 10), None) == 1

        asyncio.run(scrub())
        after = os.stat(tree / "bad")
        assert (after.st_mtime_ns, after.st_ctime_ns, after.st_ino) == (
            before.st_mtime_ns,
            before.st_ctime_ns,
            before.st_ino,
        )
        bad, good = get(ground.index, b"bad"), get(ground.index, b"good")
        assert bad.placed is not None and bad.placed.damaged and bad.unplaced
        assert good.placed is not None and not good.placed.damaged and not good.unplaced
        assert ground.index.knowledge == {}
        assert [problem.path for problem in ground.problems.all()] == [b"bad"]
    finally:
        root.close()


def test_what_somebody_writes_is_no_damage(image: Path) -> None:
    ignore_lease_breaks()
    tree = image.with_name("mounted") / "tree"
    root = Root.open(LinuxKernel(), bytes(tree), GROUP, create=True)
    try:
        (tree / "f").write_bytes(CONTENT)
        (seen,) = observe(root, [(RelPath(b"f"), None)], contents=False, now_ns=10**19)
        assert isinstance(seen, Present)
        (tree / "f").write_bytes(CONTENT[::-1])
        os.utime(tree / "f", ns=(seen.entry.mtime_ns, seen.entry.mtime_ns))  # as `cp -p` does
        reading = Reading(RelPath(b"f"), seen.stamp, seen.entry)
        assert list(reread(root, [reading])) == []
        assert not reading.sound and reading.damage is None
    finally:
        root.close()
