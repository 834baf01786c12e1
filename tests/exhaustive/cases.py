"""Every short story of two people on two nodes: what stands at two names, what is done to them where, what goes wrong.

A case is one value with a name, and the name is the whole case: `fd/0:write:a+1:rmdir:b/apart` begins with a file at
`a` and a directory at `b`; on node 0 somebody writes to `a`, then on node 1 somebody removes `b`; meanwhile the two
nodes do not hear each other. Symmetries are not used: nodes differ (one founded the group, and identifiers decide
ties), and names do (scans and batches go by their order).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

NAMES = ("a", "b")
NODES = (0, 1)
BELOW = "x"
"""The one name in a directory."""

Kind = Literal["f", "d", "l"]
Tree = dict[str, Kind]
"""Path -> file, directory or symlink."""

# What may stand at a name in the beginning: nothing, a file, a symlink, an empty directory, one with a file in it.
BEGINNINGS: dict[str, dict[str, Kind]] = {
    ".": {},
    "f": {"": "f"},
    "l": {"": "l"},
    "e": {"": "d"},
    "d": {"": "d", "/" + BELOW: "f"},
}

ONE_NAME = (
    "create",  # a new file
    "write",  # truncate and write in place
    "append",
    "replace",  # write beside, rename over
    "delete",
    "mkdir",
    "rmdir",  # with what is in it
    "symlink",
    "chmod",
    "to-file",  # the same name, at once something else
    "to-directory",
    "to-symlink",
    "write-below",  # the file in a directory
    "delete-below",
)
TWO_NAMES = (
    "rename",  # also of directories
    "link",  # a second name for a file
    "move-below",  # into the directory at the other name
)


@dataclass(frozen=True)
class Step:
    node: int
    verb: str
    name: str
    other: str = ""

    def __str__(self) -> str:
        return f"{self.node}:{self.verb}:{self.name}" + (f":{self.other}" if self.other else "")

    @staticmethod
    def parse(text: str) -> Step:
        node, verb, *names = text.split(":")
        step = Step(int(node), verb, *names)
        if step not in STEPS:
            raise ValueError(f"{text!r} is no step: NODE:VERB:NAME or NODE:VERB:NAME:OTHER")
        return step


STEPS = tuple(
    [Step(node, verb, name) for node in NODES for verb in ONE_NAME for name in NAMES]
    + [Step(node, verb, *pair) for node in NODES for verb in TWO_NAMES for pair in itertools.permutations(NAMES)]
)


@dataclass(frozen=True)
class Time:
    """What happens while the steps are done. `during` is the step it concerns, `node` the node; -1: all, or none."""

    what: Literal["calm", "at-once", "apart", "end", "between", "down"]
    during: int = -1
    node: int = -1

    def __str__(self) -> str:
        return "-".join([self.what, *(str(number) for number in (self.during, self.node) if number >= 0)])

    @property
    def shares(self) -> bool:
        """Each step is seen on both nodes before the next is done."""
        return self.what in ("calm", "between")


def times(length: int) -> list[Time]:
    """No fault, step after step, or all at once; apart for all steps, or for one; a node dies at the end of a step and
    is back at once, or while the step spreads; a node is down meanwhile."""
    steps = range(length)
    found = [Time("calm"), Time("apart")]
    if length > 1:
        found += [Time("at-once")] + [Time("apart", during) for during in steps]
    found += [Time(what, during, node) for what in ("end", "between") for during in steps for node in NODES]
    return found + [Time("down", -1, node) for node in NODES]


@dataclass(frozen=True)
class Case:
    beginning: str
    """One letter per name."""
    steps: tuple[Step, ...]
    time: Time

    def __str__(self) -> str:
        return f"{self.beginning}/{'+'.join(map(str, self.steps))}/{self.time}"

    @staticmethod
    def parse(text: str) -> Case:
        beginning, steps, time = text.split("/")
        parsed = tuple(Step.parse(step) for step in steps.split("+"))
        known = {str(one): one for one in times(len(parsed))}
        if len(beginning) != len(NAMES) or not set(beginning) <= set(BEGINNINGS) or time not in known:
            raise ValueError(f"{text!r} is no case: BEGINNING/STEP+STEP/TIME, the time one of {', '.join(known)}")
        return Case(beginning, parsed, known[time])

    @property
    def tree(self) -> Tree:
        """What stands in the beginning."""
        found: Tree = {}
        for name, letter in zip(NAMES, self.beginning, strict=True):
            found |= {name + below: kind for below, kind in BEGINNINGS[letter].items()}
        return found

    @property
    def alone(self) -> int | None:
        """The node on which all steps are done, so that nothing in it is concurrent."""
        nodes = {step.node for step in self.steps}
        return nodes.pop() if len(nodes) == 1 else None


def possible(step: Step, tree: Mapping[str, str]) -> bool:
    """Whether the kernel would let somebody do it in this tree, and it does anything."""
    kind, other = tree.get(step.name), tree.get(step.other)
    below = tree.get(f"{step.name}/{BELOW}")
    match step.verb:
        case "create" | "mkdir" | "symlink":
            return kind is None
        case "write" | "append":
            return kind == "f"
        case "replace":
            return kind != "d"
        case "delete":
            return kind in ("f", "l")
        case "rmdir":
            return kind == "d"
        case "chmod":
            return kind in ("f", "d")
        case "to-file":
            return kind in ("d", "l")
        case "to-directory":
            return kind in ("f", "l")
        case "to-symlink":
            return kind in ("f", "d")
        case "write-below":
            return kind == "d" and below != "d"
        case "delete-below":
            return kind == "d" and below in ("f", "l")
        case "link":
            return kind == "f" and other is None
        case "rename":
            return _may_replace(kind, other, tree.get(f"{step.other}/{BELOW}"))
        case "move-below":
            return other == "d" and _may_replace(
                kind, tree.get(f"{step.other}/{BELOW}"), tree.get(f"{step.other}/{BELOW}/{BELOW}")
            )
        case unknown:
            raise ValueError(unknown)


def _may_replace(kind: str | None, other: str | None, below_other: str | None) -> bool:
    if kind == "d":
        return other is None or (other == "d" and below_other is None)
    return kind is not None and other != "d"


def after(step: Step, tree: Tree) -> Tree:
    """The tree after a possible step; the same tree after another."""
    if not possible(step, tree):
        return tree
    rest = {path: kind for path, kind in tree.items() if path != step.name and not path.startswith(step.name + "/")}
    moved = {path[len(step.name) :]: kind for path, kind in tree.items() if path not in rest}
    made: dict[str, Kind] = {"create": "f", "replace": "f", "to-file": "f", "mkdir": "d", "to-directory": "d"}
    made |= {"symlink": "l", "to-symlink": "l"}
    match step.verb:
        case "write" | "append" | "chmod":
            return tree
        case "delete" | "rmdir":
            return rest
        case "write-below":
            return tree | {f"{step.name}/{BELOW}": "f"}
        case "delete-below":
            return {path: kind for path, kind in tree.items() if not path.startswith(f"{step.name}/{BELOW}")}
        case "link":
            return tree | {step.other: "f"}
        case "rename" | "move-below":
            target = step.other if step.verb == "rename" else f"{step.other}/{BELOW}"
            return rest | {target + below: kind for below, kind in moved.items()}
        case _:
            return rest | {step.name: made[step.verb]}


def cases(length: int) -> Iterator[Case]:
    """All of this length, in a fixed order. What a step finds is what was done on its node, or on both nodes."""
    for letters in itertools.product(BEGINNINGS, repeat=len(NAMES)):
        beginning = "".join(letters)
        start = Case(beginning, (), Time("calm")).tree
        for time in times(length):
            yield from (Case(beginning, steps, time) for steps in _sequences(length, time, [start] * 2, start))


def _sequences(left: int, time: Time, own: list[Tree], shared: Tree, done: int = 0) -> Iterator[tuple[Step, ...]]:
    """`own`: what each node knows for sure; `shared`: what it knows when it has heard of everything."""
    if not left:
        yield ()
        return
    for step in STEPS:
        # Long after a fault of one step nobody knows who has heard what; a step that finds nothing to do is none.
        if possible(step, own[step.node]) or (0 <= time.during < done - 1 and possible(step, shared)):
            everything = after(step, shared)
            theirs = [after(step, tree) if node == step.node else tree for node, tree in enumerate(own)]
            if time.shares or done < time.during:
                theirs = [everything] * len(NODES)
            yield from ((step, *rest) for rest in _sequences(left - 1, time, theirs, everything, done + 1))
