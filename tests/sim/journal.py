"""What of the tree is on stable storage: an ordered journal of metadata, and what survives of it in a power cut.

Every change of names or attributes is one operation, kept or lost as a whole. A cut keeps a prefix of the
journal and those later operations that were forced by a sync, each with what it depends on.
Contents are not journalled: see `cut_data`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.sim.inodes import Attributes, Inode

Key = tuple[int, bytes]


@dataclass(eq=False)
class Operation:
    names: dict[Key, int | None]
    """(directory, name) -> inode that stands there afterwards, None: nothing."""
    attributes: dict[int, Attributes] = field(default_factory=dict)
    inodes: frozenset[int] = frozenset()
    """What got or lost a name."""
    removed_directory: int = 0
    moves_directory: bool = False
    forced: bool = False

    def touches(self, directory: int) -> bool:
        return any(key[0] == directory for key in self.names) or (not self.names and directory in self.attributes)


class Journal:
    """`names` and `attributes` are the checkpoint; `pending` what is not (wholly) durable yet, oldest first."""

    def __init__(self) -> None:
        self.names: dict[int, dict[bytes, int]] = {}
        self.attributes: dict[int, Attributes] = {}
        self.pending: list[Operation] = []

    def add(self, operation: Operation) -> None:
        last = self.pending[-1] if self.pending else None
        if (
            last is not None
            and not operation.names
            and not last.names
            and not last.forced
            and operation.attributes.keys() == last.attributes.keys()
        ):
            last.attributes = operation.attributes
        else:
            self.pending.append(operation)

    def force_all(self) -> None:
        for operation in self.pending:
            self._apply(operation)
        self.pending.clear()

    def force_names(self, directory: int) -> None:
        """fsync of a directory: every change of its names, and of its attributes, so far."""
        self._force(o for o in self.pending if o.touches(directory))

    def force_attributes(self, inode: int) -> None:
        """fsync of a file: its attributes, not its names."""
        for operation in self.pending:
            if not operation.names and inode in operation.attributes:
                operation.forced = True
        self._fold()

    def cut(self, rng: random.Random) -> None:
        """Decide what survives; afterwards the checkpoint is the state found at the next boot."""
        count = len(self.pending)
        prefix = rng.choice((0, count, rng.randint(0, count), rng.randint(0, count)))
        for position, operation in enumerate(self.pending):
            if position < prefix or operation.forced:
                self._apply(operation)
        self.pending.clear()

    def _force(self, wanted: Iterable[Operation]) -> None:
        """Mark `wanted` and all earlier operations without which they could not stand."""
        chosen = {id(o) for o in wanted}
        if not chosen:
            return
        keys: set[Key] = set()
        inodes: set[int] = set()
        removed: set[int] = set()
        moves = False
        for operation in reversed(self.pending):
            depended = (
                not keys.isdisjoint(operation.names)
                or not inodes.isdisjoint(operation.inodes)
                or (not operation.names and not inodes.isdisjoint(operation.attributes))
                or any(key[0] in removed for key in operation.names)
                or (moves and operation.moves_directory)
            )
            if id(operation) in chosen or depended or operation.forced:
                operation.forced = True
                keys.update(operation.names)
                inodes.update(operation.inodes)
                if operation.removed_directory:
                    removed.add(operation.removed_directory)
                moves = moves or operation.moves_directory
        self._fold()

    def _fold(self) -> None:
        done = 0
        while done < len(self.pending) and self.pending[done].forced:
            self._apply(self.pending[done])
            done += 1
        del self.pending[:done]

    def _apply(self, operation: Operation) -> None:
        for (directory, name), inode in operation.names.items():
            names = self.names.setdefault(directory, {})
            if inode is None:
                names.pop(name, None)
            else:
                names[name] = inode
        self.attributes.update(operation.attributes)


def cut_data(inode: Inode, rng: random.Random) -> bytes:
    """What a file holds after a power cut: all, nothing, a prefix, the old, or new pages among old ones."""
    live = inode.content()
    old = inode.durable_data
    if old == live:
        return live
    end = rng.randint(0, len(live))
    choices = [live, live[:end]] if old is None or inode.shrunk else [live, live[:end] + old[end:]]
    if old is None or inode.shrunk:
        choices.append(b"")
    if old is not None:
        choices.append(old)
    return rng.choice(choices)
