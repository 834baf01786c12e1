"""The kernel protocol over an in-memory disk: one process with its open files.

Every call passes `gate` before and after; the gate may raise OSError (an injected failure, only sensible before)
or `Crash` (the process dies there).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from everynode.kernel.protocol import RenameFlag
from tests.sim import power
from tests.sim.disk import Disk, check_name, failure
from tests.sim.inodes import Dentry, FakeStat, Inode, Space

When = Literal["before", "after"]
Gate = Callable[[str, bytes, When], None]
"""(name of the protocol method, path or name it is about, when)."""

UMASK = 0o022
ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR


class Crash(BaseException):
    """The process ends here, between two system calls. No handler of the daemon may catch it."""


@dataclass
class OpenFile:
    inode: Inode
    name: Dentry
    flags: int
    offset: int = 0

    @property
    def writing(self) -> bool:
        return self.flags & ACCESS != os.O_RDONLY and not self.flags & os.O_PATH


class FakeKernel:
    """One process on `disk`. Runs as root with umask 022. Numbers of open files are never used again."""

    def __init__(self, disk: Disk, gate: Gate | None = None) -> None:
        self.disk = disk
        self.gate = gate
        self.dead = False
        self._files: dict[int, OpenFile] = {}
        self._last_fd = 2
        self.pid = disk.new_process(self.kill)

    def kill(self) -> None:
        """The process ends: its files are closed, the disk stays as it is. Whatever it still tries is a Crash."""
        if self.dead:
            return
        self.dead = True
        for file in self._files.values():
            self.disk.closed(file.name, self.pid, writing=file.writing)
        self._files.clear()
        del self.disk.processes[self.pid]

    @property
    def open_count(self) -> int:
        return len(self._files)

    def name_of(self, fd: int) -> Dentry:
        """Where the file is now, whatever it was opened as."""
        return self._file(fd).name

    # -- opening ----------------------------------------------------------------------------------

    def open_root(self, path: bytes) -> int:
        self._before("open_root", path)
        name = self._walk(self.disk.root, path.strip(b"/"), follow=True)
        if not name.inode.is_directory:
            raise failure(errno.ENOTDIR, path)
        return self._install(name.inode, name, os.O_RDONLY | os.O_DIRECTORY)

    def open_beneath(self, directory: int, path: bytes, flags: int, mode: int = 0) -> int:
        self._before("open_beneath", path)
        start = self._directory(directory, path)
        if path.startswith(b"/"):
            raise failure(errno.EXDEV, path)
        if mode and not flags & os.O_CREAT:
            raise failure(errno.EINVAL, path)
        if flags & os.O_CREAT and flags & os.O_DIRECTORY:
            raise failure(errno.EINVAL, path)
        if not path:
            raise failure(errno.ENOENT, path)
        *above, last = _components(path)
        parent = self._descend(start, above, path)
        name = self._find(start, parent, last, path)
        if name is None:
            if not flags & os.O_CREAT:
                raise failure(errno.ENOENT, path)
            if path.endswith(b"/"):
                raise failure(errno.EISDIR, path)
            file_mode = stat.S_IFREG | (mode & 0o7777 & ~UMASK)
            name = self.disk.create(parent, last, file_mode, self.pid)
        else:
            self._check_open(name, path, flags)
            if flags & os.O_TRUNC and name.inode.is_file and name.inode.data:
                self.disk.truncate(name, 0, self.pid)
        fd = self._install(name.inode, name, flags)
        self._after("open_beneath", path)
        return fd

    def open_at(self, directory: int, name: bytes, flags: int) -> int:
        check_name(name)
        assert b"/" not in name and flags & os.O_NOFOLLOW
        return self.open_beneath(directory, name, flags)

    def create_at(self, directory: int, name: bytes, mode: int) -> int:
        self._before("create_at", name)
        new_mode = stat.S_IFREG | (mode & 0o7777 & ~UMASK)
        new = self.disk.create(self._directory(directory, name), name, new_mode, self.pid)
        fd = self._install(new.inode, new, os.O_WRONLY)
        self._after("create_at", name)
        return fd

    def _check_open(self, name: Dentry, path: bytes, flags: int) -> None:
        inode = name.inode
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise failure(errno.EEXIST, path)
        if inode.is_symlink and not (flags & os.O_PATH and flags & os.O_NOFOLLOW):
            raise failure(errno.ELOOP, path)
        if (flags & os.O_DIRECTORY or path.endswith(b"/")) and not inode.is_directory:
            raise failure(errno.ENOTDIR, path)
        if inode.is_directory and not flags & os.O_PATH and (flags & ACCESS != os.O_RDONLY or flags & os.O_CREAT):
            raise failure(errno.EISDIR, path)

    def _descend(self, start: Inode, names: list[bytes], path: bytes) -> Inode:
        here = start
        for name in names:
            found = self._find(start, here, name, path)
            if found is None:
                raise failure(errno.ENOENT, path)
            if found.inode.is_symlink:
                raise failure(errno.ELOOP, path)
            here = found.inode
        if not here.is_directory:
            raise failure(errno.ENOTDIR, path)
        return here

    def _find(self, start: Inode, here: Inode, name: bytes, path: bytes) -> Dentry | None:
        if not here.is_directory:
            raise failure(errno.ENOTDIR, path)
        if name == b".":
            return Dentry(here, b"", here) if here.name is None else here.name
        if name == b"..":
            if here is start or here.name is None:
                raise failure(errno.EXDEV, path)
            return here.name.parent.name or Dentry(here.name.parent, b"", here.name.parent)
        found = self.disk.lookup(here, name)
        if found is not None and found.inode.number in self.disk.mounts:
            raise failure(errno.EXDEV, path)
        return found

    def _walk(self, here: Inode, path: bytes, *, follow: bool, links: int = 0) -> Dentry:
        """An ordinary walk, which follows links (absolute ones from the disk's root) and enters mounts."""
        name = here.name if here.name is not None and here.name.inode is here else Dentry(here, b"", here)
        for component in _components(path) if path else []:
            found = self.disk.need(here, component)
            if found.inode.is_symlink and follow:
                if links > 40:
                    raise failure(errno.ELOOP, path)
                target = bytes(found.inode.data)
                start = self.disk.root if target.startswith(b"/") else here
                found = self._walk(start, target.strip(b"/"), follow=True, links=links + 1)
            below = self.disk.mounted(found.inode)
            name = found if below is found.inode else Dentry(found.parent, found.name, below)
            here = below
        return name

    def _install(self, inode: Inode, name: Dentry, flags: int) -> int:
        self._last_fd += 1
        file = self._files[self._last_fd] = OpenFile(inode, name, flags)
        self.disk.opened(inode, writing=file.writing)
        return self._last_fd

    def close(self, fd: int) -> None:
        if self.dead:
            return
        file = self._file(fd)
        del self._files[fd]
        self.disk.closed(file.name, self.pid, writing=file.writing)

    # -- contents ---------------------------------------------------------------------------------

    def read(self, fd: int, length: int) -> bytes:
        file = self._readable(fd, "read")
        data = bytes(file.inode.data[file.offset : file.offset + length])
        file.offset += len(data)
        return data

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        return bytes(self._readable(fd, "pread").inode.data[offset : offset + length])

    def write(self, fd: int, data: bytes) -> int:
        file = self._writable(fd, "write")
        if file.flags & os.O_APPEND:
            file.offset = len(file.inode.data)
        written = self.disk.write(file.name, data, file.offset, self.pid)
        file.offset += written
        self._after("write", file.name.name)
        return written

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        file = self._writable(fd, "pwrite")
        if file.flags & os.O_APPEND:  # pwrite(2), BUGS: Linux appends whatever the offset
            offset = len(file.inode.data)
        written = self.disk.write(file.name, data, offset, self.pid)
        self._after("pwrite", file.name.name)
        return written

    def truncate(self, fd: int, length: int) -> None:
        file = self._file(fd)
        self._before("truncate", file.name.name)
        if not file.writing:
            raise failure(errno.EINVAL)
        self.disk.truncate(file.name, length, self.pid)
        self._after("truncate", file.name.name)

    def copy_range(self, source: int, target: int, length: int, source_offset: int, target_offset: int) -> int:
        reader = self._readable(source, "copy_range")
        writer = self._writable(target, "copy_range")
        if writer.flags & os.O_APPEND:
            raise failure(errno.EBADF)
        data = bytes(reader.inode.data[source_offset : source_offset + length])
        copied = self.disk.write(writer.name, data, target_offset, self.pid) if data else 0
        self._after("copy_range", writer.name.name)
        return copied

    def clone(self, source: int, target: int) -> None:
        self._readable(source, "clone")
        self._writable(target, "clone")
        raise failure(errno.EOPNOTSUPP)

    # -- looking ----------------------------------------------------------------------------------

    def stat_fd(self, fd: int) -> FakeStat:
        file = self._file(fd)
        self._before("stat_fd", file.name.name)
        return file.inode.stat()

    def stat_at(self, directory: int, name: bytes) -> FakeStat:
        self._before("stat_at", name)
        return self.disk.mounted(self.disk.need(self._directory(directory, name), name).inode).stat()

    def list_directory(self, fd: int) -> list[bytes]:
        self._before("list_directory", b"")
        return sorted(self._directory(fd, b"").children)

    def readlink_at(self, directory: int, name: bytes) -> bytes:
        self._before("readlink_at", name)
        inode = self.disk.need(self._directory(directory, name), name).inode
        if not inode.is_symlink:
            raise failure(errno.EINVAL, name)
        return bytes(inode.data)

    def has_writer(self, fd: int) -> bool:
        self._before("has_writer", b"")
        return self._file(fd).inode.writers > 0

    def had_writer(self, fd: int) -> bool:
        return self.has_writer(fd)

    def drop_cache(self, fd: int) -> None:
        self._file(fd)

    def has_xattrs(self, fd: int) -> bool:
        self._file(fd)
        return False

    def space(self, fd: int) -> Space:
        self._before("space", b"")
        self._file(fd)
        return self.disk.space()

    # -- names ------------------------------------------------------------------------------------

    def mkdir_at(self, directory: int, name: bytes, mode: int) -> None:
        self._before("mkdir_at", name)
        new_mode = stat.S_IFDIR | (mode & 0o1777 & ~UMASK)
        self.disk.create(self._directory(directory, name), name, new_mode, self.pid)
        self._after("mkdir_at", name)

    def symlink_at(self, target: bytes, directory: int, name: bytes) -> None:
        self._before("symlink_at", name)
        if not target:
            raise failure(errno.ENOENT, name)
        self.disk.create(self._directory(directory, name), name, stat.S_IFLNK | 0o777, self.pid, target)
        self._after("symlink_at", name)

    def rmdir_at(self, directory: int, name: bytes) -> None:
        self._before("rmdir_at", name)
        self.disk.rmdir(self._directory(directory, name), name, self.pid)
        self._after("rmdir_at", name)

    def unlink_at(self, directory: int, name: bytes) -> None:
        self._before("unlink_at", name)
        self.disk.unlink(self._directory(directory, name), name, self.pid)
        self._after("unlink_at", name)

    def rename_at(self, source: int, old: bytes, target: int, new: bytes, flag: RenameFlag = RenameFlag.NONE) -> None:
        self._before("rename_at", old)
        self.disk.rename(self._directory(source, old), old, self._directory(target, new), new, flag, self.pid)
        self._after("rename_at", old)

    # -- attributes -------------------------------------------------------------------------------

    def chown_fd(self, fd: int, uid: int, gid: int) -> None:
        self._set_fd("chown_fd", fd, owner=(uid, gid))

    def chmod_fd(self, fd: int, mode: int) -> None:
        self._set_fd("chmod_fd", fd, mode=mode)

    def set_mtime_fd(self, fd: int, mtime_ns: int) -> None:
        self._set_fd("set_mtime_fd", fd, mtime_ns=mtime_ns)

    def set_mtime_new(self, fd: int, mtime_ns: int) -> None:
        self._set_fd("set_mtime_new", fd, mtime_ns=mtime_ns)

    def chown_at(self, directory: int, name: bytes, uid: int, gid: int) -> None:
        self._set_at("chown_at", directory, name, owner=(uid, gid))

    def set_mtime_at(self, directory: int, name: bytes, mtime_ns: int) -> None:
        self._set_at("set_mtime_at", directory, name, mtime_ns=mtime_ns)

    def _set_fd(
        self,
        call: str,
        fd: int,
        *,
        mode: int | None = None,
        owner: tuple[int, int] | None = None,
        mtime_ns: int | None = None,
    ) -> None:
        file = self._file(fd)
        self._before(call, file.name.name)
        if file.flags & os.O_PATH:
            raise failure(errno.EBADF)
        self.disk.set_attributes(file.name, self.pid, mode=mode, owner=owner, mtime_ns=mtime_ns)
        self._after(call, file.name.name)

    def _set_at(
        self,
        call: str,
        directory: int,
        name: bytes,
        *,
        owner: tuple[int, int] | None = None,
        mtime_ns: int | None = None,
    ) -> None:
        self._before(call, name)
        found = self.disk.need(self._directory(directory, name), name)
        self.disk.set_attributes(found, self.pid, owner=owner, mtime_ns=mtime_ns)
        self._after(call, name)

    # -- stable storage ---------------------------------------------------------------------------

    def sync_data(self, fd: int) -> None:
        inode = self._syncable(fd, "sync_data")
        if inode.is_directory:
            power.sync_file(self.disk, inode)
        else:
            power.sync_data(inode)
        self._after("sync_data", b"")

    def sync_file(self, fd: int) -> None:
        power.sync_file(self.disk, self._syncable(fd, "sync_file"))
        self._after("sync_file", b"")

    def sync_filesystem(self, fd: int) -> None:
        self._syncable(fd, "sync_filesystem")
        power.sync_all(self.disk)
        self._after("sync_filesystem", b"")

    # -- parts ------------------------------------------------------------------------------------

    def _before(self, call: str, about: bytes) -> None:
        if self.dead:
            raise Crash(f"{call} by a process that has ended")
        if self.gate is not None:
            self.gate(call, about, "before")

    def _after(self, call: str, about: bytes) -> None:
        if self.gate is not None:
            self.gate(call, about, "after")

    def _file(self, fd: int) -> OpenFile:
        if self.dead:
            raise Crash("a process that has ended has no files")
        try:
            return self._files[fd]
        except KeyError:
            raise failure(errno.EBADF) from None

    def _directory(self, fd: int, about: bytes) -> Inode:
        inode = self._file(fd).inode
        if not inode.is_directory:
            raise failure(errno.ENOTDIR, about)
        return inode

    def _readable(self, fd: int, call: str) -> OpenFile:
        file = self._file(fd)
        self._before(call, file.name.name)
        if file.flags & os.O_PATH or file.flags & ACCESS == os.O_WRONLY:
            raise failure(errno.EBADF)
        if file.inode.is_directory:
            raise failure(errno.EISDIR)
        return file

    def _writable(self, fd: int, call: str) -> OpenFile:
        file = self._file(fd)
        self._before(call, file.name.name)
        if not file.writing:
            raise failure(errno.EBADF)
        return file

    def _syncable(self, fd: int, call: str) -> Inode:
        file = self._file(fd)
        self._before(call, file.name.name)
        if file.flags & os.O_PATH:
            raise failure(errno.EBADF)
        return file.inode


def _components(path: bytes) -> list[bytes]:
    names = [name for name in path.split(b"/") if name]
    for name in names:
        check_name(name)
    return names
