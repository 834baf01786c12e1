"""Serve: answer the runs that peers ask for: records by arrival, small contents beside them, then a checkpoint."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from everynode.content.small import Wanted, read_small
from everynode.core.runs import wanted
from everynode.core.vectors import dominates
from everynode.errors import LinkError
from everynode.group.announce import Announcer
from everynode.group.ground import Ground
from everynode.limits import BATCH_BYTES, BATCH_RECORDS, INLINE_BYTES_MAX, RUN_STALL, RUN_WINDOW
from everynode.model.entry import Kind
from everynode.model.ids import Digest, NodeId, Sequence
from everynode.model.message import ComparePart, RunCredit, RunEnd, RunPart, RunRequest, WireRecord
from everynode.model.path import ROOT, RelPath, parent_of
from everynode.model.record import Record, Vector, weight_of


@dataclass(slots=True)
class _Run:
    request: RunRequest
    credit: asyncio.Semaphore
    above: set[RelPath] = field(default_factory=lambda: {ROOT})
    """Directories that were considered as ancestors: sent ahead where the receiver needs them."""


RUN_ROWS_MAX = 16 * BATCH_RECORDS
"""Arrivals gone through in one call: the index has other callers."""


class RunServer:
    """At most one run per peer: a new request ends the old one."""

    def __init__(self, ground: Ground, announcer: Announcer) -> None:
        self._ground = ground
        self._announcer = announcer
        self._runs: dict[NodeId, _Run] = {}
        self._wake: dict[NodeId, asyncio.Event] = {}

    def request(self, peer: NodeId, request: RunRequest) -> None:
        old = self._runs.get(peer)
        self._runs[peer] = _Run(request, asyncio.Semaphore(RUN_WINDOW))
        if old is not None:
            old.credit.release()  # it may be waiting, and has nothing to wait for any more
        self._announcer.pause(peer)
        self._event(peer).set()

    def credit(self, peer: NodeId, credit: RunCredit) -> None:
        run = self._runs.get(peer)
        if run is not None and run.request.run == credit.run:
            run.credit.release()

    def close(self, peer: NodeId) -> None:
        self._runs.pop(peer, None)

    def _event(self, peer: NodeId) -> asyncio.Event:
        return self._wake.setdefault(peer, asyncio.Event())

    async def run_peer(self, peer: NodeId) -> None:
        """Serve one peer until its link closes."""
        wake = self._event(peer)
        while True:
            run = self._runs.get(peer)
            if run is None:
                wake.clear()
                await wake.wait()
                continue
            try:
                await self._serve(peer, run)
            except LinkError:
                return
            if self._runs.get(peer) is run:
                del self._runs[peer]
                self._announcer.unpause(peer)

    async def _serve(self, peer: NodeId, run: _Run) -> None:
        ground = self._ground
        request = run.request
        if self._pushed_soon(request):
            # Closed at once: all that the peer lacks is pushed to it from memory.
            known = Sequence(request.knows.get(ground.index.origin, 0))
            await ground.links.send(peer, RunEnd(request.group, request.run, request.knows, b"", 0))
            self._announcer.resume(peer, known)
            return
        if request.compare:
            await self._serve_comparison(peer, run)
            return
        cursor = request.since if request.index == ground.index.life else 0
        while await self._wanted(peer, run):
            part = await ground.clock.offload_index(self._next_part, cursor, run)
            if type(part) is RunEnd:
                await ground.links.send(peer, part)
                self._announcer.resume(peer, Sequence(part.knows.get(ground.index.origin, 0)))
                return
            assert type(part) is _Part
            cursor = part.cursor
            if not part.records:
                run.credit.release()  # nothing for the peer in this stretch
                continue
            contents = await ground.clock.offload(read_small, ground.setup.root, part.small) if part.small else {}
            await ground.links.send(peer, RunPart(request.group, request.run, part.records, contents))

    async def _wanted(self, peer: NodeId, run: _Run) -> bool:
        """Wait until the peer wants one more part; False: it does not want any more, or another run."""
        if self._runs.get(peer) is not run:
            return False
        try:
            async with asyncio.timeout(RUN_STALL):
                await run.credit.acquire()
        except TimeoutError:
            return False  # it asks again when it wants more
        return self._runs.get(peer) is run

    async def _serve_comparison(self, peer: NodeId, run: _Run) -> None:
        """Everything in the order of paths, with the vectors from before the first of it."""
        ground = self._ground
        after = b""
        knows: Vector = dict(ground.index.heard)
        forgotten: Vector = dict(ground.index.state.forgotten)
        while await self._wanted(peer, run):
            rows, last = await ground.clock.offload_index(self._rows_after, after)
            records = tuple(WireRecord(record.path, record.version) for record in rows)
            upto = records[-1].path if records else after
            group = run.request.group
            part = ComparePart(group, run.request.run, after, upto, records, knows, forgotten, last)
            await ground.links.send(peer, part)
            if last:
                self._announcer.resume(peer, Sequence(knows.get(ground.index.origin, 0)))
                return
            after = upto

    def _rows_after(self, after: bytes) -> tuple[list[Record], bool]:
        """Records in the order of paths, a message's worth, and whether they are the last. Runs on the index thread."""
        rows = self._ground.index.below(ROOT, after, BATCH_RECORDS)
        size = 0
        for number, record in enumerate(rows):
            size += weight_of(record.version) + len(record.path)
            if size >= BATCH_BYTES:
                return rows[: number + 1], False
        return rows, len(rows) < BATCH_RECORDS

    def _pushed_soon(self, request: RunRequest) -> bool:
        """Whether nothing but own changes is missing there, and these are in the announcer's memory."""
        index = self._ground.index
        others = {origin: seq for origin, seq in index.knowledge.items() if origin != index.origin}
        known = Sequence(request.knows.get(index.origin, 0))
        return request.contents and dominates(request.knows, others) and self._announcer.covers(known)

    def _next_part(self, cursor: int, run: _Run) -> _Part | RunEnd:
        """Runs on the index thread: the vector of the end is read in the same breath that finds nothing left."""
        index = self._ground.index
        request = run.request
        records: list[WireRecord] = []
        small: list[Wanted] = []
        size = 0
        stretch = cursor + RUN_ROWS_MAX
        while len(records) < BATCH_RECORDS and size < BATCH_BYTES and cursor < stretch:
            rows = index.since(cursor, BATCH_RECORDS)
            if not rows:
                if records:
                    break
                forgotten = dict(index.state.forgotten)
                return RunEnd(
                    request.group, request.run, dict(index.knowledge), index.life, index.state.arrival, forgotten
                )
            for record in rows:
                cursor = record.arrival
                if wanted(record.version, request.knows):
                    above = self._directories_above(record, run)
                    records += above
                    size += sum(weight_of(one.version) + len(one.path) for one in above)
                    records.append(WireRecord(record.path, record.version))
                    size += weight_of(record.version) + len(record.path)
                    if request.contents and (item := _small(record, request.knows)) is not None:
                        small.append(item)
                        size += item.size
                    if len(records) >= BATCH_RECORDS or size >= BATCH_BYTES:
                        break
        return _Part(tuple(records), small, cursor)

    def _directories_above(self, record: Record, run: _Run) -> list[WireRecord]:
        """Directories change after what is in them and so arrive later; the receiver needs them first.

        As many as fit: those that come later all the same are waited for a while where they are missing.
        """
        ahead: list[WireRecord] = []
        size = 0
        path = record.path
        while (path := parent_of(path)) not in run.above and size < BATCH_BYTES:
            run.above.add(path)
            directory = self._ground.index.get(path)
            later = directory is not None and directory.arrival > record.arrival
            if later and directory is not None and wanted(directory.version, run.request.knows):
                ahead.append(WireRecord(path, directory.version))
                size += weight_of(directory.version) + len(path)
        ahead.reverse()
        return ahead


@dataclass(slots=True)
class _Part:
    records: tuple[WireRecord, ...]
    small: list[Wanted]
    cursor: int


def _small(record: Record, knows: Vector) -> Wanted | None:
    """The content to send along: that of a small file whose new sibling stands on this disk."""
    placed = record.placed
    if placed is None or placed.entry is None or placed.stamp is None or placed.entry.kind != Kind.FILE:
        return None
    entry = placed.entry
    if entry.size > INLINE_BYTES_MAX:
        return None
    for sibling in record.version.siblings:
        news = knows.get(sibling.origin, 0) < sibling.sequence
        if news and sibling.live and sibling.content and sibling.entry.digest == entry.digest:
            return Wanted(record.path, placed.stamp, Digest(entry.digest), entry.size)
    return None
