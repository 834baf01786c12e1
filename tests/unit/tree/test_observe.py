"""Looking is exact: what stands there whole, or a reason; an error is never absence."""

import errno
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from everynode.limits import BLOCK_BYTES, INLINE_BYTES_MAX, TICK_NS
from everynode.model.entry import Entry, Kind, Stamp
from everynode.model.path import RelPath
from everynode.model.problem import Trouble
from everynode.tree.digest import verify_list
from everynode.tree.observe import observe, observe_vaulted
from everynode.tree.outcome import Absent, Busy, Observation, Present, Unchanged, Unlookable
from everynode.tree.root import Root

LATER_NS = 3600 * 1_000_000_000


def look(root: Root, path: bytes, stamp: Stamp | None = None, *, contents: bool = True) -> Observation:
    return observe(root, [(RelPath(path), stamp)], contents=contents, now_ns=time.time_ns() + LATER_NS)[0]


def present(root: Root, path: bytes) -> Present:
    seen = look(root, path)
    assert isinstance(seen, Present), seen
    return seen


def test_a_file_is_seen_with_attributes_digest_and_content(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"hello")
    os.chmod(tree / "f", 0o4751)
    os.utime(tree / "f", ns=(0, 1_234_567_890_123_456_789))
    stat = (tree / "f").stat()
    seen = present(root, b"f")
    digest = blake3(b"hello").digest()
    assert seen.entry == Entry(Kind.FILE, 0o4751, stat.st_uid, stat.st_gid, 1_234_567_890_123_456_789, 5, digest)
    assert seen.stamp == Stamp(stat.st_ino, stat.st_ctime_ns, 1_234_567_890_123_456_789, 5)
    assert seen.content == b"hello"
    assert seen.links == 1


def test_a_known_stamp_is_unchanged_and_nothing_is_opened(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"hello")
    stamp = present(root, b"f").stamp
    kernel.calls.clear()
    assert look(root, b"f", stamp) == Unchanged()
    assert kernel.calls == ["stat_at"]


def test_a_file_that_a_walk_has_just_seen_is_read_without_asking_again_how_it_stands(
    root: Root, tree: Path, kernel: Any
) -> None:
    (tree / "f").write_bytes(b"hello")
    expected = present(root, b"f")
    f = RelPath(b"f")
    kernel.calls.clear()
    later = time.time_ns() + LATER_NS
    assert observe(root, [(f, None)], contents=True, now_ns=later, walked={f: expected.stamp}) == [expected]
    assert "stat_at" not in kernel.calls


@pytest.mark.parametrize("act", ["write", "replace", "remove", "directory", "symlink"])
def test_a_file_that_changed_since_a_walk_saw_it_is_looked_at_anew(root: Root, tree: Path, act: str) -> None:
    (tree / "f").write_bytes(b"hello")
    f = RelPath(b"f")
    walked = {f: present(root, b"f").stamp}
    if act == "write":
        (tree / "f").write_bytes(b"HELLO")
    else:
        (tree / "f").unlink()
    match act:
        case "replace":
            (tree / "f").write_bytes(b"hello")
        case "directory":
            (tree / "f").mkdir()
        case "symlink":
            (tree / "f").symlink_to("elsewhere")
    later = time.time_ns() + LATER_NS
    (seen,) = observe(root, [(f, None)], contents=True, now_ns=later, walked=walked)
    assert seen == look(root, b"f")
    assert isinstance(seen, Absent if act == "remove" else Present)


def test_a_stamp_younger_than_a_tick_is_never_trusted(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"hello")
    ctime_ns = (tree / "f").stat().st_ctime_ns
    young, old = (
        observe(root, [(RelPath(b"f"), None)], contents=False, now_ns=ctime_ns + age)[0]
        for age in (TICK_NS, TICK_NS + 1)
    )
    assert isinstance(young, Present) and isinstance(old, Present)
    assert young.stamp.ctime_ns == 0 and old.stamp.ctime_ns == ctime_ns
    assert isinstance(look(root, b"f", young.stamp), Present)
    assert look(root, b"f", old.stamp) == Unchanged()


