"""Plant a fault in a copy of the repository; run seeds until one fails, then the directed tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.faults import Edit, Mutant

REPOSITORY = Path(__file__).parents[2]
# Real seconds for the random runs, and for the directed tests, of one fault.
SECONDS_MAX = 90

_FAILED_SEED = re.compile(r"^failed: replay with +python -m tests\.sim (\d+)", re.MULTILINE)
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


class Hunt:
    """Hunts in copies of the repository. What fails without any fault catches none."""

    def __init__(self) -> None:
        self._sound: dict[str, bool] = {}
        """Whether a seed or test passes without a fault."""

    def hunt(self, mutant: Mutant, seeds: int, *, directed: bool = True) -> Found:
        """Raises DoesNotApply when the source has moved on."""
        with _copied(mutant.edits) as copy:
            first = 0
            seed, violation = _run_seeds(copy, first, seeds) if seeds else (None, "")
            while seed is not None and not self._is_sound(f"seed {seed}"):
                first = seed + 1
                seed, violation = _run_seeds(copy, first, seeds - first)
            failed = _run_tests(copy, mutant.tests) if directed and mutant.tests else ()
        return Found(seeds, seed, violation, tuple(test for test in failed if self._is_sound(test)))

    def _is_sound(self, what: str) -> bool:
        if what not in self._sound:
            with _copied(()) as copy:
                if what.startswith("seed "):
                    self._sound[what] = _run_seeds(copy, int(what.removeprefix("seed ")), 1)[0] is None
                else:
                    self._sound[what] = not _run_tests(copy, (what,))
        return self._sound[what]


@contextmanager
def _copied(edits: tuple[Edit, ...]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for part in ("src", "tests"):
            shutil.copytree(REPOSITORY / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "pyproject.toml", copy)
        for edit in edits:
            edit.apply(copy / "src" / "everynode")
        yield copy


def _run_seeds(copy: Path, first: int, count: int) -> tuple[int | None, str]:
    """The first of them that failed, and which rule of the oracle said so."""
    if count < 1:
        return None, ""
    output = _run(copy, "-m", "tests.sim", str(first), str(count), "--until-failure")
    found = _FAILED_SEED.search(output)
    if found is None:
        return None, ""
    said = re.search(rf"^seed {found[1]}: .*\n([^:\n]*)", output, re.MULTILINE)
    return int(found[1]), said[1] if said else ""


def _run_tests(copy: Path, tests: tuple[str, ...]) -> tuple[str, ...]:
    output = _run(copy, "-m", "pytest", "-q", "--maxfail=3", "-p", "no:cacheprovider", "--tb=no", "-rf", *tests)
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
