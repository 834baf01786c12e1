"""A share of the kill sweep, and the gate that kills."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.namespaces import Namespace, why_not_possible
from tests.crash.gate import Gate
from tests.crash.scenarios import SCENARIOS
from tests.crash.sweep import Sweep
from tests.crash.warm import fork

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(why_not_possible()), reason=why_not_possible())]

SAMPLE = {"first copy": (60, 110), "rename there": (30,), "change here": (12,), "conflict": (95,), "join": (35,)}
"""Calls in the middle of things; the sweep has them all."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory, with a short name; gone afterwards."""
    made = Path(tempfile.mkdtemp(prefix="en-", dir="/dev/shm"))
    yield made
    shutil.rmtree(made)


def test_who_is_killed_before_a_call_that_changes_something_comes_right(folder: Path) -> None:
    assert SAMPLE.keys() <= SCENARIOS.keys()
    with Sweep(folder / "nodes") as sweep:
        for name, numbers in SAMPLE.items():
            for number in numbers:
                calls, found = sweep.kill(name, number)
                assert found == [], f"{name} --at {number}, before {calls[-1:]}"
                assert len(calls) == number, f"{name}: the daemon was not killed"


# The gate.


def work(folder: Path) -> int:
    """Seven calls that change something, among many that do not."""
    for number in range(2):
        fd = os.open(folder / f"f{number}", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x")
        os.close(fd)
        os.stat(folder)
        os.close(os.open(folder / f"f{number}", os.O_RDONLY))
    os.rename(folder / "f0", folder / "g")
    os.chmod(folder / "g", 0o600)
    os.unlink(folder / "f1")
    _, writing = os.pipe()
    os.write(writing, b"a thread wakes another one")
    return 0


@pytest.fixture
def network() -> Iterator[int]:
    namespace = Namespace()
    yield namespace.pid
    namespace.close()


CALLS = ["openat", "write", "openat", "write", "rename", "chmod", "unlink"]


def run(folder: Path, network: int, gate: Gate) -> int:
    pid = fork(lambda: work(folder), network, folder / "log", gate)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    gate.join()
    return code


def test_the_gate_counts_what_changes_something_and_nothing_else(folder: Path, network: int) -> None:
    gate = Gate()
    assert run(folder, network, gate) == 0
    assert gate.calls == CALLS


@pytest.mark.parametrize("number", range(1, len(CALLS) + 1))
def test_the_gate_kills_before_the_call(folder: Path, network: int, number: int) -> None:
    gate = Gate(number)
    assert run(folder, network, gate) == -signal.SIGKILL
    assert gate.calls == CALLS[:number]
    done = set(CALLS[: number - 1])
    assert (folder / "g").exists() == ("rename" in done)
    assert (folder / "f0").exists() == (number > 1 and "rename" not in done)
    assert (folder / "f1").exists() == (number > 3)
