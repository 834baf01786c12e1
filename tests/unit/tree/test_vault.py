"""What is in the vault comes back as a copy, and leaves only when it is told to."""

import os
from pathlib import Path
from typing import Any

import msgspec

from everynode.model.entry import Kind
from everynode.model.path import RelPath
from everynode.model.problem import Trouble
from everynode.tree.outcome import NotPut, Staged
from everynode.tree.root import Root
from everynode.tree.vault import has_space, leftovers, list_vault, remove, restore_from
from tests.unit.tree.placing import done, file_entry, link_entry, put, replace, staged, vault


def test_a_generation_is_restored_as_a_copy_of_its_own(root: Root, tree: Path) -> None:
    done(put(root, b"f", file_entry(b"old"), b"old"))
    name = done(replace(root, b"f", file_entry(b"new"), b"new")).vaulted
    copy = restore_from(root, name, RelPath(b"f"), file_entry(b"old", mode=0o600))
    assert isinstance(copy, Staged) and copy.denied == ""
    done(replace(root, b"f", copy.entry, staged=copy))
    assert (tree / "f").read_bytes() == b"old"
    with open(tree / "f", "r+b") as file:
        file.write(b"XXX")
    assert vault(tree)[name] == b"old"


def test_a_large_generation_is_restored_whole(root: Root, tree: Path) -> None:
    content = os.urandom(5_000_001)
    new = staged(root, file_entry(content), content)
    copy = restore_from(root, new.name, RelPath(b"f"), file_entry(content))
    assert isinstance(copy, Staged) and copy.name != new.name and vault(tree)[copy.name] == content


def test_what_was_written_to_in_the_vault_is_not_restored_as_what_it_was(root: Root, tree: Path) -> None:
    new = staged(root, file_entry(b"old"), b"old")
    for content in (b"OLD", b"old and more", b"ol", b""):
        (tree / ".everynode" / "vault" / os.fsdecode(new.name)).write_bytes(content)
        outcome = restore_from(root, new.name, RelPath(b"f"), file_entry(b"old"))
        assert isinstance(outcome, NotPut) and outcome.trouble is Trouble.NO_CONTENT
    assert set(vault(tree)) == {new.name}, "a failed restore leaves nothing"


def test_a_generation_that_is_gone_or_impossible_is_said_to_be(root: Root) -> None:
    for entry in (file_entry(b"x"), msgspec.structs.replace(file_entry(b"x"), uid=2**70)):
        outcome = restore_from(root, b"n-nothing", RelPath(b"f"), entry)
        assert isinstance(outcome, NotPut) and outcome.trouble is Trouble.NO_CONTENT


def test_leftovers_are_what_no_catalogue_knows(root: Root) -> None:
    known, link, unknown = (
        staged(root, file_entry(b"a"), b"a"),
        staged(root, link_entry(b"t")),
        staged(root, file_entry(b"b"), b"b"),
    )
    assert {left.name for left in leftovers(root, {known.name, link.name})} == {unknown.name}
    kinds = {vaulted.name: vaulted.kind for vaulted in list_vault(root)}
    assert kinds == {known.name: Kind.FILE, link.name: Kind.SYMLINK, unknown.name: Kind.FILE}


def test_removing_is_idempotent_and_takes_what_a_crash_left(root: Root, tree: Path) -> None:
    new = staged(root, file_entry(b"a"), b"a")
    (tree / ".everynode" / "vault" / "n-directory").mkdir()
    for _ in range(2):
        remove(root, [new.name, b"n-directory"])
        assert os.listdir(root.vault_fd) == []


def test_the_reserve_is_kept_free(root: Root, kernel: Any) -> None:
    class Space:
        bytes_free = 1000
        bytes_total = 10_000
        inodes_free = 5
        read_only = False

    kernel._real.space = lambda _fd: Space
    assert has_space(root, 500) and not has_space(root, 501)
    assert has_space(root, 0, files=5) and not has_space(root, 0, files=6)
