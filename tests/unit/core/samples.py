"""Short ways to say entries, siblings, versions and records in tests."""

from __future__ import annotations

from blake3 import blake3

from everynode.core.versions import make_version
from everynode.model.entry import Entry, Kind, Stamp
from everynode.model.ids import Dot, NodeId, Origin, Sequence, origin_of
from everynode.model.path import RelPath
from everynode.model.record import Placed, Record, Sibling, Version

NODE_A, NODE_B, NODE_C = (NodeId(letter * 16) for letter in (b"a", b"b", b"c"))
A, B, C = (origin_of(node, 1) for node in (NODE_A, NODE_B, NODE_C))
PATH = RelPath(b"d/f")


def file(content: bytes = b"x", *, mtime: int = 1, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Entry:
    return Entry(Kind.FILE, mode, uid, gid, mtime, len(content), blake3(content).digest())


def directory(*, mtime: int = 1, mode: int = 0o755, uid: int = 0) -> Entry:
    return Entry(Kind.DIRECTORY, mode, uid, 0, mtime)


def symlink(target: bytes = b"t", *, mtime: int = 1, mode: int = 0o777) -> Entry:
    return Entry(Kind.SYMLINK, mode, 0, 0, mtime, 0, target)


def stamp(number: int = 1) -> Stamp:
    return Stamp(number, number, number, number)


def dot(origin: Origin, sequence: int) -> Dot:
    return (origin, Sequence(sequence))


def live(origin: Origin, sequence: int, entry: Entry | None = None, *, content: bool = True) -> Sibling:
    return Sibling(origin, Sequence(sequence), entry or file(), True, content)


def dead(origin: Origin, sequence: int, entry: Entry | None = None) -> Sibling:
    return Sibling(origin, Sequence(sequence), entry or file(), False, False)


def version(*siblings: Sibling, **context: int) -> Version:
    """`context` by letter: A=3 means everything of origin A up to 3."""
    letters = {"A": A, "B": B, "C": C}
    return make_version(siblings, {letters[name]: Sequence(number) for name, number in context.items()})


def placed(of: Version, entry: Entry | str | None = "shown", *, shown: int = 0, at: Stamp | None = None) -> Placed:
    """`of` placed, sibling number `shown` visible; `entry` where something else is really there."""
    sibling = of.siblings[shown]
    there = (sibling.entry if sibling.live else None) if isinstance(entry, str) else entry
    return Placed(of, there, (at or stamp()) if there is not None else None, sibling.dot)


def record(of: Version, put: Placed | None = None, *, path: bytes = PATH, unplaced: bool | None = None) -> Record:
    return Record(RelPath(path), of, put, put is None or put.version != of if unplaced is None else unplaced)
