"""Takes the messages of a link apart by group: each group has its own inbox and its own task per peer.

| of a group and a peer | what happens | then |
|---|---|---|
| closed | the link comes up, or the group is attached while it is up | open: `opened` |
| closed by a GroupBye | a GroupHello arrives (the peer holds the group again) | open: `opened`, `received` |
| open | a GroupBye arrives, or the link ends | closed: `closed` |
| not attached here | any message arrives | a GroupBye is answered, once |
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from enum import Enum
from typing import Protocol

from everynode import limits
from everynode.errors import LinkError
from everynode.model.ids import NodeId, show_node
from everynode.model.message import (
    Batch,
    Blocks,
    FetchPart,
    GroupBye,
    GroupHello,
    GroupId,
    GroupMessage,
    Heads,
    RunEnd,
    RunPart,
    RunRequest,
)
from everynode.model.path import show_path

_log = logging.getLogger("everynode.net")
_MESSAGE_BYTES = 256  # about what a small message costs in memory
_ORIGIN_BYTES = 160  # one origin of a vector
_REASON_SHOWN = 300  # characters: room for a path


class GroupEvents(Protocol):
    """What a group hears. Calls for one peer come one after another, in order, in the task of `AttachedGroup.run`.

    A LinkError out of them ends the link to that peer; anything else comes out of `run`.
    """

    async def opened(self, peer: NodeId) -> None: ...
    async def received(self, peer: NodeId, message: GroupMessage) -> None: ...
    async def closed(self, peer: NodeId) -> None: ...


class LinkUse(Protocol):
    """What routes need of the mesh."""

    async def send(self, peer: NodeId, message: GroupMessage) -> None: ...
    def disconnect(self, peer: NodeId, reason: str) -> None: ...


class _Turn(Enum):
    OPENED = "opened"
    CLOSED = "closed"


class _Inbox:
    """What one group is to hear of one peer. Survives the link, so that the calls of two links do not mix."""

    def __init__(self) -> None:
        self.open = False
        self.generation = 0
        """Counts openings: what is left of an earlier one is told from the present."""
        self._waiting: deque[tuple[_Turn | GroupMessage, int]] = deque()
        self._bytes = 0
        self._why = ""
        self._said = 0.0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def says_why(self, why: str, now: float) -> bool:
        """Whether it is worth a line of the log: not the same again, nor another one at once."""
        if why == self._why or now - self._said < 1.0:
            return False
        self._why, self._said = why, now
        return True

    def turn(self, turn: _Turn) -> None:
        self.open = turn is _Turn.OPENED
        if self.open:
            self.generation += 1
        self._waiting.append((turn, self.generation))
        self._filled.set()

    def cut(self) -> None:
        """The link is gone, and with it what was under way on it."""
        self._waiting = deque((what, generation) for what, generation in self._waiting if isinstance(what, _Turn))
        self._set_bytes(0)
        if not self.open:
            return
        if self._waiting and self._waiting[-1][0] is _Turn.OPENED:
            self._waiting.pop()  # nobody has heard of the opening: a flapping link piles up nothing
            self.open = False
        else:
            self.turn(_Turn.CLOSED)

    def stop(self) -> None:
        """Nobody listens any more: let nobody wait."""
        self._waiting.clear()
        self._set_bytes(0)

    async def put(self, message: GroupMessage) -> None:
        await self._room.wait()
        self._waiting.append((message, self.generation))
        self._set_bytes(self._bytes + _weight(message))
        self._filled.set()

    async def get(self) -> tuple[_Turn | GroupMessage, int]:
        """The next thing to tell, and of which opening it is."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        what, generation = self._waiting.popleft()
        if not isinstance(what, _Turn):
            self._set_bytes(self._bytes - _weight(what))
        return what, generation

    def _set_bytes(self, count: int) -> None:
        self._bytes = count
        if count < limits.GROUP_INBOX_BYTES:
            self._room.set()
        else:
            self._room.clear()


