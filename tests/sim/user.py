"""People and programs who work in a node's tree: a foreign process, whose every change is reported."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from everynode.kernel.protocol import RenameFlag
from everynode.limits import RESERVED_NAME
from tests.sim.disk import Disk
from tests.sim.fake_kernel import FakeKernel
from tests.sim.inodes import Dentry, Inode


@dataclass(frozen=True)
class Seen:
    """What anybody who looks at a path finds. Times of directories and links are not compared."""

    kind: Literal["file", "directory", "link"]
    content: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int

    def __str__(self) -> str:
        content = self.content if len(self.content) <= 24 else self.content[:20] + b"... (%d)" % len(self.content)
        return f"{self.kind} {content!r} {self.mode:o} {self.uid}:{self.gid} {self.mtime_ns}"


Tree = dict[bytes, Seen]
Report = Callable[[bytes, Seen | None, Seen | None, bool, bool], None]
"""(path, what stood there before, what stands there now, whether that is finished)."""


def seen(inode: Inode) -> Seen:
    mode = stat.S_IMODE(inode.mode)
    if inode.is_directory:
        return Seen("directory", b"", mode, inode.uid, inode.gid, 0)
    if inode.is_symlink:
        return Seen("link", inode.content(), 0, inode.uid, inode.gid, 0)
    return Seen("file", inode.content(), mode, inode.uid, inode.gid, inode.mtime_ns)


def find(disk: Disk, path: bytes) -> Inode | None:
    """What stands at an absolute path; no links are followed."""
    here = disk.root
    for name in filter(None, path.split(b"/")):
        found = here.children.get(name)
        if found is None:
            return None
        here = disk.mounted(found.inode)
    return here


def read_tree(disk: Disk, root: bytes) -> Tree:
    """Everything below `root` but everynode's own folder."""
    tree: Tree = {}
    start = find(disk, root)
    pending = [(b"", start)] if start is not None else []
    while pending:
        above, directory = pending.pop()
        for name, dentry in directory.children.items():
            if not above and name == RESERVED_NAME:
                continue
            path = above + b"/" + name if above else name
            tree[path] = seen(dentry.inode)
            if dentry.inode.is_directory:
                pending.append((path, dentry.inode))
    return dict(sorted(tree.items()))


def read_vault(disk: Disk, root: bytes) -> frozenset[tuple[str, bytes]]:
    """(kind, content) of all that is kept in the vault of `root`."""
    vault = find(disk, root.rstrip(b"/") + b"/" + RESERVED_NAME + b"/vault")
    if vault is None:
        return frozenset()
    kept = (seen(dentry.inode) for dentry in vault.children.values())
    return frozenset((s.kind, s.content) for s in kept)


