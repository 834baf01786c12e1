"""Which inotify watch is which directory: a tree, so that a renamed directory is one change however much is below."""

from __future__ import annotations

from everynode.model.path import ROOT, RelPath

NO_PARENT = -1


class _Directory:
    __slots__ = ("children", "name", "parent")

    def __init__(self, parent: int, name: bytes) -> None:
        self.parent = parent
        self.name = name
        self.children: dict[bytes, int] | None = None  # most directories have none


class WatchedTree:
    def __init__(self) -> None:
        self._directories: dict[int, _Directory] = {}

    def __len__(self) -> int:
        return len(self._directories)

    def __contains__(self, watch: int) -> bool:
        return watch in self._directories

    def put(self, watch: int, parent: int, name: bytes) -> bool:
        """`watch` is the directory `name` in `parent` (NO_PARENT: the root), wherever it was before.

        False: another watch was thought to be there.
        """
        directory = self._directories.get(watch)
        if directory is None:
            directory = self._directories[watch] = _Directory(parent, name)
        else:
            self._detach(watch, directory)
            directory.parent, directory.name = parent, name
        if parent == NO_PARENT:
            return True
        above = self._directories[parent]
        if above.children is None:
            above.children = {}
        before = above.children.get(name, watch)
        above.children[name] = watch
        return before == watch

    def child(self, parent: int, name: bytes) -> int | None:
        directory = self._directories.get(parent)
        return directory.children.get(name) if directory is not None and directory.children else None

    def path_of(self, watch: int) -> RelPath | None:
        """None: not (or no longer) in the tree."""
        names: list[bytes] = []
        while (directory := self._directories.get(watch)) is not None:
            if directory.parent == NO_PARENT:
                names.reverse()
                return RelPath(b"/".join(names)) if names else ROOT
            names.append(directory.name)
            watch = directory.parent
        return None

    def remove(self, watch: int) -> list[int]:
        """Forget a directory and all below; returns their watches."""
        directory = self._directories.get(watch)
        if directory is None:
            return []
        self._detach(watch, directory)
        removed: list[int] = []
        waiting = [watch]
        while waiting:
            one = waiting.pop()
            found = self._directories.pop(one, None)
            if found is None:
                continue
            removed.append(one)
            if found.children:
                waiting.extend(found.children.values())
        return removed

    def clear(self) -> None:
        self._directories.clear()

    def _detach(self, watch: int, directory: _Directory) -> None:
        above = self._directories.get(directory.parent)
        # The name may have been given to another directory meanwhile.
        if above is not None and above.children is not None and above.children.get(directory.name) == watch:
            del above.children[directory.name]
