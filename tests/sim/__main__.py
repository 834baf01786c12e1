"""Run seeds: `python -m tests.sim FIRST [COUNT]` or `--seeds COUNT`; a failing one is shown with its story.

Several at once, one process per core. Prints how far it is, and for every failing seed the command that replays it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.sim.bulk import Report, run_seeds

PROGRESS_SECONDS = 10.0
# What is shown of a seed that fails among many; alone it tells all.
STORY_LINES = 30


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("first", nargs="?", type=int, default=0, help="the first seed")
    parser.add_argument("count", nargs="?", type=int, help="how many (default: this one)")
    parser.add_argument("--seeds", type=int, help="how many, from the first on")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--until-failure", action="store_true", help="stop at the first seed that fails")
    options = parser.parse_args()
    # Sets of bytes are ordered by the hash seed: without a fixed one a seed would not mean the same run again.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]])
    count = options.count or options.seeds or 1
    failed = show(range(options.first, options.first + count), options.jobs, until_failure=options.until_failure)
    return 1 if failed else 0


def show(seeds: range, jobs: int, *, until_failure: bool = False) -> list[int]:
    """Run and print; the seeds that failed, in order."""
    began = shown = time.monotonic()
    failed: list[int] = []
    done = acts = crashes = 0
    for report in run_seeds(seeds, jobs):
        done += 1
        acts += report.acts
        crashes += report.crashes
        if not report.passed:
            failed.append(report.seed)
        if not report.passed or len(seeds) == 1:
            print(_told(report, alone=len(seeds) == 1), flush=True)
        if failed and until_failure:
            break
        now = time.monotonic()
        if now - shown >= PROGRESS_SECONDS:
            shown = now
            left = (len(seeds) - done) * (now - began) / done
            print(f"{done} of {len(seeds)} seeds, {len(failed)} failed, about {left:.0f} s left", flush=True)
    for seed in sorted(failed):
        print(f"failed: replay with  python -m tests.sim {seed}")
    seconds = time.monotonic() - began
    print(
        f"{done - len(failed)} of {done} seeds passed in {seconds:.0f} s: "
        f"{acts} acts of users, {crashes} crashes and power cuts"
    )
    return sorted(failed)


def _told(report: Report, *, alone: bool) -> str:
    lines = report.text.splitlines()
    if alone or len(lines) <= STORY_LINES:
        return report.text
    return "\n".join([*lines[:STORY_LINES], f"    ... {len(lines) - STORY_LINES} more lines"])


if __name__ == "__main__":
    sys.exit(main())
