"""A gate before every system call of a daemon that changes something: it counts them, and kills at the nth.

By seccomp user notifications (seccomp_unotify(2)): the kernel holds the calling thread until the gate says that it may
go on. So the calls of all threads are counted in one order, while strace(1) counts those of each thread and of each
kind apart: `when=7` never reaches the seventh write of one thread when another thread's seventh comes before it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import struct
import threading
from dataclasses import dataclass, field

# x86_64, from asm/unistd_64.h. Sockets are written by some of these, too: what a peer is told is a change as well.
CALLS = {
    1: "write", 18: "pwrite64", 20: "writev", 44: "sendto", 46: "sendmsg", 74: "fsync", 75: "fdatasync",
    76: "truncate", 77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 86: "link", 87: "unlink",
    88: "symlink", 90: "chmod", 91: "fchmod", 92: "chown", 93: "fchown", 94: "lchown", 162: "sync",
    258: "mkdirat", 260: "fchownat", 263: "unlinkat", 264: "renameat", 265: "linkat", 266: "symlinkat",
    268: "fchmodat", 277: "sync_file_range", 280: "utimensat", 285: "fallocate", 296: "pwritev", 306: "syncfs",
    316: "renameat2", 326: "copy_file_range", 328: "pwritev2", 40: "sendfile", 452: "fchmodat2",
    257: "openat", 437: "openat2", 2: "open", 85: "creat", 16: "ioctl",
}  # fmt: skip
# Of these only the calls that make or empty a file: flags are the third argument of openat, the second of open.
OPENAT, OPEN, IOCTL, OPENAT2 = 257, 2, 16, 437
CREATING = os.O_CREAT | os.O_TRUNC
FICLONE = 0x40049409

PR_SET_NO_NEW_PRIVS = 38
SYS_SECCOMP = 317
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
SYS_PIDFD_GETFD = 438
LISTENER_FD = 200
ALLOW, USER_NOTIF = 0x7FFF0000, 0x7FC00000
LOAD, JUMP_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x45, 0x06
NUMBER_AT, ARGUMENTS_AT = 0, 16
RECEIVE, SEND = 0xC0502100, 0xC0182101
GO_ON = 1
_NOTIFICATION = struct.Struct("<QIIiIQ6Q")
_ANSWER = struct.Struct("<QqiI")
_libc = ctypes.CDLL(None, use_errno=True)


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


def _filter() -> list[tuple[int, int, int, int]]:
    """(code, jump if true, jump if false, constant), see Documentation/networking/filter.rst."""
    plain = [number for number in CALLS if number not in (OPENAT, OPEN, IOCTL)]
    program = []
    for number in plain:
        program += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, USER_NOTIF)]
    for number, argument, code, constant in (
        (OPENAT, 2, JUMP_SET, CREATING),
        (OPEN, 1, JUMP_SET, CREATING),
        (IOCTL, 1, JUMP_EQUAL, FICLONE),
    ):
        program += [
            (JUMP_EQUAL, 0, 4, number),
            (LOAD, 0, 0, ARGUMENTS_AT + 8 * argument),
            (code, 0, 1, constant),
            (RETURN, 0, 0, USER_NOTIF),
            (RETURN, 0, 0, ALLOW),
        ]
    return [(LOAD, 0, 0, NUMBER_AT), *program, (RETURN, 0, 0, ALLOW)]


@dataclass
class Gate:
    """Lets `kill_at` - 1 calls pass after `arm` and kills the process instead of the next; 0: it only counts."""

    kill_at: int = 0
    armed: bool = True
    calls: list[str] = field(default_factory=list)
    """The calls since it was armed, the one that was not made at the end."""

    def __post_init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._armed = threading.Event()
        if self.armed:
            self._armed.set()

    def install(self) -> None:
        """In the process that is to be watched: from here on every thread of it meets the gate."""
        lines = _filter()
        program = _Program(len(lines), (_Instruction * len(lines))(*(_Instruction(*line) for line in lines)))
        if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        flags = SECCOMP_FILTER_FLAG_NEW_LISTENER
        fd = _libc.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(program))
        if fd < 0:
            raise OSError(ctypes.get_errno(), "seccomp")
        # Found there by `watch`: whatever would tell the number meets the gate itself.
        os.dup2(fd, LISTENER_FD, inheritable=False)
        os.close(fd)

    def watch(self, pid: int) -> None:
        """In the process that forked it."""
        self._thread = threading.Thread(target=self._watch, args=(pid,), name=f"gate of {pid}")
        self._thread.start()

    def arm(self) -> None:
        """Count from now on."""
        self._armed.set()

    def disarm(self) -> None:
        """Nobody is killed any more."""
        self._armed.clear()

    def join(self) -> None:
        """After the end of the process; at once where none was watched."""
        if self._thread is not None:
            self._thread.join()

    def _watch(self, pid: int) -> None:
        listener = _listener_of(pid)
        if listener is None:
            return
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        try:
            while True:
                [(_, events)] = poll.poll() or [(listener, 0)]
                if events & select.POLLIN:
                    if not self._pass_one(listener, memory, pid):
                        return
                elif events:
                    return  # the process is gone
        finally:
            os.close(memory)
            os.close(listener)

    def _pass_one(self, listener: int, memory: int, pid: int) -> bool:
        """False: the process was killed."""
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, RECEIVE, buffer)
        except OSError:
            return True  # the thread ended meanwhile
        number, thread, _, call, _, _, *arguments = _NOTIFICATION.unpack(buffer)
        if self._armed.is_set() and _changes_something(call, arguments, thread, memory):
            self.calls.append(CALLS[call])
            if len(self.calls) == self.kill_at:
                os.kill(pid, signal.SIGKILL)
                return False
        try:
            fcntl.ioctl(listener, SEND, bytearray(_ANSWER.pack(number, 0, 0, GO_ON)))
        except OSError:
            pass  # the thread ended meanwhile
        return True


def _listener_of(pid: int) -> int | None:
    """The gate of a process that is about to install one; None: it ended before."""
    process = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        while not poll.poll(1):
            fd = int(_libc.syscall(SYS_PIDFD_GETFD, process, LISTENER_FD, 0))
            if fd >= 0:
                return fd
        return None
    finally:
        os.close(process)


def _changes_something(call: int, arguments: list[int], thread: int, memory: int) -> bool:
    if call == OPENAT2:
        # Its flags are the first word of a struct in the process's memory.
        return bool(int.from_bytes(os.pread(memory, 8, arguments[2]), "little") & CREATING)
    if CALLS[call] in ("write", "writev"):
        try:
            place = os.readlink(f"/proc/{thread}/fd/{arguments[0]}")
        except OSError:
            return True
        return not place.startswith(("anon_inode:", "pipe:"))  # a thread wakes another one
    return True
