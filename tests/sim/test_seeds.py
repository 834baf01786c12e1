"""Whole clusters from seeds: a few in the fast tests, some hundred in the heavy ones, any number by `make sim`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FAST = 16
CHUNK = 25
CHUNKS = 11


def run(first: int, count: int) -> str:
    """In a process of its own, which sets its hash seed: what a seed means must not depend on ours."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONHASHSEED": "random"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim", str(first), str(count), "--jobs", "1"],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("first", range(0, FAST, 8))
def test_a_few_lives_of_a_cluster_end_well(first: int) -> None:
    run(first, 8)


def test_the_same_seed_is_the_same_life_again() -> None:
    one, again, other = (run(seed, 1).partition(",")[0] for seed in (3, 3, 4))
    assert one.startswith("seed 3: trace ")
    assert one == again
    assert one.rpartition(" ")[2] != other.rpartition(" ")[2]


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(FAST, FAST + CHUNK * CHUNKS, CHUNK))
def test_many_lives_of_a_cluster_end_well(first: int) -> None:
    run(first, CHUNK)
