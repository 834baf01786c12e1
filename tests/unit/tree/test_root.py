"""A missing, foreign, emptied or replaced root halts the group; nothing of it is ever read as deletion."""

import errno
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from everynode.errors import GroupHalted
from everynode.kernel.linux import LinuxKernel
from everynode.model.path import RelPath
from everynode.tree.outcome import Absent, Unlookable
from everynode.tree.root import Root

GROUP = bytes(range(16))


def open_root(path: Path, *, create: bool = False, group: bytes = GROUP) -> Root:
    return Root.open(LinuxKernel(), bytes(path), group, create=create)


def test_a_new_root_is_made_with_its_parents_and_a_private_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    open_root(path, create=True).close()
    folder = (path / ".everynode").stat()
    assert stat.S_IMODE(folder.st_mode) == 0o700
    assert f"group = {GROUP.hex()}" in (path / ".everynode" / "marker").read_text()
    open_root(path).close()


def test_what_stands_in_a_root_that_is_given_to_a_group_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    open_root(tmp_path, create=True).close()
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_marker_that_a_nearly_full_disk_takes_in_parts_is_whole(tmp_path: Path) -> None:
    class Slow(LinuxKernel):
        def write(self, fd: int, data: bytes) -> int:
            return super().write(fd, data[:7])

    kernel = Slow()
    Root.open(kernel, bytes(tmp_path), GROUP, create=True).close()
    Root.open(kernel, bytes(tmp_path), GROUP, create=False).close()


def test_a_missing_root_halts(tmp_path: Path) -> None:
    with pytest.raises(GroupHalted, match="mount or restore it"):
        open_root(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_an_emptied_root_halts(tmp_path: Path) -> None:
    with pytest.raises(GroupHalted, match="nothing was taken as deleted"):
        open_root(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [True, False])
def test_a_foreign_marker_halts_even_for_a_new_group(tmp_path: Path, create: bool) -> None:
    open_root(tmp_path, create=True).close()
    with pytest.raises(GroupHalted, match="belongs to another group"):
        open_root(tmp_path, create=create, group=bytes(16))


def test_a_marker_of_a_later_format_halts(tmp_path: Path) -> None:
    open_root(tmp_path, create=True).close()
    marker = tmp_path / ".everynode" / "marker"
    marker.write_text(marker.read_text().replace("format = 1", "format = 2"))
    with pytest.raises(GroupHalted, match="format 2"):
        open_root(tmp_path)


def test_check_notices_that_the_marker_went(tmp_path: Path) -> None:
    root = open_root(tmp_path, create=True)
    root.check()
    (tmp_path / ".everynode" / "marker").unlink()
    with pytest.raises(GroupHalted, match="folder with our marker"):
        root.check()
    root.close()


def test_check_notices_another_directory_at_the_path(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    root = open_root(path, create=True)
    path.rename(tmp_path / "moved")
    with pytest.raises(GroupHalted):
        root.check()
    subprocess.run(["cp", "-a", tmp_path / "moved", path], check=True)
    with pytest.raises(GroupHalted, match="another directory stands"):
        root.check()
    root.close()


@pytest.mark.kernel
def test_check_notices_a_mount_over_the_root(tmp_path: Path) -> None:
    root = open_root(tmp_path, create=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
    try:
        with pytest.raises(GroupHalted, match="another directory stands"):
            root.check()
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    root.check()
    root.close()


@pytest.mark.kernel
def test_a_root_that_is_read_only_halts_until_it_is_writable_again(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
    try:
        root = open_root(tmp_path, create=True)
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        with pytest.raises(GroupHalted, match="mounted read-only"):
            root.check()
        for create in (False, True):
            with pytest.raises(GroupHalted, match="mounted read-only"):
                open_root(tmp_path, create=create)
        subprocess.run(["mount", "-o", "remount,rw", tmp_path], check=True)
        root.check()
        root.close()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_vault_names_are_never_given_twice(tmp_path: Path) -> None:
    first, second = open_root(tmp_path, create=True), open_root(tmp_path)
    names = [root.new_name(b"n") for root in (first, second) for _ in range(100)]
    assert len(set(names)) == 200
    first.close()
    second.close()


def test_directories_deeper_than_path_max_are_reached(root: Root, tree: Path) -> None:
    name = b"n" * 250
    path = RelPath(b"/".join([name] * 30))
    fd = os.dup(root.fd)
    for _ in range(30):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    with root.batch() as reach:
        assert os.fstat(reach.directory(path)).st_ino == os.fstat(fd).st_ino
    os.close(fd)
    subprocess.run(["rm", "-rf", tree / os.fsdecode(name)], check=True)


def test_a_batch_keeps_few_directories_open(root: Root, tree: Path) -> None:
    for number in range(200):
        (tree / f"d{number}").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    with root.batch() as reach:
        for number in range(200):
            reach.directory(RelPath(b"d%d" % number))
        assert len(os.listdir("/proc/self/fd")) - before == 64


def test_a_batch_tells_a_replaced_directory_from_the_one_it_opened(root: Root, tree: Path) -> None:
    (tree / "d").mkdir()
    with root.batch() as reach:
        reach.directory(RelPath(b"d"))
        assert reach.still_there(RelPath(b"d"))
        (tree / "d").rename(tree / "elsewhere")
        assert not reach.still_there(RelPath(b"d"))
        (tree / "d").mkdir()
        assert not reach.still_there(RelPath(b"d"))


@pytest.mark.parametrize("kind", ["missing", "file", "symlink"])
def test_below_what_is_no_directory_all_is_proved_absent(root: Root, tree: Path, kind: str) -> None:
    (tree / "a").mkdir()
    (tree / "a" / "real").mkdir()
    if kind == "file":
        (tree / "a" / "x").write_bytes(b"")
    elif kind == "symlink":
        (tree / "a" / "x").symlink_to("real")
    with root.batch() as reach:
        with pytest.raises(OSError) as caught:
            reach.directory(RelPath(b"a/x/y"))
        assert reach.why_unreachable(RelPath(b"a/x/y"), caught.value) == Absent()


def test_an_error_while_the_chain_is_proved_proves_nothing(root: Root, kernel: Any) -> None:
    with root.batch() as reach:
        for number in (errno.EACCES, errno.EIO, errno.EXDEV):
            kernel.refuse["open_beneath"] = OSError(number, os.strerror(number))
            why = reach.why_unreachable(RelPath(b"a/b"), OSError(errno.ENOENT, "No such file or directory"))
            assert isinstance(why, Unlookable)


def test_an_error_on_the_way_proves_nothing(root: Root, tree: Path) -> None:
    with root.batch() as reach:
        for number in (13, 5, 18, 24):
            why = reach.why_unreachable(RelPath(b"a"), OSError(number, os.strerror(number)))
            assert isinstance(why, Unlookable)