class User:
    """All paths are relative to `root`. Every method raises OSError as the kernel would."""

    def __init__(self, disk: Disk, root: bytes, report: Report = lambda *what: None) -> None:
        self.disk = disk
        self.root = root
        self._report = report
        self.kernel = FakeKernel(disk)
        self._fd = self.kernel.open_root(root)
        self._temporary = 0

    def see(self, path: bytes) -> Seen | None:
        inode = find(self.disk, self.root.rstrip(b"/") + b"/" + path)
        return None if inode is None else seen(inode)

    def time_of(self, path: bytes) -> int | None:
        """The mtime of what stands there: `see` leaves it out for directories."""
        inode = find(self.disk, self.root.rstrip(b"/") + b"/" + path)
        return None if inode is None else inode.mtime_ns

    def tree(self) -> Tree:
        return read_tree(self.disk, self.root)

    def write_file(self, path: bytes, content: bytes, *, mode: int = 0o644) -> None:
        """Truncate or create, write, close: as `cat > path`."""
        _fill(self._open(path, truncate=True, mode=mode, quiet=True), content)

    def replace_file(self, path: bytes, content: bytes, *, mode: int = 0o644, sync: bool = False) -> None:
        """Write beside it and rename over it, as careful editors do."""
        directory = path.rpartition(b"/")[0]
        self._temporary += 1
        beside = (directory + b"/" if directory else b"") + b".tmp%d-%d" % (self.kernel.pid, self._temporary)
        handle = self._open(beside, truncate=True, mode=mode, quiet=True)
        try:
            _fill(handle, content, sync=sync)
            self.rename(beside, path)
        except OSError:
            self.unlink(beside)
            raise

    def append(self, path: bytes, content: bytes) -> None:
        _fill(self._open(path, truncate=False, mode=0o644, quiet=True), content)

    def open_for_write(self, path: bytes, *, truncate: bool = True, mode: int = 0o644) -> Writing:
        """Each step is a change of its own, finished with the close."""
        return self._open(path, truncate=truncate, mode=mode, quiet=False)

    def _open(self, path: bytes, *, truncate: bool, mode: int, quiet: bool) -> Writing:
        before = self.see(path)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if truncate else os.O_APPEND)
        fd = self.kernel.open_beneath(self._fd, path, flags, mode)
        return Writing(self, path, before, fd, quiet)

    def unlink(self, path: bytes) -> None:
        with _Change(self, path) as directory:
            self.kernel.unlink_at(directory, path.rpartition(b"/")[2])

    def mkdir(self, path: bytes, mode: int = 0o755) -> None:
        with _Change(self, path) as directory:
            self.kernel.mkdir_at(directory, path.rpartition(b"/")[2], mode)

    def rmdir(self, path: bytes) -> None:
        with _Change(self, path) as directory:
            self.kernel.rmdir_at(directory, path.rpartition(b"/")[2])

    def symlink(self, target: bytes, path: bytes) -> None:
        with _Change(self, path) as directory:
            self.kernel.symlink_at(target, directory, path.rpartition(b"/")[2])

    def link(self, path: bytes, another: bytes) -> None:
        """A second name for a file: what is written to one is in both."""
        inode = find(self.disk, self.root.rstrip(b"/") + b"/" + path)
        above, _, name = (self.root.rstrip(b"/") + b"/" + another).rpartition(b"/")
        directory = find(self.disk, above)
        if inode is None or directory is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        before = self.see(another)
        self.disk.link(inode, directory, name, self.kernel.pid)
        self.report(another, before, self.see(another))

    def chmod(self, path: bytes, mode: int) -> None:
        self._change_attributes(path, lambda fd: self.kernel.chmod_fd(fd, mode))

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        self._change_attributes(path, lambda fd: self.kernel.chown_fd(fd, uid, gid))

    def set_mtime(self, path: bytes, mtime_ns: int) -> None:
        self._change_attributes(path, lambda fd: self.kernel.set_mtime_fd(fd, mtime_ns))

    def rmtree(self, path: bytes) -> None:
        for below, what in reversed(self.below(path).items()):
            (self.rmdir if what.kind == "directory" else self.unlink)(below)
        self.rmdir(path)

    def rename(self, old: bytes, new: bytes, flag: RenameFlag = RenameFlag.NONE) -> None:
        """Also of directories with all that is below them."""
        before = self._at(old) | self._at(new)
        source, target = self._parent(old), self._parent(new)
        try:
            self.kernel.rename_at(source, old.rpartition(b"/")[2], target, new.rpartition(b"/")[2], flag)
        finally:
            self.kernel.close(source)
            self.kernel.close(target)
        after = self._at(old) | self._at(new)
        for path in sorted({*before, *after}):
            if before.get(path) != after.get(path):
                self.report(path, before.get(path), after.get(path))

    def sync(self) -> None:
        self.kernel.sync_filesystem(self._fd)

    def report(
        self, path: bytes, before: Seen | None, after: Seen | None, *, finished: bool = True, vaulted: bool = False
    ) -> None:
        self._report(path, before, after, finished, vaulted)

    def names(self, inode: Inode) -> list[bytes]:
        """All paths under which a file stands in the tree."""
        return [path for path in self.tree() if find(self.disk, self.root.rstrip(b"/") + b"/" + path) is inode]

    def below(self, directory: bytes) -> Tree:
        """What is in a directory, by its path in the tree."""
        inside = read_tree(self.disk, self.root.rstrip(b"/") + b"/" + directory)
        return {directory + b"/" + path: what for path, what in inside.items()}

    def _at(self, path: bytes) -> Tree:
        """What stands at a path, with what is below."""
        here = self.see(path)
        return {} if here is None else {path: here} | self.below(path)

    def _parent(self, path: bytes) -> int:
        directory = path.rpartition(b"/")[0] or b"."
        return self.kernel.open_beneath(self._fd, directory, os.O_RDONLY | os.O_DIRECTORY)

    def _change_attributes(self, path: bytes, change: Callable[[int], None]) -> None:
        before = self.see(path)
        fd = self.kernel.open_beneath(self._fd, path, os.O_RDONLY)
        inode = self.kernel.name_of(fd).inode
        try:
            change(fd)
        finally:
            self.kernel.close(fd)
        for name in self.names(inode) if inode.is_file and inode.nlink > 1 else [path]:
            self.report(name, before, self.see(name))


