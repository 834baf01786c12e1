"""What the parts of a running group stand on together: seams, index, root, and what they tell each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from everynode.config.exclude import Excluder
from everynode.content.inline import InlineContents
from everynode.errors import LinkError
from everynode.group.problems import Problems
from everynode.group.seams import Clock, Links, Notices
from everynode.index.store import Index
from everynode.limits import INLINE_CACHE_BYTES
from everynode.model.hold import Hold
from everynode.model.ids import NodeId
from everynode.model.message import GroupId, GroupMessage, Heads
from everynode.model.path import RelPath
from everynode.model.policy import GroupPolicy
from everynode.model.record import Record, Vector
from everynode.report.audit import Journal
from everynode.tree.root import Root


@dataclass(frozen=True)
class GroupSetup:
    """Everything a group is given by the daemon, or by the simulator."""

    group: GroupId
    name: str
    node: NodeId
    index: Index
    root: Root
    notices: Notices
    clock: Clock
    policy: GroupPolicy
    members: Callable[[], frozenset[NodeId]]
    """Every member that is to hold the group, this node included."""
    journal: Journal
    random_number: Callable[[], int]
    """63 random bits or more; names runs."""
    node_name: Callable[[NodeId], str]
    boot: str
    """Names this boot of the machine: a crash of the daemon keeps it, a power cut does not."""
    founder: bool = False
    """The group was just made on this node: nobody can know more of it."""


class NoLinks:
    """Before a group runs it has none."""

    def peers(self) -> list[NodeId]:
        return []

    async def send(self, peer: NodeId, message: GroupMessage) -> None:
        raise LinkError("the group does not run yet")


@dataclass
class Ground:
    """Lives as long as the group runs. Used in the event loop's thread only, but for `setup`'s parts."""

    setup: GroupSetup
    links: Links
    excluder: Excluder
    claims: set[RelPath] = field(default_factory=set)
    """Paths that capture or apply has in hand; the other leaves them alone until they are given back."""
    inline: InlineContents = field(default_factory=lambda: InlineContents(INLINE_CACHE_BYTES))
    heads: dict[NodeId, Heads] = field(default_factory=dict)
    """What each peer said last of its knowledge, also after its link closed: knowledge only grows."""
    placed: Vector = field(default_factory=dict)
    """All of this is on this disk, durable, but for `exceptions`."""
    withheld: Vector = field(default_factory=dict)
    """What the brake holds back: of these origins nothing from here on counts as placed, whatever `placed` says."""
    holds: tuple[Hold, ...] = ()
    """What it holds until somebody decides."""
    problems: Problems = field(init=False)
    work: asyncio.Event = field(default_factory=asyncio.Event)
    """There may be records to place."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Knowledge changed: peers want to hear of it."""
    may_change: asyncio.Event = field(default_factory=asyncio.Event)
    """Changes of this node may be given dots (see DESIGN, epochs)."""
    met: asyncio.Event = field(default_factory=asyncio.Event)
    """A peer has said hello since the start: had it known changes of ours that we do not, we would know now."""
    scanned: asyncio.Event = field(default_factory=asyncio.Event)
    """The first scan is done: what stood in the root is known."""
    root_was_empty: bool = False
    placing_now: bool = False
    """Apply is going through what is to be placed."""
    moved: set[RelPath] = field(default_factory=set)
    """Old and new names of directories that somebody renamed, or took away, while apply was placing.

    Under the new ones may be more than was seen, and records may say of what is below the old ones that it is there.
    """
    missed: bool = False
    """Apply left out a path that capture had in hand: it is to be woken when capture lets go."""
    suspect_above: int | None = None
    """After a power cut: own changes above this sequence may not have reached the disk."""
    doubts: asyncio.Queue[RelPath] = field(default_factory=asyncio.Queue)
    """Placed files that show other bytes though nobody wrote: to be read once more, and repaired if it is so."""
    damaged_before: list[Record] = field(default_factory=list)
    """Damage that an earlier life found and that is not repaired yet."""
    last_change: tuple[RelPath, NodeId, float] | None = None
    """Path, author and Unix seconds of the change that was made here or heard of last."""
    _progress: dict[asyncio.Future[None], None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.problems = Problems(self.setup)

    @property
    def index(self) -> Index:
        return self.setup.index

    @property
    def clock(self) -> Clock:
        return self.setup.clock

    def note_change(self, path: RelPath, author: NodeId) -> None:
        self.last_change = (path, author, self.clock.now_ns() / 1e9)

    def progressed(self) -> None:
        """Wake whoever waits for anything to become true."""
        for waiting in self._progress:
            if not waiting.done():
                waiting.set_result(None)
        self._progress.clear()

    async def wait_progress(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._progress[waiting] = None
        try:
            await waiting
        finally:
            self._progress.pop(waiting, None)
