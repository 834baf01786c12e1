"""Notify: what the kernel's notices and applications' hints say of paths: which want looking at, how soon, how deep."""

from __future__ import annotations

from collections.abc import Iterable

from everynode.group.capture import Capture
from everynode.group.ground import Ground
from everynode.limits import SCAN_BATCH
from everynode.model.notice import Notice, What
from everynode.model.path import RelPath


class Notifier:
    """Believes no notice: each only makes capture look."""

    def __init__(self, ground: Ground, capture: Capture) -> None:
        self._ground = ground
        self._capture = capture

    async def run(self) -> None:
        notices = self._ground.setup.notices
        capture = self._capture
        while True:
            told = await notices.next()
            capture.being_told = True
            await self.notice(told)
            capture.being_told = False

    async def notice(self, notices: Iterable[Notice]) -> None:
        capture = self._capture
        settle = self._ground.setup.policy.settle_ms / 1000
        for notice in notices:
            what, path = notice.what, notice.path
            directory = bool(what & What.DIRECTORY)
            if what & What.OVERFLOW:
                capture.scan_wanted.put_nowait(path)
            elif what & What.VAULT:
                capture.vault_notices.put_nowait((path, None))
            elif what & What.RENAMED and notice.source is not None:
                await self._renamed(notice.source, path, directory, notice.pid)
            elif what & What.WRITTEN and directory:
                capture.scan_wanted.put_nowait(path)
                capture.look_soon(path, pid=notice.pid)
            else:
                if directory and what & What.GONE and self._ground.placing_now:
                    self._ground.moved.add(
                        path
                    )  # moved out of the root, perhaps, with what was placed into it just now
                capture.look_soon(
                    path,
                    # A directory is whole at once, and what is in it waits for its record elsewhere.
                    delay=0.0 if what & (What.WRITTEN | What.DIRECTORY) else settle,
                    forced=not directory,
                    pid=notice.pid,
                    noticed=bool(what & (What.WRITTEN | What.GONE)),
                    renamed=bool(what & What.GONE),
                    # The notice speaks for all that was below; if a directory is there again, it is another one.
                    deep=directory and bool(what & What.GONE),
                )

    async def hint_rename(self, old: RelPath, new: RelPath) -> None:
        """An application says that it renamed: both names are looked at, side by side."""
        await self._renamed(old, new, True, 0)

    async def _renamed(self, source: RelPath, path: RelPath, directory: bool, pid: int) -> None:
        look_soon = self._capture.look_soon
        look_soon(path, forced=not directory, pid=pid, donor=source if directory else None, noticed=True, renamed=True)
        scan_after: RelPath | None = None
        if directory:
            if self._ground.placing_now:
                # Apply may have it open and place into it after the scan; of our own doing there are no notices. And
                # what it has placed into it and not recorded yet is not among what is looked at here.
                self._ground.moved.update((source, path))
            for old in await self._ground.clock.offload_index(self._placed_below, source):
                # New and old side by side: then every batch holds both, and the receiver moves instead of fetching.
                look_soon(RelPath(path + old[len(source) :]), pid=pid, donor=old, noticed=True)
                look_soon(old, pid=pid, noticed=True)
            if self._ground.excluder.excluded(source, True):
                self._capture.scan_wanted.put_nowait(path)
            else:
                scan_after = path  # not before: the scan would find the new names without their old ones
        # Last: a directory that is gone takes all below it along at once, away from where that went.
        look_soon(source, pid=pid, noticed=True, renamed=True, scan_after=scan_after)

    def _placed_below(self, directory: RelPath) -> list[RelPath]:
        """Runs on the index thread."""
        found: list[RelPath] = []
        after = b""
        while records := self._ground.index.below(directory, after, SCAN_BATCH):
            found += [r.path for r in records if r.placed is not None and r.placed.entry is not None]
            after = records[-1].path
        return found
