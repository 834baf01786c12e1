"""What peers say to each other. One frame holds one message; `wire.codec` makes the bytes.

Groups are named by their 16-byte id (`GroupId`), which never changes and is not reused.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from everynode import limits
from everynode.model.entry import Entry
from everynode.model.hold import Held, Span
from everynode.model.ids import Digest, Dot, NodeId, Origin, Sequence
from everynode.model.path import RelPath
from everynode.model.record import Vector, Version

GroupId = bytes


class Message(msgspec.Struct, frozen=True, array_like=True, tag_field="type"):
    """Base of everything on a link."""


class Hello(Message, frozen=True, array_like=True, tag="hello"):
    """First on a link, both ways; nothing else is heard before it."""

    protocol: int
    cluster: bytes
    """Fingerprint of the cluster (32 bytes)."""
    node: NodeId
    name: str
    listen: Annotated[tuple[str, ...], msgspec.Meta(max_length=limits.ADDRESSES_MAX)]
    """Addresses `host:port` at which the sender may be dialled."""


class Ping(Message, frozen=True, array_like=True, tag="ping"):
    """Sent when nothing else was for a heartbeat; any message counts as a sign of life."""

    number: int


class Statements(Message, frozen=True, array_like=True, tag="statements"):
    """Signed statements of the cluster file (encoded by `trust.statements`); idempotent, in any order."""

    statements: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=limits.STATEMENTS_MAX)]
    digest: bytes = b""
    """Digest of the sender's whole set, so that equality is seen without sending it."""


class WireRecord(Message, frozen=True, array_like=True, tag="r"):
    path: RelPath
    version: Version


# Counted before anything is made of them: a frame could hold a hundred times more, each many times its size in memory.
Records = Annotated[tuple[WireRecord, ...], msgspec.Meta(max_length=limits.MESSAGE_RECORDS_MAX)]
Contents = Annotated[dict[Digest, bytes], msgspec.Meta(max_length=limits.MESSAGE_RECORDS_MAX)]


class GroupHello(Message, frozen=True, array_like=True, tag="group"):
    """Opens a group on a link: who I am in it and what I know.

    Who finds changes of his own in `heard` that he does not know himself has an old index: he begins a new epoch.
    """

    group: GroupId
    origin: Origin
    """The sender's own present origin."""
    index: bytes
    """16 random bytes that name this life of the sender's index; arrivals count within it."""
    heard: Vector
    forgotten: Vector
    settled: bool = True
    """Whether the sender's index has closed a run, or founded the group: else there may be more than it knows."""


class Heads(Message, frozen=True, array_like=True, tag="heads"):
    """Sent after knowledge changed: what I have heard, and what of it is on my disk, durable."""

    group: GroupId
    heard: Vector
    placed: Vector
    exceptions: Annotated[tuple[Dot, ...], msgspec.Meta(max_length=limits.EXCEPTIONS_MAX)] = ()
    """Dots covered by `placed` that are not placed all the same (problems)."""
    backlog: int = 0
    """Records heard and not placed."""
    settled: bool = True
    """As in GroupHello."""
    holds: Annotated[tuple[Held, ...], msgspec.Meta(max_length=limits.HOLDS_MAX)] = ()
    """Removals that the sender's brake holds: none of their spans is covered by `placed`."""


class Released(Message, frozen=True, array_like=True, tag="released"):
    """Somebody decided that these removals may be placed: whoever holds some of them lets them go.

    Sent when a group opens on a link and when more was released, and passed on; joined, so order and number of
    arrivals do not matter.
    """

    group: GroupId
    spans: Annotated[tuple[Span, ...], msgspec.Meta(max_length=limits.RELEASES_MAX)]


class Batch(Message, frozen=True, array_like=True, tag="batch"):
    """A live run of one author: all changes of `origin` after `before` up to and including `after`.

    For each of those changes the present record of its path is in `records`, so that a receiver which knows
    `origin` up to `before` may claim `after`. Contents of small files ride along by digest.
    """

    group: GroupId
    origin: Origin
    before: Sequence
    after: Sequence
    records: Records
    contents: Contents = {}


class RunRequest(Message, frozen=True, array_like=True, tag="run?"):
    """Send me what I do not know."""

    group: GroupId
    run: int
    """Chosen by the receiver; names the run on this link."""
    knows: Vector
    index: bytes
    """The sender's index life for which `since` holds; empty: from the beginning."""
    since: int
    """Arrival position up to which all was heard from this peer."""
    contents: bool = True
    """Whether small contents shall ride along; not wanted by one whose root may hold them already."""
    compare: bool = False
    """Everything instead, as ComparePart: who asks may hold what was deleted, and that forgotten, long ago."""


