"""New directories that are filled aside and become visible whole, by one rename for all that is new in them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from everynode.model.entry import Entry
from everynode.model.path import RelPath, name_of, parent_of
from everynode.tree.outcome import Filled, Staged
from everynode.tree.reach import OPEN_DIRECTORY, empty_directory
from everynode.tree.root import FRESH_KIND, Root
from everynode.tree.stage import stage_directory

Ignore = Callable[[int, bool], None]
"""`group.seams.Notices.ignore`: whether what happens in the directory of this fd is of no concern."""


@dataclass(slots=True)
class _Made:
    filled: Filled
    folder: int
    """Of the directory that it lies in."""
    name: bytes


class NewDirectories:
    """The directories that a batch fills aside. Use it as a context; what was not placed by its end is removed."""

    def __init__(self, root: Root, ignore: Ignore) -> None:
        self._root = root
        self._kernel = root.kernel
        self._ignore = ignore
        self._made: dict[RelPath, _Made] = {}

    def __enter__(self) -> NewDirectories:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        made = list(reversed(self._made.values()))
        self._made.clear()
        try:
            for one in made:
                if not one.filled.standing:
                    empty_directory(self._kernel, one.filled.fd)
                    self._kernel.rmdir_at(one.folder, one.name)
        finally:
            for one in made:
                self._kernel.close(one.filled.fd)

    def make(self, path: RelPath, entry: Entry) -> Staged:
        """An empty one to be filled; below another one of this batch if there is one. Raises Refused or OSError."""
        above = self._made.get(parent_of(path))
        folder, name = self._root.stage_fd, b""
        if above is not None:
            folder, name = above.filled.fd, name_of(path)
        staged = stage_directory(self._root, entry, folder, name or self._root.new_name(FRESH_KIND))
        try:
            fd = self._kernel.open_beneath(folder, staged.name, OPEN_DIRECTORY)
        except OSError:
            self._kernel.rmdir_at(folder, staged.name)
            raise
        filled = Filled(fd)
        self._made[path] = _Made(filled, folder, staged.name)
        try:
            self._ignore(fd, True)
        except OSError:
            pass  # our own notices are read and left out, as everywhere
        return Staged(
            staged.name,
            staged.entry,
            staged.inode,
            staged.denied,
            stamp=staged.stamp,
            folder=above.filled if above is not None else None,
            filled=filled,
        )

    def folder_for(self, path: RelPath) -> Filled | None:
        """The directory of this batch in which a new object at `path` is to be staged."""
        made = self._made.get(parent_of(path))
        return made.filled if made is not None else None

    def __bool__(self) -> bool:
        return bool(self._made)

    def finish(self) -> None:
        """All is in them. From now on what happens in them is noticed, or they are not placed whole."""
        for one in self._made.values():
            try:
                self._ignore(one.filled.fd, False)
                one.filled.complete = True
            except OSError as error:
                # No mark, or no watcher any more: nothing is ignored.
                one.filled.complete = error.errno in (errno.ENOENT, errno.EBADF)
