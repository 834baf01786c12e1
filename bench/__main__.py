"""`python -m bench`: every system, every row, one table."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from bench import report
from bench.hosts import Pair
from bench.peers.base import Peer
from bench.peers.csync2 import Csync2
from bench.peers.everynode import Everynode
from bench.peers.floor import Copy, Tar
from bench.peers.lsyncd import Lsyncd
from bench.peers.rsync import Rsync
from bench.peers.syncthing import Syncthing
from bench.peers.unison import Unison
from bench.rows import QUICK, ROWS, WHOLE, Result, Row, Size
from lab.namespaces import LabError, why_not_possible

PEERS: tuple[type[Peer], ...] = (Rsync, Lsyncd, Unison, Csync2, Syncthing, Everynode)
FLOORS: tuple[type[Peer], ...] = (Copy, Tar)
INSIDE = "EVERYNODE_BENCH_INSIDE"


def main() -> int:
    options = _options()
    if reason := why_not_possible():
        print(f"the benchmark cannot run: {reason}", file=sys.stderr)
        return 2
    if INSIDE not in os.environ:
        return _run_in_own_world()
    size = QUICK if options.quick else WHOLE
    rows = [row for row in ROWS if not options.rows or row.name in options.rows]
    peers = [peer for peer in (*PEERS, *FLOORS) if peer.name in options.peers]
    results = {row.name: _measure_row(row, peers, size) for row in rows}
    misses = report.missed(results)
    names = [peer.name for peer in peers]
    page = report.document(rows, names, results, size, misses)
    print("\n" + report.table(rows, names, results, size) + "\n")
    if options.out:
        options.out.write_text(page)
        print(f"written: {options.out}")
    for miss in misses:
        print(f"missed: {miss}")
    return 1 if misses else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = [peer.name for peer in (*PEERS, *FLOORS)]
    parser.add_argument("--quick", action="store_true", help="everynode and rsync only, smaller sizes")
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], help="only these rows")
    parser.add_argument("--peers", nargs="+", choices=names, help="only these systems")
    parser.add_argument("--out", type=Path, help="write the page there")
    options = parser.parse_args()
    if options.peers is None:
        options.peers = ["rsync", "everynode"] if options.quick else names
    return options


def _run_in_own_world() -> int:
    """Run this program again in its own mount and process namespaces: the kernel itself cleans up after them.

    unshare(1) is deaf to polite signals while it waits, so they are heard here, and it is killed with all it holds.
    """
    own = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    inside = subprocess.Popen(
        ["unshare", *own, sys.executable, "-m", "bench", *sys.argv[1:]], env={**os.environ, INSIDE: "1"}
    )
    try:
        return inside.wait()
    except KeyboardInterrupt:
        return 130
    finally:
        inside.kill()
        inside.wait()


def _measure_row(row: Row, peers: list[type[Peer]], size: Size) -> dict[str, Result | str | None]:
    results: dict[str, Result | str | None] = {}
    for kind in peers:
        if kind in FLOORS and not row.floors:
            continue
        print(f"{row.title}: {kind.name} ... ", end="", flush=True)
        results[kind.name] = _measure(row, kind, size)
        said = results[kind.name]
        print(f"{said}" if isinstance(said, str) else f"{report.cell(row, said)} {row.unit}", flush=True)
    return results


def _measure(row: Row, kind: type[Peer], size: Size) -> Result | str | None:
    """One system in one row, in a fresh laboratory; a sentence when it failed."""
    if missing := kind.missing():
        return f"not installed: {', '.join(missing)}"
    try:
        with Pair() as pair, closing(kind(pair)) as peer:
            return row.measured(pair, peer, size)
    except LabError as error:
        return " ".join(str(error).split())[:400]


if __name__ == "__main__":
    sys.exit(main())
