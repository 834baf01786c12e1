"""Plant each fault in a copy of the source and let the tests find it: `python -m tests.mutants [NAME...]`.

Every fault must be caught, by a random run of the simulator or by a directed test; exits 1 if one survives.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.mutants.faults import MUTANTS
from tests.mutants.hunt import Found, Hunt
from tests.mutants.lines import LINES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of the faults (default: all)")
    parser.add_argument("--seeds", type=int, help="random runs per fault, at most (default: its own number)")
    options = parser.parse_args()
    chosen = [m for m in (*MUTANTS, *LINES) if not options.names or any(name in m.name for name in options.names)]
    began = time.monotonic()
    survived: list[str] = []
    hunter = Hunt()
    for mutant in chosen:
        found = hunter.hunt(mutant, mutant.seeds if options.seeds is None else options.seeds)
        print(f"{'caught' if found.caught else 'SURVIVED'}: {mutant.name}\n{_by(found)}", flush=True)
        if not found.caught:
            survived.append(mutant.name)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} faults caught in {time.monotonic() - began:.0f} s")
    for name in survived:
        print(f"survived: {name}")
    return 1 if survived else 0


def _by(found: Found) -> str:
    seeds = f"seed {found.seed}: {found.violation}" if found.seed is not None else f"none of {found.runs} seeds"
    tests = ", ".join(found.tests) if found.tests else "no directed test"
    return f"    by {seeds}\n    by {tests}"


if __name__ == "__main__":
    sys.exit(main())
