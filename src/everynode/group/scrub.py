"""Scrub: read all contents again, slowly, all the time; what the disk has lost is never spread, and is repaired.

A content that is another one while inode, size, mtime and ctime are as recorded was written by nobody. The record
then says what stands there and that it is damage: that makes it work, and apply fetches what was recorded from whoever
has it, as it does for any other difference. The damaged bytes go to the vault.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from everynode.core.pace import due, is_new_round
from everynode.group.capture import Capture
from everynode.group.ground import Ground
from everynode.index.store import Index
from everynode.limits import (
    DAMAGED_SHOWN_MAX,
    FRESHEN_INTERVAL,
    INDEX_CHECK_ROWS,
    RETRY_MIN,
    SCAN_BATCH,
    SCRUB_BYTES_PER_SECOND,
    SCRUB_INTERVAL,
    SCRUB_PASSES_MAX,
    SCRUB_STEP_BYTES,
)
from everynode.model.entry import FILE, Entry
from everynode.model.path import ROOT, RelPath
from everynode.model.record import Placed, Record
from everynode.report.audit import Happening
from everynode.tree.reread import UNREADABLE, Reading, read_some, reread

DAY = 86_400.0


class Round(msgspec.Struct, array_like=True):
    """How far a round has come; kept in the index."""

    began_ns: int = 0
    after: bytes = b""
    done: int = 0


@dataclass(slots=True)
class Pass:
    """Everything read once, now, because somebody asked for it."""

    seen: int = 0
    expected: int = 0
    damaged: int = 0
    """Found in this pass."""
    done: bool = False


class Scrubber:
    def __init__(self, ground: Ground, capture: Capture) -> None:
        self._ground = ground
        self._capture = capture
        self._passes: OrderedDict[int, Pass] = OrderedDict()
        self._passes_wanted = asyncio.Event()
        self._fresh_after = 0
        """Arrival up to which all stamps can be trusted."""

    # The slow round.

    async def run(self) -> None:
        ground = self._ground
        self._fresh_after = ground.index.state.arrival
        await ground.scanned.wait()
        if not ground.index.checked:
            await self._check_index()
        at = Round()
        loaded = False
        next_due = ground.clock.monotonic() + SCRUB_INTERVAL
        while True:
            await ground.clock.sleep(FRESHEN_INTERVAL)
            await self._freshen()
            if ground.setup.policy.scrub_days and next_due <= ground.clock.monotonic():
                next_due = ground.clock.monotonic() + SCRUB_INTERVAL
                if not loaded:
                    at, loaded = await ground.clock.offload_index(self._load), True
                at = await self._advance(at)

    async def _check_index(self) -> None:
        """What there was no time for when it was opened. Raises IndexDamaged."""
        after: int | None = 0
        while after is not None:
            after = await self._ground.clock.offload_index(self._ground.index.check_some, after, INDEX_CHECK_ROWS)

    async def _freshen(self) -> None:
        """Read once more what was captured so soon after it was written that its stamp tells nothing.

        Until then damage could not be told from a write in the same tick of the clock.
        """
        ground = self._ground
        while records := await ground.clock.offload_index(ground.index.since, self._fresh_after, SCAN_BATCH):
            self._fresh_after = records[-1].arrival
            young = [record.path for record in records if _is_young(record)]
            for path in young:
                self._capture.look_soon(path)
            if young:
                await self._capture.settle()

    def _load(self) -> Round:
        """Runs on the index thread."""
        known = self._ground.index.scrubbed()
        return msgspec.msgpack.decode(known, type=Round) if known else Round()

    async def _advance(self, at: Round) -> Round:
        """Read what is due by now."""
        ground = self._ground
        clock = ground.clock
        seconds = ground.setup.policy.scrub_days * DAY
        now_ns = clock.now_ns()
        if is_new_round((now_ns - at.began_ns) / 1e9, seconds):
            if at.after:
                return await self._go_on(at, None)  # the rest of a round that is late
            at = Round(began_ns=now_ns)
        wanted = due(ground.index.state.counters.records, (now_ns - at.began_ns) / 1e9, seconds)
        return await self._go_on(at, wanted)

    async def _go_on(self, at: Round, wanted: int | None) -> Round:
        """Until so many are done; None: all."""
        ground = self._ground
        while wanted is None or at.done < wanted:
            limit = SCAN_BATCH if wanted is None else min(SCAN_BATCH, wanted - at.done)
            records = await ground.clock.offload_index(ground.index.below, ROOT, at.after, limit)
            if records:
                await self._read(records, SCRUB_BYTES_PER_SECOND)
                at = Round(at.began_ns, records[-1].path, at.done + len(records))
            else:
                at = Round(at.began_ns, b"", max(at.done, wanted or 0))
            await ground.clock.offload_index(self._save, at)
            if not records:
                break
        return at

    def _save(self, at: Round) -> None:
        """Runs on the index thread."""
        with self._ground.index.transaction():
            self._ground.index.note_scrubbed(msgspec.msgpack.encode(at))

    # Reading.

    async def _read(self, records: list[Record], rate: float | None) -> int:
        """Read the files among them, at most so many bytes a second (None: at full speed); how many are damaged."""
        readings = [reading for record in records if (reading := _reading(record)) is not None]
        await self._drain(reread(self._ground.setup.root, readings), rate)
        found = 0
        for reading in readings:
            if reading.damage is not None:
                found += await self._confirm(reading.path)
        return found

    async def _drain(self, steps: Iterator[int], rate: float | None) -> None:
        clock = self._ground.clock
        while (done := await clock.offload(read_some, steps, SCRUB_STEP_BYTES)) is not None:
            if rate is not None:
                await clock.sleep(done / rate)

    async def run_doubts(self) -> None:
        """What capture saw and did not believe."""
        while True:
            await self._confirm(await self._ground.doubts.get())

    async def _confirm(self, path: RelPath) -> bool:
        """Read a file again that nobody else has in hand; whether it is damaged."""
        ground = self._ground
        while path in ground.claims:
            await ground.clock.sleep(RETRY_MIN)
        ground.claims.add(path)
        try:
            record = await ground.clock.offload_index(ground.index.get, path)
            reading = _reading(record) if record is not None else None
            if record is None or reading is None:
                return False
            await self._drain(reread(ground.setup.root, [reading]), None)
            if reading.damage is None:
                if not reading.sound:
                    self._capture.look_soon(path)
                return False
            if not await ground.clock.offload_index(mark_damaged, ground.index, record, reading.damage):
                return False
        finally:
            ground.claims.discard(path)
            if ground.missed:
                ground.missed = False
                ground.work.set()
        self._tell(path, reading.detail)
        ground.work.set()
        return True

    def _tell(self, path: RelPath, detail: str) -> None:
        why = detail or "its bytes are not what was written, and nobody changed it"
        self._ground.problems.damaged(path, f"{why}; check this disk. It is fetched from a node that has it")

    # Until it is repaired.

    async def run_repairs(self) -> None:
        """Say of each damage that it is there, also after a restart, and when it is over."""
        ground = self._ground
        for record in ground.damaged_before:
            there = record.placed.entry if record.placed is not None else None
            unreadable = there is not None and there.digest == UNREADABLE
            self._tell(record.path, "the disk cannot read it (an I/O error)" if unreadable else "")
        ground.damaged_before = []
        while True:
            await ground.problems.any_damaged.wait()
            await ground.clock.sleep(RETRY_MIN)
            paths = ground.problems.paths_damaged()[:DAMAGED_SHOWN_MAX]
            for path in await ground.clock.offload_index(self._whole, paths):
                ground.problems.repaired(path)
                ground.progressed()

    def _whole(self, paths: list[RelPath]) -> list[RelPath]:
        """Those that are not damaged any more. Runs on the index thread."""
        records = [(path, self._ground.index.get(path)) for path in paths]
        return [path for path, record in records if record is None or not record.placed or not record.placed.damaged]

    # Everything at once, because somebody asked.

    def want_pass(self, number: int) -> Pass:
        """How far the pass `number` has come; one not heard of before is begun when the one under way has ended."""
        known = self._passes.get(number)
        if known is None:
            known = self._passes[number] = Pass()
            while len(self._passes) > SCRUB_PASSES_MAX:
                self._passes.popitem(last=False)
            self._passes_wanted.set()
        return known

    async def run_passes(self) -> None:
        ground = self._ground
        await ground.scanned.wait()
        while True:
            await self._passes_wanted.wait()
            self._passes_wanted.clear()
            wanted = [one for one in self._passes.values() if not one.done]
            # First what can be seen without reading, then all that looks as it was.
            self._capture.scan_wanted.put_nowait(ROOT)
            await self._capture.flush(ROOT, busy=False)
            await self._freshen()
            await self._pass(wanted)
            name = ground.setup.name
            ground.setup.journal.add(name, ROOT, Happening.SCRUBBED, detail=f"{wanted[0].damaged} files damaged")

    async def _pass(self, wanted: list[Pass]) -> None:
        ground = self._ground
        after = b""
        while records := await ground.clock.offload_index(ground.index.below, ROOT, after, SCAN_BATCH):
            after = records[-1].path
            damaged = await self._read(records, None)
            for one in wanted:
                one.seen += len(records)
                one.expected = ground.index.state.counters.records
                one.damaged += damaged
        for one in wanted:
            one.done = True


def mark_damaged(index: Index, record: Record, found: Entry) -> bool:
    """Record that `found` stands there and is nobody's work; False: something else does by now.

    All or nothing, durable when it returns. Runs on the index thread.
    """
    with index.transaction():
        now = index.get(record.path)
        placed = record.placed
        if now is None or placed is None or now.placed != placed:
            return False
        damaged = Placed(placed.version, found, placed.stamp, placed.shown, placed.not_carried, True)
        return index.set_placed(msgspec.structs.replace(now, placed=damaged, unplaced=True), now)


def _reading(record: Record) -> Reading | None:
    """None: no file stands there, it is known to be damaged, or its stamp does not tell who wrote last."""
    placed = record.placed
    if placed is None or placed.entry is None or placed.entry.kind is not FILE or placed.damaged:
        return None
    if placed.stamp is None or not placed.stamp.ctime_ns:
        return None
    return Reading(record.path, placed.stamp, placed.entry)


def _is_young(record: Record) -> bool:
    placed = record.placed
    there = placed.entry if placed is not None else None
    if placed is None or placed.stamp is None or there is None:
        return False
    return there.kind is FILE and not placed.stamp.ctime_ns
