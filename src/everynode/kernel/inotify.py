"""A raw inotify reader: one watch per directory, events as small tuples. No policy.

Written here and not taken from a library because paths must stay bytes and watches must be set by directory fd.
See inotify(7).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import termios

from everynode.kernel import libc

# linux/inotify.h
MODIFY = 0x00000002
ATTRIB = 0x00000004
CLOSE_WRITE = 0x00000008
MOVED_FROM = 0x00000040
MOVED_TO = 0x00000080
CREATE = 0x00000100
DELETE = 0x00000200
OVERFLOW = 0x00004000
IGNORED = 0x00008000
ISDIR = 0x40000000

TREE_MASK = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE
_ONLYDIR = 0x01000000
_EXCL_UNLINK = 0x04000000
_EVENT = struct.Struct("=iIII")  # wd, mask, cookie, len; then the name, padded with NUL
READ_BYTES = 256 * 1024

_inotify_init1 = libc.function("inotify_init1", ctypes.c_int, ctypes.c_int)
_inotify_add_watch = libc.function("inotify_add_watch", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
_inotify_rm_watch = libc.function("inotify_rm_watch", ctypes.c_int, ctypes.c_int, ctypes.c_int)

Event = tuple[int, int, int, bytes]
"""(watch, mask, cookie, name). The name is empty for what happened to the watched directory itself."""


def open_queue() -> int:
    """A new inotify instance as a non-blocking fd. OSError EMFILE: fs.inotify.max_user_instances."""
    fd = _inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        raise libc.failure()
    return fd


def add_watch(queue: int, directory: int, mask: int = TREE_MASK) -> int:
    """Watch the directory open as `directory`; the same directory has the same watch, its mask is replaced.

    OSError ENOSPC: fs.inotify.max_user_watches is reached.
    """
    watch = _inotify_add_watch(queue, b"/proc/self/fd/%d" % directory, mask | _ONLYDIR | _EXCL_UNLINK)
    if watch < 0:
        raise libc.failure()
    return watch


def remove_watch(queue: int, watch: int) -> None:
    """The kernel answers with IGNORED. OSError EINVAL: it is gone already."""
    if _inotify_rm_watch(queue, watch) < 0:
        raise libc.failure()


def has_events(queue: int) -> bool:
    """Whether an event waits to be read."""
    count = bytearray(4)
    fcntl.ioctl(queue, termios.FIONREAD, count)
    return any(count)


def read_events(queue: int) -> list[Event] | None:
    """The next waiting events, oldest first; None if none wait. OVERFLOW comes with watch -1."""
    try:
        buffer = os.read(queue, READ_BYTES)
    except BlockingIOError:
        return None
    events: list[Event] = []
    at = 0
    while at < len(buffer):
        watch, mask, cookie, length = _EVENT.unpack_from(buffer, at)
        at += _EVENT.size
        events.append((watch, mask, cookie, buffer[at : at + length].rstrip(b"\0")))
        at += length
    return events
