"""A few nodes that write, place and sync by the rules, over the real core: what the laws of versions are tried on.

Nodes have no disks, links or index of their own: a write is a look at a disk that shows what was placed and then
something else, and everything that decides is `everynode.core`, looked up at each call so that a test can break it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from everynode.core import compare, detect, plan, runs, vectors, versions
from everynode.model.entry import Entry, Kind, Stamp
from everynode.model.ids import Dot, NodeId, Origin, Sequence, origin_of
from everynode.model.path import RelPath
from everynode.model.record import Placed, Record, Sibling, Vector, Version

STAMP = Stamp(1, 1, 1, 1)
PATHS = (RelPath(b"p"), RelPath(b"q"))


@dataclass
class Batch:
    origin: Origin
    before: Sequence
    after: Sequence
    records: list[tuple[RelPath, Version]]


@dataclass
class Node:
    origin: Origin
    records: dict[RelPath, Record] = field(default_factory=dict)
    knowledge: Vector = field(default_factory=dict)
    disk: dict[RelPath, Entry] = field(default_factory=dict)
    arrival: int = 0
    batches: list[Batch] = field(default_factory=list)
    forgotten: Vector = field(default_factory=dict)
    evicted: set[Origin] = field(default_factory=set)
    """Members for which this one does not wait any more before it forgets."""

    def put(self, path: RelPath, version: Version, placed: Placed | None) -> None:
        self.arrival += 1
        self.records[path] = Record(path, version, placed, True, self.arrival)

    def hear(self, path: RelPath, incoming: Version) -> None:
        old = self.records.get(path)
        merged = versions.hear(old.version if old else None, incoming, self.knowledge)
        if merged is not None:
            self.put(path, merged, old.placed if old else None)

    def claim(self, vector: Vector) -> None:
        self.knowledge = vectors.join(self.knowledge, vector)

    def place(self, path: RelPath) -> None:
        record = self.records.get(path)
        if record is None:
            return
        target = plan.plan(record, "newest", derived=False)
        if target.entry is None:
            self.disk.pop(path, None)
        else:
            self.disk[path] = target.entry
        stamp = STAMP if target.entry is not None else None
        placed = Placed(record.version, target.entry, stamp, target.shown)
        self.records[path] = Record(path, record.version, placed, False, record.arrival)

    def forget(self, heard_by_all: Vector) -> None:
        for path, record in list(self.records.items()):
            placed = record.placed is not None and record.placed.version == record.version
            if placed and not record.unplaced and runs.forgettable(record.version, heard_by_all):
                del self.records[path]
                dots = {s.origin: s.sequence for s in record.version.siblings}
                self.forgotten = vectors.join(self.forgotten, dots)

    def compare(self, path: RelPath, theirs: Version | None, their_knowledge: Vector) -> None:
        """One path of a walk through both indexes."""
        if theirs is not None:
            self.hear(path, theirs)
        mine = self.records.get(path)
        alive = compare.still_alive(mine.version, theirs, their_knowledge) if mine else None
        if mine is None or alive is mine.version:
            return
        if alive is not None:
            self.put(path, alive, mine.placed)
        elif path not in self.disk:
            del self.records[path]
        else:
            sequence = Sequence(self.knowledge.get(self.origin, 0) + 1)
            entry = mine.version.siblings[-1].entry
            version = versions.supersede(mine.version, self.origin, sequence, entry, live=False, content=False)
            self.put(path, version, mine.placed)
            self.claim({self.origin: sequence})
            self.batches.append(Batch(self.origin, Sequence(sequence - 1), sequence, [(path, version)]))

    def look(self, path: RelPath) -> detect.Meaning:
        """Capture: what the disk shows now becomes what it means."""
        record = self.records.get(path)
        sequence = Sequence(self.knowledge.get(self.origin, 0) + 1)
        seen = self.disk.get(path)
        meaning = detect.detect(record, seen, STAMP if seen else None, self.origin, sequence)
        match meaning:
            case detect.Change():
                self.put(path, meaning.version, meaning.placed)
                self.claim({self.origin: sequence})
                self.batches.append(Batch(self.origin, Sequence(sequence - 1), sequence, [(path, meaning.version)]))
            case detect.Known(placed) | detect.Restamp(placed):
                assert record is not None
                self.records[path] = Record(path, record.version, placed, True, record.arrival)
        return meaning

    def write(self, path: RelPath, entry: Entry | None) -> detect.Meaning:
        if entry is None:
            self.disk.pop(path, None)
        else:
            self.disk[path] = entry
        return self.look(path)


Receive = Callable[[Node, "Node", random.Random, bool], None]


def run(source: Node, target: Node, draw: random.Random, cut: bool) -> None:
    """Records by arrival, claimed at the checkpoint; a cut run claims nothing."""
    todo = [
        r for r in sorted(source.records.values(), key=lambda r: r.arrival) if runs.wanted(r.version, target.knowledge)
    ]
    stop = draw.randrange(len(todo) + 1) if cut else len(todo)
    for record in todo[:stop]:
        target.hear(record.path, record.version)
    if not cut:
        target.claim(source.knowledge)


def run_or_compare(source: Node, target: Node, draw: random.Random, cut: bool) -> None:
    """As nodes do that may have evicted each other: a run where that is enough."""
    if runs.standing(target.knowledge, source.forgotten, empty=not target.records) is runs.Standing.RUN:
        run(source, target, draw, cut)
    else:
        theirs = dict(source.knowledge)
        paths = sorted(source.records.keys() | target.records.keys())
        stop = draw.randrange(len(paths) + 1) if cut else len(paths)
        for path in paths[:stop]:
            record = source.records.get(path)
            target.compare(path, record.version if record else None, theirs)
        if not cut:
            target.claim(theirs)
    if not cut:
        target.forgotten = vectors.join(target.forgotten, source.forgotten)


def run_without_comparing(source: Node, target: Node, draw: random.Random, cut: bool) -> None:
    """Planted: who has forgotten deletions without the other sends it a run all the same."""
    run(source, target, draw, cut)


def run_that_keeps_what_was_forgotten_to_itself(source: Node, target: Node, draw: random.Random, cut: bool) -> None:
    """Planted: who learns from another does not learn what that one has forgotten."""
    before = target.forgotten
    run_or_compare(source, target, draw, cut)
    target.forgotten = before


def run_claiming_dot_by_dot(source: Node, target: Node, draw: random.Random, cut: bool) -> None:
    """Planted: knowledge is claimed with each record instead of at the checkpoint."""
    todo = [r for r in source.records.values() if runs.wanted(r.version, target.knowledge)]
    todo.sort(key=lambda r: min(s.dot for s in r.version.siblings))
    stop = draw.randrange(len(todo) + 1) if cut else len(todo)
    for record in todo[:stop]:
        target.hear(record.path, record.version)
        target.claim({s.origin: s.sequence for s in record.version.siblings})
    if not cut:
        target.claim(source.knowledge)


def receive_batch(target: Node, batch: Batch) -> None:
    for path, version in batch.records:
        target.hear(path, version)
    if runs.may_claim(target.knowledge, batch.origin, batch.before):
        target.claim({batch.origin: batch.after})


@dataclass(frozen=True)
class Written:
    """What a user did, as the oracle remembers it."""

    entry: Entry | None
    """None: he deleted what stood there."""
    saw: frozenset[Dot]
    """The writes that stood there, shown or kept as losers, and those that they had seen."""


@dataclass
class World:
    """Nodes, and an oracle that keeps what stood on the disk at each write; it knows writes by their dots and never
    reads a context."""

    nodes: list[Node]
    draw: random.Random
    run: Receive
    reachable: dict[RelPath, list[Version]] = field(default_factory=dict)
    history: dict[RelPath, dict[Dot, Written]] = field(default_factory=lambda: {path: {} for path in PATHS})
    stood: dict[tuple[Origin, RelPath], frozenset[Dot]] = field(default_factory=dict)
    """What the user of a node can have seen at a path."""
    count: int = 0
    evict: bool = False
    """Whether the nodes fall into halves that give each other up, now and then."""
    halves: list[list[Node]] = field(default_factory=list)

    def note(self) -> None:
        for node in self.nodes:
            for record in node.records.values():
                known = self.reachable.setdefault(record.path, [])
                if record.version not in known:
                    known.append(record.version)

    def write(self, node: Node, path: RelPath, delete: bool) -> None:
        if delete and path not in node.disk:
            return
        self.count += 1
        entry = None if delete else Entry(Kind.FILE, 0o644, 0, 0, self.draw.randrange(5), 1, self.count.to_bytes(32))
        seen = self.stood.get((node.origin, path), frozenset())
        match node.write(path, entry):
            case detect.Change(sibling=sibling):
                self.history[path][sibling.dot] = Written(entry, seen)
                self.stood[node.origin, path] = seen | {sibling.dot}
            case detect.Known() if delete:
                pass  # all that stood there was superseded by others, and one of them deleted it as well
            case _:
                raise AssertionError("a write that is nothing")

    def place(self, node: Node, path: RelPath) -> None:
        """Now the user can see what is shown, and what is in the vault as its losers."""
        node.place(path)
        record = node.records.get(path)
        if record is not None:
            seen = {sibling.dot for sibling in record.version.siblings}
            for dot in list(seen):
                if (written := self.history[path].get(dot)) is not None:  # else it only says what a comparison found
                    seen |= written.saw
            self.stood[node.origin, path] = self.stood.get((node.origin, path), frozenset()) | seen

    def step(self) -> None:
        draw = self.draw
        node, path = draw.choice(self.nodes), draw.choice(PATHS)
        others = [other for other in self.nodes if other is not node]
        if self.evict:
            if not self.halves or draw.random() < 0.06:
                half = [each for each in self.nodes if draw.random() < 0.5]
                self.halves = [half, [each for each in self.nodes if each not in half]]
            (mine,) = (half for half in self.halves if node in half)
            node.evicted = {each.origin for each in others if each not in mine}
            others = [other for other in others if other in mine]
        weights = (12, 15, 30, 20, 5, 25) if self.evict else (25, 12, 25, 18, 20, 10)
        match draw.choices(("write", "delete", "run", "place", "batch", "forget"), weights)[0]:
            case "write" | "delete" as what:
                self.write(node, path, what == "delete")
            case "run" if others:
                self.run(draw.choice(others), node, draw, draw.random() < 0.3)
            case "place":
                for each in PATHS:
                    self.place(node, each)
            case "batch":
                if sent := [batch for other in others for batch in other.batches]:
                    receive_batch(node, draw.choice(sent))

            case "forget":
                kept = [each.knowledge for each in self.nodes if each.origin not in node.evicted]
                node.forget(vectors.meet(kept))

    def settle(self) -> None:
        for _ in self.nodes:
            for node in self.nodes:
                for source in self.nodes:
                    if source is not node:
                        self.run(source, node, self.draw, False)
        for node in self.nodes:
            for path in PATHS:
                self.place(node, path)

    def harm(self) -> str:
        """What kind of harm came of it; empty: none."""
        first = self.nodes[0]
        for node in self.nodes:
            if node.disk != first.disk or _siblings(node) != _siblings(first):
                return "diverged"
        for path, writes in self.history.items():
            superseded = {dot for one in writes.values() for dot in one.saw}
            wanted = {dot for dot, one in writes.items() if one.entry is not None and dot not in superseded}
            record = first.records.get(path)
            held = {s.dot for s in record.version.siblings if s.live} if record else set()
            if wanted - held:
                return "lost update"
            if held - wanted:
                return "resurrection"
            if bool(held) != (path in first.disk):
                return "shown is not what is held"
        return ""


def _siblings(node: Node) -> dict[RelPath, list[Sibling]]:
    """What lives. Deletions each node forgets when it pleases, also from beside a live sibling that it hears later."""
    siblings = {path: [s for s in record.version.siblings if s.live] for path, record in node.records.items()}
    return {path: each for path, each in siblings.items() if each}


def play(
    draw: random.Random,
    *,
    steps: int,
    nodes: int,
    receive: Receive = run,
    note: bool = False,
    evict: bool = False,
) -> World:
    """Random writes, deletions, syncs, cut runs, batches late, repeated and out of order; then all sync."""
    origins = [origin_of(NodeId(bytes([97 + number]) * 16), 1) for number in range(nodes)]
    world = World([Node(origin) for origin in origins], draw, receive, evict=evict)
    for _ in range(steps):
        world.step()
        if note:
            world.note()
    world.settle()
    return world
