"""What both kernels promise: one suite for the real one and for the simulator's in-memory one.

A subclass gives the fixture `world`: a kernel, the absolute path of an empty directory, and a way to link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from everynode.kernel.protocol import Kernel, RenameFlag

READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


@dataclass
class World:
    kernel: Kernel
    path: bytes
    link: Callable[[bytes, bytes], None]
    """Hard link: (existing, new), both relative to `path`."""

    def __post_init__(self) -> None:
        self.root = self.kernel.open_root(self.path)

    def open(self, path: bytes, flags: int = os.O_RDONLY, mode: int = 0) -> int:
        return self.kernel.open_beneath(self.root, path, flags, mode)

    def write(self, path: bytes, content: bytes, mode: int = 0o644) -> None:
        fd = self.open(path, NEW_FILE, mode)
        assert self.kernel.write(fd, content) == len(content)
        self.kernel.close(fd)

    def read(self, path: bytes) -> bytes:
        fd = self.open(path)
        try:
            return self.kernel.pread(fd, 1 << 20, 0)
        finally:
            self.kernel.close(fd)

    def mkdir(self, name: bytes) -> int:
        self.kernel.mkdir_at(self.root, name, 0o755)
        return self.open(name, READ_DIRECTORY)

    def names(self) -> list[bytes]:
        return sorted(self.kernel.list_directory(self.root))


@contextmanager
def refused(number: int) -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    got = caught.value.errno or 0
    assert got == number, f"{errno.errorcode.get(got)} instead of {errno.errorcode[number]}"


class KernelContract:
    # -- opening ----------------------------------------------------------------------------------

    def test_a_root_is_opened_through_links_and_must_be_a_directory(self, world: World) -> None:
        kernel = world.kernel
        world.mkdir(b"real")
        world.write(b"file", b"")
        kernel.symlink_at(b"real", world.root, b"alias")
        inode = kernel.stat_at(world.root, b"real").st_ino
        assert kernel.stat_fd(kernel.open_root(world.path + b"/alias")).st_ino == inode
        with refused(errno.ENOTDIR):
            kernel.open_root(world.path + b"/file")
        with refused(errno.ENOENT):
            kernel.open_root(world.path + b"/nothing")

    def test_opening_walks_many_components_below_the_directory(self, world: World) -> None:
        deep = world.mkdir(b"a")
        world.kernel.mkdir_at(deep, b"b", 0o755)
        world.write(b"a/b/f", b"content")
        assert world.read(b"a/b/f") == b"content"
        assert world.read(b"a/../a/./b/f") == b"content"
        assert world.kernel.stat_fd(world.open(b".", READ_DIRECTORY)).st_ino == world.kernel.stat_fd(world.root).st_ino

    @pytest.mark.parametrize(
        ("path", "flags", "number"),
        [
            (b"missing", os.O_RDONLY, errno.ENOENT),
            (b"missing/f", os.O_RDONLY, errno.ENOENT),
            (b"missing/f", NEW_FILE, errno.ENOENT),
            (b"file/f", os.O_RDONLY, errno.ENOTDIR),
            (b"file", READ_DIRECTORY, errno.ENOTDIR),
            (b"file/", os.O_RDONLY, errno.ENOTDIR),
            (b"file", NEW_FILE, errno.EEXIST),
            (b"directory", os.O_WRONLY, errno.EISDIR),
            (b"directory", os.O_RDWR, errno.EISDIR),
            (b"directory", NEW_FILE, errno.EEXIST),
            (b"to-file", os.O_RDONLY, errno.ELOOP),
            (b"to-file", NEW_FILE, errno.EEXIST),
            (b"to-directory", READ_DIRECTORY, errno.ELOOP),
            (b"to-directory/f", os.O_RDONLY, errno.ELOOP),
            (b"dangling", os.O_WRONLY | os.O_CREAT, errno.ELOOP),
            (b"outside/f", os.O_RDONLY, errno.ELOOP),
            (b"..", READ_DIRECTORY, errno.EXDEV),
            (b"directory/../../x", os.O_RDONLY, errno.EXDEV),
            (b"/etc/passwd", os.O_RDONLY, errno.EXDEV),
            (b"", os.O_RDONLY, errno.ENOENT),
            (b"n" * 256, os.O_RDONLY, errno.ENAMETOOLONG),
            (b"n" * 256, NEW_FILE, errno.ENAMETOOLONG),
        ],
    )
    def test_opening_says_why_it_cannot(self, world: World, path: bytes, flags: int, number: int) -> None:
        world.write(b"file", b"content")
        directory = world.mkdir(b"directory")
        world.write(b"directory/f", b"")
        for target, name in (
            (b"file", b"to-file"),
            (b"directory", b"to-directory"),
            (b"nothing", b"dangling"),
            (b"/", b"outside"),
        ):
            world.kernel.symlink_at(target, world.root, name)
        with refused(number):
            world.open(path, flags, 0o600 if flags & os.O_CREAT else 0)
        assert world.read(b"file") == b"content"
        assert world.kernel.list_directory(directory) == [b"f"]

    def test_a_created_file_is_new_and_open_for_writing(self, world: World) -> None:
        fd = world.kernel.create_at(world.root, b"f", 0o666)
        assert world.kernel.write(fd, b"new") == 3
        with refused(errno.EBADF):
            world.kernel.pread(fd, 3, 0)
        assert stat.S_IMODE(world.kernel.stat_fd(fd).st_mode) == 0o644
        assert world.read(b"f") == b"new"

    def test_what_has_a_name_is_opened_without_following_it(self, world: World) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW
        world.write(b"f", b"content")
        assert world.kernel.read(world.kernel.open_at(world.root, b"f", flags), 10) == b"content"
        world.kernel.symlink_at(b"f", world.root, b"link")
        with refused(errno.ELOOP):
            world.kernel.open_at(world.root, b"link", flags)
        with refused(errno.ENOENT):
            world.kernel.open_at(world.root, b"missing", flags)

    def test_creating_never_opens_or_follows_what_stands_there(self, world: World) -> None:
        world.write(b"file", b"old")
        world.mkdir(b"directory")
        world.kernel.symlink_at(b"missing", world.root, b"dangling")
        for name in (b"file", b"directory", b"dangling"):
            with refused(errno.EEXIST):
                world.kernel.create_at(world.root, name, 0o600)
        assert world.read(b"file") == b"old"
        assert world.names() == [b"dangling", b"directory", b"file"]
        with refused(errno.ENAMETOOLONG):
            world.kernel.create_at(world.root, b"n" * 256, 0o600)

    def test_a_symlink_itself_can_be_opened_as_a_path_only(self, world: World) -> None:
        world.kernel.symlink_at(b"nothing", world.root, b"link")
        fd = world.open(b"link", os.O_PATH | os.O_NOFOLLOW)
        assert stat.S_ISLNK(world.kernel.stat_fd(fd).st_mode)

    def test_names_have_up_to_255_bytes(self, world: World) -> None:
        world.write(b"n" * 255, b"long")
        assert world.read(b"n" * 255) == b"long"

    def test_a_file_is_no_directory(self, world: World) -> None:
        world.write(b"file", b"")
        fd = world.open(b"file")
        with refused(errno.ENOTDIR):
            world.kernel.open_beneath(fd, b"x", os.O_RDONLY)
        with refused(errno.ENOTDIR):
            world.kernel.stat_at(fd, b"x")
        with refused(errno.ENOTDIR):
            world.kernel.mkdir_at(fd, b"x", 0o755)
        with refused(errno.ENOTDIR):
            world.kernel.list_directory(fd)

    def test_a_closed_descriptor_is_refused(self, world: World) -> None:
        world.write(b"file", b"content")
        fd = world.open(b"file")
        world.kernel.close(fd)
        with refused(errno.EBADF):
            world.kernel.read(fd, 1)
        with refused(errno.EBADF):
            world.kernel.close(fd)

    # -- contents ---------------------------------------------------------------------------------

    def test_reading_and_writing_move_the_offset_and_the_positioned_ones_do_not(self, world: World) -> None:
        kernel = world.kernel
        fd = world.open(b"file", os.O_RDWR | os.O_CREAT, 0o600)
        assert kernel.write(fd, b"hello ") == 6
        assert kernel.write(fd, b"world") == 5
        assert kernel.pwrite(fd, b"J", 0) == 1
        assert kernel.pread(fd, 100, 0) == b"Jello world"
        assert kernel.pread(fd, 100, 6) == b"world"
        assert kernel.pread(fd, 100, 50) == b""
        assert kernel.read(fd, 100) == b""
        assert kernel.pwrite(fd, b"!", 13) == 1
        assert kernel.read(fd, 100) == b"\0\0!"

    def test_appending_writes_at_the_end(self, world: World) -> None:
        world.write(b"file", b"one")
        fd = world.open(b"file", os.O_WRONLY | os.O_APPEND)
        world.kernel.write(fd, b"two")
        assert world.read(b"file") == b"onetwo"

    def test_opening_with_truncation_empties(self, world: World) -> None:
        world.write(b"file", b"content")
        world.open(b"file", os.O_WRONLY | os.O_TRUNC)
        assert world.read(b"file") == b""

    def test_truncating_cuts_or_fills_with_zeros(self, world: World) -> None:
        world.write(b"file", b"content")
        fd = world.open(b"file", os.O_RDWR)
        world.kernel.truncate(fd, 3)
        world.kernel.truncate(fd, 5)
        assert world.read(b"file") == b"con\0\0"
        reader = world.open(b"file")
        with refused(errno.EINVAL):
            world.kernel.truncate(reader, 0)

    def test_access_that_was_not_asked_for_is_refused(self, world: World) -> None:
        world.write(b"file", b"content")
        reader, writer = world.open(b"file"), world.open(b"file", os.O_WRONLY)
        with refused(errno.EBADF):
            world.kernel.write(reader, b"x")
        with refused(errno.EBADF):
            world.kernel.pwrite(reader, b"x", 0)
        with refused(errno.EBADF):
            world.kernel.read(writer, 1)
        with refused(errno.EISDIR):
            world.kernel.read(world.root, 1)

    def test_a_range_is_copied_between_files(self, world: World) -> None:
        world.write(b"source", b"0123456789")
        target = world.open(b"target", os.O_RDWR | os.O_CREAT, 0o600)
        source = world.open(b"source")
        assert world.kernel.copy_range(source, target, 4, 3, 0) == 4
        assert world.kernel.copy_range(source, target, 100, 8, 6) == 2
        assert world.kernel.copy_range(source, target, 100, 10, 8) == 0
        assert world.read(b"target") == b"3456\0\x0089"

    def test_a_clone_is_the_whole_source_or_is_refused(self, world: World) -> None:
        world.write(b"source", bytes(range(256)) * 300)
        target = world.open(b"target", os.O_RDWR | os.O_CREAT, 0o600)
        source = world.open(b"source")
        try:
            world.kernel.clone(source, target)
        except OSError as error:
            assert error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL)
            assert world.read(b"target") == b""
        else:
            assert world.read(b"target") == bytes(range(256)) * 300

    def test_an_unlinked_file_stays_usable_while_open(self, world: World) -> None:
        world.write(b"file", b"content")
        fd = world.open(b"file", os.O_RDWR)
        world.kernel.unlink_at(world.root, b"file")
        world.kernel.pwrite(fd, b"C", 0)
        assert world.kernel.pread(fd, 100, 0) == b"Content"
        assert world.kernel.stat_fd(fd).st_nlink == 0
        assert world.names() == []

    def test_hard_links_share_one_inode(self, world: World) -> None:
        world.write(b"one", b"content")
        world.link(b"one", b"two")
        assert world.kernel.stat_at(world.root, b"one").st_ino == world.kernel.stat_at(world.root, b"two").st_ino
        assert world.kernel.stat_at(world.root, b"one").st_nlink == 2
        world.kernel.pwrite(world.open(b"one", os.O_WRONLY), b"C", 0)
        world.kernel.unlink_at(world.root, b"one")
        assert world.read(b"two") == b"Content"
        assert world.kernel.stat_at(world.root, b"two").st_nlink == 1

    # -- names ------------------------------------------------------------------------------------

    def test_a_directory_lists_its_names_again_and_again(self, world: World) -> None:
        world.write(b"a", b"")
        assert world.names() == [b"a"]
        world.mkdir(b"b")
        world.kernel.symlink_at(b"x", world.root, b"c")
        assert world.names() == [b"a", b"b", b"c"]

    def test_links_keep_their_target(self, world: World) -> None:
        kernel = world.kernel
        kernel.symlink_at(b"../any \xff where", world.root, b"link")
        assert kernel.readlink_at(world.root, b"link") == b"../any \xff where"
        assert stat.S_ISLNK(kernel.stat_at(world.root, b"link").st_mode)
        assert kernel.stat_at(world.root, b"link").st_size == 14
        world.write(b"file", b"")
        with refused(errno.EINVAL):
            kernel.readlink_at(world.root, b"file")
        with refused(errno.ENOENT):
            kernel.readlink_at(world.root, b"nothing")
        with refused(errno.EEXIST):
            kernel.symlink_at(b"x", world.root, b"file")
        with refused(errno.ENOENT):
            kernel.symlink_at(b"", world.root, b"empty")

    def test_making_and_removing_names_says_why_it_cannot(self, world: World) -> None:
        kernel = world.kernel
        world.write(b"file", b"")
        world.mkdir(b"full")
        world.write(b"full/x", b"")
        with refused(errno.EEXIST):
            kernel.mkdir_at(world.root, b"file", 0o755)
        with refused(errno.ENAMETOOLONG):
            kernel.mkdir_at(world.root, b"n" * 256, 0o755)
        with refused(errno.ENOTDIR):
            kernel.rmdir_at(world.root, b"file")
        with refused(errno.ENOTEMPTY):
            kernel.rmdir_at(world.root, b"full")
        with refused(errno.ENOENT):
            kernel.rmdir_at(world.root, b"nothing")
        with refused(errno.EISDIR):
            kernel.unlink_at(world.root, b"full")
        with refused(errno.ENOENT):
            kernel.unlink_at(world.root, b"nothing")
        with refused(errno.ENOENT):
            kernel.stat_at(world.root, b"nothing")

    def test_nothing_new_comes_into_a_removed_directory(self, world: World) -> None:
        gone = world.mkdir(b"gone")
        world.write(b"file", b"")
        world.kernel.rmdir_at(world.root, b"gone")
        assert world.kernel.list_directory(gone) == []
        with refused(errno.ENOENT):
            world.kernel.mkdir_at(gone, b"x", 0o755)
        with refused(errno.ENOENT):
            world.kernel.open_beneath(gone, b"x", NEW_FILE, 0o600)
        with refused(errno.ENOENT):
            world.kernel.symlink_at(b"t", gone, b"x")
        with refused(errno.ENOENT):
            world.kernel.rename_at(world.root, b"file", gone, b"x")
        assert world.names() == [b"file"]

    # -- renames ----------------------------------------------------------------------------------

    def test_renaming_moves_and_replaces(self, world: World) -> None:
        kernel = world.kernel
        directory = world.mkdir(b"d")
        world.write(b"a", b"new")
        world.write(b"d/b", b"old")
        inode = kernel.stat_at(world.root, b"a").st_ino
        kernel.rename_at(world.root, b"a", directory, b"b")
        assert world.read(b"d/b") == b"new"
        assert kernel.stat_at(directory, b"b").st_ino == inode
        assert world.names() == [b"d"]

    def test_renaming_without_replacing_refuses_what_exists(self, world: World) -> None:
        world.write(b"a", b"a")
        world.write(b"b", b"b")
        with refused(errno.EEXIST):
            world.kernel.rename_at(world.root, b"a", world.root, b"b", RenameFlag.NOREPLACE)
        assert (world.read(b"a"), world.read(b"b")) == (b"a", b"b")
        world.kernel.rename_at(world.root, b"a", world.root, b"c", RenameFlag.NOREPLACE)
        assert world.names() == [b"b", b"c"]

    def test_exchanging_swaps_names_of_any_kind(self, world: World) -> None:
        kernel = world.kernel
        directory = world.mkdir(b"d")
        world.write(b"d/inner", b"inner")
        world.write(b"f", b"file")
        kernel.symlink_at(b"t", directory, b"link")
        kernel.rename_at(world.root, b"d", world.root, b"f", RenameFlag.EXCHANGE)
        assert world.read(b"f/inner") == b"inner"
        assert world.read(b"d") == b"file"
        kernel.rename_at(world.root, b"d", directory, b"link", RenameFlag.EXCHANGE)
        assert kernel.readlink_at(world.root, b"d") == b"t"
        assert world.read(b"f/link") == b"file"
        with refused(errno.ENOENT):
            kernel.rename_at(world.root, b"d", world.root, b"nothing", RenameFlag.EXCHANGE)

    def test_directories_are_replaced_only_when_empty(self, world: World) -> None:
        kernel = world.kernel
        for name in (b"a", b"full", b"empty"):
            world.mkdir(name)
        world.write(b"full/x", b"")
        world.write(b"file", b"")
        with refused(errno.ENOTEMPTY):
            kernel.rename_at(world.root, b"a", world.root, b"full")
        with refused(errno.ENOTDIR):
            kernel.rename_at(world.root, b"a", world.root, b"file")
        with refused(errno.EISDIR):
            kernel.rename_at(world.root, b"file", world.root, b"empty")
        kernel.rename_at(world.root, b"full", world.root, b"empty")
        assert world.names() == [b"a", b"empty", b"file"]
        assert world.read(b"empty/x") == b""

    def test_a_directory_does_not_go_into_itself(self, world: World) -> None:
        directory = world.mkdir(b"d")
        world.kernel.mkdir_at(directory, b"e", 0o755)
        with refused(errno.EINVAL):
            world.kernel.rename_at(world.root, b"d", directory, b"x")
        with refused(errno.EINVAL):
            world.kernel.rename_at(world.root, b"d", directory, b"e", RenameFlag.EXCHANGE)
        with refused(errno.EINVAL):
            world.kernel.rename_at(directory, b"e", world.root, b"d", RenameFlag.EXCHANGE)
        with refused(errno.ENOTEMPTY):
            world.kernel.rename_at(directory, b"e", world.root, b"d")

    def test_renaming_says_why_it_cannot(self, world: World) -> None:
        world.write(b"a", b"")
        with refused(errno.ENOENT):
            world.kernel.rename_at(world.root, b"nothing", world.root, b"x")
        with refused(errno.ENAMETOOLONG):
            world.kernel.rename_at(world.root, b"a", world.root, b"n" * 256)

    def test_renaming_one_inode_onto_itself_does_nothing(self, world: World) -> None:
        world.write(b"one", b"content")
        world.link(b"one", b"two")
        world.kernel.rename_at(world.root, b"one", world.root, b"two")
        assert world.names() == [b"one", b"two"]

    # -- stamps and attributes ----------------------------------------------------------------------

    def test_every_change_shows_in_ctime_and_only_writing_in_mtime(self, world: World) -> None:
        kernel = world.kernel
        world.write(b"f", b"content")
        world.write(b"other", b"")
        fd = world.open(b"f", os.O_RDWR)
        kernel.set_mtime_fd(fd, 1_000_000_001)
        steps: list[tuple[str, Callable[[], object]]] = [
            ("chmod", lambda: kernel.chmod_fd(fd, 0o600)),
            ("chown", lambda: kernel.chown_fd(fd, os.getuid(), os.getgid())),
            ("utime", lambda: kernel.set_mtime_fd(fd, 1_000_000_001)),
            ("rename", lambda: kernel.rename_at(world.root, b"f", world.root, b"g")),
            ("noreplace", lambda: kernel.rename_at(world.root, b"g", world.root, b"f", RenameFlag.NOREPLACE)),
            ("exchange", lambda: kernel.rename_at(world.root, b"f", world.root, b"other", RenameFlag.EXCHANGE)),
            ("exchanged", lambda: kernel.rename_at(world.root, b"f", world.root, b"other", RenameFlag.EXCHANGE)),
            ("link", lambda: world.link(b"f", b"second")),
            ("unlink", lambda: kernel.unlink_at(world.root, b"second")),
        ]
        for what, step in steps:
            before = kernel.stat_fd(fd)
            wait_for_another_tick(world)
            step()
            after = kernel.stat_fd(fd)
            assert after.st_ctime_ns > before.st_ctime_ns, what
            assert after.st_mtime_ns == 1_000_000_001, what
            assert (after.st_ino, after.st_size) == (before.st_ino, 7), what
        before = kernel.stat_fd(fd)
        wait_for_another_tick(world)
        kernel.pwrite(fd, b"C", 0)
        assert kernel.stat_fd(fd).st_ctime_ns > before.st_ctime_ns
        assert kernel.stat_fd(fd).st_mtime_ns == kernel.stat_fd(fd).st_ctime_ns

    def test_directories_show_changes_of_their_names_in_mtime(self, world: World) -> None:
        kernel = world.kernel
        one, two = world.mkdir(b"one"), world.mkdir(b"two")
        world.write(b"f", b"")
        steps: list[tuple[str, tuple[int, ...], Callable[[], object]]] = [
            ("create", (one,), lambda: world.write(b"one/a", b"")),
            ("rename", (one, two), lambda: kernel.rename_at(one, b"a", two, b"a")),
            ("exchange", (world.root, two), lambda: swap(kernel, world.root, b"f", two, b"a")),
            ("mkdir", (two,), lambda: kernel.mkdir_at(two, b"d", 0o755)),
            ("rmdir", (two,), lambda: kernel.rmdir_at(two, b"d")),
            ("symlink", (two,), lambda: kernel.symlink_at(b"t", two, b"l")),
            ("unlink", (two,), lambda: kernel.unlink_at(two, b"l")),
        ]
        for what, directories, step in steps:
            wait_for_another_tick(world)
            before = [kernel.stat_fd(d).st_mtime_ns for d in directories]
            wait_for_another_tick(world)
            step()
            after = [kernel.stat_fd(d).st_mtime_ns for d in directories]
            assert all(b > a for a, b in zip(before, after, strict=True)), what

    def test_attributes_are_set_as_told(self, world: World) -> None:
        kernel = world.kernel
        world.write(b"f", b"")
        fd = world.open(b"f", os.O_RDWR)
        kernel.chmod_fd(fd, 0o7751)
        assert stat.S_IMODE(kernel.stat_fd(fd).st_mode) == 0o7751
        assert stat.S_ISREG(kernel.stat_fd(fd).st_mode)
        for mtime_ns in (1_234_567_890_123_456_789, 0, -1):
            kernel.set_mtime_fd(fd, mtime_ns)
            assert kernel.stat_fd(fd).st_mtime_ns == mtime_ns
            kernel.set_mtime_new(fd, mtime_ns - 1)
            assert kernel.stat_fd(fd).st_mtime_ns == mtime_ns - 1
            kernel.set_mtime_fd(fd, mtime_ns)
        kernel.symlink_at(b"f", world.root, b"link")
        kernel.set_mtime_at(world.root, b"link", 5_000_000_006)
        assert kernel.stat_at(world.root, b"link").st_mtime_ns == 5_000_000_006
        assert kernel.stat_fd(fd).st_mtime_ns == -1
        directory = world.mkdir(b"d")
        kernel.set_mtime_fd(directory, 7)
        kernel.chmod_fd(directory, 0o1770)
        assert kernel.stat_fd(directory).st_mtime_ns == 7
        assert stat.S_IMODE(kernel.stat_fd(directory).st_mode) == 0o1770

    @pytest.mark.skipif(os.getuid() != 0, reason="owners are set by root")
    def test_owners_are_set_and_strip_set_id_bits_of_files(self, world: World) -> None:
        kernel = world.kernel
        world.write(b"f", b"")
        fd = world.open(b"f", os.O_RDWR)
        kernel.chmod_fd(fd, 0o6775)
        kernel.chown_fd(fd, 1234, 5678)
        info = kernel.stat_fd(fd)
        assert (info.st_uid, info.st_gid) == (1234, 5678)
        assert stat.S_IMODE(info.st_mode) == 0o775
        kernel.symlink_at(b"f", world.root, b"link")
        kernel.chown_at(world.root, b"link", 99, 98)
        assert kernel.stat_at(world.root, b"link").st_uid == 99
        assert kernel.stat_fd(fd).st_uid == 1234

    def test_new_files_and_directories_get_the_mode_less_the_umask(self, world: World) -> None:
        world.open(b"f", NEW_FILE, 0o666)
        world.kernel.mkdir_at(world.root, b"d", 0o777)
        assert stat.S_IMODE(world.kernel.stat_at(world.root, b"f").st_mode) == 0o644
        assert stat.S_IMODE(world.kernel.stat_at(world.root, b"d").st_mode) == 0o755

    def test_links_of_directories_are_counted(self, world: World) -> None:
        directory = world.mkdir(b"d")
        assert world.kernel.stat_fd(directory).st_nlink == 2
        world.kernel.mkdir_at(directory, b"e", 0o755)
        assert world.kernel.stat_fd(directory).st_nlink == 3

    # -- writers, stable storage, space -------------------------------------------------------------

    def test_a_writer_is_seen_as_long_as_it_has_the_file_open(self, world: World) -> None:
        world.write(b"f", b"")
        world.link(b"f", b"second")
        reader = world.open(b"f")
        assert not world.kernel.has_writer(reader)
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND):
            writer = world.open(b"second", flags)
            assert world.kernel.has_writer(reader)
            world.kernel.close(writer)
            assert not world.kernel.has_writer(reader)
        world.open(b"f")
        assert not world.kernel.has_writer(reader)

    def test_who_asks_last_leaves_nothing_behind_when_the_file_is_closed(self, world: World) -> None:
        world.write(b"f", b"")
        reader = world.open(b"f")
        writer = world.open(b"f", os.O_WRONLY)
        assert world.kernel.had_writer(reader)
        world.kernel.close(writer)
        assert not world.kernel.had_writer(reader)
        world.kernel.close(reader)
        world.kernel.close(world.open(b"f", os.O_WRONLY | os.O_NONBLOCK))

    def test_files_directories_and_the_filesystem_can_be_synced(self, world: World) -> None:
        fd = world.open(b"f", os.O_RDWR | os.O_CREAT, 0o600)
        world.kernel.write(fd, b"content")
        world.kernel.sync_data(fd)
        world.kernel.sync_file(fd)
        world.kernel.sync_file(world.root)
        world.kernel.sync_filesystem(world.root)
        assert world.read(b"f") == b"content"

    def test_space_is_told(self, world: World) -> None:
        space = world.kernel.space(world.root)
        assert 0 < space.bytes_free <= space.bytes_total
        assert space.inodes_free > 0
        assert not space.read_only


def swap(kernel: Kernel, one: int, first: bytes, two: int, second: bytes) -> None:
    kernel.rename_at(one, first, two, second, RenameFlag.EXCHANGE)


def wait_for_another_tick(world: World) -> None:
    """Until the filesystem gives a later stamp than any before; at once where stamps are fine."""
    kernel = world.kernel
    fd = kernel.open_beneath(world.root, b"tick", os.O_WRONLY | os.O_CREAT, 0o600)
    first = kernel.stat_fd(fd).st_ctime_ns
    for _ in range(1_000_000):
        kernel.chmod_fd(fd, 0o600)
        if kernel.stat_fd(fd).st_ctime_ns > first:
            break
    kernel.close(fd)
    kernel.unlink_at(world.root, b"tick")
