"""Crash runs that can be stopped and continued: power cuts on crash images, and kills at every system call.

  python -m tests.crash                        everything that is left to do
  python -m tests.crash power ext4-author      one recording; `--images N` of its cuts, spread over all
  python -m tests.crash kill "first copy"      one sweep
  python -m tests.crash power ext4-author --at 812.3    one image again
  python -m tests.crash kill "first copy" --at 17       one kill again

What was done stands in the folder (`--folder`), and is not done again. `--anew` forgets it. Needs root.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.crash.powercut import Cut, Laboratory, spread
from tests.crash.progress import Progress
from tests.crash.recording import KINDS, Kind, load, record
from tests.crash.scenarios import SCENARIOS
from tests.crash.sweep import Sweep, points

FOLDER = Path("/dev/shm/everynode-crash")
"""In memory: crash images are written and read by the gigabyte."""
IMAGES = 400
"""Of each recording; there are four for each filesystem."""
TOLD_SECONDS = 15.0


def main() -> int:
    # Also when it was started in the background of a shell, which ignores the one, and when it is told to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=["power", "kill"], help="without: both")
    parser.add_argument("names", nargs="*", help="recordings or sweeps; without: all")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"of each recording (default: {IMAGES})")
    parser.add_argument("--at", help="try one cut, or one kill, of the one that is named")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--anew", action="store_true", help="forget what was done")
    options = parser.parse_args()
    known = {"power": [str(kind) for kind in KINDS], "kill": list(SCENARIOS)}
    parts = [options.part] if options.part else ["power", "kill"]
    for name in options.names:
        if name not in known[parts[0]]:
            parser.error(f"no {name!r}; one of {', '.join(known[parts[0]])}")
    if options.anew:
        shutil.rmtree(options.folder, ignore_errors=True)
    bad = 0
    for part in parts:
        for name in options.names or known[part]:
            if part == "power":
                kind = next(kind for kind in KINDS if str(kind) == name)
                bad += power(kind, options.folder / name, options.images, options.at)
            else:
                bad += kill(name, options.folder / f"kill-{name.replace(' ', '-')}", options.at)
    return 1 if bad else 0


def power(kind: Kind, folder: Path, images: int, at: str | None) -> int:
    recording = load(kind, folder) or record(kind, folder)
    progress = Progress(folder / "progress")
    cuts = [Cut.read(at)] if at else [cut for cut in spread(recording, images) if str(cut) not in progress.done]
    with Laboratory(recording) as laboratory:
        results = ((str(cut), "cuts", found) for cut, found in laboratory.tried(cuts))
        return _run(f"power {kind}", results, progress, len(cuts), again=at is not None)


def kill(name: str, folder: Path, at: str | None) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress(folder / "progress")
    if progress.complete and not at:
        return _run(f'kill "{name}"', iter(()), progress, 0, again=False)
    first = max((int(point) for point in progress.done), default=0) + 1
    with Sweep(folder / "nodes") as sweep:
        numbers = iter([int(at)]) if at else iter(range(first, sys.maxsize))
        results = ((str(number), call, found) for number, call, found in points(sweep, name, numbers))
        bad = _run(f'kill "{name}"', results, progress, 0, again=at is not None)
    if not at:
        progress.end()
    return bad


def _run(
    name: str, results: Iterator[tuple[str, str, list[str]]], progress: Progress, total: int, *, again: bool
) -> int:
    """Try what is left, tell how it goes; how many failed, in earlier runs too."""
    began = told = time.monotonic()
    count = 0
    for point, what, found in results:
        count += 1
        if found:
            print(f"{name} --at {point}: before {what}\n  " + "\n  ".join(found), flush=True)
        if not again:
            progress.note(point, what, bool(found))
        now = time.monotonic()
        if now - told > TOLD_SECONDS:
            told = now
            left = f", about {(total - count) * (now - began) / count:.0f} s left" if total else ""
            print(f"{name}: {count} of {total or '?'}, {progress.failed} failed{left}", flush=True)
    if not again:
        kinds = Counter(what for what, _ in progress.done.values())
        of = ", ".join(f"{what} {number}" for what, number in kinds.most_common())
        seconds = time.monotonic() - began
        print(f"{name}: {len(progress.done)} tried ({of}), {progress.failed} failed; now {count} in {seconds:.0f} s")
        return progress.failed
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
