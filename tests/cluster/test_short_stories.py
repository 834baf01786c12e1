"""Stories of one step between two real daemons: what is done on one node stands on both, whatever goes wrong."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.trees import Seen, difference, snapshot, wait_until
from tests.cluster.harness import Cluster
from tests.exhaustive.cases import BELOW, Case, Step, Time, cases, times

LARGE = 40_000
PARENTS = 12
"""So many folders hold the cases: not all in one."""
ALL = "SHORT_STORIES_ALL"
"""Set in the environment: all cases, not every fifth."""
SHARE = 5


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with Cluster(2) as cluster:
        yield cluster


@pytest.mark.parametrize("time", times(1), ids=str)
def test_what_one_step_left_stands_on_both_nodes(pair: Cluster, time: Time) -> None:
    stories = {f"{time}/{number % PARENTS}/{number}": case for number, case in enumerate(of_time(time))}
    for folder, case in stories.items():
        begin(pair[0].root / folder, case)
    pair.wait_equal(timeout=90)
    if time.what == "apart":
        pair.cut(0, 1)
    if time.what == "down":
        pair[time.node].kill()
    wanted: dict[str, dict[bytes, Seen]] = {}
    for folder, case in stories.items():
        [step] = case.steps
        do(pair[step.node].root / folder, step, f"step of {case}".encode())
        # Nothing is concurrent in it: what whoever acted sees is what everybody is to see.
        wanted[folder] = snapshot(pair[step.node].root / folder)
    if time.what == "between":
        threading.Event().wait(0.05)
    if time.what in ("end", "between"):
        pair[time.node].kill()
    if not pair[0].alive():
        pair[0].start()
    if not pair[1].alive():
        pair[1].start()
    pair.heal()

    def differences() -> list[str]:
        return [
            f"{node.name}: {stories[folder]}: {line}"
            for node in pair.nodes
            for folder in stories
            for line in difference(wanted[folder], look(node.root / folder))
        ]

    assert wait_until(lambda: not differences(), timeout=90, every=0.5), differences()


def look(folder: Path) -> dict[bytes, Seen]:
    """Of a tree that may be changing; then it is looked at again."""
    try:
        return snapshot(folder)
    except OSError:
        return {}


def of_time(time: Time) -> list[Case]:
    every = [case for case in cases(1) if case.time == time]
    return every if os.environ.get(ALL) else every[::SHARE]


def begin(folder: Path, case: Case) -> None:
    folder.mkdir(parents=True)
    for path, kind in sorted(case.tree.items()):
        content = f"beginning of {path} of {case}".encode()
        if kind == "d":
            (folder / path).mkdir()
        elif kind == "f":
            (folder / path).write_bytes(content)
        else:
            os.symlink(content, os.fsencode(folder / path))


def do(folder: Path, step: Step, content: bytes) -> None:
    """The same as `tests.exhaustive.play.do`, to a real tree."""
    name, other = folder / step.name, folder / step.other
    match step.verb:
        case "create" | "write":
            name.write_bytes(content)
        case "append":
            with open(name, "ab") as file:
                file.write(content)
        case "replace":
            _replace(name, content + bytes(LARGE))
        case "delete":
            name.unlink()
        case "mkdir":
            name.mkdir()
        case "rmdir":
            shutil.rmtree(name)
        case "symlink":
            os.symlink(content, os.fsencode(name))
        case "chmod":
            name.chmod(0o700)
        case "to-file" | "to-directory" | "to-symlink":
            shutil.rmtree(name) if name.is_dir() and not name.is_symlink() else name.unlink()
            if step.verb == "to-directory":
                name.mkdir()
            elif step.verb == "to-file":
                name.write_bytes(content)
            else:
                os.symlink(content, os.fsencode(name))
        case "write-below":
            _replace(name / BELOW, content)
        case "delete-below":
            (name / BELOW).unlink()
        case "link":
            os.link(name, other)
        case "rename":
            os.rename(name, other)
        case "move-below":
            os.rename(name, other / BELOW)
        case unknown:
            raise ValueError(unknown)


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(".beside")
    beside.write_bytes(content)
    os.replace(beside, path)
