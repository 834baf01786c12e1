"""All short stories of two people on two nodes, in the simulator: `python -m tests.exhaustive --length 2`.

Prints how far it is, and for every failing case the command that replays it: `python -m tests.exhaustive CASE`, or, of
a case that fails only beside others, CASE CASE ... Names of cases are explained in tests/exhaustive/cases.py.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterable, Sequence

from tests.exhaustive.cases import Case, cases
from tests.exhaustive.run import Failure, bundles, run, share

PROGRESS_SECONDS = 10.0
# What is shown of a case that fails among many.
STORY_LINES = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.exhaustive", description=__doc__)
    parser.add_argument("case", nargs="*", help="only these, together")
    parser.add_argument("--length", type=int, choices=(1, 2, 3), help="steps of a case (default: 1 and 2)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--share", default="0/1", metavar="K/N", help="every Nth case, from the Kth on")
    parser.add_argument("--together", type=int, default=40, help="cases that share a life of the cluster (1: none)")
    parser.add_argument("--until-failure", action="store_true", help="stop at the first case that fails")
    options = parser.parse_args()
    # Sets of bytes are ordered by the hash seed: without a fixed one a case would not mean the same life again.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.exhaustive", *sys.argv[1:]])
    number, _, of = options.share.partition("/")
    lengths = [options.length] if options.length else [1, 2]
    chosen = [Case.parse(name) for name in options.case]
    if not chosen and options.length != 3:
        chosen = [case for length in lengths for case in share(cases(length), int(number), int(of))]
    work = chosen or share(cases(3), int(number), int(of))  # millions: never all in memory
    together = len(chosen) if options.case else options.together
    return show(bundles(work, together), len(chosen), options.jobs, until_failure=options.until_failure)


def show(work: Iterable[Sequence[Case]], known: int, jobs: int, *, until_failure: bool) -> int:
    """Run and print; the exit status. `known`: how many cases there are, 0: nobody has counted them."""
    began = shown = time.monotonic()
    played = void = 0
    failures: list[Failure] = []
    for report in run(work, jobs):
        played += report.played
        void += report.void
        failures += report.failures
        for failure in report.failures:
            print(_told(failure), flush=True)
        if failures and until_failure:
            break
        now = time.monotonic()
        if now - shown >= PROGRESS_SECONDS:
            shown = now
            left = f" of {known}, about {(known - played) * (now - began) / played:.0f} s left" if known else ""
            print(f"{played} cases{left}, {len(failures)} failed", flush=True)
    print(f"{played - len(failures)} of {played} cases passed in {time.monotonic() - began:.0f} s", end="")
    print(f" ({void} were shorter ones in truth)" if void else "")
    for failure in failures:
        print(f"failed: replay with  python -m tests.exhaustive {shlex.join(map(str, failure.bundle))}")
    return 1 if failures else 0


def _told(failure: Failure) -> str:
    lines = failure.text.splitlines()
    rest = [f"    ... {len(lines) - STORY_LINES} more lines"] if len(lines) > STORY_LINES else []
    return "\n  ".join([str(failure.case), *lines[:STORY_LINES], *rest])


if __name__ == "__main__":
    sys.exit(main())
