"""How the C library keeps the memory that it was given back: contents of small files come and go by the thousand."""

from __future__ import annotations

import ctypes
import os

from everynode.kernel import libc
from everynode.limits import KiB, MiB

# malloc.h of glibc; see mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def keep_freed_memory() -> None:
    """Grow the heap a megabyte at a time and shrink it late: else each small file costs a system call and a page fault.

    One heap for all threads, because those that glibc makes for further threads grow page by page whatever it is told;
    Python's lock keeps the threads from queueing for it. Bounded: what is kept above what is used is at most the trim
    threshold. Where the C library has no mallopt (musl) nothing is changed. Before any thread is started.
    """
    try:
        mallopt = libc.function("mallopt", ctypes.c_int, ctypes.c_int, ctypes.c_int)
    except AttributeError:
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_TOP_PAD, 1024 * KiB)
    mallopt(_M_TRIM_THRESHOLD, 8 * MiB)
    mallopt(_M_MMAP_THRESHOLD, 4 * MiB)


def give_back_freed_memory() -> None:
    """Return what lies free between what is used to the kernel; growing and shrinking alone only ever cuts the end.

    Takes some 10 ms per 100 MB of it. Thread-safe. Where the C library has no malloc_trim (musl) nothing is done.
    """
    try:
        trim = libc.function("malloc_trim", ctypes.c_int, ctypes.c_size_t)
    except AttributeError:
        return
    trim(0)


def resident_bytes() -> int:
    """Of this process, as proc(5) says in statm."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