class AttachedGroup:
    """One group's view of all links (`group.seams.Links`). `run` delivers; nothing is delivered outside it."""

    def __init__(self, group: GroupId, events: GroupEvents, links: LinkUse) -> None:
        self.group = group
        self._events = events
        self._links = links
        self._inboxes: dict[NodeId, _Inbox] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._delivering: list[asyncio.Task[None]] = []
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Call the group's events until the group is detached. What they raise but LinkError is raised here."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for peer, inbox in self._inboxes.items():
                    self._delivering.append(tasks.create_task(self._deliver(peer, inbox)))
                await self._stopped.wait()
                for task in self._delivering:
                    task.cancel()
        finally:
            self.stop()

    def stop(self) -> None:
        """Deliver nothing more; `run` returns."""
        self._tasks = None
        self._stopped.set()
        for inbox in self._inboxes.values():
            inbox.open = False
            inbox.stop()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def peers(self) -> list[NodeId]:
        return [peer for peer, inbox in self._inboxes.items() if inbox.open]

    async def send(self, peer: NodeId, message: GroupMessage) -> None:
        """Queue for sending; waits while the peer's queue is full. Raises LinkError when the group is not open."""
        inbox = self._inboxes.get(peer)
        if inbox is None or not inbox.open:
            raise LinkError(f"the group is not open on a link to {show_node(peer)}")
        await self._links.send(peer, message)

    # -- what the routes call

    def link_up(self, peer: NodeId) -> None:
        inbox = self._inboxes.get(peer)
        if inbox is None:
            inbox = self._inboxes[peer] = _Inbox()
            if self._tasks is not None:
                self._delivering.append(self._tasks.create_task(self._deliver(peer, inbox)))
        inbox.turn(_Turn.OPENED)

    def link_down(self, peer: NodeId) -> None:
        if (inbox := self._inboxes.get(peer)) is not None:
            inbox.cut()

    async def hear(self, peer: NodeId, message: GroupMessage) -> None:
        """Waits while the inbox is full. What comes after a GroupBye is late and ignored, but a GroupHello."""
        inbox = self._inboxes[peer]
        if isinstance(message, GroupBye):
            if inbox.open:
                why = show_path(message.why[:_REASON_SHOWN].encode("utf-8", "replace"))
                if inbox.says_why(why, asyncio.get_running_loop().time()):
                    _log.info("%s closed the group %s: %s", show_node(peer), self.group.hex(), why)
                inbox.turn(_Turn.CLOSED)
            return
        if isinstance(message, GroupHello) and not inbox.open:
            inbox.turn(_Turn.OPENED)
        if inbox.open:
            await inbox.put(message)

    async def _deliver(self, peer: NodeId, inbox: _Inbox) -> None:
        while True:
            what, generation = await inbox.get()
            try:
                match what:
                    case _Turn.OPENED:
                        await self._events.opened(peer)
                    case _Turn.CLOSED:
                        await self._events.closed(peer)
                    case message:
                        await self._events.received(peer, message)
            except LinkError as error:
                if inbox.open and generation == inbox.generation:
                    self._links.disconnect(peer, str(error))


class GroupRoutes:
    """Stands between the mesh and the groups: `linked`, `unlinked` and `received` are what MeshEvents pass on."""

    def __init__(self, links: LinkUse) -> None:
        self._links = links
        self._groups: dict[GroupId, AttachedGroup] = {}
        self._refused: dict[NodeId, set[GroupId]] = {}
        """Linked peers -> groups for which they have had our GroupBye."""

    def attach(self, group: GroupId, events: GroupEvents) -> AttachedGroup:
        """From now on the group is open on all links. The caller runs `run` of what is returned, in its own task."""
        assert group not in self._groups or self._groups[group].stopped
        attached = self._groups[group] = AttachedGroup(group, events, self._links)
        for peer, refused in self._refused.items():
            refused.discard(group)
            attached.link_up(peer)
        return attached

    async def detach(self, group: GroupId, why: str) -> None:
        """Stop delivering and tell the peers. May be called again, and for a group that was never attached."""
        attached = self._groups.pop(group, None)
        if attached is None:
            return
        attached.stop()
        for peer in list(self._refused):
            try:
                # The goodbye is a courtesy: a slow peer gets another one when it next speaks.
                async with asyncio.timeout(limits.CLOSE_TIMEOUT):
                    await self._refuse(peer, group, why)
            except (LinkError, TimeoutError):
                self._refused.get(peer, set()).discard(group)

    async def linked(self, peer: NodeId) -> None:
        self._refused[peer] = set()
        for attached in self._groups.values():
            attached.link_up(peer)

    async def unlinked(self, peer: NodeId) -> None:
        self._refused.pop(peer, None)
        for attached in self._groups.values():
            attached.link_down(peer)

    async def received(self, peer: NodeId, message: GroupMessage) -> None:
        """Waits while that group's inbox for the peer is full. Raises LinkError."""
        attached = self._groups.get(message.group)
        if attached is not None and not attached.stopped:
            await attached.hear(peer, message)
        elif not isinstance(message, GroupBye):
            await self._refuse(peer, message.group, "this node does not hold the group")

    async def _refuse(self, peer: NodeId, group: GroupId, why: str) -> None:
        refused = self._refused[peer]
        if group in refused:
            return
        if len(refused) >= limits.GROUPS_REFUSED_MAX:
            raise LinkError(f"{show_node(peer)} speaks of more than {limits.GROUPS_REFUSED_MAX} groups unknown here")
        refused.add(group)
        await self._links.send(peer, GroupBye(group, why))


def _weight(message: GroupMessage) -> int:
    """About how many bytes of memory it holds."""
    match message:
        case FetchPart():
            return _MESSAGE_BYTES + len(message.data)
        case Batch() | RunPart():
            return _MESSAGE_BYTES * (1 + len(message.records)) + sum(map(len, message.contents.values()))
        case Heads():
            return _MESSAGE_BYTES + _ORIGIN_BYTES * (len(message.heard) + len(message.placed) + len(message.exceptions))
        case GroupHello():
            return _MESSAGE_BYTES + _ORIGIN_BYTES * (len(message.heard) + len(message.forgotten))
        case RunRequest() | RunEnd():
            return _MESSAGE_BYTES + _ORIGIN_BYTES * len(message.knows)
        case Blocks():
            return _MESSAGE_BYTES + len(message.blocks)
        case _:
            return _MESSAGE_BYTES
