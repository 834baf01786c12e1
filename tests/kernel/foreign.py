"""Other processes and other filesystems, for tests of what the kernel reports."""

from __future__ import annotations

import os
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def foreign(act: Callable[[], object]) -> int:
    """Run `act` in another process to its end; returns its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0, "the other process failed, see its traceback"
    return pid


class Writer:
    """Another process that holds a file open for writing and writes when told."""

    def __init__(self, path: bytes) -> None:
        self._orders, orders = os.pipe()
        done, self._done = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(orders)
            fd = os.open(path, os.O_WRONLY)
            os.write(self._done, b".")
            while os.read(self._orders, 1):
                os.write(fd, b"more")
                os.write(self._done, b".")
            os.close(fd)
            os._exit(0)
        os.close(self._orders)
        os.close(self._done)
        self._orders, self._done = orders, done
        assert os.read(self._done, 1) == b"."

    def write(self) -> None:
        os.write(self._orders, b"w")
        assert os.read(self._done, 1) == b"."

    def close(self) -> None:
        """Closes its file and ends."""
        os.close(self._orders)
        os.waitpid(self.pid, 0)
        os.close(self._done)


@contextmanager
def mounted(kind: str, folder: Path) -> Iterator[Path]:
    """An empty filesystem of its own: `tmpfs`, or `ext4` on a loop device."""
    place = folder / "mounted"
    place.mkdir()
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "everynode-test", place], check=True)
    else:
        image = folder / "image"
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-N", "4096", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def make(path: bytes, content: bytes = b"x") -> None:
    with open(path, "wb") as file:
        file.write(content)
