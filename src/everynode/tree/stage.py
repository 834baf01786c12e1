"""Staging: complete new objects in folders of our own, verified, attributes set, not yet visible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from stat import S_IMODE

import msgspec

from everynode.kernel.protocol import Kernel, Stat
from everynode.model.entry import DIRECTORY, FILE, Entry
from everynode.model.path import RelPath, name_of
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
    stamp_of,
    time_of,
    without_ctime,
)
from everynode.tree.outcome import Filled, NotPut, Refusal, Staged
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
    folder: Filled | None = None
    """The new directory in which it is staged, under its own name."""


def stage(root: Root, items: Sequence[StageItem]) -> list[Staged | NotPut]:
    """Stage every item of a batch; answers in order. What could not be staged has left nothing behind.

    Bytes that are not those of the entry's digest are refused. Durable only after `sync.make_durable`.
    """
    done: list[Staged | NotPut] = []
    for item in items:
        try:
            if item.entry.kind is FILE:
                done.append(_stage_file(root, item))
            else:
                done.append(stage_symlink(root, item.entry, item))
        except Refused as refused:
            done.append(refused.for_path(item.path))
        except OSError as error:
            done.append(not_put(item.path, error))
    return done


def _stage_file(root: Root, item: StageItem) -> Staged:
    entry, content, within = item.entry, item.content, item.folder
    _check(entry)
    if content is None or len(content) != entry.size or digest_bytes(content) != entry.digest:
        raise Refused(Refusal.ERROR, Trouble.NO_CONTENT, "the bytes received are not those of its digest; fetch again")
    kernel = root.kernel
    if within is not None:
        folder, name = within.fd, name_of(item.path)
    else:
        name = root.new_name(FRESH_KIND if item.fresh else STAGED_KIND)
        folder = root.folder_of(name)
    fd = kernel.create_at(folder, name, entry.mode & 0o777)
    try:
        try:
            if content:
                write_fully(kernel, fd, content)
            return finish_file(kernel, fd, name, entry, kernel.set_mtime_new, within)
        finally:
            kernel.close(fd)
    except OSError:
        kernel.unlink_at(folder, name)
        raise


def write_fully(kernel: Kernel, fd: int, content: bytes) -> None:
    written = kernel.write(fd, content)
    while written < len(content):
        written += kernel.write(fd, content[written:])


def finish_file(
    kernel: Kernel,
    fd: int,
    name: bytes,
    entry: Entry,
    set_mtime: Callable[[int, int], None] | None = None,
    folder: Filled | None = None,
) -> Staged:
    """Set the attributes of a file in a folder of ours whose content is complete."""
    denied = set_time(set_mtime or kernel.set_mtime_fd, fd, entry.mtime_ns)
    stat = kernel.stat_fd(fd)
    if has_attributes(stat, entry):
        if stat.st_mtime_ns == entry.mtime_ns and not denied:
            stamp = stamp_of(stat) if folder is not None else None
            return Staged(name, entry, stat.st_ino & INODE_MASK, "", stamp, folder)
    else:
        refused = set_owner_and_mode(kernel, fd, entry, stat)
        denied = "; ".join(filter(None, (denied, refused)))
        stat = kernel.stat_fd(fd)
    return _staged(name, entry, stat, denied, folder)


def _staged(name: bytes, entry: Entry, stat: Stat, denied: str, folder: Filled | None) -> Staged:
    if time_of(stat) == entry.mtime_ns and not denied and has_attributes(stat, entry):
        return Staged(name, entry, stat.st_ino & INODE_MASK, "", stamp_of(stat), folder)
    really = entry_of(stat, entry.kind, entry.digest)
    # fchmod drops setgid silently for who is not in the group; filesystems round times silently.
    denied = denied or f"mode {entry.mode:04o} or mtime: this filesystem keeps {really.mode:04o}, {really.mtime_ns} ns"
    return Staged(name, really, stat.st_ino & INODE_MASK, denied, stamp_of(stat), folder)


def stage_symlink(root: Root, entry: Entry, item: StageItem | None = None) -> Staged:
    """`item` says in which new directory, if any. Raises Refused or OSError; leaves nothing behind then."""
    _check(entry)
    if not entry.digest or b"\0" in entry.digest:
        raise Refused(Refusal.ERROR, Trouble.NAME, "its link target is empty or has a NUL; no symlink can have that")
    kernel = root.kernel
    within = item.folder if item is not None else None
    if item is not None and within is not None:
        folder, name = within.fd, name_of(item.path)
    else:
        folder, name = root.vault_fd, root.new_name(STAGED_KIND)
    kernel.symlink_at(entry.digest, folder, name)
    try:
        denied = set_link_attributes(kernel, folder, name, entry)
        return _staged(name, entry, kernel.stat_at(folder, name), denied, within)
    except OSError:
        kernel.unlink_at(folder, name)
        raise


def stage_directory(root: Root, entry: Entry, folder: int, name: bytes) -> Staged:
    """An empty directory with owner and mode in a folder of ours; its time is set when its content is placed.

    Made aside, so that a crash never leaves one with attributes that nobody gave it. Raises Refused or OSError.
    """
    _check(entry)
    kernel = root.kernel
    kernel.mkdir_at(folder, name, S_IMODE(entry.mode) & 0o777)
    try:
        denied = ""
        stat = kernel.stat_at(folder, name)
        if not has_attributes(stat, entry):
            fd = kernel.open_beneath(folder, name, OPEN_DIRECTORY)
            try:
                denied = set_owner_and_mode(kernel, fd, entry, stat)
                stat = kernel.stat_fd(fd)
            finally:
                kernel.close(fd)
        stamp = without_ctime(stamp_of(stat))  # what comes into it moves its time
        return Staged(name, entry_of(stat, DIRECTORY, b""), stat.st_ino & INODE_MASK, denied, stamp)
    except OSError:
        kernel.rmdir_at(folder, name)
        raise


def _check(entry: Entry) -> None:
    if wrong := refuse_entry(entry):
        raise Refused(Refusal.ERROR, Trouble.ATTRIBUTE, f"no file can have the {wrong} that was sent")
