"""What a long run must not let grow: memory, index, vault and log of each daemon, measured from outside."""

from __future__ import annotations

import sqlite3
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from lab.node import Node

# Of the run, before memory counts: caches fill, and the first bursts are the largest that a daemon has seen.
SETTLING = 1 / 3
# Memory of the last third against that of the middle one: allocators breathe.
GROWTH_MAX = 1.15
GROWTH_BYTES = 24 << 20
# Per path that ever was at once: a row of some 500 bytes, its keys, and the free pages of what was deleted.
INDEX_BYTES_PER_PATH = 2048
INDEX_BYTES = 8 << 20
# Above the policy: losers of conflicts, what came since the last pruning, and what is being staged.
VAULT_BYTES_MORE = 256 << 20
# Links that break and come back say so; nothing is said per file.
LOG_BYTES_PER_MINUTE = 64 << 10


@dataclass
class Memory:
    """Of one daemon that is never killed: (seconds since the start, bytes)."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    def add(self, seconds: float, size: int) -> None:
        self.samples.append((seconds, size))

    def thirds(self) -> tuple[int, int]:
        """Medians of the middle and of the last third of the run."""
        end = self.samples[-1][0]
        middle = [size for seconds, size in self.samples if end * SETTLING <= seconds < end * 2 / 3]
        last = [size for seconds, size in self.samples if seconds >= end * 2 / 3]
        return (int(statistics.median(middle)), int(statistics.median(last))) if middle and last else (0, 0)

    def problem(self) -> str:
        middle, last = self.thirds()
        if last > max(middle * GROWTH_MAX, middle + GROWTH_BYTES):
            return f"memory grows: {middle / 1e6:.0f} MB in the middle third of the run, {last / 1e6:.0f} in the last"
        return ""


@dataclass(frozen=True)
class Size:
    index_bytes: int
    records: int
    vault_bytes: int
    log_bytes: int


def measure(node: Node) -> Size:
    """Of a node whose daemon has ended."""
    index_bytes = records = 0
    for file in (node.home / "index").glob("*.db"):
        index_bytes += sum(part.stat().st_size for part in file.parent.glob(file.name + "*"))
        with sqlite3.connect(file) as connection:
            records += connection.execute("SELECT count(*) FROM record").fetchone()[0]
        connection.close()
    vault = node.root / ".everynode"
    vault_bytes = sum(path.lstat().st_size for path in vault.rglob("*") if path.is_file() and not path.is_symlink())
    return Size(index_bytes, records, vault_bytes, node.log.stat().st_size)


def problems(size: Size, *, paths_most: int, vault_policy: int, minutes: float) -> list[str]:
    """What of a node is larger than it may be after such a run."""
    found = []
    index_most = INDEX_BYTES + paths_most * INDEX_BYTES_PER_PATH
    if size.index_bytes > index_most:
        found.append(f"the index has {size.index_bytes:,} bytes, more than {index_most:,} for {paths_most:,} paths")
    if size.vault_bytes > vault_policy + VAULT_BYTES_MORE:
        found.append(f"the vault has {size.vault_bytes:,} bytes; the policy says {vault_policy:,}")
    if size.log_bytes > LOG_BYTES_PER_MINUTE * max(1.0, minutes):
        found.append(f"the log has {size.log_bytes:,} bytes after {minutes:.0f} minutes")
    return found


def tree_paths(roots: list[Path]) -> int:
    """How many paths the fullest of these trees has, roughly: trees change meanwhile."""
    return max(sum(1 for _ in _walk(root)) for root in roots)


def _walk(root: Path) -> list[Path]:
    try:
        return [path for path in root.rglob("*") if ".everynode" not in path.parts]
    except OSError:
        return []
