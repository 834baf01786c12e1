"""The style of the whole repository is part of what has to be true."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

CHECKS = {
    "ruff format": ["ruff", "format", "--check", "."],
    "ruff check": ["ruff", "check", "."],
    "mypy of the product": ["mypy"],
    "mypy of what surrounds it": [
        "mypy",
        "--explicit-package-bases",
        *("lab", "bench", "demo", "tests/cluster", "tests/crash", "tests/style"),
    ],
    "imports run downward": ["lint-imports"],
}


@pytest.mark.xdist_group("style")
@pytest.mark.parametrize("check", CHECKS)
def test_nothing_to_complain_about(check: str) -> None:
    program, *arguments = CHECKS[check]
    done = subprocess.run(
        [BIN / program, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "MYPYPATH": "src"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, f"{check}:\n{done.stdout}{done.stderr}"
