"""Where in the root a directory handle lies: a bounded cache over open_by_handle_at and readlink."""

from __future__ import annotations

from everynode.kernel.handles import path_of_fd, path_of_handle
from everynode.limits import HANDLES_CACHED, RESERVED_NAME

Place = bytes | None
"""What to put before a name to get a path: b"" (the root), b"a/b/", or one of the three that are no paths:"""
OUTSIDE: Place = None
VAULT: Place = b"/"
RESERVED: Place = b"//"  # below ROOT/.everynode, but not the vault

_RESERVED_FOLDER = RESERVED_NAME + b"/"
_VAULT_FOLDER = RESERVED_NAME + b"/vault/"


class Places:
    """Answers may be older than now, but never older than the last `forget` that concerns them.

    Paths are relative to the root directory as an inode: renaming the root or what is above it changes none.
    """

    def __init__(self, root_fd: int) -> None:
        self._root = root_fd
        # Two generations: when the young is full it becomes the old and the old is dropped. What is used stays, at
        # the cost of one more look-up now and then, and without the bookkeeping of a true LRU.
        self._young: dict[bytes, Place] = {}
        self._old: dict[bytes, Place] = {}

    def of(self, handle: bytes) -> Place:
        """The place of a directory; a deleted one is OUTSIDE. OSError: it cannot be told (out of fds, memory)."""
        try:
            return self._young[handle]
        except KeyError:
            pass
        try:
            place = self._old[handle]
        except KeyError:
            path = self._look(handle)
            if path is None:
                return OUTSIDE  # deleted: handles are not used again, so there is nothing to remember
            place = path[0]
        if len(self._young) >= HANDLES_CACHED // 2:
            self._old = self._young
            self._young = {}
        self._young[handle] = place
        return place

    def forget(self) -> None:
        """A directory was renamed into, out of, or inside the root, or it is not known what was renamed."""
        self._young.clear()
        self._old.clear()

    def _look(self, handle: bytes) -> tuple[Place] | None:
        while True:
            root = path_of_fd(self._root)
            path = path_of_handle(self._root, handle)
            if path is None:
                return None
            place = _relative(root, path)
            # The root may have been renamed between the two calls: "outside" is believed only if it was not. (Should
            # another directory have taken its name at that moment, we would look at a path in vain: no harm.)
            if place is not OUTSIDE or path_of_fd(self._root) == root:
                return (place,)


def _relative(root: bytes, path: bytes) -> Place:
    if path == root:
        return b""
    base = root if root.endswith(b"/") else root + b"/"
    if not path.startswith(base):
        return OUTSIDE
    place = path[len(base) :] + b"/"
    if not place.startswith(_RESERVED_FOLDER):
        return place
    # The vault is flat; directories in it concern nobody.
    return VAULT if place == _VAULT_FOLDER else RESERVED
