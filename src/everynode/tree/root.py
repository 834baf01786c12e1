"""The root of a group on this node: its marker, its vault folder, and the proof that it is still there."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator

from everynode.errors import GroupHalted
from everynode.kernel.protocol import Kernel, RenameFlag
from everynode.limits import RESERVED_NAME
from everynode.model.path import show_path
from everynode.tree.reach import OPEN_DIRECTORY, Reach, empty_directory

MARKER_NAME = b"marker"
VAULT_NAME = b"vault"
STAGE_NAME = b"stage"
"""Holds new files that replace nothing. Apart from the vault, so that the kernel need not tell us of each step of them:
nobody else can have anything in there, while a file in the vault may still be written by who had it open."""
FRESH_KIND = b"f"
"""First letter of the names in there."""
FORMAT = 1
MARKER_BYTES_MAX = 4096


class Root:
    """An open root. Made by `Root.open`; all else on the tree and content floors takes one.

    `fd` is the root directory, `vault_fd` the vault folder, opened before any write, so that syncfs on it
    reports every lost write since.
    """

    def __init__(
        self, kernel: Kernel, path: bytes, group_id: bytes, fds: tuple[int, int, int, int], life: bytes
    ) -> None:
        self.kernel = kernel
        self.path = path
        self.group_id = group_id
        self.fd, self._own_fd, self.vault_fd, self.stage_fd = fds
        stat = kernel.stat_fd(self.fd)
        self.device = stat.st_dev
        self._inode = stat.st_ino
        self._life = life
        self._numbers: Iterator[int] = itertools.count(1)
        self.assembling: set[bytes] = set()
        """Partial files in use, so that no two assemblies write to one."""

    @classmethod
    def open(cls, kernel: Kernel, path: bytes, group_id: bytes, *, create: bool, life: bytes = b"") -> Root:
        """Open the root at the absolute `path`.

        `create` is for the first time that a group is given this root: it makes the directory and the marker
        where there are none, and leaves all else that stands there. Without it, a missing root or marker halts
        the group; a foreign marker always does. `life` makes vault names unique over restarts: letters and
        digits that were never used with this root before (empty: random).

        Raises GroupHalted.
        """
        shown = show_path(path)
        try:
            fd = _make_directories(kernel, path) if create else kernel.open_root(path)
        except OSError as error:
            raise GroupHalted(
                f"the root {shown} cannot be opened: {error.strerror}; mount or restore it, then the group goes on by "
                "itself; if it is lost, give the group another directory here (everynode group root NAME DIR)"
            ) from error
        opened = [fd]
        try:
            opened.append(_open_folder(kernel, fd, RESERVED_NAME, create))
            _check_writable(kernel, shown, fd)
            _claim(kernel, shown, opened[1], group_id, create)
            # The vault holds nothing that is not replaceable by peers or older than the tree: made when missing.
            opened.append(_open_folder(kernel, opened[1], VAULT_NAME, True))
            opened.append(_open_folder(kernel, opened[1], STAGE_NAME, True))
            if create:
                kernel.sync_file(fd)
        except OSError as error:
            _close_all(kernel, opened)
            raise _halted(shown, error) from error
        except GroupHalted:
            _close_all(kernel, opened)
            raise
        life = life or os.urandom(6).hex().encode()
        return cls(kernel, path, group_id, (opened[0], opened[1], opened[2], opened[3]), life)

    def check(self) -> None:
        """Prove that the root is still reached by its path, can be written to, and still bears our marker.

        To be called before anything is read as deleted. Raises GroupHalted.
        """
        shown = show_path(self.path)
        try:
            fd = self.kernel.open_root(self.path)
        except PermissionError as error:
            # What the kernel says, too, when this thread is confined to the root that was opened.
            raise GroupHalted(
                f"what stands at the root {shown} may not be opened: it was unmounted, mounted over or replaced, or "
                "its mode was changed; put the right one back, then the group goes on"
            ) from error
        except OSError as error:
            raise _halted(shown, error) from error
        try:
            stat = self.kernel.stat_fd(fd)
            if (stat.st_dev, stat.st_ino) != (self.device, self._inode):
                raise GroupHalted(
                    f"another directory stands at the root {shown} than the one that was opened: it was unmounted, "
                    "mounted over or replaced; put the right one back, then the group goes on"
                )
            _check_writable(self.kernel, shown, fd)
            folder = self.kernel.open_beneath(fd, RESERVED_NAME, OPEN_DIRECTORY)
            try:
                _claim(self.kernel, shown, folder, self.group_id, False)
            finally:
                self.kernel.close(folder)
        except OSError as error:
            raise _halted(shown, error) from error
        finally:
            self.kernel.close(fd)

    def batch(self) -> Reach:
        """Open directories for one batch of looks or placings; use as a context."""
        return Reach(self.kernel, self.fd, self.device)

    def open_vault(self) -> int:
        """Another fd of the vault folder, for listing: that moves the offset, which `vault_fd` shares with threads."""
        return self.kernel.open_beneath(self._own_fd, VAULT_NAME, OPEN_DIRECTORY)

    def new_name(self, kind: bytes) -> bytes:
        """A name in our folders that was never used before. Safe from any thread."""
        return b"%s-%s-%x" % (kind, self._life, next(self._numbers))

    def folder_of(self, name: bytes) -> int:
        """The folder in which a name made by `new_name` lies: objects that replace nothing are staged apart."""
        return self.stage_fd if name.startswith(FRESH_KIND) else self.vault_fd

    def clear_stage(self) -> None:
        """Drop what a crash left half done there: only ever copies of what peers have. Raises OSError."""
        fd = self.kernel.open_beneath(self._own_fd, STAGE_NAME, OPEN_DIRECTORY)
        try:
            empty_directory(self.kernel, fd)
        finally:
            self.kernel.close(fd)

    def release(self) -> None:
        """The group is given up: without its marker the root may be given to another one. All else stays."""
        self.kernel.unlink_at(self._own_fd, MARKER_NAME)
        self.kernel.sync_file(self._own_fd)

    def close(self) -> None:
        """Once, after the last use."""
        _close_all(self.kernel, [self.stage_fd, self.vault_fd, self._own_fd, self.fd])


def _close_all(kernel: Kernel, fds: list[int]) -> None:
    for fd in fds:
        kernel.close(fd)


def _halted(shown: str, error: OSError) -> GroupHalted:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        why = f"has no {RESERVED_NAME.decode()} folder with our marker (not mounted, emptied, or another directory?)"
    else:
        why = f"cannot be used: {error.strerror}"
    return GroupHalted(
        f"the root {shown} {why}; nothing was taken as deleted. Mount or restore it, then the group goes on; "
        "or, if it is lost, give the group another directory here (everynode group root NAME DIR): all that the other "
        "nodes have comes back there"
    )


def _check_writable(kernel: Kernel, shown: str, fd: int) -> None:
    """A group that can place nothing, and keep nothing in its vault, says so once instead of at every path."""
    if kernel.space(fd).read_only:
        raise GroupHalted(
            f"the root {shown} is on a filesystem that is mounted read-only, as the kernel leaves one whose disk fails "
            "(see dmesg); nothing was changed. Mount it writable again, and the group goes on by itself"
        )


def _make_directories(kernel: Kernel, path: bytes) -> int:
    try:
        return kernel.open_root(path)
    except FileNotFoundError:
        above, _, name = path.rstrip(b"/").rpartition(b"/")
        parent = _make_directories(kernel, above or b"/")
        try:
            kernel.mkdir_at(parent, name, 0o755)
            kernel.sync_file(parent)
        finally:
            kernel.close(parent)
        return kernel.open_root(path)


def _open_folder(kernel: Kernel, parent: int, name: bytes, create: bool) -> int:
    try:
        return kernel.open_beneath(parent, name, OPEN_DIRECTORY)
    except FileNotFoundError:
        if not create:
            raise
    kernel.mkdir_at(parent, name, 0o700)
    fd = kernel.open_beneath(parent, name, OPEN_DIRECTORY)
    # A setgid parent hands its bits down; only the owner may enter.
    if kernel.stat_fd(fd).st_mode & 0o7777 != 0o700:
        kernel.chmod_fd(fd, 0o700)
    kernel.sync_file(parent)
    return fd


def _claim(kernel: Kernel, shown: str, folder: int, group_id: bytes, create: bool) -> None:
    """Check the marker in everynode's folder, or write it if `create` says that it may be missing."""
    try:
        fd = kernel.open_beneath(folder, MARKER_NAME, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        if not create:
            raise
        _write_marker(kernel, folder, group_id)
        return
    try:
        text = kernel.pread(fd, MARKER_BYTES_MAX, 0)
    finally:
        kernel.close(fd)
    fields = dict(_fields(text))
    if fields.get(b"format") != b"%d" % FORMAT:
        raise GroupHalted(
            f"the marker in the root {shown} has the format {show_path(fields.get(b'format', b'(none)'))}, this "
            f"everynode knows {FORMAT}: use the version that wrote it"
        )
    if fields.get(b"group") != group_id.hex().encode():
        raise GroupHalted(
            f"the root {shown} belongs to another group (marker: {show_path(fields.get(b'group', b'none'))}, this "
            f"group: {group_id.hex()}); give this group its own directory, or remove the folder "
            f"{RESERVED_NAME.decode()} there if that other group is gone for good"
        )


def _fields(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in text.splitlines():
        key, equals, value = line.partition(b"=")
        if equals:
            yield key.strip(), value.strip()


def _write_marker(kernel: Kernel, folder: int, group_id: bytes) -> None:
    fresh = MARKER_NAME + b".new"
    text = (
        "# This folder belongs to everynode. Without it the group halts instead of taking files as deleted.\n"
        f"format = {FORMAT}\ngroup = {group_id.hex()}\n"
    ).encode()
    fd = kernel.open_beneath(folder, fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        while text:  # a disk that is nearly full takes a part of it, and no marker may be half a one
            text = text[kernel.write(fd, text) :]
        kernel.sync_file(fd)
    finally:
        kernel.close(fd)
    kernel.rename_at(folder, fresh, folder, MARKER_NAME, RenameFlag.NONE)
    kernel.sync_file(folder)