class Writing:
    """A file held open for writing. A `quiet` one reports only once, when it is closed.

    Reports are under the path that the file has now. A file that the daemon vaulted meanwhile still counts as the
    path that was opened: nobody may lose what is written to it. An unlinked one counts as nothing.
    """

    def __init__(self, user: User, path: bytes, before: Seen | None, fd: int, quiet: bool) -> None:
        self.user = user
        self.path = path
        self._opened = self._before = before
        self._fd = fd
        self._quiet = quiet
        if not quiet:
            self._changed(finished=False)

    def write(self, content: bytes) -> Writing:
        if not self._quiet:
            self._before = self._now()
        try:
            while content:
                content = content[self.user.kernel.write(self._fd, content) :]
        finally:
            if not self._quiet:
                self._changed(finished=False)
        return self

    def sync(self) -> None:
        self.user.kernel.sync_file(self._fd)

    def close(self, *, finished: bool = True) -> None:
        self._before = self._opened  # the change as a whole
        name, after = self.user.kernel.name_of(self._fd), self._now()
        self.user.kernel.close(self._fd)
        self._report(name, after, finished=finished)

    def _now(self) -> Seen:
        return seen(self.user.kernel.name_of(self._fd).inode)

    def _changed(self, *, finished: bool) -> None:
        self._report(self.user.kernel.name_of(self._fd), self._now(), finished=finished)

    def _report(self, name: Dentry, after: Seen, *, finished: bool) -> None:
        if name.inode.nlink == 0:
            return
        inside = name.path().removeprefix(self.user.root.strip(b"/")).lstrip(b"/")
        vaulted = inside.startswith(RESERVED_NAME + b"/")
        path = self.path if vaulted else inside
        self.user.report(path, self._before, after, finished=finished, vaulted=vaulted)
        for other in self.user.names(name.inode) if name.inode.nlink > 1 else []:
            if other != inside:
                self.user.report(other, self._before, after, finished=finished)


def _fill(writing: Writing, content: bytes, *, sync: bool = False) -> None:
    """Write all and close. Where the disk is full what fitted stays, closed by a program that only complains."""
    try:
        writing.write(content)
        if sync:
            writing.sync()
    finally:
        writing.close()


class _Change:
    """One change of one name: opens its directory, and reports when it succeeded."""

    def __init__(self, user: User, path: bytes) -> None:
        self._user = user
        self._path = path
        self._before = user.see(path)
        self._directory = user._parent(path)

    def __enter__(self) -> int:
        return self._directory

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        self._user.kernel.close(self._directory)
        if error is None:
            self._user.report(self._path, self._before, self._user.see(self._path))
