"""The directories that could not be watched: scanned at intervals instead, and told to people."""

from __future__ import annotations

import errno
import time

from everynode.limits import UNWATCHED_MAX
from everynode.model.path import ROOT, RelPath
from everynode.watch.batch import Batch


class Unwatched:
    """Topmost directories, each with all below; the root alone when they are too many to scan one by one."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._paths: set[RelPath] = set()
        self._scan_at = 0.0
        self.full = False
        """The kernel's limit is reached: further watches need not be tried."""

    def leave_out(self, path: RelPath, error: OSError | None = None) -> None:
        if error is not None and error.errno == errno.ENOSPC:
            self.full = True
        if not self._paths:
            self._scan_at = time.monotonic() + self._interval
        if ROOT in self._paths:
            return
        self._paths.add(path)
        if len(self._paths) > UNWATCHED_MAX:
            self._paths = {ROOT}

    def clear(self) -> None:
        self._paths.clear()
        self.full = False

    def seconds_to_scan(self) -> float | None:
        return max(0.0, self._scan_at - time.monotonic()) if self._paths else None

    def report_due(self, batch: Batch) -> None:
        if self._paths and time.monotonic() >= self._scan_at:
            self._scan_at = time.monotonic() + self._interval
            for path in sorted(self._paths):
                batch.overflow(path)

    def describe(self) -> str:
        """For people; empty when everything is watched."""
        if not self._paths:
            return ""
        many = ROOT in self._paths
        what = "the tree is not watched whole" if many else f"{len(self._paths)} directories are not watched"
        said = f"{what} and scanned every {self._interval:g} s instead"
        if self.full:
            said += f"; the limit fs.inotify.max_user_watches ({watches_max()}) is reached: raise it and restart"
        return said


def watches_max() -> str:
    try:
        with open("/proc/sys/fs/inotify/max_user_watches", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "unknown"
