"""Problems of a group: trouble with single paths, kept as data until it is solved."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from everynode.model.ids import Origin
from everynode.model.path import RelPath, is_below
from everynode.model.problem import Problem, Trouble
from everynode.report.audit import Happening

if TYPE_CHECKING:
    from everynode.group.ground import GroupSetup


class Problems:
    """One problem per path and side: looking at it, listing it as a directory, placing it, and what the
    disk has lost of it."""

    def __init__(self, setup: GroupSetup) -> None:
        self._setup = setup
        self._looking: dict[RelPath, Problem] = {}
        self._placing: dict[RelPath, Problem] = {}
        self._listing: dict[RelPath, Problem] = {}
        self._damaged: dict[RelPath, Problem] = {}
        self.any_damaged = asyncio.Event()
        self._holding: dict[Origin, Problem] = {}

    def looking(self, path: RelPath, trouble: Trouble, detail: str, *, blocks: bool = True) -> None:
        self._add(self._looking, path, trouble, detail, blocks)

    def placing(self, path: RelPath, trouble: Trouble, detail: str, *, blocks: bool = True) -> None:
        self._add(self._placing, path, trouble, detail, blocks)

    def listing(self, path: RelPath, trouble: Trouble, detail: str) -> None:
        self._add(self._listing, path, trouble, detail, True)

    def damaged(self, path: RelPath, detail: str) -> None:
        self._add(self._damaged, path, Trouble.DAMAGED, detail, True)
        self.any_damaged.set()

    def repaired(self, path: RelPath) -> None:
        """Or changed by somebody, or deleted."""
        self._solve(self._damaged, path)
        if not self._damaged:
            self.any_damaged.clear()

    def paths_damaged(self) -> list[RelPath]:
        return list(self._damaged)

    def holding(self, origin: Origin, directory: RelPath, detail: str, since: float) -> None:
        """Removals by `origin` are held, all of them in `directory`. The journal has its own word for a hold."""
        self._holding[origin] = Problem(directory, Trouble.HELD, detail, since)

    def holds_only(self, origins: Collection[Origin]) -> None:
        for origin in [origin for origin in self._holding if origin not in origins]:
            del self._holding[origin]

    def listed(self, start: RelPath, except_for: set[RelPath]) -> None:
        """A scan of everything at and below `start` met no such trouble but at `except_for`."""
        for path in list(self._listing):
            if (path == start or is_below(path, start)) and path not in except_for:
                self._solve(self._listing, path)

    @property
    def any_looking(self) -> bool:
        return bool(self._looking)

    def looked(self, path: RelPath) -> None:
        self._solve(self._looking, path)

    def placed(self, path: RelPath) -> None:
        self._solve(self._placing, path)

    def settled(self, except_for: set[RelPath]) -> None:
        """Nothing is left to be placed but at `except_for`; attributes that cannot be set stay a problem."""
        for path, problem in list(self._placing.items()):
            if path not in except_for and problem.trouble is not Trouble.ATTRIBUTE:
                self._solve(self._placing, path)

    def _add(self, side: dict[RelPath, Problem], path: RelPath, trouble: Trouble, detail: str, blocks: bool) -> None:
        old = side.get(path)
        if old is not None and old.trouble == trouble:
            return
        since = self._setup.clock.now_ns() / 1e9
        side[path] = Problem(path, trouble, detail, since, blocks)
        self._setup.journal.add(self._setup.name, path, Happening.PROBLEM, detail=f"{trouble}: {detail}")

    def _solve(self, side: dict[RelPath, Problem], path: RelPath) -> None:
        if side and side.pop(path, None) is not None:
            self._setup.journal.add(self._setup.name, path, Happening.SOLVED)

    def all(self) -> list[Problem]:
        held = list(self._holding.values())
        sides = (self._damaged, self._looking, self._listing, self._placing)
        return held + [problem for side in sides for problem in side.values()]

    def __len__(self) -> int:
        return len(self.all())

    def blocking(self) -> int:
        return sum(problem.blocks for problem in self.all())

    def unsupported(self) -> int:
        return sum(problem.trouble is Trouble.UNSUPPORTED for problem in self._looking.values())

    def paths_placing(self) -> Iterable[RelPath]:
        return self._placing.keys()

    def paths_looking(self) -> list[RelPath]:
        return list(self._looking)
