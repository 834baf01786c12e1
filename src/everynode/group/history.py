"""History: conflicts and generations: list them, read them, decide between them, bring them back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from everynode.content.source import open_local, open_vaulted
from everynode.core.shown import ranking
from everynode.core.versions import merge, supersede
from everynode.errors import PathError
from everynode.group.announce import Announcement, Announcer
from everynode.group.ground import Ground
from everynode.index.vault_catalogue import Kept
from everynode.limits import RESERVED_NAME
from everynode.model.entry import Entry
from everynode.model.ids import Digest, NodeId, node_of, show_dot
from everynode.model.message import WireRecord
from everynode.model.path import RelPath, show_path
from everynode.model.record import Record, Sibling, Version
from everynode.report.audit import Happening
from everynode.report.status import ConflictView, GenerationView, SiblingView, path_fields

CONFLICTS_LISTED_MAX = 10_000


class History:
    def __init__(self, ground: Ground, announcer: Announcer) -> None:
        self._ground = ground
        self._announcer = announcer

    async def conflicts(self) -> list[ConflictView]:
        return await self._ground.clock.offload_index(self._conflicts)

    def _conflicts(self) -> list[ConflictView]:
        """Runs on the index thread."""
        return [self._view(record) for record in self._ground.index.conflicts(CONFLICTS_LISTED_MAX)]

    def _view(self, record: Record) -> ConflictView:
        ground = self._ground
        derived = any(not s.live for s in record.version.siblings) and ground.index.lives_below(record.path)
        ordered = ranking(record.version, ground.setup.policy.conflict, derived)
        views = [self._sibling(record.path, s, s is ordered[0], ground.setup.node_name) for s in ordered]
        return ConflictView(**path_fields(record.path), siblings=tuple(views))

    def _sibling(self, path: RelPath, sibling: Sibling, shown: bool, name: Callable[[NodeId], str]) -> SiblingView:
        kept = None if shown or not sibling.live else self._kept(path, sibling.entry)
        vault = show_path(RESERVED_NAME + b"/vault/" + kept.name) if kept is not None else ""
        return SiblingView(
            dot=show_dot(sibling.dot),
            node=name(node_of(sibling.origin)),
            deleted=not sibling.live,
            shown=shown,
            kind=sibling.entry.kind.name.lower(),
            size=sibling.entry.size,
            mtime_ns=sibling.entry.mtime_ns,
            vault=vault,
        )

    def _kept(self, path: RelPath, entry: Entry) -> Kept | None:
        kept = self._ground.index.vault.of_digest(Digest(entry.digest))
        return next((k for k in kept if k.path == path), kept[0] if kept else None)

    async def conflict_content(self, path: RelPath, dot: str) -> int:
        """A descriptor open for reading of one version; the caller closes it. Raises PathError."""

        def find() -> Kept | bool:
            record, sibling = self._sibling_of(path, dot)
            placed = record.placed
            if placed is not None and placed.entry is not None and placed.entry.same_content(sibling.entry):
                return True
            kept = self._kept(path, sibling.entry)
            if kept is None:
                shown = show_path(path)
                raise PathError(
                    f"the content of {shown} as of {dot} has not arrived here yet; try again later", path=path
                )
            return kept

        found = await self._ground.clock.offload_index(find)
        root = self._ground.setup.root
        if isinstance(found, Kept):
            return await self._ground.clock.offload(self._open_kept, path, found.name)
        fd = await self._ground.clock.offload(open_local, root, path)
        if fd < 0:
            raise PathError(f"{show_path(path)} cannot be opened; is it a file?", path=path)
        return fd

    def _open_kept(self, path: RelPath, name: bytes) -> int:
        """Runs on a thread."""
        fd = open_vaulted(self._ground.setup.root, name)
        if fd < 0:
            raise PathError(f"the copy of {show_path(path)} in the vault cannot be opened; is it a file?", path=path)
        return fd

    def _sibling_of(self, path: RelPath, dot: str) -> tuple[Record, Sibling]:
        record = self._ground.index.get(path)
        if record is None:
            raise PathError(f"{show_path(path)} is not known here; see `everynode conflicts`", path=path)
        for sibling in record.version.siblings:
            if show_dot(sibling.dot) == dot:
                return record, sibling
        present = ", ".join(show_dot(sibling.dot) for sibling in record.version.siblings)
        raise PathError(f"{show_path(path)} has no version {dot}; it has {present}", path=path)

    async def resolve(self, path: RelPath, keep: str) -> None:
        """Decide a conflict: `keep` becomes the one version, everywhere; the others stay in the vaults for a while."""

        def decide() -> Announcement:
            record, sibling = self._sibling_of(path, keep)
            return self._change(record, record.version, sibling.entry, sibling.live)

        await self._do(decide, Happening.RESOLVED)

    async def generations(self, path: RelPath) -> list[GenerationView]:
        """Newest first."""
        kept = await self._ground.clock.offload_index(self._ground.index.vault.of_path, path)
        return [
            GenerationView(
                **path_fields(k.path),
                name=k.name.decode(),
                kind=k.entry.kind.name.lower(),
                size=k.entry.size,
                mtime_ns=k.entry.mtime_ns,
                replaced=k.kept_ns / 1e9,
            )
            for k in kept
        ]

    async def generation_content(self, path: RelPath, name: str) -> int:
        """A descriptor open for reading; the caller closes it. Raises PathError."""
        kept = await self._ground.clock.offload_index(self._generation, path, name)
        return await self._ground.clock.offload(self._open_kept, path, kept.name)

    def _generation(self, path: RelPath, name: str | None) -> Kept:
        kept = self._ground.index.vault.of_path(path)
        for generation in kept:
            if name is None or generation.name == name.encode():
                return generation
        shown = show_path(path)
        if kept:
            raise PathError(f"{shown} has no generation {name}; see `everynode restore PATH --list`", path=path)
        raise PathError(f"no old copy of {shown} is kept on this node; another node may have one", path=path)

    async def restore(self, path: RelPath, name: str | None) -> None:
        """Bring back a generation (None: the newest) as a change of this node."""

        def decide() -> Announcement:
            kept = self._generation(path, name)
            record = self._ground.index.get(path)
            base = record.placed.version if record is not None and record.placed is not None else None
            return self._change(record or path, base, kept.entry, True)

        await self._do(decide, Happening.CHANGED)

    def _change(self, of: Record | RelPath, base: Version | None, entry: Entry, live: bool) -> Announcement:
        """A change decided here and not yet on the disk: apply brings it there. Runs on the index thread."""
        index = self._ground.index
        record = of if isinstance(of, Record) else None
        path = of.path if isinstance(of, Record) else of
        with index.transaction():
            sequence = index.next_sequence()
            version = supersede(base, index.origin, sequence, entry, live=live, content=live)
            merged = merge(record.version, version) if record is not None else version
            index.put(Record(path, merged, record.placed if record is not None else None, unplaced=True), record)
            index.claim_one(index.origin, sequence)
            index.recheck_ancestors(path)
        return Announcement(WireRecord(path, merged), index.origin, sequence, None)

    async def _do(self, decide: Callable[[], Announcement], what: Happening) -> None:
        """Decide and announce, even if whoever asked goes away between the two."""
        if not self._ground.may_change.is_set():
            raise PathError("this node has met no member since the group began here; wait until it has")
        await asyncio.shield(self._decide(decide, what))

    async def _decide(self, decide: Callable[[], Announcement], what: Happening) -> None:
        ground = self._ground
        announcement = await ground.clock.offload_index(decide)
        self._announcer.announce([announcement])
        ground.work.set()
        ground.setup.journal.add(ground.setup.name, announcement.record.path, what, node=ground.setup.node)
