"""Troubles that last: disks that stay full, or that cannot be read or written in places, until somebody mends them."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

from tests.sim.loop import SimLoop
from tests.sim.node import SimNode

# System calls that a place on a dying disk refuses, with what they are about: a path, or a name of it.
_OF_PATHS = ("open_beneath",)
_OF_NAMES = ("stat_at", "pread", "write", "create_at", "rename_at", "unlink_at", "rmdir_at", "readlink_at")
# And those by which the whole of it is asked.
_OF_NOTHING = ("list_directory", "sync_filesystem", "sync_data", "space")


class Disks:
    """One for the whole cluster. What begins here ends by itself after a while, and with `mend`."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self._rng: random.Random = loop.fork("disks")
        self._ends: list[tuple[float, Callable[[], None]]] = []

    def fill(self, node: SimNode) -> None:
        """Somebody else fills the disk, or there is a quota, which a look at the free space does not show."""
        if node.disk.hog:
            return
        room = self._rng.choice((0, 0, 3_000, 50_000))
        node.disk.hog = node.disk.free - room
        node.disk.quota = self._rng.random() < 0.5

        def end() -> None:
            node.disk.hog = 0
            node.full_until = self._loop.time()

        self._later(end)

    def sicken(self, node: SimNode) -> None:
        """What stands at some names can be reached, read or written no more; or the disk syncs nothing."""
        paths = list(node.tree())
        refused: list[tuple[str, bytes]] = []
        for _ in range(self._rng.randint(1, 3)):
            if paths and self._rng.random() < 0.8:
                path = self._rng.choice(paths)
                call = self._rng.choice(_OF_PATHS + _OF_NAMES)
                refused.append((call, path if call in _OF_PATHS else path.rpartition(b"/")[2]))
            else:
                refused.append((self._rng.choice(_OF_NOTHING), b""))
        node.refused.update((what, errno.EIO) for what in refused)

        def end() -> None:
            for what in refused:
                node.refused.pop(what, None)

        self._later(end)

    def mend(self, *, all_of_them: bool = False) -> None:
        """What has lasted long enough, or all."""
        now = self._loop.time()
        over = [end for due, end in self._ends if all_of_them or due <= now]
        self._ends = [(due, end) for due, end in self._ends if not (all_of_them or due <= now)]
        for end in over:
            end()

    def _later(self, end: Callable[[], None]) -> None:
        self._ends.append((self._loop.time() + self._rng.uniform(1.0, 20.0), end))
