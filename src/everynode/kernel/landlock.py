"""Landlock: a thread that may open, make and remove nothing outside some directories, whatever it is brought to try.

A second net below `open_beneath`: it holds where a defect of ours, or a peer who found one, would step over the first.
Rules cannot be widened later, so a thread is confined when its directories are known. landlock(7), Linux 5.13; moving
files between directories is possible for confined threads since 5.19 (ABI 2), so nothing older is used.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence

from everynode.kernel import libc

# linux/landlock.h; the numbers of the system calls are the same on every architecture.
_SYS_CREATE_RULESET, _SYS_ADD_RULE, _SYS_RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_RULESET_ATTR = struct.Struct("=Q")
_PATH_BENEATH_ATTR = struct.Struct("=Qi")
_PR_SET_NO_NEW_PRIVS = 38
_ABI_MIN = 2
_EXECUTE = 1 << 0
# What each ABI knows: everything is refused by default, and allowed (but running programs) below the directories.
_ACCESS_OF_ABI = {2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}

_create_ruleset = libc.function(
    "syscall", ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32
)
_add_rule = libc.function(
    "syscall", ctypes.c_long, ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32
)
_restrict_self = libc.function("syscall", ctypes.c_long, ctypes.c_long, ctypes.c_int, ctypes.c_uint32)
_prctl = libc.function("prctl", ctypes.c_int, ctypes.c_int, *[ctypes.c_ulong] * 4)


def why_unavailable() -> str:
    """Why no thread can be confined here; empty: it can."""
    abi = _create_ruleset(_SYS_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    if abi >= _ABI_MIN:
        return ""
    if abi < 0 and libc.last_errno() == errno.EOPNOTSUPP:
        return "Landlock is switched off in this kernel"
    return "this kernel has no Landlock, or one older than 5.19"


def confine_thread(directories: Sequence[int]) -> None:
    """From now on the calling thread, and threads that it starts, reach files only below these open directories.

    For good. What is open already stays usable. Raises OSError, and then nothing was confined.
    """
    abi = _create_ruleset(_SYS_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    if abi < _ABI_MIN:
        raise OSError(errno.EOPNOTSUPP, why_unavailable())
    access = _ACCESS_OF_ABI.get(abi, _ACCESS_OF_ABI[5])
    ruleset = _create_ruleset(_SYS_CREATE_RULESET, _RULESET_ATTR.pack(access), _RULESET_ATTR.size, 0)
    if ruleset < 0:
        raise libc.failure()
    try:
        for directory in directories:
            beneath = _PATH_BENEATH_ATTR.pack(access & ~_EXECUTE, directory)
            if _add_rule(_SYS_ADD_RULE, ruleset, _RULE_PATH_BENEATH, beneath, 0) < 0:
                raise libc.failure()
        # Else a program with more rights could be started without the confinement; we start none.
        if _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 or _restrict_self(_SYS_RESTRICT_SELF, ruleset, 0) < 0:
            raise libc.failure()
    finally:
        os.close(ruleset)
