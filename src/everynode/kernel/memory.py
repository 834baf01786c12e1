"""How the C library keeps the memory that it was given back: contents of small files come and go by the thousand."""

from __future__ import annotations

import ctypes

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
