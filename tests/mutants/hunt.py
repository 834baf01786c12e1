"""One planted fault: a copy of the repository with it, random runs until one fails, then the directed tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.faults import Mutant

REPOSITORY = Path(__file__).parents[2]
# Real seconds for the random runs, and for the directed tests, of one fault.
SECONDS_MAX = 90

_FAILED_SEED = re.compile(
    r"^(?:seed (\d+): .*\n([^\n]*)|failed: replay with +python -m tests\.sim (\d+))", re.MULTILINE
)
_FAILED_TEST = re.compile(r"^FAILED (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Found:
    runs: int
    seed: int | None
    """The first random run that failed."""
    violation: str
    tests: tuple[str, ...]
    """Directed tests that failed."""

    @property
    def caught(self) -> bool:
        return self.seed is not None or bool(self.tests)


def hunt(mutant: Mutant, seeds: int, *, directed: bool = True) -> Found:
    """Raises DoesNotApply when the source has moved on."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        shutil.copytree(REPOSITORY / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(REPOSITORY / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "pyproject.toml", copy)
        for edit in mutant.edits:
            edit.apply(copy / "src" / "everynode")
        seed, violation = _run_seeds(copy, seeds) if seeds else (None, "")
        tests = _run_tests(copy, mutant.tests) if directed and mutant.tests else ()
        return Found(seeds, seed, violation, tests)


def _run_seeds(copy: Path, seeds: int) -> tuple[int | None, str]:
    output = _run(copy, "-m", "tests.sim", "--seeds", str(seeds), "--until-failure")
    found = _FAILED_SEED.search(output)
    if found is None:
        return None, ""
    return int(found[1] or found[3]), (found[2] or "").partition(" ")[0].rstrip(":") if found[2] else ""


def _run_tests(copy: Path, tests: tuple[str, ...]) -> tuple[str, ...]:
    output = _run(copy, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=no", "-rf", *tests)
    return tuple(_FAILED_TEST.findall(output))


def _run(copy: Path, *arguments: str) -> str:
    """What was printed, also when the time was up."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS_MAX,
            text=True,
        )
    except subprocess.TimeoutExpired as late:
        output = late.stdout or b""
        return output.decode(errors="replace") if isinstance(output, bytes) else output
    return done.stdout
