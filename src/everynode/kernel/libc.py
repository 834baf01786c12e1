"""The C library functions that Python's os module lacks, raising OSError like it.

Only pointers to immutable bytes are handed out, so any number of threads may call at once.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

_library = ctypes.CDLL(None, use_errno=True)

last_errno = ctypes.get_errno


def function(name: str, result: Any, *arguments: Any) -> Callable[..., int]:
    """The C function `name`; it returns -1 and leaves `last_errno()` where it fails."""
    # By index: an attribute would be one object for all who declare the same function in different ways (syscall).
    found = _library[name]
    found.restype = result
    found.argtypes = arguments
    called: Callable[..., int] = found
    return called


def failure(*names: bytes) -> OSError:
    """The OSError of the call of this thread that has just failed, about one name or two."""
    number = ctypes.get_errno()
    text = os.strerror(number)
    match names:
        case (name,):
            return OSError(number, text, name)
        case (old, new):
            return OSError(number, text, old, None, new)
        case _:
            return OSError(number, text)
