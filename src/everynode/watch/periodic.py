"""Notices where the kernel gives none: at intervals, that everything must be scanned."""

from __future__ import annotations

import asyncio
import os

from everynode.limits import UNWATCHED_SCAN_INTERVAL
from everynode.model.notice import Notice, What
from everynode.model.path import ROOT


class PeriodicNotices:
    """`group.seams.Notices` that knows nothing."""

    method = "none"
    emptied = 0

    def __init__(self, root: bytes, *, why: str, scan_interval: float = UNWATCHED_SCAN_INTERVAL) -> None:
        self.detail = f"{why}; everything is scanned every {scan_interval:g} s instead"
        self._root = root
        self._interval = scan_interval
        self._closed = asyncio.Event()

    def start(self) -> None:
        """Raises OSError where the root cannot be opened, as the others do."""
        os.close(os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def close(self) -> None:
        """May be called twice. Whoever waits in `next` is cancelled."""
        self._closed.set()

    def waiting(self) -> bool:
        return False

    def ignore(self, directory: int, wanted: bool) -> None:
        """Nothing to do: own doings in a folder of our own are not watched here."""

    async def next(self) -> list[Notice]:
        try:
            async with asyncio.timeout(self._interval):
                await self._closed.wait()
        except TimeoutError:
            return [Notice(What.OVERFLOW, ROOT)]
        raise asyncio.CancelledError
