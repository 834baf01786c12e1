"""Keeper: what a group does in the quiet: sync what was captured, forget deletions, prune the vault, tidy up."""

from __future__ import annotations

import asyncio

from everynode.core.brake import covers
from everynode.core.retention import Generation, surplus
from everynode.core.runs import forgettable
from everynode.core.vectors import meet
from everynode.group.announce import Announcement, Announcer
from everynode.group.brake import Brake
from everynode.group.commit import adopt
from everynode.group.ground import Ground
from everynode.group.silence import Silence
from everynode.index.vault_catalogue import COPIED_OPEN, Kept
from everynode.limits import (
    BUSY_LOOK_INTERVAL_MS,
    FORGET_BATCH,
    FORGET_INTERVAL,
    PRUNE_INTERVAL,
    SYNC_INTERVAL,
)
from everynode.model.entry import Entry, Kind
from everynode.model.hold import Span
from everynode.model.ids import Digest
from everynode.model.path import ROOT, RelPath
from everynode.model.record import Vector
from everynode.report.audit import Happening
from everynode.tree.follow import COPY_KIND
from everynode.tree.observe import observe_vaulted
from everynode.tree.outcome import Absent, Busy, Observation, Present, Unlookable
from everynode.tree.vault import bytes_short, leftovers, partials, remove

PINNED_MAX = 100_000
"""Conflicts whose losers are looked up at once when pruning."""


