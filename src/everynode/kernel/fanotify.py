"""A raw fanotify reader: one mark on a whole filesystem, events as small tuples. No policy.

Facts (Linux 6.18, tests/kernel/test_fanotify.py shows each):
- The kernel merges equal events of one process while they wait in the queue, into the place of the first: those on
  one name in one directory (a mask may hold CREATE | DELETE | CLOSE_WRITE at once and says nothing of their order), and
  renames from the same to the same name. So a later event may be told before an earlier one; never is one lost, and
  what has been read is not merged into.
- An event on a file names the parent and name that the dentry has *when the event happens*: after a
  RENAME_EXCHANGE, writes through an older fd are reported under the name to which the file was swapped.
- An event on a directory itself (attributes) is reported with that directory's own handle and the name ".".
- RENAME_EXCHANGE makes two rename events, one each way.
- Writes through a memory mapping make no event. `truncate(2)` makes MODIFY without a later CLOSE_WRITE.
- The pid is that of the process (not thread) in the reader's pid namespace; 0: not visible from there.
See fanotify(7), fanotify_init(2), fanotify_mark(2); FAN_RENAME needs Linux 5.17.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import termios

from everynode.kernel import libc

# linux/fanotify.h
MODIFY = 0x00000002
ATTRIB = 0x00000004
CLOSE_WRITE = 0x00000008
CREATE = 0x00000100
DELETE = 0x00000200
OVERFLOW = 0x00004000
RENAME = 0x10000000
ONDIR = 0x40000000

_CLOEXEC = 0x00000001
_NONBLOCK = 0x00000002
_CLASS_NOTIF = 0x00000000
_UNLIMITED_QUEUE = 0x00000010
_REPORT_DIR_FID = 0x00000400
_REPORT_NAME = 0x00000800
_MARK_ADD = 0x00000001
_MARK_REMOVE = 0x00000002
_MARK_FILESYSTEM = 0x00000100
_MARK_IGNORE = 0x00000400
_MARK_IGNORED_SURV_MODIFY = 0x00000040
_EVENT_ON_CHILD = 0x08000000
_AT_FDCWD = -100
_INFO_DFID_NAME = 2
_INFO_DFID = 3
_INFO_OLD_DFID_NAME = 10
_INFO_NEW_DFID_NAME = 12

# struct fanotify_event_metadata is event_len, vers, reserved, metadata_len, mask, fd, pid. What is needed of each
# event (most are our own and skipped after this), and what is needed once to know that this layout is meant:
_METADATA = struct.Struct("=I4xQ4xi")  # event_len, mask, pid
_LAYOUT = struct.Struct("=4xBxH")  # vers, metadata_len
_VERSION = 3
# struct fanotify_event_info_fid is info_type, pad, len, fsid, then struct file_handle: handle_bytes, handle_type.
_INFO = struct.Struct("=BxH8xI")  # info_type, len, handle_bytes
_HANDLE_AT = 12  # of struct file_handle within it
_HANDLE_HEAD = 8
# One read: some 3,000 events. Larger reads only delay the first event.
READ_BYTES = 256 * 1024

_fanotify_init = libc.function("fanotify_init", ctypes.c_int, ctypes.c_uint, ctypes.c_uint)
_fanotify_mark = libc.function(
    "fanotify_mark", ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p
)

Event = tuple[int, int, bytes, bytes, bytes, bytes]
"""(mask, pid, directory handle, name, new directory handle, new name); the last two are empty but for RENAME.

