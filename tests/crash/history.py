"""What users did and what was acknowledged: which states of a path a power cut may leave, and which not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lab.trees import Seen, snapshot

Tree = dict[bytes, Seen]
Does = Callable[[Path], Iterator[None]]
"""What a user does below a root; it yields after each thing that has its own place in the order of all."""
What = tuple[str, str, bytes] | None
"""Kind, digest and link target: what stands at a path, its attributes aside. None: nothing."""


def what(seen: Seen | None) -> What:
    return None if seen is None else (seen.kind, seen.digest, seen.target)


@dataclass(frozen=True)
class State:
    """A user made this of a path, not before the log had `position` bytes. `seen` None: it is gone."""

    position: int
    side: int
    seen: Seen | None


@dataclass
class History:
    """`states`: of each path in the order in which users made them; a path that is not named never existed.

    `acknowledged`: (position, count): when the log had `position` bytes, it was known that all of the first `count`
    states were on stable storage on all nodes.
    """

    states: dict[bytes, list[tuple[int, State]]] = field(default_factory=dict)
    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    count: int = 0

    def act(self, side: int, root: Path, position: Callable[[], int], does: Does) -> None:
        """A user does something, step by step, on a node that nothing else reaches meanwhile."""
        began, before = position(), snapshot(root)
        for _ in does(root):
            after = snapshot(root)
            for path in sorted(before.keys() | after.keys()):
                if before.get(path) != after.get(path):
                    self.states.setdefault(path, []).append((self.count, State(began, side, after.get(path))))
                    self.count += 1
            began, before = position(), after

    def acknowledge(self, position: int) -> None:
        """What was done before was acknowledged when the log had `position` bytes."""
        self.acknowledged.append((position, self.count))

    def promised(self, position: int) -> int:
        """How many of the states were acknowledged by then."""
        return max((count for at, count in self.acknowledged if at <= position), default=0)

    def allowed(self, path: bytes, position: int) -> list[State]:
        """The last one that was acknowledged by then, and all that were made later and before the cut."""
        promised = self.promised(position)
        states = self.states.get(path, [])
        nothing = State(0, -1, None)
        last = [state for number, state in states if number < promised][-1:] or [nothing]
        return last + [state for number, state in states if number >= promised and state.position <= position]

    def paths(self, trees: Iterable[Tree]) -> list[bytes]:
        return sorted(set(self.states).union(*trees))


def wrong_on_disk(history: History, position: int, tree: Tree, author: int | None) -> list[str]:
    """What must not be on a disk right after the cut. `author`: whose own writes may be lost there, or torn.

    What everynode placed is whole, old or new; what was acknowledged is there.
    """
    found = []
    for path in history.paths([tree]):
        allowed = history.allowed(path, position)
        if any(state.side == author for state in allowed[1:]):
            continue
        if what(tree.get(path)) not in [what(state.seen) for state in allowed]:
            found.append(f"after the cut {_told(path, tree.get(path), allowed)}")
    return found


def wrong_in_the_end(
    history: History,
    position: int,
    tree: Tree,
    *,
    left: list[Tree],
    living: Tree | None,
    written_since: Collection[bytes] = (),
) -> list[str]:
    """What must not come of it when the nodes have found together again. `left`: what the disks showed before.

    `living`: of an author that had no cut; exactly that is to come of it. `written_since` his daemon last looked.
    """
    found = []
    for path in history.paths([tree, *left]):
        allowed = history.allowed(path, position)
        final = what(tree.get(path))
        if living is not None:
            if final != what(living.get(path)):
                found.append(f"{path!r} is {_short(tree.get(path))}, its author has {_short(living.get(path))}")
            continue
        torn = [what(disk.get(path)) for disk in left]
        # What another node had already goes forward only.
        numbers = [number for number, state in enumerate(allowed) if what(state.seen) in torn[1:]]
        allowed = allowed[min(numbers, default=0) :]
        if final in [what(state.seen) for state in allowed]:
            continue
        # Of a write that nobody acknowledged its author's disk decides what is left, where no other node has anything
        # or his daemon never saw that somebody wrote.
        if len(allowed) > 1 and final in torn and (path in written_since or not any(torn[1:])):
            continue
        found.append(f"in the end {_told(path, tree.get(path), allowed)}")
    return found


def _told(path: bytes, seen: Seen | None, allowed: list[State]) -> str:
    return f"{path!r} is {_short(seen)}, allowed: {', '.join(_short(state.seen) for state in allowed)}"


def _short(seen: Seen | None) -> str:
    if seen is None:
        return "absent"
    return f"{seen.kind} {seen.size} {(seen.digest or seen.target.hex())[:8]}"
