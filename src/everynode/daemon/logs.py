"""The daemon's log: one line per message on stderr, `level=... from=... msg="..."`."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

# syslog(3) numbers, which journald reads from the front of a line (sd-daemon(3)).
_JOURNAL_LEVELS = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class LineFormatter(logging.Formatter):
    """logfmt. Under journald it leaves the time away and puts the level in front."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        # json.dumps keeps it one line, whatever a path or a peer put into it.
        line = f"level={level} from={record.name.removeprefix('everynode.')} msg={json.dumps(message)}"
        if self._journal:
            return f"<{_JOURNAL_LEVELS.get(record.levelno, 6)}>{line}"
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return f"time={when.replace('+00:00', 'Z')} {line}"


def start_logging(level: str = "info") -> None:
    """Send everything from `level` up to stderr. To be called once, by the daemon only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(journal="JOURNAL_STREAM" in os.environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn.access", "uvicorn.error", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
