"""Remembers in the home which root each group was given here: only a new one may be made and marked."""

from __future__ import annotations

import logging
from collections.abc import Container

from everynode.cluster.home import Home
from everynode.errors import GroupHalted
from everynode.kernel.protocol import Kernel
from everynode.model.message import GroupId
from everynode.model.path import show_path
from everynode.tree.root import Root
from everynode.trust.durable import write_durably

logger = logging.getLogger("everynode.group")

_SUFFIX = ".root"


class Held:
    def __init__(self, home: Home, group: GroupId, root: bytes) -> None:
        self._path = home.index_folder / f"{group.hex()}{_SUFFIX}"
        self._root = root

    def ever(self) -> bool:
        return self._path.exists()

    def here(self) -> bool:
        """A root that was ours and is missing or unmarked must halt the group, not be made anew."""
        return self.ever() and self._path.read_bytes() == self._root

    def remember(self) -> None:
        if not self.here():
            write_durably(self._path, self._root)


def release_given_up(home: Home, kernel: Kernel, wanted: Container[GroupId]) -> None:
    """Take marker and index of groups that the cluster gave up; files and vault stay. None of them may be open.

    A root that cannot be reached now is tried again at the next call. Raises OSError.
    """
    for path in home.index_folder.glob(f"*{_SUFFIX}"):
        group = bytes.fromhex(path.stem)
        if group in wanted:
            continue
        root_path = path.read_bytes()
        try:
            root = Root.open(kernel, root_path, group, create=False)
        except GroupHalted as error:
            logger.info("the root of a group that was given up is not released yet: %s", error)
            continue
        try:
            root.release()
        finally:
            root.close()
        index = home.index_path(group)
        for part in (index, index.with_name(index.name + "-wal"), index.with_name(index.name + "-shm"), path):
            part.unlink(missing_ok=True)
        logger.info("the root %s is free again: its group was given up", show_path(root_path))
