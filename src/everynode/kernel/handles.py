"""File handles: names of directories that outlive renames, and the way from them to a path."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from everynode.kernel import libc

_HANDLE_HEAD = struct.Struct("=Ii")  # struct file_handle: handle_bytes, handle_type
_HANDLE_BYTES_MAX = 128  # MAX_HANDLE_SZ
_AT_EMPTY_PATH = 0x1000
_O_PATH = os.O_PATH | os.O_CLOEXEC
_DELETED = b" (deleted)"

_open_by_handle_at = libc.function("open_by_handle_at", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
_name_to_handle_at = libc.function(
    "name_to_handle_at",
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_int),
    ctypes.c_int,
)


def handle_of(fd: int) -> bytes:
    """The `struct file_handle` of an open file or directory. OSError EOPNOTSUPP: the filesystem has none."""
    buffer = ctypes.create_string_buffer(_HANDLE_HEAD.pack(_HANDLE_BYTES_MAX, 0), _HANDLE_HEAD.size + _HANDLE_BYTES_MAX)
    mount = ctypes.c_int()
    if _name_to_handle_at(fd, b"", buffer, ctypes.byref(mount), _AT_EMPTY_PATH) < 0:
        raise libc.failure()
    (length, _) = _HANDLE_HEAD.unpack_from(buffer)
    return buffer.raw[: _HANDLE_HEAD.size + length]


def path_of_handle(mount: int, handle: bytes) -> bytes | None:
    """Where the directory of `handle` is now, an absolute path; None: it is deleted.

    `mount` is any open file on the mount below which the path is wanted; a directory of the same filesystem that
    cannot be reached below that mount gets a path that means nothing. Needs CAP_DAC_READ_SEARCH (else EPERM).
    """
    fd = _open_by_handle_at(mount, handle, _O_PATH)
    if fd < 0:
        if libc.last_errno() == errno.ESTALE:
            return None
        raise libc.failure()
    try:
        path = path_of_fd(fd)
        if path.endswith(_DELETED) and not _stands_at(fd, path):
            return None
        return path
    finally:
        os.close(fd)


def path_of_fd(fd: int) -> bytes:
    """Where the open file is now, links resolved. The kernel appends " (deleted)" to what has no name any more."""
    return os.readlink(b"/proc/self/fd/%d" % fd)


def _stands_at(fd: int, path: bytes) -> bool:
    # Somebody may name a directory "x (deleted)".
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except OSError:
        return False
