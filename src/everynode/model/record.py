"""What the index says of a path: siblings and context, and what was placed here."""

from __future__ import annotations

from typing import Annotated

import msgspec

from everynode import limits
from everynode.model.entry import Entry, Stamp
from everynode.model.ids import Dot, Origin, Sequence
from everynode.model.path import RelPath

Vector = Annotated[dict[Origin, Sequence], msgspec.Meta(max_length=limits.ORIGINS_MAX)]
"""Origin -> highest sequence. A missing origin counts as 0."""


class Sibling(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One change of a path that nothing known here has superseded."""

    origin: Origin
    sequence: Sequence
    entry: Entry
    """What stands there; for a tombstone: what stood there when it was deleted."""
    live: bool = True
    """False: a tombstone."""
    content: bool = True
    """Whether content (kind, bytes, target) changed rather than attributes alone. Tombstones: False."""

    @property
    def dot(self) -> Dot:
        return (self.origin, self.sequence)


class Version(msgspec.Struct, frozen=True, array_like=True):
    """Siblings (at least one, ordered by dot) and the context they imply.

    `context` holds only what the siblings' own dots do not already say: empty when trivial.
    """

    siblings: Annotated[tuple[Sibling, ...], msgspec.Meta(max_length=limits.SIBLINGS_MAX)]
    context: Vector = {}


SIBLING_BYTES = 168
"""What a sibling weighs on the wire beside its digest or target, roughly."""
CONTEXT_BYTES = 31


def weight_of(version: Version) -> int:
    """About how many bytes a version takes on the wire; in memory some six times that."""
    siblings = version.siblings
    if len(siblings) == 1 and not version.context:
        return SIBLING_BYTES + len(siblings[0].entry.digest)
    return sum(SIBLING_BYTES + len(sibling.entry.digest) for sibling in siblings) + CONTEXT_BYTES * len(version.context)


class Placed(msgspec.Struct, frozen=True, array_like=True):
    """What this node put at, or found at, a path: the ground against which local changes are told."""

    version: Version
    """The version shown then: a local change supersedes exactly its siblings."""
    entry: Entry | None
    """What is actually there (attributes that could not be set differ from the sibling's); None: nothing."""
    stamp: Stamp | None
    shown: Dot
    """The sibling that was shown."""
    not_carried: int = 0
    """What it has that is not replicated yet: HARD_LINKS, XATTRS."""
    damaged: bool = False
    """What is there is nobody's work: the disk has lost the content. It is never announced, and work until repaired."""
    remains: bool = False
    """What is there, or that nothing is, is what a power cut left of `shown`: nobody's work either."""


HARD_LINKS = 1
XATTRS = 2


class Record(msgspec.Struct, frozen=True):
    """One row of the index."""

    path: RelPath
    version: Version
    placed: Placed | None = None
    """None: nothing of this path was ever placed here."""
    unplaced: bool = False
    """There is work to do: what is shown by `version` may differ from `placed`."""
    arrival: int = 0
    """Rises with every change of the record on this node; the order in which runs are sent."""
    seal: int = 0
    """Checksum of the row it was read from: names exactly this state of it."""
    overtaken: tuple[Sibling, ...] = ()
    """Superseded before they were noted as placed: one of them may stand there all the same, put there just before a
    crash (see `group.resume`)."""
    earlier: tuple[Sibling, ...] = ()
    """Of a file that was written here: what stood there before and may be back, whole, after a power cut."""
    held: bool = False
    """What it removes stays on this disk until somebody decides (see `group.brake`): no work meanwhile, nor settled."""