def test_content_comes_along_up_to_the_inline_limit_and_only_when_asked(root: Root, tree: Path) -> None:
    (tree / "small").write_bytes(b"s" * INLINE_BYTES_MAX)
    (tree / "large").write_bytes(b"l" * (INLINE_BYTES_MAX + 1))
    assert present(root, b"small").content == b"s" * INLINE_BYTES_MAX
    assert present(root, b"large").content is None
    asked_not = look(root, b"small", contents=False)
    assert isinstance(asked_not, Present) and asked_not.content is None


def test_a_file_of_several_blocks_comes_with_its_list(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(os.urandom(3 * BLOCK_BYTES + 17))
    seen = present(root, b"f")
    assert seen.blocks is not None and len(seen.blocks) == 4 * 32
    assert verify_list(seen.entry.digest, seen.entry.size, seen.blocks)


def test_directories_and_symlinks_are_seen_as_such(root: Root, tree: Path) -> None:
    (tree / "d").mkdir(mode=0o750)
    (tree / "l").symlink_to("/etc/passwd")
    assert present(root, b"d").entry.kind is Kind.DIRECTORY
    link = present(root, b"l").entry
    assert (link.kind, link.digest, link.size) == (Kind.SYMLINK, b"/etc/passwd", 0)


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_other_kinds_are_unsupported(root: Root, tree: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    if kind == "fifo":
        os.mkfifo("x")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("x")
    seen = look(root, b"x")
    assert isinstance(seen, Unlookable) and seen.trouble is Trouble.UNSUPPORTED


def test_absence_is_said_only_when_proved(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "file").write_bytes(b"")
    (tree / "link").symlink_to(tree)
    for path in (b"nothing", b"no/such/directory", b"file/below", b"link/file"):
        assert look(root, path) == Absent(), path
    (tree / "d").mkdir()
    for number in (errno.EACCES, errno.EIO, errno.EXDEV, errno.ESTALE):
        kernel.refuse["stat_at"] = OSError(number, os.strerror(number))
        assert isinstance(look(root, b"d/nothing"), Unlookable)
    del kernel.refuse["stat_at"]
    for number in (errno.EACCES, errno.EIO, errno.EXDEV, errno.ESTALE, errno.ELOOP):
        kernel.refuse["open_beneath"] = OSError(number, os.strerror(number))
        assert isinstance(look(root, b"d/nothing"), Unlookable)


def test_a_file_that_may_not_be_read_is_unreadable_and_says_so(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"x")
    kernel.refuse["open_at"] = PermissionError(errno.EACCES, "Permission denied")
    seen = look(root, b"f")
    assert (
        isinstance(seen, Unlookable) and seen.trouble is Trouble.UNREADABLE and "f cannot be looked at" in seen.detail
    )


def test_a_name_missing_in_a_directory_that_was_replaced_is_looked_for_again(
    root: Root, tree: Path, kernel: Any
) -> None:
    (tree / "d").mkdir()
    (tree / "d" / "a").write_bytes(b"")

    def swap(*_: object) -> None:
        (tree / "d").rename(tree / "gone")
        (tree / "d").mkdir()
        (tree / "d" / "b").write_bytes(b"new")

    kernel.before["stat_at"] = swap
    seen = observe(root, [(RelPath(b"d/b"), None)], contents=True, now_ns=0)[0]
    assert isinstance(seen, Present) and seen.content == b"new"


def test_a_file_with_a_writer_is_busy(root: Root, tree: Path) -> None:
    for size in (5, BLOCK_BYTES + 1):
        with open(tree / "f", "wb") as writer:
            writer.write(b"x" * size)
            writer.flush()
            seen = look(root, b"f")
            assert isinstance(seen, Busy) and seen.size == size
        assert isinstance(look(root, b"f"), Present)


def test_a_file_that_changes_while_read_is_read_again(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"old")
    kernel.after["read"] = lambda *_: (tree / "f").write_bytes(b"new")
    assert present(root, b"f").content == b"new"


def test_a_file_that_is_replaced_while_read_is_read_again(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"old")
    (tree / "g").write_bytes(b"new")
    kernel.after["read"] = lambda *_: (tree / "g").rename(tree / "f")
    assert present(root, b"f").content == b"new"


def test_a_file_that_never_stops_changing_is_busy(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"0")
    changes = 0

    def change(*_: object) -> None:
        nonlocal changes
        changes += 1
        (tree / "f").write_bytes(b"x" * changes)
        kernel.after["read"] = change

    kernel.after["read"] = change
    assert isinstance(look(root, b"f"), Busy)
    assert changes == 5


def test_a_file_that_shrinks_while_hashed_is_looked_at_again(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"x" * (2 * BLOCK_BYTES))
    kernel.before["pread"] = lambda *_: (tree / "f").write_bytes(b"short")
    assert present(root, b"f").content == b"short"


def test_a_symlink_that_takes_the_place_of_a_file_is_not_followed(root: Root, tree: Path, kernel: Any) -> None:
    (tree / "f").write_bytes(b"x")

    def swap(*_: object) -> None:
        (tree / "f").unlink()
        (tree / "f").symlink_to("/etc/passwd")

    kernel.after["stat_at"] = swap
    assert present(root, b"f").entry.digest == b"/etc/passwd"


def test_strange_and_long_names_are_seen(root: Root, tree: Path) -> None:
    for name in (b"\xff\xfe", b"new\nline", b" ", b"-rf", b"n" * 255, "日本".encode()):
        with open(os.path.join(bytes(tree), name), "wb") as file:
            file.write(name)
        assert present(root, name).content == name


@pytest.mark.parametrize("mtime_ns", [0, 1, -1, -2_000_000_000_000_000_001, 4_102_444_800_999_999_999])
def test_unusual_times_are_seen_exactly(root: Root, tree: Path, mtime_ns: int) -> None:
    (tree / "f").write_bytes(b"")
    os.utime(tree / "f", ns=(0, mtime_ns))
    assert present(root, b"f").entry.mtime_ns == (tree / "f").stat().st_mtime_ns


def test_times_beyond_64_bits_are_cut_to_what_an_index_can_hold(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"")
    os.utime(tree / "f", (0, 10**10))
    if (tree / "f").stat().st_mtime < 10**10:
        pytest.skip("this filesystem has no such times")
    seen = present(root, b"f")
    assert seen.entry.mtime_ns == 2**63 - 1
    assert look(root, b"f", seen.stamp) == Unchanged()


def test_hard_links_are_counted(root: Root, tree: Path) -> None:
    (tree / "f").write_bytes(b"x")
    os.link(tree / "f", tree / "g")
    assert present(root, b"f").links == 2


def test_vaulted_files_are_looked_at_by_name(root: Root, tree: Path) -> None:
    (tree / ".everynode" / "vault" / "n-1").write_bytes(b"old")
    seen, gone = observe_vaulted(root, [b"n-1", b"n-2"], now_ns=0)
    assert isinstance(seen, Present) and seen.entry.digest == blake3(b"old").digest()
    assert gone == Absent()


@pytest.mark.kernel
def test_another_filesystem_below_the_root_is_unreachable_never_absent(root: Root, tree: Path) -> None:
    (tree / "m").mkdir()
    (tree / "b").mkdir()
    (tree / "src").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tree / "m"], check=True)
    subprocess.run(["mount", "--bind", tree / "src", tree / "b"], check=True)
    try:
        for path in (b"m", b"m/f", b"m/d/f", b"b", b"b/f"):
            seen = look(root, path)
            assert isinstance(seen, Unlookable) and "another filesystem" in seen.detail, path
    finally:
        subprocess.run(["umount", tree / "m", tree / "b"], check=True)
