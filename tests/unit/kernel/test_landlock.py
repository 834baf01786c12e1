"""A confined thread reaches what it was given, and nothing else, by whatever call; other threads are free."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from everynode.kernel.landlock import confine_thread, why_unavailable
from everynode.kernel.linux import LinuxKernel
from everynode.kernel.protocol import RenameFlag

pytestmark = pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "-")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/file").write_bytes(b"inside")
    (tmp_path / "canary").write_bytes(b"outside")
    (tmp_path / "root/way-out").symlink_to(tmp_path)
    return tmp_path / "root"


def confined(root: Path, work: Callable[[], None]) -> None:
    """Run `work` on a thread that is confined to `root`; what it raises comes out."""
    raised: list[BaseException] = []

    def run() -> None:
        fd = os.open(root, os.O_PATH)
        try:
            confine_thread([fd])
            work()
        except BaseException as error:
            raised.append(error)
        finally:
            os.close(fd)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def test_all_that_placing_does_works_inside(root: Path) -> None:
    def work() -> None:
        kernel = LinuxKernel()
        top = kernel.open_root(os.fsencode(root))
        below = kernel.open_beneath(top, b"a/b", os.O_RDONLY | os.O_DIRECTORY)
        fd = kernel.create_at(top, b"new", 0o644)
        kernel.write(fd, b"bytes")
        kernel.truncate(fd, 2)
        kernel.sync_file(fd)
        kernel.chmod_fd(fd, 0o600)
        kernel.close(fd)
        kernel.rename_at(top, b"new", below, b"moved", RenameFlag.NOREPLACE)
        kernel.rename_at(top, b"file", below, b"moved", RenameFlag.EXCHANGE)
        kernel.symlink_at(b"anywhere", below, b"link")
        kernel.mkdir_at(below, b"folder", 0o755)
        kernel.rename_at(below, b"folder", top, b"folder", RenameFlag.NONE)
        kernel.rmdir_at(top, b"folder")
        kernel.unlink_at(below, b"link")
        assert kernel.list_directory(below) == [b"moved"]
        kernel.sync_filesystem(top)
        kernel.close(below)
        kernel.close(top)

    confined(root, work)
    assert (root / "a/b/moved").read_bytes() == b"inside" and (root / "file").read_bytes() == b"by"


OUTSIDE: list[Callable[[Path], object]] = [
    lambda above: (above / "canary").read_bytes(),
    lambda above: (above / "root/way-out/canary").read_bytes(),
    lambda above: (above / "root/../canary").read_bytes(),
    lambda above: (above / "canary").write_bytes(b"evil"),
    lambda above: (above / "new").write_bytes(b"evil"),
    lambda above: (above / "new").mkdir(),
    lambda above: (above / "new").symlink_to("x"),
    lambda above: (above / "canary").unlink(),
    lambda above: os.truncate(above / "canary", 0),
    lambda above: os.rename(above / "canary", above / "root/stolen"),
    lambda above: os.rename(above / "root/file", above / "leaked"),
    lambda above: os.link(above / "canary", above / "root/stolen"),
    lambda above: os.listdir(above),
    lambda above: Path("/etc/passwd").read_bytes(),
    lambda above: Path("/proc/self/environ").read_bytes(),
]


@pytest.mark.parametrize("reach_out", OUTSIDE, ids=range(len(OUTSIDE)))
def test_nothing_outside_can_be_reached(root: Path, reach_out: Callable[[Path], object]) -> None:
    with pytest.raises(OSError, match=r"Permission denied|Invalid cross-device link"):
        confined(root, lambda: [reach_out(root.parent)])  # type: ignore[arg-type,return-value]
    assert (root.parent / "canary").read_bytes() == b"outside"
    assert sorted(os.listdir(root.parent)) == ["canary", "root"]


def test_other_threads_are_as_free_as_before(root: Path) -> None:
    confined(root, lambda: None)
    (root.parent / "canary").write_bytes(b"changed")
    other = threading.Thread(target=(root.parent / "new").mkdir)
    other.start()
    other.join()
    assert (root.parent / "new").is_dir()
