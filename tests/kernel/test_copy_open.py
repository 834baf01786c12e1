"""Open files on filesystems that can copy at one instant: what is changed in the middle is followed, too."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from everynode.kernel.linux import LinuxKernel, ignore_lease_breaks
from everynode.limits import BLOCK_BYTES
from everynode.model.path import RelPath
from everynode.tree.digest import digest_bytes
from everynode.tree.follow import COPY_KIND, Followed, copy_open
from everynode.tree.root import Root

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
    pytest.mark.skipif(shutil.which("mkfs.xfs") is None, reason="no mkfs.xfs here"),
]
DATABASE = RelPath(b"database")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("xfs")
    image, place = folder / "image", folder / "place"
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(300 << 20)  # the smallest that mkfs.xfs makes
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True)
    done = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no xfs can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def root(place: Path) -> Iterator[Root]:
    ignore_lease_breaks()
    shutil.rmtree(place / "tree", ignore_errors=True)
    opened = Root.open(LinuxKernel(), bytes(place / "tree"), bytes(16), create=True)
    yield opened
    opened.close()


def copied(root: Root, before: Followed | None = None) -> Followed:
    followed = copy_open(root, DATABASE, before.now if before is not None else None)
    assert followed is not None
    return followed


def content_of(root: Root, followed: Followed) -> bytes:
    fd = root.kernel.open_at(root.vault_fd, followed.copy, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return os.pread(fd, 1 << 30, 0)
    finally:
        os.close(fd)


def copies(root: Root) -> list[bytes]:
    return [name for name in root.kernel.list_directory(root.vault_fd) if name.startswith(COPY_KIND)]


@pytest.mark.parametrize("size", [7, 5 * BLOCK_BYTES + 3])
def test_a_copy_is_what_stood_there_at_one_instant_whatever_is_written_after(
    root: Root, place: Path, size: int
) -> None:
    content = os.urandom(size)
    with open(place / "tree" / "database", "wb", buffering=0) as writer:
        writer.write(content)
        first = copied(root)
        os.pwrite(writer.fileno(), b"x", 3)
        assert first.seen is not None and first.seen.entry.digest == digest_bytes(content)
        assert content_of(root, first) == content
        second = copied(root, first)
        assert second.seen is not None and second.seen.entry.digest == digest_bytes(content[:3] + b"x" + content[4:])
        assert content_of(root, second) == content[:3] + b"x" + content[4:]
        assert sorted(copies(root)) == sorted((first.copy, second.copy))


def test_what_a_mapping_has_written_is_in_the_copy(root: Root, place: Path) -> None:
    with open(place / "tree" / "database", "w+b", buffering=0) as opened:
        opened.write(bytes(BLOCK_BYTES))
        with mmap.mmap(opened.fileno(), 0) as mapping:
            mapping[9] = 9
            assert content_of(root, copied(root)) == mapping[:]


def test_no_copy_stays_of_what_did_not_change_is_quiet_or_just_begun(root: Root, place: Path) -> None:
    path = place / "tree" / "database"
    with open(path, "wb", buffering=0) as writer:
        begun = copied(root)
        assert begun.seen is None and not begun.copy
        writer.write(b"content")
        first = copied(root, begun)
        again = copied(root, first)
        assert first.seen is not None and again.seen is not None and again.seen.entry == first.seen.entry
        assert not again.copy and copies(root) == [first.copy]
    assert copy_open(root, DATABASE, None) is None
    path.unlink()
    path.mkdir()
    assert copy_open(root, DATABASE, None) is None
    assert copies(root) == [first.copy]
