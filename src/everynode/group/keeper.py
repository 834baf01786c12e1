"""Keeper: what a group does in the quiet: sync what was captured, forget deletions, prune the vault."""

from __future__ import annotations

from collections.abc import Callable

from everynode.core.brake import covers
from everynode.core.retention import Generation, surplus
from everynode.core.runs import forgettable
from everynode.core.vectors import covers as covers_dot
from everynode.core.vectors import dominates, meet
from everynode.group.brake import Brake
from everynode.group.ground import Ground
from everynode.group.silence import Silence
from everynode.index.vault_catalogue import BEING_WRITTEN, COPIED_OPEN
from everynode.limits import (
    FORGET_BATCH,
    FORGET_INTERVAL,
    PRUNE_INTERVAL,
    SYNC_INTERVAL,
)
from everynode.model.entry import DIRECTORY
from everynode.model.hold import Span
from everynode.model.ids import Dot
from everynode.model.message import Heads
from everynode.model.record import Record, Vector
from everynode.tree.vault import bytes_short, partials, remove

PINNED_MAX = 100_000
"""Conflicts whose losers are looked up at once when pruning."""


class Keeper:
    def __init__(self, ground: Ground, brake: Brake) -> None:
        self._ground = ground
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
        told = [ground.heads[peer] for peer in others]
        total = 0
        after: int | None = 0
        while after is not None:
            after, dropped = await ground.clock.offload_index(self._forget_some, told, after, self._brake.guarded())
            total += dropped
        return total

    def _forget_some(self, told: list[Heads], after: int, guarded: tuple[Span, ...]) -> tuple[int | None, int]:
        """Runs on the index thread."""
        index = self._ground.index
        least = meet([index.knowledge, *(heads.heard for heads in told)])
        gone = _placed_by_all(index.knowledge, told)
        records = index.deleted(after, FORGET_BATCH)
        if not records:
            return None, 0
        dropped = 0
        with index.transaction():
            for record in records:
                if guarded and any(covers(guarded, sibling.dot) for sibling in record.version.siblings):
                    continue
                if _was_directory(record) and not all(gone(sibling.dot) for sibling in record.version.siblings):
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
        # Copies of open files are what peers are served from until the next one; what is written is no version yet.
        kept = [kept for kept in index.vault.all() if kept.why not in (COPIED_OPEN, BEING_WRITTEN)]
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


def _was_directory(record: Record) -> bool:
    return any(sibling.entry.kind == DIRECTORY for sibling in record.version.siblings)


def _placed_by_all(known: Vector, told: list[Heads]) -> Callable[[Dot], bool]:
    """Whether a deletion of a directory is carried out everywhere.

    Where it is not, somebody may just be making something in there that keeps the directory, and nobody who has
    forgotten its deletion knows its mode, owner and time any more. What he made before he heard of it is known here.
    """
    if not all(dominates(known, heads.heard) for heads in told):
        return lambda dot: False
    placed = meet([known, *(heads.placed for heads in told)])
    stuck = {dot for heads in told for dot in heads.exceptions}
    return lambda dot: covers_dot(placed, dot) and dot not in stuck
