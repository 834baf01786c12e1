"""Names of local processes, for the journal."""

from __future__ import annotations

import time

from everynode.kernel.process import process_name

# A process id may be reused; at a million ids that takes far longer than this.
_REMEMBERED_SECONDS = 2.0
_REMEMBERED_MAX = 1024


class ProcessNames:
    """`name[pid]`, asked of /proc at most once in a while for each process."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, str]] = {}

    def __call__(self, pid: int) -> str:
        now = time.monotonic()
        known = self._known.get(pid)
        if known and now - known[0] < _REMEMBERED_SECONDS:
            return known[1]
        # Gone already? What it was called a moment ago is still the best answer.
        name = process_name(pid) or (known[1].rpartition("[")[0] if known else "")
        if len(self._known) >= _REMEMBERED_MAX:
            self._known.clear()
        text = f"{name}[{pid}]"
        self._known[pid] = (now, text)
        return text
