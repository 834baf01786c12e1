"""Placing is one step per path, never over what somebody else wrote, and the old content survives."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everynode.model.entry import Stamp
from everynode.model.path import RelPath
from everynode.model.problem import Trouble
from everynode.tree.attributes import set_directory_times
from everynode.tree.observe import observe
from everynode.tree.outcome import Refusal, Unchanged
from everynode.tree.place import MovedFrom, PlaceItem, place
from everynode.tree.root import Root
from everynode.tree.sync import sync_paths
from tests.unit.tree.placing import (
    MTIME_NS,
    any_stamp,
    directory_entry,
    done,
    file_entry,
    link_entry,
    put,
    refused,
    replace,
    seen,
    staged,
    vault,
)


def test_a_new_file_stands_there_with_a_stamp_that_a_look_knows(root: Root, tree: Path) -> None:
    placed = done(put(root, b"f", file_entry(b"new"), b"new"))
    assert (tree / "f").read_bytes() == b"new"
    assert placed.entry == file_entry(b"new") and placed.vaulted == b"" and not placed.swapped_other
    assert observe(root, [(RelPath(b"f"), placed.stamp)], contents=False, now_ns=0) == [Unchanged()]
    assert vault(tree) == {}


def test_a_new_name_never_replaces_what_nobody_knew_of(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"theirs")
    (tree / "d").mkdir()
    for path in (b"f", b"d"):
        assert refused(put(root, path, file_entry(b"new"), b"new")).refusal is Refusal.CHANGED
    assert (tree / "f").read_bytes() == b"theirs"
    assert (tree / "d").is_dir()


def test_a_replaced_file_is_vaulted_under_the_staged_name(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"old")
    placed = done(replace(root, b"f", file_entry(b"new"), b"new"))
    assert (tree / "f").read_bytes() == b"new"
    assert vault(tree) == {placed.vaulted: b"old"}
    assert not placed.swapped_other


def test_a_replaced_file_that_is_not_to_be_kept_is_gone(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"old")
    placed = done(replace(root, b"f", file_entry(b"new"), b"new", keep=False))
    assert placed.vaulted == b"" and vault(tree) == {}


def test_the_final_name_always_shows_a_whole_content(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"old")
    shown: set[bytes] = set()
    kernel.around = lambda: shown.add((tree / "f").read_bytes())
    done(replace(root, b"f", file_entry(b"new"), b"new"))
    assert shown == {b"old", b"new"}


@pytest.mark.parametrize("how", ["content", "touched", "replaced", "gone", "directory", "symlink", "mode"])
def test_what_was_changed_before_is_not_replaced(root: Root, tree: Path, how: str) -> None:
    (tree / "f").write_bytes(b"old")
    old = seen(root, b"f")
    if how == "content":
        (tree / "f").write_bytes(b"mine, unsynced")
    elif how == "touched":
        os.utime(tree / "f", ns=(0, 5))
    elif how == "mode":
        (tree / "f").chmod(0o600)
    else:
        (tree / "f").unlink()
    if how == "replaced":
        (tree / "f").write_bytes(b"old")
    elif how == "directory":
        (tree / "f").mkdir()
    elif how == "symlink":
        (tree / "f").symlink_to("x")
    for entry, content in ((file_entry(b"new"), b"new"), (None, None)):
        if how == "gone" and entry is None:
            continue
        outcome = put(root, b"f", entry, content, expected=old.stamp, expected_entry=old.entry)
        assert refused(outcome).refusal is Refusal.CHANGED
    assert b"old" not in vault(tree).values() and b"mine, unsynced" not in vault(tree).values()


def test_a_stamp_without_ctime_is_believed_only_after_reading(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"old")
    old = seen(root, b"f")
    young = Stamp(old.stamp.inode, 0, old.stamp.mtime_ns, old.stamp.size)
    with open(tree / "f", "r+b") as file:
        file.write(b"OLD")
    os.utime(tree / "f", ns=(0, old.stamp.mtime_ns))
    outcome = put(root, b"f", file_entry(b"new"), b"new", expected=young, expected_entry=old.entry)
    assert refused(outcome).refusal is Refusal.CHANGED
    with open(tree / "f", "r+b") as file:
        file.write(b"old")
    os.utime(tree / "f", ns=(0, old.stamp.mtime_ns))
    done(put(root, b"f", file_entry(b"new"), b"new", expected=young, expected_entry=old.entry))


def test_what_was_written_in_the_last_moment_is_vaulted_and_told(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"old")

    def write(*_: object) -> None:
        (tree / "f").write_bytes(b"last moment")

    kernel.before["rename_at"] = write
    placed = done(replace(root, b"f", file_entry(b"new"), b"new", keep=False))
    assert placed.swapped_other and vault(tree) == {placed.vaulted: b"last moment"}
    assert (tree / "f").read_bytes() == b"new"


def test_what_was_renamed_there_in_the_last_moment_is_vaulted_and_told(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"old")
    (tree / "g").write_bytes(b"last moment")
    kernel.before["rename_at"] = lambda *_: (tree / "g").rename(tree / "f")
    placed = done(replace(root, b"f", file_entry(b"new"), b"new", keep=False))
    assert placed.swapped_other and vault(tree) == {placed.vaulted: b"last moment"}


def test_who_opened_it_for_writing_in_the_last_moment_is_told(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"old")
    writers = []
    kernel.before["rename_at"] = lambda *_: writers.append((tree / "f").open("ab"))
    placed = done(replace(root, b"f", file_entry(b"new"), b"new", keep=False))
    writers[0].write(b" and more")
    writers[0].close()
    assert placed.swapped_other and vault(tree) == {placed.vaulted: b"old and more"}


def test_what_was_written_right_after_placing_is_found_by_the_next_look(root: Root, tree: Path, kernel: Any) -> None:
    kernel.after["rename_at"] = lambda *_: (tree / "f").write_bytes(b"theirs")
    placed = done(put(root, b"f", file_entry(b"new"), b"new"))
    assert placed.stamp is not None and placed.stamp.ctime_ns == 0
    assert seen(root, b"f").content == b"theirs"


def test_a_directory_that_appears_in_the_last_moment_is_never_vaulted(root: Root, tree: Path, kernel: Any) -> None:
    def appear(*_: object) -> None:
        (tree / "f").unlink()
        (tree / "f").mkdir()
        (tree / "f" / "inside").write_bytes(b"precious")

    for entry, content in ((file_entry(b"new"), b"new"), (None, None)):
        (tree / "f").write_bytes(b"old")
        kernel.before["rename_at"] = appear
        assert refused(replace(root, b"f", entry, content)).refusal is Refusal.CHANGED
        assert (tree / "f" / "inside").read_bytes() == b"precious"
        (tree / "f" / "inside").unlink()
        (tree / "f").rmdir()


def test_a_file_with_a_writer_is_neither_replaced_nor_removed_nor_touched(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"old")
    old = seen(root, b"f")
    with open(tree / "f", "r+b"):
        for entry, content in ((file_entry(b"new"), b"new"), (None, None), (file_entry(b"old", mode=0o600), None)):
            outcome = put(root, b"f", entry, content, expected=old.stamp, expected_entry=old.entry)
            assert refused(outcome).refusal is Refusal.WRITER
            assert refused(outcome).trouble is Trouble.WRITER
    assert (tree / "f").read_bytes() == b"old" and b"old" not in vault(tree).values()
    assert stat.S_IMODE((tree / "f").stat().st_mode) == stat.S_IMODE(old.entry.mode)


def test_a_removed_file_is_vaulted(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"old")
    removed = done(replace(root, b"f", None))
    assert not (tree / "f").exists() and vault(tree) == {removed.vaulted: b"old"}
    assert removed.stamp is None and removed.entry is None


def test_removing_what_is_gone_already_is_done(root: Root, tree: Path) -> None:
    for path in (b"f", b"no/such/directory/f"):
        removed = done(put(root, path, None, expected=any_stamp(), expected_entry=file_entry(b"x")))
        assert removed.stamp is None and removed.vaulted == b""


def test_a_removal_that_moved_another_version_tells_it(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"old")
    kernel.before["rename_at"] = lambda *_: (tree / "f").write_bytes(b"last moment")
    removed = done(replace(root, b"f", None, keep=False))
    assert removed.swapped_other and vault(tree) == {removed.vaulted: b"last moment"}


def test_a_removal_where_nothing_was_placed_spares_what_is_new(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"new here")
    assert refused(put(root, b"f", None)).refusal is Refusal.CHANGED
    assert (tree / "f").read_bytes() == b"new here"


def test_symlinks_are_placed_replaced_and_removed(root: Root, tree: Path) -> None:
    done(put(root, b"l", link_entry(b"one")))
    assert os.readlink(tree / "l") == "one"
    done(replace(root, b"l", link_entry(b"two")))
    assert os.readlink(tree / "l") == "two"
    done(replace(root, b"l", file_entry(b"file now"), b"file now"))
    assert (tree / "l").read_bytes() == b"file now"
    done(replace(root, b"l", link_entry(b"three")))
    assert os.readlink(tree / "l") == "three"
    done(replace(root, b"l", None))
    assert not os.path.lexists(tree / "l")


def test_times_of_a_symlink_change_without_a_generation(root: Root, tree: Path) -> None:
    done(put(root, b"l", link_entry(b"one")))
    placed = done(replace(root, b"l", link_entry(b"one", mtime_ns=77), staged=None))
    assert os.lstat(tree / "l").st_mtime_ns == 77
    assert placed.vaulted == b"" and os.listdir(root.vault_fd) == []


def test_directories_are_made_with_their_attributes_in_one_step(root: Root, tree: Path) -> None:
    made = done(put(root, b"d", directory_entry(0o2750)))
    assert stat.S_IMODE((tree / "d").stat().st_mode) == 0o2750
    assert made.entry is not None and made.entry.mode == 0o2750
    assert os.listdir(root.vault_fd) == []


def test_a_directory_that_somebody_made_alike_is_taken_and_one_made_otherwise_is_not(root: Root, tree: Path) -> None:
    (tree / "d").mkdir()
    (tree / "d").chmod(0o755)
    done(put(root, b"d", directory_entry(0o755)))
    assert refused(put(root, b"d", directory_entry(0o700))).refusal is Refusal.CHANGED
    assert stat.S_IMODE((tree / "d").stat().st_mode) == 0o755
    assert os.listdir(root.vault_fd) == []


def test_modes_of_directories_change_in_place_unless_somebody_was_faster(root: Root, tree: Path) -> None:
    done(put(root, b"d", directory_entry(0o755)))
    done(replace(root, b"d", directory_entry(0o700)))
    assert stat.S_IMODE((tree / "d").stat().st_mode) == 0o700
    old = seen(root, b"d")
    (tree / "d").chmod(0o711)
    outcome = put(root, b"d", directory_entry(0o750), expected=old.stamp, expected_entry=old.entry)
    assert refused(outcome).refusal is Refusal.CHANGED


def test_only_empty_directories_are_removed(root: Root, tree: Path) -> None:
    (tree / "d").mkdir()
    (tree / "d" / "unknown").write_bytes(b"precious")
    assert refused(replace(root, b"d", None)).refusal is Refusal.CHANGED
    assert refused(replace(root, b"d", file_entry(b"x"), b"x")).refusal is Refusal.CHANGED
    assert (tree / "d" / "unknown").read_bytes() == b"precious"
    (tree / "d" / "unknown").unlink()
    done(replace(root, b"d", None))
    assert not (tree / "d").exists()


def test_a_directory_takes_the_place_of_a_file_which_is_vaulted(root: Root, tree: Path) -> None:
    (tree / "x").write_bytes(b"old")
    made = done(replace(root, b"x", directory_entry()))
    assert (tree / "x").is_dir() and vault(tree) == {made.vaulted: b"old"}


def test_a_file_takes_the_place_of_an_empty_directory(root: Root, tree: Path) -> None:
    (tree / "x").mkdir()
    done(replace(root, b"x", file_entry(b"file"), b"file"))
    assert (tree / "x").read_bytes() == b"file"


def test_a_directory_removed_and_made_again_in_one_batch_takes_new_files(root: Root, tree: Path) -> None:
    (tree / "d").mkdir()
    (tree / "d" / "f").write_bytes(b"old")
    file, directory = seen(root, b"d/f"), seen(root, b"d")
    outcomes = place(
        root,
        [
            PlaceItem(RelPath(b"d/f"), None, None, file.stamp, file.entry),
            PlaceItem(RelPath(b"d"), None, None, directory.stamp, directory.entry),
            PlaceItem(RelPath(b"d"), directory_entry()),
            PlaceItem(RelPath(b"d/f"), file_entry(b"new"), staged(root, file_entry(b"new"), b"new")),
        ],
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["Put"] * 4
    assert (tree / "d" / "f").read_bytes() == b"new"


def test_attributes_alone_change_in_place(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"same")
    inode = (tree / "f").stat().st_ino
    placed = done(replace(root, b"f", file_entry(b"same", mode=0o4711)))
    there = (tree / "f").stat()
    assert (there.st_ino, stat.S_IMODE(there.st_mode), there.st_mtime_ns) == (inode, 0o4711, MTIME_NS)
    assert placed.entry == file_entry(b"same", mode=0o4711)
    assert placed.stamp is not None and placed.stamp.ctime_ns == 0, "setting an mtime may have hidden a write"
    only_mode = done(replace(root, b"f", file_entry(b"same", mode=0o600)))
    assert observe(root, [(RelPath(b"f"), only_mode.stamp)], contents=False, now_ns=0) == [Unchanged()]


def test_attributes_of_one_name_of_a_file_leave_its_other_names_alone(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"same")
    (tree / "f").chmod(0o644)
    os.link(tree / "f", tree / "other")
    placed = done(replace(root, b"f", file_entry(b"same", mode=0o600)))
    assert stat.S_IMODE((tree / "f").stat().st_mode) == 0o600
    assert stat.S_IMODE((tree / "other").stat().st_mode) == 0o644
    assert (tree / "f").read_bytes() == (tree / "other").read_bytes() == b"same"
    assert placed.entry == file_entry(b"same", mode=0o600) and not placed.swapped_other
    assert observe(root, [(RelPath(b"f"), placed.stamp)], contents=False, now_ns=0) == [Unchanged()]
    assert os.listdir(root.vault_fd) == []


def test_what_is_written_to_a_file_with_other_names_while_it_is_copied_is_kept(
    root: Root, tree: Path, kernel: Any
) -> None:
    (tree / "f").write_bytes(b"same")
    os.link(tree / "f", tree / "other")
    kernel.before["copy_range"] = lambda *_: (tree / "other").write_bytes(b"diff")
    assert refused(replace(root, b"f", file_entry(b"same", mode=0o600))).refusal is Refusal.CHANGED
    assert (tree / "f").read_bytes() == b"diff"
    assert os.listdir(root.vault_fd) == []


def test_a_moved_file_with_other_names_gets_no_new_attributes(root: Root, tree: Path) -> None:
    (tree / "old").write_bytes(b"content")
    (tree / "old").chmod(0o644)
    os.link(tree / "old", tree / "other")
    there = seen(root, b"old")
    moved = MovedFrom(RelPath(b"old"), there.stamp, there.entry)
    outcome = place(root, [PlaceItem(RelPath(b"new"), file_entry(b"content", mode=0o600), moved_from=moved)])[0]
    assert refused(outcome).trouble is Trouble.NO_CONTENT
    assert stat.S_IMODE((tree / "other").stat().st_mode) == 0o644
    assert not (tree / "new").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="gives files to other users")
def test_setuid_survives_a_change_of_owner_in_place(root: Root, tree: Path) -> None:
    done(put(root, b"f", file_entry(b"x", mode=0o6755), b"x"))
    done(replace(root, b"f", file_entry(b"x", mode=0o6755, uid=1234)))
    there = (tree / "f").stat()
    assert (there.st_uid, stat.S_IMODE(there.st_mode)) == (1234, 0o6755)


def test_a_write_while_attributes_are_set_is_noticed(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"same")
    os.utime(tree / "f", ns=(0, MTIME_NS))
    kernel.before["chmod_fd"] = lambda *_: (tree / "f").write_bytes(b"diff")
    assert refused(replace(root, b"f", file_entry(b"same", mode=0o600))).refusal is Refusal.CHANGED


def test_a_moved_file_keeps_its_inode_and_sends_nothing(root: Root, tree: Path) -> None:
    (tree / "sub").mkdir()
    (tree / "a").write_bytes(b"moved")
    old = seen(root, b"a")
    source = MovedFrom(RelPath(b"a"), old.stamp, old.entry)
    placed = done(put(root, b"sub/b", old.entry, moved_from=source))
    assert not (tree / "a").exists() and (tree / "sub" / "b").read_bytes() == b"moved"
    assert placed.stamp is not None and placed.stamp.inode == old.stamp.inode
    assert observe(root, [(RelPath(b"sub/b"), placed.stamp)], contents=False, now_ns=0) == [Unchanged()]


def test_a_moved_file_gets_new_attributes_aside(root: Root, tree: Path) -> None:
    (tree / "a").write_bytes(b"moved")
    old = seen(root, b"a")
    entry = file_entry(b"moved", mode=0o600)
    placed = done(put(root, b"b", entry, moved_from=MovedFrom(RelPath(b"a"), old.stamp, old.entry)))
    assert not (tree / "a").exists() and placed.entry == entry
    assert seen(root, b"b").entry == entry
    assert os.listdir(root.vault_fd) == []


def test_a_moved_file_replaces_what_stood_at_the_new_name(root: Root, tree: Path) -> None:
    (tree / "a").write_bytes(b"moved")
    (tree / "b").write_bytes(b"replaced")
    old = seen(root, b"a")
    placed = done(replace(root, b"b", old.entry, moved_from=MovedFrom(RelPath(b"a"), old.stamp, old.entry)))
    assert (tree / "b").read_bytes() == b"moved" and not (tree / "a").exists()
    assert vault(tree) == {placed.vaulted: b"replaced"}


def test_a_moved_file_that_changed_at_its_old_name_stays_there(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "a").write_bytes(b"moved")
    old = seen(root, b"a")
    source = MovedFrom(RelPath(b"a"), old.stamp, old.entry)
    entry = file_entry(b"moved", mode=0o600)
    kernel.before["rename_at"] = lambda *_: (tree / "a").write_bytes(b"mine now")
    assert refused(put(root, b"b", entry, moved_from=source)).trouble is Trouble.NO_CONTENT
    assert refused(put(root, b"b", entry, moved_from=source)).trouble is Trouble.NO_CONTENT
    assert (tree / "a").read_bytes() == b"mine now" and not (tree / "b").exists()


def test_a_moved_file_that_is_gone_is_to_be_fetched(root: Root) -> None:
    for path in (b"a", b"no/a"):
        source = MovedFrom(RelPath(path), any_stamp(), file_entry(b"x"))
        assert refused(put(root, b"b", file_entry(b"x"), moved_from=source)).trouble is Trouble.NO_CONTENT


def test_a_generation_never_shares_its_inode_with_the_tree(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"old")
    os.link(tree / "f", tree / "twin")
    placed = done(replace(root, b"f", file_entry(b"new"), b"new"))
    with open(tree / "twin", "r+b") as file:
        file.write(b"XXX")
    assert vault(tree) == {placed.vaulted: b"old"}


def test_a_bad_path_stops_only_itself(root: Root, tree: Path) -> None:
    (tree / "file").write_bytes(b"")
    paths = [b"missing/f", b"file/f", b"good", b"n" * 256]
    items = [PlaceItem(RelPath(p), file_entry(p), staged(root, file_entry(p), p)) for p in paths]
    below_missing, below_file, good, long = place(root, items)
    assert refused(below_missing).refusal is Refusal.CHANGED
    assert refused(below_file).refusal is Refusal.CHANGED
    done(good)
    assert refused(long).trouble is Trouble.NAME


def test_names_of_255_bytes_and_strange_ones_are_placed_and_replaced(root: Root, tree: Path) -> None:
    for name in (b"n" * 255, b"\xff\xfe", b"new\nline", b" "):
        done(put(root, name, file_entry(b"1"), b"1"))
        done(replace(root, name, file_entry(b"2"), b"2"))
        assert seen(root, name).content == b"2"


def test_a_path_of_more_than_4096_bytes_is_placed(root: Root, tree: Path) -> None:
    name = b"n" * 250
    path = name
    for _ in range(20):
        done(put(root, path, directory_entry()))
        path += b"/" + name
    done(put(root, path, file_entry(b"deep"), b"deep"))
    assert len(path) > 5000 and seen(root, path).content == b"deep"
    sync_paths(root, [RelPath(path), RelPath(path.rpartition(b"/")[0])])
    subprocess.run(["rm", "-rf", tree / os.fsdecode(name)], check=True)


def test_a_symlink_in_the_way_is_never_followed(root: Root, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tree / "d").symlink_to(tmp_path / "outside")
    assert refused(put(root, b"d/f", file_entry(b"x"), b"x")).refusal is Refusal.CHANGED
    assert list((tmp_path / "outside").iterdir()) == []


def test_times_of_directories_are_set_at_the_end(root: Root, tree: Path) -> None:
    for path in (b"d", b"d/e"):
        done(put(root, path, directory_entry()))
    done(put(root, b"d/e/f", file_entry(b"x"), b"x"))
    outcomes = set_directory_times(root, [(RelPath(b"d"), 5), (RelPath(b"d/e"), 7), (RelPath(b"gone"), 9)])
    assert (tree / "d").stat().st_mtime_ns == 5 and (tree / "d" / "e").stat().st_mtime_ns == 7
    deepest = done(outcomes[0])
    assert deepest.path == b"d/e" and deepest.entry is not None and deepest.entry.mtime_ns == 7
    assert refused(next(o for o in outcomes if o.path == b"gone")).refusal is Refusal.CHANGED


def test_who_makes_something_in_a_directory_just_when_its_time_was_set_does_not_leave_his(
    root: Root, tree: Path, kernel: Any
) -> None:
    """Else what stands there would count as all that can be had, and nobody would look again."""
    (tree / "d").mkdir()
    meanwhile = [tree / "d" / "users"]
    kernel.before["stat_fd"] = lambda *_: meanwhile and meanwhile.pop().mkdir()
    (outcome,) = set_directory_times(root, [(RelPath(b"d"), 5)])
    assert not meanwhile and (tree / "d" / "users").exists()
    entry = done(outcome).entry
    assert (tree / "d").stat().st_mtime_ns == 5 and entry is not None and entry.mtime_ns == 5


def test_sync_covers_directories_and_files_and_passes_over_what_is_gone(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "d").mkdir()
    (tree / "f").write_bytes(b"x")
    kernel.calls.clear()
    sync_paths(root, [RelPath(p) for p in (b"", b"d", b"f", b"gone", b"f/below")])
    assert kernel.calls.count("sync_file") == 4, "root, d, f and the vault folder"
    kernel.calls.clear()
    sync_paths(root, [RelPath(b"%d" % n) for n in range(16)])
    assert kernel.calls == ["sync_filesystem"]


def test_the_hot_path_of_a_new_file_is_one_rename_and_one_stat(root: Root, tree: Path, kernel: Any) -> None:
    new = staged(root, file_entry(b"x"), b"x")
    kernel.calls.clear()
    place(root, [PlaceItem(RelPath(b"f"), new.entry, new)])
    assert kernel.calls == ["rename_at", "stat_at"]


def test_a_refused_owner_is_remembered_as_not_placed(root: Root, kernel: Any) -> None:
    kernel.refuse["chown_fd"] = PermissionError(errno.EPERM, "Operation not permitted")
    entry = file_entry(b"x", uid=os.getuid() + 1)
    placed = done(put(root, b"f", entry, b"x"))
    assert "Operation not permitted" in placed.denied
    assert placed.entry == msgspec.structs.replace(entry, uid=os.getuid())


@pytest.mark.kernel
def test_without_the_right_to_give_files_away_all_but_the_owner_is_placed(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    path.mkdir()
    os.chown(path, 65534, 65534)
    program = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from everynode.kernel.linux import LinuxKernel
from everynode.model.entry import Entry, Kind
from everynode.tree.digest import digest_bytes
from everynode.tree.place import PlaceItem, place
from everynode.tree.root import Root
from everynode.tree.stage import StageItem, stage
os.chdir({str(path)!r}); fd = os.open(".", os.O_RDONLY)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
root = Root.open(LinuxKernel(), b"/proc/self/fd/%d" % fd, bytes(16), create=True)
entry = Entry(Kind.FILE, 0o4755, 0, 0, 42, 1, digest_bytes(b"x"))
new = stage(root, [StageItem(b"f", entry, b"x")])[0]
put = place(root, [PlaceItem(b"f", entry, new)])[0]
assert "owner 0:0" in put.denied and "without its owner" in put.denied, put
assert (put.entry.uid, put.entry.gid, put.entry.mode, put.entry.mtime_ns) == (65534, 65534, 0o755, 42), put
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert (path / "f").stat().st_mtime_ns == 42


@pytest.mark.kernel
def test_nothing_is_placed_on_another_filesystem(root: Root, tree: Path) -> None:
    (tree / "m").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tree / "m"], check=True)
    try:
        assert "another filesystem" in refused(put(root, b"m/f", file_entry(b"x"), b"x")).detail
        removal = put(root, b"m/f", None, expected=any_stamp(), expected_entry=file_entry(b"x"))
        assert "another filesystem" in refused(removal).detail
    finally:
        subprocess.run(["umount", tree / "m"], check=True)


def test_what_took_the_place_of_a_file_in_its_last_moment_is_not_moved_along(
    root: Root, tree: Path, kernel: Any
) -> None:
    (tree / "a").write_bytes(b"moved")
    (tree / "new").write_bytes(b"mine now")
    old = seen(root, b"a")
    kernel.before["rename_at"] = lambda *_: os.replace(tree / "new", tree / "a")
    refused(put(root, b"b", old.entry, moved_from=MovedFrom(RelPath(b"a"), old.stamp, old.entry)))
    assert (tree / "a").read_bytes() == b"mine now"
    assert not (tree / "b").exists()


def after_the_second_rename(kernel: Any, act: Callable[[], object]) -> None:
    """The first takes the object aside, the second gives it its new name."""
    kernel.after["rename_at"] = lambda *_: kernel.after.__setitem__("rename_at", lambda *_: act())


def test_what_is_written_to_a_moved_file_at_once_stays_at_its_new_name(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "a").write_bytes(b"moved")
    old = seen(root, b"a")
    after_the_second_rename(kernel, lambda: (tree / "b").write_bytes(b"mine now"))
    moved = done(put(root, b"b", old.entry, moved_from=MovedFrom(RelPath(b"a"), old.stamp, old.entry)))
    assert (tree / "b").read_bytes() == b"mine now"
    assert moved.stamp is not None and not moved.stamp.ctime_ns, "the next look reads it"
    assert not (tree / "a").exists()


def test_what_is_renamed_over_a_moved_file_at_once_stays_at_its_new_name(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "a").write_bytes(b"moved")
    (tree / "new").write_bytes(b"mine now")
    old = seen(root, b"a")
    after_the_second_rename(kernel, lambda: os.replace(tree / "new", tree / "b"))
    moved = done(put(root, b"b", old.entry, moved_from=MovedFrom(RelPath(b"a"), old.stamp, old.entry)))
    assert (tree / "b").read_bytes() == b"mine now"
    assert moved.stamp is not None and not moved.stamp.ctime_ns, "the next look reads it"
    assert not (tree / "a").exists()


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_moved_file_whose_new_name_is_taken_meanwhile_goes_back(
    root: Root, tree: Path, kernel: Any, mode: int
) -> None:
    (tree / "a").write_bytes(b"moved")
    (tree / "a").chmod(0o644)
    old = seen(root, b"a")
    entry = msgspec.structs.replace(old.entry, mode=mode)
    kernel.after["rename_at"] = lambda *_: (tree / "b").write_bytes(b"mine now")
    refused(put(root, b"b", entry, moved_from=MovedFrom(RelPath(b"a"), old.stamp, old.entry)))
    assert (tree / "b").read_bytes() == b"mine now"
    assert seen(root, b"a").entry == old.entry
    assert os.listdir(root.vault_fd) == []


def test_a_file_whose_directory_a_user_moves_away_goes_with_it(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "sub").mkdir()
    (tree / "sub" / "a").write_bytes(b"moved")
    old = seen(root, b"sub/a")
    kernel.before["rename_at"] = lambda *_: os.rename(tree / "sub", tree / "elsewhere")
    refused(put(root, b"b", old.entry, moved_from=MovedFrom(RelPath(b"sub/a"), old.stamp, old.entry)))
    assert (tree / "elsewhere" / "a").read_bytes() == b"moved"
    assert not (tree / "b").exists()


def test_what_was_removed_with_its_directory_right_after_placing_counts_as_placed(
    root: Root, tree: Path, kernel: Any
) -> None:
    """Who removed it saw it; and what it replaced is in the vault, not deleted as if it were the staged object."""
    (tree / "d").mkdir()
    (tree / "d" / "f").write_bytes(b"old")
    kernel.after["rename_at"] = lambda *_: shutil.rmtree(tree / "d")
    placed = done(replace(root, b"d/f", file_entry(b"new"), b"new"))
    assert vault(tree) == {placed.vaulted: b"old"} and not placed.swapped_other


def test_a_removal_whose_directory_vanishes_meanwhile_is_done_and_told(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "d").mkdir()
    (tree / "d" / "f").write_bytes(b"old")
    kernel.after["rename_at"] = lambda *_: (tree / "d").rmdir()
    removed = done(replace(root, b"d/f", None))
    assert vault(tree) == {removed.vaulted: b"old"}


def test_what_was_placed_into_a_directory_that_moved_away_is_taken_back_there(
    root: Root, tree: Path, kernel: Any
) -> None:
    (tree / "d").mkdir()
    (tree / "d" / "f").write_bytes(b"old")
    kernel.before["rename_at"] = lambda *_: (tree / "d").rename(tree / "e")
    refused(replace(root, b"d/f", file_entry(b"new"), b"new"))
    assert (tree / "e" / "f").read_bytes() == b"old" and list(vault(tree).values()) == [b"new"]


def test_what_a_user_made_of_it_there_is_not_taken_back(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "d").mkdir()
    (tree / "d" / "f").write_bytes(b"old")

    def move_and_write(*_: object) -> None:
        (tree / "d").rename(tree / "e")
        (tree / "e" / "f").write_bytes(b"theirs")

    kernel.after["rename_at"] = move_and_write
    placed = done(replace(root, b"d/f", file_entry(b"new"), b"new"))
    assert (tree / "e" / "f").read_bytes() == b"theirs" and vault(tree) == {placed.vaulted: b"old"}


def test_a_moved_file_that_is_taken_from_its_new_name_at_once_was_there(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "a").write_bytes(b"moved")
    old = seen(root, b"a")
    after_the_second_rename(kernel, (tree / "b").unlink)
    placed = done(put(root, b"b", old.entry, moved_from=MovedFrom(RelPath(b"a"), old.stamp, old.entry)))
    assert placed.entry == old.entry and placed.stamp is not None and placed.stamp.ctime_ns == 0