class Keeper:
    def __init__(self, ground: Ground, announcer: Announcer, brake: Brake) -> None:
        self._ground = ground
        self._announcer = announcer
        self.silence = Silence(ground)
        self._brake = brake
        self.vault_files = 0
        self.vault_bytes = 0

    # Stable storage of what users wrote here.

    async def run_sync(self) -> None:
        while True:
            await self._ground.clock.sleep(SYNC_INTERVAL)
            await self.sync()

    async def sync(self) -> None:
        """Put every captured content on stable storage. Raises OSError if the disk lost a write."""
        ground = self._ground
        index = ground.index
        sequence = index.heard.get(index.origin, 0)
        if sequence <= index.state.synced:
            return
        origin = index.origin
        root = ground.setup.root
        await ground.clock.offload(root.kernel.sync_filesystem, root.vault_fd)

        def note() -> None:
            if index.origin == origin:
                with index.transaction():
                    index.change_state().synced = max(sequence, index.state.synced)

        await ground.clock.offload_index(note)
        ground.news.set()
        ground.progressed()

    # Deletions that everybody has heard of.

    async def run_forget(self) -> None:
        while True:
            await self._ground.clock.sleep(FORGET_INTERVAL)
            await self.forget()

    async def forget(self) -> int:
        """Drop tombstones that all members have heard, but for those that were away too long; how many."""
        ground = self._ground
        others = ground.setup.members() - {ground.setup.node} - await self.silence.note()
        if not others <= ground.heads.keys():
            return 0  # who has not spoken may not have heard
        heard = [ground.heads[peer].heard for peer in others]
        total = 0
        after: int | None = 0
        while after is not None:
            after, dropped = await ground.clock.offload_index(self._forget_some, heard, after, self._brake.guarded())
            total += dropped
        return total

    def _forget_some(self, heard: list[Vector], after: int, guarded: tuple[Span, ...]) -> tuple[int | None, int]:
        """Runs on the index thread."""
        index = self._ground.index
        least = meet([index.knowledge, *heard])
        records = index.deleted(after, FORGET_BATCH)
        if not records:
            return None, 0
        dropped = 0
        with index.transaction():
            for record in records:
                if guarded and any(covers(guarded, sibling.dot) for sibling in record.version.siblings):
                    continue
                if forgettable(record.version, least) and not index.lives_below(record.path):
                    index.forget(record)
                    dropped += 1
        return records[-1].arrival, dropped

    # The vault.

    async def run_prune(self) -> None:
        while True:
            await self.prune()
            await self._ground.clock.sleep(PRUNE_INTERVAL)

    async def prune(self) -> None:
        """Enforce the bounds of the vault, and the reserve of the filesystem above them."""
        ground = self._ground
        setup = ground.setup
        short = await ground.clock.offload(bytes_short, setup.root)
        now_ns = ground.clock.now_ns()
        spare = await ground.clock.offload_index(self._drop_surplus, now_ns, short)
        if not ground.index.state.counters.unplaced:
            spare += [left.name for left in await ground.clock.offload(partials, setup.root)]
        if spare:
            await ground.clock.offload(remove, setup.root, spare)

    def _drop_surplus(self, now_ns: int, short: int) -> list[bytes]:
        """Runs on the index thread. The catalogue forgets before the folder does: a crash leaves a leftover."""
        index = self._ground.index
        # By digest: a loser's only copy may be the generation of another path.
        pinned = {
            sibling.entry.digest
            for record in index.conflicts(PINNED_MAX)
            for sibling in record.version.siblings
            if sibling.live
        }
        # Copies of open files are what peers are served from until the next one.
        kept = [kept for kept in index.vault.all() if kept.why != COPIED_OPEN]
        generations = [Generation(k.name, k.path, k.entry.size, k.kept_ns, k.entry.digest in pinned) for k in kept]
        spare = surplus(generations, self._ground.setup.policy.vault, now_ns, short)
        spare = [generation for generation in spare if not self._hidden(generation)]
        if spare:
            with index.transaction():
                for generation in spare:
                    index.vault.drop(generation.name)
        self.vault_files = len(kept) - len(spare)
        self.vault_bytes = sum(k.entry.size for k in kept) - sum(g.bytes for g in spare)
        return [generation.name for generation in spare]

    def _hidden(self, generation: Generation) -> bool:
        """Whether it is a live version of its path that does not stand there (a directory does): then it stays."""
        record = self._ground.index.get(generation.path)
        kept = self._ground.index.vault.get(generation.name)
        if record is None or kept is None:
            return False
        there = record.placed.entry if record.placed is not None else None
        if there is not None and there.same_content(kept.entry):
            return False
        return any(s.live and s.entry.same_content(kept.entry) for s in record.version.siblings)

    async def tidy(self) -> None:
        """After a start, before anything is staged: account for what a crash left in the vault folder."""
        ground = self._ground
        setup = ground.setup
        await ground.clock.offload(setup.root.clear_stage)
        names = await ground.clock.offload_index(lambda: {kept.name for kept in ground.index.vault.all()})
        unknown = 0
        for left in await ground.clock.offload(leftovers, setup.root, names):
            if left.name.startswith(b"p-"):
                continue  # parts of a content that is being fetched
            if left.name.startswith(COPY_KIND):
                await ground.clock.offload(remove, setup.root, [left.name])
                continue
            seen = await self._look(left.name)
            if left.kind is Kind.DIRECTORY or type(seen) is Absent:
                await ground.clock.offload(remove, setup.root, [left.name])
                continue
            if type(seen) is not Present:
                continue  # in somebody's hands: its last notice, or the next start, accounts for it
            entry = seen.entry
            owner = await ground.clock.offload_index(self._owner, Digest(entry.digest))
            if owner is None:
                unknown += 1
            elif owner[1]:
                await ground.clock.offload(remove, setup.root, [left.name])
                continue
            kept = Kept(left.name, owner[0] if owner else ROOT, entry, ground.clock.now_ns(), "found")
            await ground.clock.offload_index(self._catalogue, kept)
        if unknown:
            # One word for all: after an index was lost they are as many as the vault is large.
            detail = f"{unknown:,} in the vault that the index knew nothing of: kept as long as old copies are"
            setup.journal.add(setup.name, ROOT, Happening.PROBLEM, detail=detail)

    def _owner(self, digest: Digest) -> tuple[RelPath, bool] | None:
        """(path, whether it is only a staged copy of a sibling there); None: nobody knows this content.

        Only unplaced records can have left anything. Runs on the index thread.
        """
        after = 0
        while records := self._ground.index.unplaced(after, FORGET_BATCH):
            for record in records:
                there = record.placed.entry if record.placed is not None else None
                if there is not None and there.digest == digest:
                    return record.path, False
                if any(sibling.entry.digest == digest for sibling in record.version.siblings):
                    return record.path, True
            after = records[-1].arrival
        return None

    def _catalogue(self, kept: Kept) -> None:
        with self._ground.index.transaction():
            self._ground.index.vault.add(kept)

    async def run_vault_notices(self, names: asyncio.Queue[bytes]) -> None:
        """Who wrote to a vaulted file had the path open before it was replaced: that is a change to the path."""
        ground = self._ground
        while True:
            name = await names.get()
            seen = await self._look(name)
            if type(seen) is Busy or type(seen) is Unlookable:
                await ground.clock.sleep(BUSY_LOOK_INTERVAL_MS / 1000)
                names.put_nowait(name)
            elif type(seen) is Present:
                announcement = await ground.clock.offload_index(self._adopt_written, name, seen.entry)
                if announcement is not None:
                    self._announcer.announce([announcement])
                    ground.work.set()

    async def _look(self, name: bytes) -> Observation:
        setup = self._ground.setup

        def look() -> Observation:
            return observe_vaulted(setup.root, [name], now_ns=setup.clock.now_ns())[0]

        return await setup.clock.offload(look)

    def _adopt_written(self, name: bytes, entry: Entry) -> Announcement | None:
        """Runs on the index thread."""
        index = self._ground.index
        kept = index.vault.get(name)
        if kept is None or kept.entry.same_content(entry) or kept.path == ROOT:
            return None
        with index.transaction():
            index.vault.add(Kept(name, kept.path, entry, kept.kept_ns, "written"))
            record = index.get(kept.path)
            own = record is not None and any(s.origin == index.origin for s in record.version.siblings)
            # An own change stands beside it: another of the same origin would cover it. The vault keeps the bytes.
            return None if own else adopt(index, kept.path, entry, None)
