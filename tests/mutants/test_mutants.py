"""Two planted faults are still caught, and all of them still apply to the source; `make mutants` hunts them all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.mutants.faults import MUTANTS, NO_COMPARE, TOMBSTONE_DROPPED, Mutant
from tests.mutants.hunt import REPOSITORY, Hunt
from tests.mutants.lines import LINES


@pytest.mark.parametrize("mutant", (*MUTANTS, *LINES), ids=lambda mutant: mutant.name)
def test_every_planted_fault_applies_to_the_source(mutant: Mutant, tmp_path: Path) -> None:
    source = tmp_path / "everynode"
    for file in {edit.file for edit in mutant.edits}:
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / "src" / "everynode" / file, source / file)
    for edit in mutant.edits:
        edit.apply(source)
    for test in mutant.tests:
        assert (REPOSITORY / test).exists()


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", (NO_COMPARE, TOMBSTONE_DROPPED), ids=lambda mutant: mutant.name)
def test_random_runs_catch_it(mutant: Mutant) -> None:
    found = Hunt().hunt(mutant, seeds=50, directed=False)
    assert found.seed is not None
