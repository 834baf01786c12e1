"""Notices of one call: those of one path are made one, but never across a rename or an overflow."""

from __future__ import annotations

from collections.abc import Callable

from everynode.model.notice import Notice, What
from everynode.model.path import ROOT, RelPath
from everynode.watch.places import VAULT

_VAULT_MARK = b"/"
assert VAULT == _VAULT_MARK


class Batch:
    """Fill `masks` and `pids` directly (this is the hot path), or call the methods; take the notices by `closed`."""

    def __init__(self, what_of: Callable[[int], What]) -> None:
        """`what_of` translates a mask of the kernel."""
        self._what_of = what_of
        self.notices: list[Notice] = []
        self.masks: dict[bytes, int] = {}
        """Place + name -> kernel masks or-ed, since the last rename. The name "." is the directory itself."""
        self.pids: dict[bytes, int] = {}
        """The last process of each, where it is known."""

    def __len__(self) -> int:
        return len(self.notices) + len(self.masks)

    def closed(self) -> list[Notice]:
        self._flush()
        return self.notices

    def add(
        self, what: What, path: RelPath, *, directory: bool = False, source: RelPath | None = None, pid: int = 0
    ) -> None:
        """A notice that nothing is moved across."""
        self._flush()
        self.notices.append(Notice(what | What.DIRECTORY if directory else what, path, source, pid))

    def overflow(self, path: RelPath = ROOT) -> None:
        self._flush()
        lost = Notice(What.OVERFLOW, path)
        if not self.notices or self.notices[-1] != lost:
            self.notices.append(lost)

    def _flush(self) -> None:
        add = self.notices.append
        pid_of = self.pids.get
        for key, mask in self.masks.items():
            what = self._what_of(mask)
            if key.startswith(_VAULT_MARK):
                if What.DIRECTORY not in what:  # the vault is flat; directories in it are nobody's content
                    add(Notice(what | What.VAULT, RelPath(key[1:]), None, pid_of(key, 0)))
            elif key.endswith(b"/."):
                add(Notice(what, RelPath(key[:-2]), None, pid_of(key, 0)))
            elif key == b".":
                add(Notice(what, ROOT, None, pid_of(key, 0)))
            else:
                add(Notice(what, RelPath(key), None, pid_of(key, 0)))
        self.masks.clear()
        self.pids.clear()