class RunCredit(Message, frozen=True, array_like=True, tag="run+"):
    """The receiver has made one more part durable; one more may come."""

    group: GroupId
    run: int


class RunPart(Message, frozen=True, array_like=True, tag="run"):
    group: GroupId
    run: int
    records: Records
    contents: Contents = {}


class RunEnd(Message, frozen=True, array_like=True, tag="run."):
    """The checkpoint: all that `knows` covers was sent in this run or was known to the receiver before."""

    group: GroupId
    run: int
    knows: Vector
    index: bytes
    """The sender's index life for which `arrival` holds; empty: where the next run starts has not changed."""
    arrival: int
    """Where the next run from this sender may start."""
    forgotten: Vector = {}
    """Of what `knows` covers: deletions that the sender has no record of any more."""


class ComparePart(Message, frozen=True, array_like=True, tag="compare"):
    """All records of the sender after a path up to another one, in byte order of paths."""

    group: GroupId
    run: int
    after: bytes
    """Empty: from the beginning."""
    upto: bytes
    records: Records
    knows: Vector
    """What the sender knew before it began: what this covers and it does not hold is dead. The same in each part."""
    forgotten: Vector
    last: bool
    """There is nothing after `upto`: from now on the receiver knows all that `knows` covers."""


class Numbered(Message, frozen=True, array_like=True):
    """A request, or the answer to it, which is found by the number."""

    group: GroupId
    request: int


class BlocksRequest(Numbered, frozen=True, array_like=True, tag="blocks?"):
    """Which blocks is this content made of?"""

    path: RelPath
    """Where the sender of this message believes the content to be; a hint."""
    digest: Digest


class Blocks(Numbered, frozen=True, array_like=True, tag="blocks"):
    blocks: bytes
    """The block digests, 32 bytes each, in order."""


class FetchRequest(Numbered, frozen=True, array_like=True, tag="fetch?"):
    path: RelPath
    digest: Digest
    offset: int
    length: int
    """At most limits.FETCH_BYTES_MAX."""


class FetchPart(Numbered, frozen=True, array_like=True, tag="fetch"):
    data: bytes


class Gone(Numbered, frozen=True, array_like=True, tag="gone"):
    """The content asked for in `request` is not to be had here (any more)."""

    shown: Version | None = None
    """What stands at the path of the request instead, as far as somebody wrote it."""


TREE_HASH_BYTES = 16
"""Of ranges of a tree, of versions, of knowledge: enough between nodes that want to know whether they are equal."""


class TreeRequest(Numbered, frozen=True, array_like=True, tag="tree?"):
    """How do these parts of your tree hash? Part i: bounds[i] <= path < bounds[i + 1]; an empty last one is the end."""

    bounds: tuple[bytes, ...]


class TreeParts(Numbered, frozen=True, array_like=True, tag="tree"):
    heard: bytes
    """Hash of the sender's knowledge."""
    unplaced: int
    hashes: tuple[bytes, ...]
    """One for each part, of what is placed in it in the order of paths; empty: more than anybody asks for in one."""


class EntriesRequest(Numbered, frozen=True, array_like=True, tag="entries?"):
    """What stands at low <= path < high? An empty `high` is the end."""

    low: bytes
    high: bytes


class TreeEntry(msgspec.Struct, frozen=True, array_like=True):
    path: RelPath
    entry: Entry | None
    """What is placed; None: nothing yet."""
    version: bytes
    """Hash of siblings and context."""
    unplaced: bool


class Entries(Numbered, frozen=True, array_like=True, tag="entries"):
    heard: bytes
    entries: tuple[TreeEntry, ...]
    then: bytes
    """Where to ask on from; empty: that was all."""


class ReadRequest(Numbered, frozen=True, array_like=True, tag="read?"):
    """Read all your contents again, once for each number; how far is it?"""

    pass_number: int


class ReadState(Numbered, frozen=True, array_like=True, tag="read"):
    seen: int
    expected: int
    damaged: int
    done: bool


class GroupBye(Message, frozen=True, array_like=True, tag="group."):
    """The sender does not hold this group (any more), or has halted it."""

    group: GroupId
    why: str


GroupMessage = (
    GroupHello
    | Heads
    | Released
    | Batch
    | RunRequest
    | RunCredit
    | RunPart
    | RunEnd
    | ComparePart
    | BlocksRequest
    | Blocks
    | FetchRequest
    | FetchPart
    | Gone
    | TreeRequest
    | TreeParts
    | EntriesRequest
    | Entries
    | ReadRequest
    | ReadState
    | GroupBye
)

AnyMessage = Hello | Ping | Statements | GroupMessage