Handles are whole `struct file_handle`s, as `kernel.handles` takes them. OVERFLOW has empty handles and names.
"""


def open_group(*, unlimited_queue: bool = True) -> int:
    """A new fanotify group as a non-blocking fd. Needs CAP_SYS_ADMIN. Without the flag the queue holds 16,384."""
    flags = _CLASS_NOTIF | _CLOEXEC | _NONBLOCK | _REPORT_DIR_FID | _REPORT_NAME
    if unlimited_queue:
        flags |= _UNLIMITED_QUEUE
    fd = _fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC)
    if fd < 0:
        raise libc.failure()
    return fd


def mark_filesystem(group: int, directory: int) -> None:
    """Hear of changes anywhere on the filesystem of `directory`, at once and at the cost of one call.

    OSError: EPERM (no CAP_SYS_ADMIN), EOPNOTSUPP (overlayfs and others without file handles), EXDEV (a btrfs
    subvolume), ENODEV (no fsid, some FUSE), EINVAL (a kernel before 5.17).
    """
    mask = CREATE | DELETE | MODIFY | CLOSE_WRITE | ATTRIB | RENAME | ONDIR
    # b"." and not NULL: NULL with a directory fd is the same, but some sandboxes refuse it.
    if _fanotify_mark(group, _MARK_ADD | _MARK_FILESYSTEM, mask, directory, b".") < 0:
        raise libc.failure()


def ignore_in(group: int, directory: int, wanted: bool) -> None:
    """Hear nothing (or, not `wanted`, hear again) of what happens to the objects in `directory` of a marked filesystem.

    OSError: ENOENT (nothing was ignored), EBADF, EINVAL (a kernel before 6.0). Without it all is the same, only slower:
    the kernel makes four events of each file that is written there, which doubles the cost of making a small one.
    """
    mask = CREATE | DELETE | MODIFY | CLOSE_WRITE | ATTRIB | RENAME | _EVENT_ON_CHILD
    how = _MARK_ADD if wanted else _MARK_REMOVE
    if _fanotify_mark(group, how | _MARK_IGNORE | _MARK_IGNORED_SURV_MODIFY, mask, directory, b".") < 0:
        raise libc.failure()


def read_events(group: int, skip_pid: int = 0) -> list[Event] | None:
    """The next waiting events, oldest first; None if none wait. At most READ_BYTES of them.

    Those of `skip_pid` are left out, but for renames of directories (they change what handles mean).
    """
    try:
        buffer = os.read(group, READ_BYTES)
    except BlockingIOError:
        return None
    return parse_events(buffer, skip_pid)


def has_events(group: int) -> bool:
    """Whether an event waits to be read, whoever made it."""
    count = bytearray(4)
    fcntl.ioctl(group, termios.FIONREAD, count)
    return any(count)


def parse_events(buffer: bytes, skip_pid: int = 0) -> list[Event]:
    assert _LAYOUT.unpack_from(buffer) == (_VERSION, _METADATA.size), "fanotify speaks another version"
    events: list[Event] = []
    add = events.append
    metadata_of, info_of = _METADATA.unpack_from, _INFO.unpack_from
    renamed_directory = RENAME | ONDIR
    end = len(buffer)
    at = 0
    while at < end:
        length, mask, pid = metadata_of(buffer, at)
        info = at + _METADATA.size
        at += length
        if pid == skip_pid and mask & renamed_directory != renamed_directory and not mask & OVERFLOW:
            continue
        kind, _, handle_bytes = info_of(buffer, info) if info < at else (0, 0, 0)
        if kind == _INFO_DFID_NAME:
            handle_at = info + _HANDLE_AT
            name_at = handle_at + _HANDLE_HEAD + handle_bytes
            name = buffer[name_at : buffer.index(0, name_at)]
            add((mask, pid, buffer[handle_at:name_at], name, b"", b""))
        elif mask & RENAME:
            add(_rename(buffer, info, at, mask, pid))
        elif mask & OVERFLOW:
            add((mask, pid, b"", b"", b"", b""))
        elif kind == _INFO_DFID:
            handle_at = info + _HANDLE_AT
            add((mask, pid, buffer[handle_at : handle_at + _HANDLE_HEAD + handle_bytes], b".", b"", b""))
        # Else an event on an inode without a name (its last link is gone): nothing to look at.
    return events


def _rename(buffer: bytes, at: int, end: int, mask: int, pid: int) -> Event:
    old = new = (b"", b"")
    while at < end:
        kind, length, handle_bytes = _INFO.unpack_from(buffer, at)
        handle_at = at + _HANDLE_AT
        name_at = handle_at + _HANDLE_HEAD + handle_bytes
        found = (buffer[handle_at:name_at], buffer[name_at : buffer.index(0, name_at)])
        if kind == _INFO_OLD_DFID_NAME:
            old = found
        elif kind == _INFO_NEW_DFID_NAME:
            new = found
        at += length
    return (mask, pid, *old, *new)
