"""The journal: what changed, where, by whom; a bounded ring that costs next to nothing on bulk paths.

`add_many` keeps the caller's rows as they are; an `Event` is built only when somebody reads it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum
from time import time
from typing import NamedTuple

from everynode.limits import LOG_EVENTS_KEPT
from everynode.model.ids import NodeId, show_node
from everynode.model.path import RelPath
from everynode.report.status import AtPath, path_fields


class Happening(StrEnum):
    CREATED = "created"  # captured here
    CHANGED = "changed"
    ATTRIBUTES = "attributes"
    DELETED = "deleted"
    RENAMED = "renamed"
    PLACED = "placed"  # another node's change, now on this disk
    REMOVED = "removed"  # another node's deletion, now on this disk
    CONFLICT = "conflict"
    RESOLVED = "resolved"
    PROBLEM = "problem"
    SOLVED = "solved"
    HELD = "held"  # so much was removed or emptied by a peer that it is not placed before somebody decides
    RELEASED = "released"
    DISCARDED = "discarded"
    HALTED = "halted"
    STARTED = "started"
    SCRUBBED = "scrubbed"  # all contents were read again because somebody asked


Change = tuple[RelPath, Happening, NodeId, int, str]
"""(path, what, author or b"" when unknown, process id or 0, detail): plain, because there may be 25,000 a second."""

NOBODY = NodeId(b"")


class Event(AtPath, frozen=True, kw_only=True):
    number: int
    """Counts from 1 since the daemon started; a gap says that events were dropped before they were read."""
    when: float
    """Unix seconds."""
    group: str
    what: Happening
    node: str = ""
    """Name of the author."""
    process: str = ""
    """`name[pid]` of the process that did it on this node, as far as the kernel told."""
    detail: str = ""


class _Chunk(NamedTuple):
    first: int
    when: float
    group: str
    changes: Sequence[Change]
    processes: dict[int, str]


class Journal:
    """Of one node. To be used in the event loop's thread only."""

    def __init__(
        self,
        *,
        node_name: Callable[[NodeId], str] = lambda node: show_node(node)[:8],
        process_name: Callable[[int], str] = lambda pid: f"[{pid}]",
        now: Callable[[], float] = time,
        kept: int = LOG_EVENTS_KEPT,
    ) -> None:
        self._node_name = node_name
        self._process_name = process_name
        self._now = now
        self._kept = kept
        self._chunks: deque[_Chunk] = deque()
        self._next = 1
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    @property
    def last(self) -> int:
        """The number of the newest event; 0: none yet."""
        return self._next - 1

    def add(
        self,
        group: str,
        path: RelPath,
        what: Happening,
        *,
        node: NodeId = NOBODY,
        pid: int = 0,
        detail: str = "",
    ) -> None:
        self.add_many(group, ((path, what, node, pid, detail),))

    def add_many(self, group: str, changes: Sequence[Change]) -> None:
        """Add events of one group in order. `changes` is kept, not copied: hand it over and leave it alone."""
        if not changes:
            return
        # The process may be gone when somebody reads: its name is asked for now, once for each distinct one.
        processes = {pid: self._process_name(pid) for pid in {change[3] for change in changes} if pid}
        first = self._next
        self._next += len(changes)
        if len(changes) > self._kept:
            first += len(changes) - self._kept
            changes = changes[-self._kept :]
        self._chunks.append(_Chunk(first, self._now(), group, changes, processes))
        # Whole chunks are dropped, so up to one chunk more than `kept` stays.
        while self._next - self._chunks[0].first - len(self._chunks[0].changes) >= self._kept:
            self._chunks.popleft()
        self._wake()

    def close(self) -> None:
        """Nobody has to follow any longer: the daemon stops."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    def since(self, number: int, most: int = LOG_EVENTS_KEPT) -> list[Event]:
        """The kept events above `number`, oldest first, at most `most` of them."""
        oldest = max(number + 1, self._next - self._kept)
        wanted: list[_Chunk] = []
        for chunk in reversed(self._chunks):  # a follower reads the end: do not walk the whole ring for it
            if chunk.first + len(chunk.changes) <= oldest:
                break
            wanted.append(chunk)
        events: list[Event] = []
        for chunk in reversed(wanted):
            start = max(0, oldest - chunk.first)
            stop = min(len(chunk.changes), start + most - len(events))
            events.extend(self._event(chunk, index) for index in range(start, stop))
        return events

    def newest(self, count: int) -> list[Event]:
        """The newest `count` events, oldest first."""
        return self.since(max(0, self.last - count))

    async def follow(self, number: int) -> AsyncIterator[list[Event]]:
        """Events above `number` as they come, in lists, until `close`. One too slow sees a gap in the numbers."""
        while True:
            if events := self.since(number, 1000):
                number = events[-1].number
                yield events
                continue
            if self._closed:
                return
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)

    def _event(self, chunk: _Chunk, index: int) -> Event:
        path, what, node, pid, detail = chunk.changes[index]
        return Event(
            **path_fields(path),
            number=chunk.first + index,
            when=chunk.when,
            group=chunk.group,
            what=what,
            node=self._node_name(node) if node else "",
            process=chunk.processes.get(pid, ""),
            detail=detail,
        )
