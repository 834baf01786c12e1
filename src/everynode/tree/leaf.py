"""One object at a path: its kind, stamp and entry as stat shows them, and the setting of its attributes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

from everynode.kernel.protocol import Kernel, Stat
from everynode.model.entry import DIRECTORY, FILE, SYMLINK, Entry, Kind, Stamp

OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
"""A FIFO or terminal that took the place of a file must not hold us up."""

PERMISSIONS = 0o7777
SPECIAL_BITS = 0o6000
TIME_NS_MAX = 2**63 - 1
"""In 2262; ext4 and xfs have later ones, SQLite and the wire have not: they count as this."""
INODE_MASK = 2**63 - 1
"""Inode numbers are unsigned, SQLite's integers are not."""

ID_MAX = 2**32 - 1
"""chown reads this one as "leave it"."""

DENIED_ERRORS = (errno.EPERM, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP, errno.EOVERFLOW)
"""What "you may not, or this filesystem cannot" looks like; anything else is an error of placing."""

_KINDS = {S_IFREG: FILE, S_IFDIR: DIRECTORY, S_IFLNK: SYMLINK}


def kind_of(stat: Stat) -> Kind | None:
    """None: a socket, FIFO or device, which are not replicated."""
    return _KINDS.get(S_IFMT(stat.st_mode))


def time_of(stat: Stat) -> int:
    time_ns = stat.st_mtime_ns
    return time_ns if -TIME_NS_MAX <= time_ns <= TIME_NS_MAX else TIME_NS_MAX if time_ns > 0 else -TIME_NS_MAX


def stamp_of(stat: Stat) -> Stamp:
    ctime_ns = stat.st_ctime_ns
    return Stamp(stat.st_ino & INODE_MASK, ctime_ns if 0 < ctime_ns <= TIME_NS_MAX else 0, time_of(stat), stat.st_size)


def without_ctime(stamp: Stamp) -> Stamp:
    """The same stamp, never to be trusted: the next look reads the content."""
    return Stamp(stamp.inode, 0, stamp.mtime_ns, stamp.size)


def same_object(stamp: Stamp, stat: Stat) -> bool:
    """Inode, size and mtime are those of `stamp`. The ctime is left out: our own renames move it."""
    return stamp.size == stat.st_size and stamp.inode == stat.st_ino & INODE_MASK and stamp.mtime_ns == time_of(stat)


def same_state(one: Stat, other: Stat) -> bool:
    """All that a rename leaves as it is: whatever differs was changed by somebody."""
    return (
        one.st_ino == other.st_ino
        and one.st_mtime_ns == other.st_mtime_ns
        and one.st_size == other.st_size
        and one.st_mode == other.st_mode
        and one.st_uid == other.st_uid
        and one.st_gid == other.st_gid
    )


def entry_of(stat: Stat, kind: Kind, digest: bytes) -> Entry:
    return Entry(
        kind,
        stat.st_mode & PERMISSIONS,
        stat.st_uid,
        stat.st_gid,
        time_of(stat),
        stat.st_size if kind is FILE else 0,
        digest,
    )


def has_attributes(stat: Stat, entry: Entry) -> bool:
    """Owner and mode (of a symlink: owner) are those of `entry`."""
    if stat.st_uid != entry.uid or stat.st_gid != entry.gid:
        return False
    return stat.st_mode & PERMISSIONS == entry.mode or entry.kind is SYMLINK


def set_owner_and_mode(kernel: Kernel, fd: int, entry: Entry, now: Stat) -> str:
    """Give an open file or directory, now as `now` says, owner and mode of `entry`.

    Returns what could not be set and why; empty: nothing. Raises OSError for anything but a refusal.
    """
    denied = []
    mode = entry.mode
    chowned = now.st_uid != entry.uid or now.st_gid != entry.gid
    if chowned and (refused := _chown(kernel, fd, entry)):
        denied.append(refused)
        # A program that was to run as its owner must not run as whoever everynode is.
        if mode & SPECIAL_BITS and entry.kind is FILE:
            mode &= ~SPECIAL_BITS
            denied.append(f"mode {entry.mode:04o} without its owner")
    # After the owner: chown clears setuid and setgid.
    if now.st_mode & PERMISSIONS != mode or (chowned and mode & SPECIAL_BITS):
        try:
            kernel.chmod_fd(fd, mode)
        except OSError as error:
            denied.append(_refused(f"mode {mode:04o}", error))
    return "; ".join(denied)


def _chown(kernel: Kernel, fd: int, entry: Entry) -> str:
    try:
        kernel.chown_fd(fd, entry.uid, entry.gid)
    except OSError as error:
        refused = _refused(f"owner {entry.uid}:{entry.gid}", error)
        try:
            # Whoever may not give files away may still pass them on within own groups.
            kernel.chown_fd(fd, -1, entry.gid)
        except OSError as again:
            _refused("group", again)
        return refused
    return ""


def set_time(set_mtime: Callable[[int, int], None], fd: int, mtime_ns: int) -> str:
    """`set_mtime` is the kernel's call for it. Returns why it could not be set; empty: it was."""
    try:
        set_mtime(fd, mtime_ns)
    except OSError as error:
        return _refused("mtime", error)
    return ""


def set_link_attributes(kernel: Kernel, directory: int, name: bytes, entry: Entry) -> str:
    """Owner and mtime of a symlink that nobody else knows yet. Returns what was denied."""
    denied = []
    stat = kernel.stat_at(directory, name)
    if stat.st_uid != entry.uid or stat.st_gid != entry.gid:
        try:
            kernel.chown_at(directory, name, entry.uid, entry.gid)
        except OSError as error:
            denied.append(_refused(f"owner {entry.uid}:{entry.gid}", error))
    try:
        kernel.set_mtime_at(directory, name, entry.mtime_ns)
    except OSError as error:
        denied.append(_refused("mtime", error))
    return "; ".join(denied)


def _refused(what: str, error: OSError) -> str:
    if error.errno not in DENIED_ERRORS:
        raise error
    return f"{what}: {error.strerror}"


def refuse_entry(entry: Entry) -> str:
    """Why the kernel could not be asked for these attributes (a peer's numbers); empty: it can."""
    if entry.mode & ~PERMISSIONS:
        return f"mode {entry.mode:o}"
    if not (0 <= entry.uid < ID_MAX and 0 <= entry.gid < ID_MAX):
        return f"owner {entry.uid}:{entry.gid}"
    if not -TIME_NS_MAX <= entry.mtime_ns <= TIME_NS_MAX:
        return f"mtime {entry.mtime_ns}"
    return ""
