"""An in-memory filesystem with hard links, open files, mounts, a page cache and power cuts."""

from __future__ import annotations

import errno
import heapq
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from everynode.kernel.protocol import RenameFlag
from tests.sim.inodes import Dentry, Inode, Space
from tests.sim.journal import Journal, Operation

NAME_MAX = 255
DEVICE = 1


class Did(Enum):
    CREATED = "created"
    MODIFIED = "modified"
    ATTRIBUTES = "attributes"
    CLOSED_WRITE = "closed-write"
    DELETED = "deleted"
    RENAMED = "renamed"


@dataclass(frozen=True)
class Event:
    """Something changed. Paths are absolute on the disk, without a leading slash."""

    did: Did
    path: bytes
    inode: Inode
    process: int
    source: bytes | None = None


Watcher = Callable[[Event], None]


def failure(number: int, what: bytes = b"") -> OSError:
    return OSError(number, os.strerror(number), what)


class Disk:
    """The state of one node's disk and of the kernel's cache above it.

    `now_ns` is the node's wall clock. With `tick_ns` 0 every change gets a ctime of its own, as kernels since
    6.13 do; otherwise stamps are multiples of the tick and may repeat.
    """

    def __init__(self, now_ns: Callable[[], int], *, tick_ns: int = 0, capacity: int = 1 << 30) -> None:
        self._now_ns = now_ns
        self.tick_ns = tick_ns
        self.capacity = capacity
        self.inodes_max = 1_000_000
        self._last_ns = 0
        self._last_number = 1
        self._free_inos: list[int] = []
        self._last_ino = 1
        self.used = 0
        self.hog = 0
        """Bytes that somebody else has taken."""
        self.quota = False
        """The hog is a limit that no look at the free space shows."""
        self.watchers: list[Watcher] = []
        self.processes: dict[int, Callable[[], None]] = {}
        """pid -> what ends it (its open files are closed)."""
        self._last_pid = 100
        self.mounts: dict[int, Inode] = {}
        self.journal = Journal()
        self.root = Inode(1, stat.S_IFDIR | 0o755, self.stamp())
        self.root.nlink = 2
        self.journal.attributes[1] = self.root.attributes()
        self.inodes: dict[int, Inode] = {1: self.root}
        """Linked or held open."""
        self.ever: dict[int, Inode] = {1: self.root}
        """All since the last full sync: what a power cut may bring back."""

    # -- processes, time, events ------------------------------------------------------------------

    def new_process(self, end: Callable[[], None]) -> int:
        self._last_pid += 1
        self.processes[self._last_pid] = end
        return self._last_pid

    def stamp(self) -> int:
        now = self._now_ns()
        if self.tick_ns:
            return now // self.tick_ns * self.tick_ns
        self._last_ns = max(now, self._last_ns + 1)
        return self._last_ns

    def clock_was_set(self) -> None:
        """What is stamped from now on may be older than what was stamped before."""
        self._last_ns = 0

    def tell(self, did: Did, name: Dentry, process: int, source: bytes | None = None) -> None:
        if self.watchers:
            event = Event(did, name.path(), name.inode, process, source)
            for watcher in tuple(self.watchers):
                watcher(event)

    # -- names ------------------------------------------------------------------------------------

    def lookup(self, directory: Inode, name: bytes) -> Dentry | None:
        if not directory.is_directory:
            raise failure(errno.ENOTDIR, name)
        check_name(name)
        return directory.children.get(name)

    def need(self, directory: Inode, name: bytes) -> Dentry:
        found = self.lookup(directory, name)
        if found is None:
            raise failure(errno.ENOENT, name)
        return found

    def mounted(self, inode: Inode) -> Inode:
        """What a walk sees: the root of a filesystem mounted here, else the directory itself."""
        return self.mounts.get(inode.number, inode)

    def create(self, directory: Inode, name: bytes, mode: int, process: int, content: bytes = b"") -> Dentry:
        """A new file, directory or symlink (with its target as `content`), by the type bits of `mode`."""
        if self.lookup(directory, name) is not None:
            raise failure(errno.EEXIST, name)
        self._need_alive(directory)
        if len(self.inodes) >= self.inodes_max or len(content) > self.free or (self.hog and self.free <= 0):
            raise failure(errno.ENOSPC, name)
        self._last_number += 1
        now = self.stamp()
        inode = Inode(self._last_number, mode, now, directory.device)
        inode.ino = self._take_ino()
        if directory.mode & stat.S_ISGID:
            inode.gid = directory.gid
            if inode.is_directory:
                inode.mode |= stat.S_ISGID
        inode.data += content
        self.used += len(content)
        if inode.is_symlink:
            inode.durable_data = content
        inode.nlink = 2 if inode.is_directory else 1
        self.inodes[inode.number] = self.ever[inode.number] = inode
        dentry = Dentry(directory, name, inode)
        if inode.is_directory:
            inode.name = dentry
            directory.nlink += 1
        directory.children[name] = dentry
        self._changed(directory, now)
        self._log({(directory.number, name): inode.number}, (directory, inode), frozenset({inode.number}))
        self.tell(Did.CREATED, dentry, process)
        return dentry

    def link(self, source: Inode, directory: Inode, name: bytes, process: int) -> None:
        if source.is_directory:
            raise failure(errno.EPERM, name)
        if self.lookup(directory, name) is not None:
            raise failure(errno.EEXIST, name)
        self._need_alive(directory)
        now = self.stamp()
        source.nlink += 1
        source.ctime_ns = now
        dentry = directory.children[name] = Dentry(directory, name, source)
        self._changed(directory, now)
        self._log({(directory.number, name): source.number}, (directory, source), frozenset({source.number}))
        self.tell(Did.CREATED, dentry, process)

    def unlink(self, directory: Inode, name: bytes, process: int) -> None:
        dentry = self.need(directory, name)
        if dentry.inode.is_directory:
            raise failure(errno.EISDIR, name)
        now = self.stamp()
        del directory.children[name]
        self._changed(directory, now)
        self._drop_name(dentry.inode, now)
        touched = frozenset({dentry.inode.number})
        self._log({(directory.number, name): None}, (directory, dentry.inode), touched)
        self.tell(Did.DELETED, dentry, process)

    def rmdir(self, directory: Inode, name: bytes, process: int) -> None:
        dentry = self.need(directory, name)
        gone = dentry.inode
        if not gone.is_directory:
            raise failure(errno.ENOTDIR, name)
        if gone.number in self.mounts:
            raise failure(errno.EBUSY, name)
        if gone.children:
            raise failure(errno.ENOTEMPTY, name)
        now = self.stamp()
        del directory.children[name]
        directory.nlink -= 1
        self._changed(directory, now)
        self._drop_name(gone, now)
        self._log({(directory.number, name): None}, (directory,), frozenset({gone.number}), removed=gone.number)
        self.tell(Did.DELETED, dentry, process)

    def rename(
        self, old_directory: Inode, old: bytes, new_directory: Inode, new: bytes, flag: RenameFlag, process: int
    ) -> None:
        check_name(new)
        if old_directory.device != new_directory.device:
            raise failure(errno.EXDEV, old)
        moved = self.need(old_directory, old)
        target = self.lookup(new_directory, new)
        self._need_alive(new_directory)
        if moved.inode.number in self.mounts or (target is not None and target.inode.number in self.mounts):
            raise failure(errno.EBUSY, old)
        if flag & RenameFlag.NOREPLACE and target is not None:
            raise failure(errno.EEXIST, new)
        if flag & RenameFlag.EXCHANGE and target is None:
            raise failure(errno.ENOENT, new)
        if moved.inode.is_directory and is_inside(new_directory, moved.inode):
            raise failure(errno.EINVAL, old)
        if target is not None and target.inode.is_directory and is_inside(old_directory, target.inode):
            raise failure(errno.EINVAL if flag & RenameFlag.EXCHANGE else errno.ENOTEMPTY, new)
        if target is not None and target.inode is moved.inode:
            return  # two names of one inode: rename(2) does nothing
        if target is None or not flag & RenameFlag.EXCHANGE:
            self._move(moved, new_directory, new, target, process)
        else:
            self._exchange(moved, target, process)

    def _move(self, moved: Dentry, new_directory: Inode, new: bytes, target: Dentry | None, process: int) -> None:
        inode = moved.inode
        if target is not None:
            if inode.is_directory and not target.inode.is_directory:
                raise failure(errno.ENOTDIR, new)
            if target.inode.is_directory and not inode.is_directory:
                raise failure(errno.EISDIR, new)
            if target.inode.children:
                raise failure(errno.ENOTEMPTY, new)
        now = self.stamp()
        old_directory, old = moved.parent, moved.name
        source = moved.path()
        touched, parts = {inode.number}, [old_directory, new_directory, inode]
        if target is not None:
            self._drop_name(target.inode, now)
            touched.add(target.inode.number)
            parts.append(target.inode)
            if target.inode.is_directory:
                new_directory.nlink -= 1
        del old_directory.children[old]
        new_directory.children[new] = moved
        moved.parent, moved.name = new_directory, new
        if inode.is_directory:
            old_directory.nlink -= 1
            new_directory.nlink += 1
        inode.ctime_ns = now
        self._changed(old_directory, now)
        self._changed(new_directory, now)
        names: dict[tuple[int, bytes], int | None] = {(old_directory.number, old): None}
        names[(new_directory.number, new)] = inode.number
        self._log(
            names,
            tuple(parts),
            frozenset(touched),
            moves=inode.is_directory,
            removed=target.inode.number if target is not None and target.inode.is_directory else 0,
        )
        self.tell(Did.RENAMED, moved, process, source)

    def _exchange(self, first: Dentry, second: Dentry, process: int) -> None:
        now = self.stamp()
        first_path, second_path = first.path(), second.path()
        one, two = first.parent, second.parent
        one.children[first.name], two.children[second.name] = second, first
        first.parent, second.parent = two, one
        first.name, second.name = second.name, first.name
        for dentry, left in ((first, one), (second, two)):
            dentry.inode.ctime_ns = now
            if dentry.inode.is_directory:
                left.nlink -= 1
                dentry.parent.nlink += 1
        self._changed(one, now)
        self._changed(two, now)
        self._log(
            {(d.parent.number, d.name): d.inode.number for d in (first, second)},
            (one, two, first.inode, second.inode),
            frozenset({first.inode.number, second.inode.number}),
            moves=first.inode.is_directory or second.inode.is_directory,
        )
        self.tell(Did.RENAMED, first, process, first_path)
        self.tell(Did.RENAMED, second, process, second_path)

    # -- contents and attributes ------------------------------------------------------------------

    def write(self, name: Dentry, data: bytes, offset: int, process: int) -> int:
        """Writes what fits, ENOSPC when nothing does."""
        inode = name.inode
        free = max(0, self.free)
        grow = max(0, offset + len(data) - len(inode.data))
        if grow > free:
            data = data[: len(data) - (grow - free)]
            if not data:
                raise failure(errno.ENOSPC, name.name)
        if not data:
            return 0
        before = len(inode.data)
        if offset > before:
            inode.data += bytes(offset - before)
        inode.data[offset : offset + len(data)] = data
        self.used += len(inode.data) - before
        self._modified(inode)
        self.tell(Did.MODIFIED, name, process)
        return len(data)

    def truncate(self, name: Dentry, length: int, process: int) -> None:
        inode = name.inode
        before = len(inode.data)
        if length > before and length - before > self.free:
            raise failure(errno.ENOSPC, name.name)
        if length < before:
            del inode.data[length:]
            inode.shrunk = True
        else:
            inode.data += bytes(length - before)
        self.used += length - before
        self._modified(inode)
        self.tell(Did.MODIFIED, name, process)

    def rot(self, inode: Inode, offset: int = 0) -> None:
        """The disk loses a bit of what was written, and nobody is told: no time moves, no event comes."""
        inode.data[offset] ^= 1
        if inode.durable_data is not None and len(inode.durable_data) > offset:
            inode.durable_data = bytes(inode.data[: len(inode.durable_data)])

    def set_attributes(
        self,
        name: Dentry,
        process: int,
        *,
        mode: int | None = None,
        owner: tuple[int, int] | None = None,
        mtime_ns: int | None = None,
    ) -> None:
        inode = name.inode
        if mode is not None:
            inode.mode = stat.S_IFMT(inode.mode) | (mode & 0o7777)
        if owner is not None:
            uid, gid = owner
            inode.uid = inode.uid if uid == -1 else uid
            inode.gid = inode.gid if gid == -1 else gid
            if inode.is_file:  # also for root, since Linux 2.2.13: chown(2)
                inode.mode &= ~stat.S_ISUID
                if inode.mode & stat.S_IXGRP:
                    inode.mode &= ~stat.S_ISGID
        if mtime_ns is not None:
            inode.mtime_ns = mtime_ns
        inode.ctime_ns = self.stamp()
        self._log({}, (inode,), frozenset())
        self.tell(Did.ATTRIBUTES, name, process)

    # -- open files, mounts, space ----------------------------------------------------------------

    def opened(self, inode: Inode, *, writing: bool) -> None:
        inode.opens += 1
        inode.writers += writing

    def closed(self, name: Dentry, process: int, *, writing: bool) -> None:
        inode = name.inode
        inode.opens -= 1
        inode.writers -= writing
        if writing:
            self.tell(Did.CLOSED_WRITE, name, process)
        self._forget_if_unused(inode)

    def mount(self, directory: Inode) -> Inode:
        """Another, empty filesystem over `directory`; returns its root."""
        self._last_number += 1
        root = Inode(self._last_number, stat.S_IFDIR | 0o755, self.stamp(), directory.device + 1)
        root.ino = self._take_ino()
        root.nlink = 2
        root.name = directory.name
        self.inodes[root.number] = self.ever[root.number] = root
        self.journal.attributes[root.number] = root.attributes()
        self.mounts[directory.number] = root
        return root

    def unmount(self, directory: Inode) -> None:
        del self.mounts[directory.number]

    @property
    def free(self) -> int:
        return self.capacity - self.used - self.hog

    def space(self) -> Space:
        free = self.capacity - self.used if self.quota else max(0, self.free)
        return Space(free, self.capacity, self.inodes_max - len(self.inodes))

    # -- parts ------------------------------------------------------------------------------------

    def _need_alive(self, directory: Inode) -> None:
        if directory.nlink == 0:
            raise failure(errno.ENOENT)

    def _changed(self, directory: Inode, now: int) -> None:
        directory.mtime_ns = directory.ctime_ns = now

    def _modified(self, inode: Inode) -> None:
        inode.mtime_ns = inode.ctime_ns = self.stamp()
        self._log({}, (inode,), frozenset())

    def _drop_name(self, inode: Inode, now: int) -> None:
        inode.ctime_ns = now
        inode.nlink = 0 if inode.is_directory else inode.nlink - 1
        self._forget_if_unused(inode)

    def _forget_if_unused(self, inode: Inode) -> None:
        if inode.nlink == 0 and inode.opens == 0 and self.inodes.pop(inode.number, None) is not None:
            self.used -= len(inode.data)
            heapq.heappush(self._free_inos, inode.ino)

    def _take_ino(self) -> int:
        """The lowest one that is free, as ext4 does: what is made where something was deleted often has its number."""
        if self._free_inos:
            return heapq.heappop(self._free_inos)
        self._last_ino += 1
        return self._last_ino

    def number_anew(self) -> None:
        """After a power cut: what came back and what took its number do not share it."""
        self._free_inos.clear()
        taken: set[int] = set()
        self._last_ino = max(self._last_ino, *(inode.ino for inode in self.inodes.values()))
        for inode in self.inodes.values():
            if inode.ino in taken:
                inode.ino = self._take_ino()
            taken.add(inode.ino)
        self._free_inos += sorted(set(range(2, self._last_ino + 1)) - taken)

    def _log(
        self,
        names: dict[tuple[int, bytes], int | None],
        changed: Iterable[Inode],
        touched: frozenset[int],
        *,
        removed: int = 0,
        moves: bool = False,
    ) -> None:
        attributes = {inode.number: inode.attributes() for inode in changed}
        self.journal.add(Operation(names, attributes, touched, removed, moves))


def check_name(name: bytes) -> None:
    if not name:
        raise failure(errno.ENOENT, name)
    if len(name) > NAME_MAX:
        raise failure(errno.ENAMETOOLONG, name)


def is_inside(directory: Inode, ancestor: Inode) -> bool:
    """True if `directory` is `ancestor` or lies below it."""
    here: Inode = directory
    while here is not ancestor:
        if here.name is None:
            return False
        here = here.name.parent
    return True
