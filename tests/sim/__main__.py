"""Run seeds by hand: `python -m tests.sim FIRST [COUNT]`; a failing one is shown with its story."""

from __future__ import annotations

import os
import sys
import traceback

from tests.sim.cluster import run_seed


def main() -> int:
    # Sets of bytes are ordered by the hash seed: without a fixed one a seed would not mean the same run again.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]])
    first = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    failed: list[int] = []
    for seed in range(first, first + count):
        try:
            outcome = run_seed(seed)
        except Exception:
            traceback.print_exc()
            failed.append(seed)
            continue
        if outcome.violations or count == 1:
            print(outcome, flush=True)
        if outcome.violations:
            failed.append(seed)
    for seed in failed:
        print(f"failed: replay with  python -m tests.sim {seed}")
    print(f"{count - len(failed)} of {count} seeds passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
