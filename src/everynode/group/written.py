"""Written: what a process still writes to a file that was replaced while it was open is a change of its path."""

from __future__ import annotations

import asyncio

from everynode.core.versions import full_context
from everynode.group.announce import Announcement, Announcer
from everynode.group.commit import adopt
from everynode.group.ground import Ground
from everynode.group.tidy import look_at
from everynode.index.store import Index
from everynode.index.vault_catalogue import BEING_WRITTEN, Kept
from everynode.limits import BUSY_LOOK_INTERVAL_MS
from everynode.model.entry import Entry
from everynode.model.ids import Origin
from everynode.model.path import ROOT
from everynode.model.record import Version
from everynode.report.audit import Happening
from everynode.tree.outcome import Busy, Present, Unlookable

Notices = asyncio.Queue[tuple[bytes, Version | None]]
"""Names in the vault; with what was placed at the path until then, if it is known."""


class Written:
    def __init__(self, ground: Ground, announcer: Announcer) -> None:
        self._ground = ground
        self._announcer = announcer
        self._bases: dict[bytes, Version] = {}
        """Of files that were replaced while somebody wrote them: what was placed at their paths until then."""

    async def run(self, notices: Notices) -> None:
        """Look at what somebody may have written to, until he has closed it; for ever."""
        ground = self._ground
        cut = ground.suspect_above is not None
        await ground.may_change.wait()
        await self._resume(notices, cut)
        while True:
            name, base = await notices.get()
            if base is not None:
                self._bases[name] = base
            seen = await look_at(ground, name)
            if type(seen) is Busy or type(seen) is Unlookable:
                await ground.clock.sleep(BUSY_LOOK_INTERVAL_MS / 1000)
                notices.put_nowait((name, None))
                continue
            base = self._bases.pop(name, None)
            if type(seen) is Present:
                self._tell(await ground.clock.offload_index(_adopt, ground.index, name, seen.entry, base))

    async def _resume(self, notices: Notices, cut: bool) -> None:
        """What was being written when the last life ended. What a power cut left of it is nobody's change."""
        ground = self._ground
        for kept in await ground.clock.offload_index(ground.index.vault.all):
            if kept.why != BEING_WRITTEN:
                continue
            if not cut:
                notices.put_nowait((kept.name, None))
                continue
            seen = await look_at(ground, kept.name)
            if type(seen) is Present:
                await ground.clock.offload_index(_catalogue, ground.index, kept, seen.entry)

    def _tell(self, outcome: Announcement | Kept | None) -> None:
        ground = self._ground
        if type(outcome) is Announcement:
            self._announcer.announce([outcome])
            ground.work.set()
        elif type(outcome) is Kept:
            name = outcome.name.decode()
            detail = f"what was still written to what was replaced is in the vault here alone: {name}"
            ground.setup.journal.add(ground.setup.name, outcome.path, Happening.CONFLICT, detail=detail)


# On the index thread.


def _adopt(index: Index, name: bytes, entry: Entry, base: Version | None) -> Announcement | Kept | None:
    """`base`: what was placed at its path when it was replaced. Kept: it is no change, and in the vault alone."""
    kept = index.vault.get(name)
    if kept is None or kept.path == ROOT or (kept.why != BEING_WRITTEN and kept.entry.same_content(entry)):
        return None
    with index.transaction():
        written = _note(index, kept, entry)
        if kept.entry.same_content(entry):
            return None
        record = index.get(kept.path)
        # A content of this node that came after it: another dot of the same origin would cover it. A deletion of
        # this node is no reason: what that superseded stays superseded.
        if record is not None and _own_content_beside(record.version, base, index.origin):
            return written
        return adopt(index, kept.path, entry, base)


def _own_content_beside(version: Version, base: Version | None, origin: Origin) -> bool:
    known = full_context(base).get(origin, 0) if base is not None else 0
    return any(s.origin == origin and s.live and s.sequence > known for s in version.siblings)


def _catalogue(index: Index, kept: Kept, entry: Entry) -> None:
    with index.transaction():
        _note(index, kept, entry)


def _note(index: Index, kept: Kept, entry: Entry) -> Kept:
    written = Kept(kept.name, kept.path, entry, kept.kept_ns, "written")
    index.vault.add(written)
    return written
