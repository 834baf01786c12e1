"""Staging: complete new objects in folders of our own, verified, attributes set, not yet visible."""

from __future__ import annotations

from collections.abc import Sequence
from stat import S_IMODE

import msgspec

from everynode.kernel.protocol import Kernel, Stat
from everynode.model.entry import Entry, Kind
from everynode.model.path import RelPath
from everynode.model.problem import Trouble
from everynode.tree.digest import digest_bytes
from everynode.tree.leaf import (
    INODE_MASK,
    entry_of,
    has_attributes,
    refuse_entry,
    set_link_attributes,
    set_owner_and_mode,
    set_time,
    time_of,
)
from everynode.tree.outcome import NotPut, Refusal, Staged
from everynode.tree.reach import OPEN_DIRECTORY
from everynode.tree.refused import Refused, not_put
from everynode.tree.root import FRESH_KIND, Root

STAGED_KIND = b"n"
"""First letter of the names of new objects, and of what is vaulted under them by an exchange."""


class StageItem(msgspec.Struct, frozen=True, gc=False):
    path: RelPath
    """Where it is to be placed; for reports only."""
    entry: Entry
    """A file or symlink."""
    content: bytes | None = None
    """The bytes of a file."""
    fresh: bool = False
    """Nothing is known to stand at the path."""


def stage(root: Root, items: Sequence[StageItem]) -> list[Staged | NotPut]:
    """Stage every item of a batch; answers in order. What could not be staged has left nothing behind.

    Bytes that are not those of the entry's digest are refused. Durable only after `sync.make_durable`.
    """
    done: list[Staged | NotPut] = []
    for item in items:
        try:
            if item.entry.kind is Kind.FILE:
                done.append(_stage_file(root, item.entry, item.content, item.fresh))
            else:
                done.append(stage_symlink(root, item.entry))
        except Refused as refused:
            done.append(refused.for_path(item.path))
        except OSError as error:
            done.append(not_put(item.path, error))
    return done


def _stage_file(root: Root, entry: Entry, content: bytes | None, fresh: bool) -> Staged:
    _check(entry)
    if content is None or len(content) != entry.size or digest_bytes(content) != entry.digest:
        raise Refused(Refusal.ERROR, Trouble.NO_CONTENT, "the bytes received are not those of its digest; fetch again")
    kernel = root.kernel
    name = root.new_name(FRESH_KIND if fresh else STAGED_KIND)
    folder = root.folder_of(name)
    fd = kernel.create_at(folder, name, entry.mode & 0o777)
    try:
        try:
            if content:
                write_fully(kernel, fd, content)
            return finish_file(kernel, fd, name, entry)
        finally:
            kernel.close(fd)
    except OSError:
        kernel.unlink_at(folder, name)
        raise


def write_fully(kernel: Kernel, fd: int, content: bytes) -> None:
    written = kernel.write(fd, content)
    while written < len(content):
        written += kernel.write(fd, content[written:])


def finish_file(kernel: Kernel, fd: int, name: bytes, entry: Entry) -> Staged:
    """Set the attributes of a file in the vault folder whose content is complete."""
    denied = set_time(kernel, fd, entry.mtime_ns)
    stat = kernel.stat_fd(fd)
    if has_attributes(stat, entry):
        if stat.st_mtime_ns == entry.mtime_ns and not denied:
            return Staged(name, entry, stat.st_ino & INODE_MASK)
    else:
        refused = set_owner_and_mode(kernel, fd, entry, stat)
        denied = "; ".join(filter(None, (denied, refused)))
        stat = kernel.stat_fd(fd)
    return _staged(name, entry, stat, denied)


def _staged(name: bytes, entry: Entry, stat: Stat, denied: str) -> Staged:
    if time_of(stat) == entry.mtime_ns and not denied and has_attributes(stat, entry):
        return Staged(name, entry, stat.st_ino & INODE_MASK)
    really = entry_of(stat, entry.kind, entry.digest)
    # fchmod drops setgid silently for who is not in the group; filesystems round times silently.
    denied = denied or f"mode {entry.mode:04o} or mtime: this filesystem keeps {really.mode:04o}, {really.mtime_ns} ns"
    return Staged(name, really, stat.st_ino & INODE_MASK, denied)


def stage_symlink(root: Root, entry: Entry) -> Staged:
    """Raises Refused or OSError; leaves nothing behind then."""
    _check(entry)
    if not entry.digest or b"\0" in entry.digest:
        raise Refused(Refusal.ERROR, Trouble.NAME, "its link target is empty or has a NUL; no symlink can have that")
    kernel = root.kernel
    name = root.new_name(STAGED_KIND)
    kernel.symlink_at(entry.digest, root.vault_fd, name)
    try:
        denied = set_link_attributes(kernel, root.vault_fd, name, entry)
        return _staged(name, entry, kernel.stat_at(root.vault_fd, name), denied)
    except OSError:
        kernel.unlink_at(root.vault_fd, name)
        raise


def stage_directory(root: Root, entry: Entry) -> Staged:
    """An empty directory with owner and mode; its time is set when its content is placed.

    Made aside, so that a crash never leaves one with attributes that nobody gave it. Raises Refused or OSError.
    """
    _check(entry)
    kernel = root.kernel
    name = root.new_name(STAGED_KIND)
    kernel.mkdir_at(root.vault_fd, name, S_IMODE(entry.mode) & 0o777)
    try:
        denied = ""
        stat = kernel.stat_at(root.vault_fd, name)
        if not has_attributes(stat, entry):
            fd = kernel.open_beneath(root.vault_fd, name, OPEN_DIRECTORY)
            try:
                denied = set_owner_and_mode(kernel, fd, entry, stat)
                stat = kernel.stat_fd(fd)
            finally:
                kernel.close(fd)
        return Staged(name, entry_of(stat, Kind.DIRECTORY, b""), stat.st_ino & INODE_MASK, denied)
    except OSError:
        kernel.rmdir_at(root.vault_fd, name)
        raise


def _check(entry: Entry) -> None:
    if wrong := refuse_entry(entry):
        raise Refused(Refusal.ERROR, Trouble.ATTRIBUTE, f"no file can have the {wrong} that was sent")
