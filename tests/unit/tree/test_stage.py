"""Staging sets content and attributes aside, verified; what fails leaves nothing behind."""

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everynode.kernel.linux import LinuxKernel
from everynode.model.entry import Entry
from everynode.model.path import RelPath
from everynode.model.problem import Trouble
from everynode.tree.outcome import NotPut, Refusal, Staged
from everynode.tree.root import Root
from everynode.tree.stage import StageItem, stage
from everynode.tree.sync import make_durable
from everynode.tree.vault import has_space
from tests.unit.tree.placing import MTIME_NS, file_entry, link_entry, staged

as_root = pytest.mark.skipif(os.getuid() != 0, reason="gives files to other users")


def path_of(tree: Path, name: bytes) -> str:
    return os.path.join(tree, ".everynode", "vault", os.fsdecode(name))


def not_staged(root: Root, entry: Entry, content: bytes | None) -> NotPut:
    outcome = stage(root, [StageItem(RelPath(b"the/path"), entry, content)])[0]
    assert isinstance(outcome, NotPut), outcome
    assert "the/path" in outcome.detail
    return outcome


def test_a_file_is_staged_with_content_mode_and_nanosecond_mtime(root: Root, tree: Path) -> None:
    for mode in (0o644, 0o600, 0o000, 0o777, 0o4755, 0o2711, 0o1777):
        entry = file_entry(b"content", mode=mode)
        new = staged(root, entry, b"content")
        there = os.stat(path_of(tree, new.name))
        assert (stat.S_IMODE(there.st_mode), there.st_mtime_ns, there.st_ino) == (mode, MTIME_NS, new.inode)
        assert new.entry == entry and new.denied == ""


def test_a_group_writable_mode_survives_any_umask(root: Root, tree: Path) -> None:
    before = os.umask(0o077)
    try:
        new = staged(root, file_entry(b"", mode=0o666), b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path_of(tree, new.name)).st_mode) == 0o666


@as_root
def test_setuid_survives_a_change_of_owner(root: Root, tree: Path) -> None:
    new = staged(root, file_entry(b"x", mode=0o6755, uid=1234, gid=4321), b"x")
    there = os.stat(path_of(tree, new.name))
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (1234, 4321, 0o6755)
    assert new.denied == ""


def test_a_symlink_is_staged_with_its_mtime(root: Root, tree: Path) -> None:
    new = staged(root, link_entry(b"../some\xffwhere"))
    there = os.lstat(path_of(tree, new.name))
    assert os.readlink(os.fsencode(path_of(tree, new.name))) == b"../some\xffwhere"
    assert there.st_mtime_ns == MTIME_NS


def test_bytes_that_are_not_those_of_the_digest_are_refused(root: Root) -> None:
    entry = file_entry(b"right")
    for wrong in (b"wrong", b"righ", b"right!", b"", None):
        assert not_staged(root, entry, wrong).trouble is Trouble.NO_CONTENT
    assert os.listdir(root.vault_fd) == []


@pytest.mark.parametrize(
    "change", [{"mode": 0o10000}, {"uid": 2**32 - 1}, {"gid": -1}, {"uid": 2**70}, {"mtime_ns": 2**63}]
)
def test_impossible_attributes_are_a_problem_of_that_path_only(root: Root, change: dict[str, int]) -> None:
    entry = msgspec.structs.replace(file_entry(b"x"), **change)
    items = [StageItem(RelPath(b"bad"), entry, b"x"), StageItem(RelPath(b"good"), file_entry(b"y"), b"y")]
    bad, good = stage(root, items)
    assert isinstance(bad, NotPut) and bad.trouble is Trouble.ATTRIBUTE
    assert isinstance(good, Staged)


@pytest.mark.parametrize("target", [b"", b"a\0b", b"x" * 5000])
def test_impossible_link_targets_are_a_problem(root: Root, target: bytes) -> None:
    assert not_staged(root, link_entry(target), None).trouble is Trouble.NAME
    assert os.listdir(root.vault_fd) == []


def test_an_owner_that_may_not_be_set_is_told_and_the_rest_is_set(root: Root, tree: Path, kernel: Any) -> None:
    kernel.refuse["chown_fd"] = PermissionError(errno.EPERM, "Operation not permitted")
    entry = file_entry(b"x", mode=0o4755, uid=os.getuid() + 1)
    new = staged(root, entry, b"x")
    assert "owner" in new.denied and "Operation not permitted" in new.denied
    assert new.entry == msgspec.structs.replace(entry, uid=os.getuid(), mode=0o755), "setuid for the wrong owner"


def test_a_time_that_may_not_be_set_is_told(root: Root, kernel: Any) -> None:
    kernel.refuse["set_mtime_new"] = PermissionError(errno.EPERM, "Operation not permitted")
    new = staged(root, file_entry(b"x"), b"x")
    assert "mtime" in new.denied
    assert new.entry.mtime_ns != MTIME_NS


def test_an_io_error_leaves_nothing_behind(root: Root, kernel: Any) -> None:
    for call in ("write", "set_mtime_new", "stat_fd"):
        kernel.refuse[call] = OSError(errno.EIO, "Input/output error")
        assert not_staged(root, file_entry(b"x"), b"x").refusal is Refusal.ERROR
        del kernel.refuse[call]
    assert os.listdir(root.vault_fd) == []


def test_few_are_synced_one_by_one_and_many_at_once(root: Root, kernel: Any) -> None:
    names = [(root.vault_fd, staged(root, file_entry(b"x"), b"x").name) for _ in range(20)]
    kernel.calls.clear()
    make_durable(root, [*names[:3], (root.vault_fd, staged(root, link_entry(b"t")).name)])
    assert kernel.calls.count("sync_file") == 4, "three files, and the folder for the symlink"
    kernel.calls.clear()
    make_durable(root, names)
    assert kernel.calls == ["sync_filesystem"]


@pytest.fixture
def small_root(tmp_path: Path) -> Iterator[Root]:
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=30", "tmpfs", path], check=True)
    root = Root.open(LinuxKernel(), bytes(path), bytes(16), create=True)
    yield root
    root.close()
    subprocess.run(["umount", path], check=True)


@pytest.mark.kernel
def test_a_full_disk_stops_only_what_does_not_fit(small_root: Root) -> None:
    large = b"x" * (3 * 1024 * 1024)
    items = [StageItem(RelPath(b"large"), file_entry(large), large), StageItem(RelPath(b"s"), file_entry(b"s"), b"s")]
    assert not has_space(small_root, len(large)) and has_space(small_root, 1)
    full, fits = stage(small_root, items)
    assert isinstance(full, NotPut) and full.trouble is Trouble.NO_SPACE
    assert isinstance(fits, Staged)
    assert os.listdir(small_root.vault_fd) == [os.fsdecode(fits.name)]


@pytest.mark.kernel
def test_a_disk_without_inodes_is_a_full_disk(small_root: Root) -> None:
    outcomes = stage(small_root, [StageItem(RelPath(b"%d" % n), file_entry(b""), b"") for n in range(40)])
    assert {type(outcome) for outcome in outcomes} == {Staged, NotPut}
    assert {outcome.trouble for outcome in outcomes if isinstance(outcome, NotPut)} == {Trouble.NO_SPACE}
    assert not has_space(small_root, 0)
