"""Small private files, written whole and durable or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from secrets import token_hex


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by `data` in one step; on return it survives a power cut.

    Before the rename nothing of `path` has changed; a leftover `.NAME.*.new` beside it is harmless. Raises OSError.
    """
    fresh = path.parent / f".{path.name}.{token_hex(4)}.new"
    # O_EXCL and the mode at creation: the bytes are never readable by others, not even for a moment.
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
