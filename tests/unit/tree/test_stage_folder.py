"""New files are staged in a folder of their own; what replaces something is exchanged from the vault all the same."""

from __future__ import annotations

import os
from pathlib import Path

from everynode.kernel.linux import LinuxKernel
from everynode.model.entry import Entry, Kind
from everynode.model.path import RelPath
from everynode.tree.digest import digest_bytes
from everynode.tree.observe import observe
from everynode.tree.outcome import Present, Put, Staged
from everynode.tree.place import PlaceItem, place
from everynode.tree.root import Root
from everynode.tree.stage import StageItem, stage

PATH = RelPath(b"f")


def opened(tmp_path: Path) -> Root:
    return Root.open(LinuxKernel(), os.fsencode(tmp_path / "root"), b"g" * 16, create=True)


def staged(root: Root, content: bytes, *, fresh: bool) -> tuple[Staged, Entry]:
    entry = Entry(Kind.FILE, 0o644, os.geteuid(), os.getegid(), 10**18, len(content), digest_bytes(content))
    (result,) = stage(root, [StageItem(PATH, entry, content, fresh)])
    assert isinstance(result, Staged)
    return result, entry


def folder(tmp_path: Path, name: str) -> list[str]:
    return os.listdir(tmp_path / "root/.everynode" / name)


def test_a_new_file_never_lies_in_the_vault(tmp_path: Path) -> None:
    root = opened(tmp_path)
    new, entry = staged(root, b"new", fresh=True)
    assert folder(tmp_path, "stage") == [new.name.decode()]
    (put,) = place(root, [PlaceItem(PATH, entry, staged=new)])
    assert isinstance(put, Put)
    assert (tmp_path / "root/f").read_bytes() == b"new"
    assert folder(tmp_path, "stage") == folder(tmp_path, "vault") == []


def test_what_a_staged_new_file_replaces_after_all_is_kept_in_the_vault(tmp_path: Path) -> None:
    root = opened(tmp_path)
    (tmp_path / "root/f").write_bytes(b"old")
    (old,) = observe(root, [(PATH, None)], contents=False, now_ns=2**62)
    assert isinstance(old, Present)
    new, entry = staged(root, b"new", fresh=True)
    (put,) = place(root, [PlaceItem(PATH, entry, staged=new, expected=old.stamp, expected_entry=old.entry)])
    assert isinstance(put, Put)
    assert (tmp_path / "root/f").read_bytes() == b"new"
    assert folder(tmp_path, "stage") == []
    assert (tmp_path / "root/.everynode/vault" / put.vaulted.decode()).read_bytes() == b"old"


def test_what_a_crash_left_half_staged_goes_and_the_vault_stays(tmp_path: Path) -> None:
    root = opened(tmp_path)
    staged(root, b"half done", fresh=True)
    kept, _ = staged(root, b"a generation", fresh=False)
    root.clear_stage()
    assert folder(tmp_path, "stage") == []
    assert folder(tmp_path, "vault") == [kept.name.decode()]
