"""A fixed share of the stories of one and two steps, in the simulator; `python -m tests.exhaustive` plays all."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from everynode.group import scrub
from tests.exhaustive.cases import STEPS, Case, Time, after, cases, possible, times
from tests.exhaustive.play import play
from tests.exhaustive.run import bundles, report, share
from tests.sim.user import User

REPOSITORY = Path(__file__).parents[2]
# A prime, so that a share has of everything: beginnings, times and steps repeat in other periods.
OF_TWO = 769


def test_every_case_has_a_name_that_gives_it_back() -> None:
    every = list(cases(1))
    assert len({str(case) for case in every}) == len(every)
    for case in every:
        assert Case.parse(str(case)) == case


def test_every_step_is_done_at_every_time_on_both_nodes() -> None:
    seen = Counter((case.steps[0], case.time) for case in cases(1))
    assert set(seen) == set(itertools.product(STEPS, times(1)))


def test_a_share_of_the_longer_ones_has_all_of_everything() -> None:
    longer = list(share(cases(2), 0, OF_TWO))
    assert all(Case.parse(str(case)) == case for case in longer)
    assert {str(case.time) for case in longer} == set(map(str, times(2)))
    assert {case.beginning for case in longer} == {case.beginning for case in cases(1)}
    assert {step for case in longer for step in case.steps} == set(STEPS)


def test_shares_and_bundles_hold_every_case_once() -> None:
    every = list(cases(1))
    again = [case for number in range(7) for case in share(iter(every), number, 7)]
    assert Counter(again) == Counter(every)
    bundled = list(bundles(every, 40))
    assert Counter(itertools.chain(*bundled)) == Counter(every)
    assert all(len({case.time for case in bundle}) == 1 for bundle in bundled)


def test_what_follows_a_step_is_what_the_simulated_disk_shows() -> None:
    for bundle in bundles(share((case for case in cases(1) if case.time == Time("calm")), 0, 3), 100):
        told = play(bundle)
        assert not any(one.void or one.problems for one in told)
        for one in told:
            [step] = one.case.steps
            assert possible(step, one.case.tree)
            assert one.left == after(step, one.case.tree), one.case


def test_a_deletion_that_does_not_travel_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the oracle's back a file vanishes from one node: nobody did that, and nothing tells of it."""

    def hide(user: User, path: bytes) -> None:
        watchers, user.disk.watchers = user.disk.watchers, []
        user_unlink(user, path)
        user.disk.watchers = watchers

    user_unlink = User.unlink
    monkeypatch.setattr(User, "unlink", hide)
    # Else it is found out: what was captured young is read again.
    monkeypatch.setattr(scrub, "FRESHEN_INTERVAL", 1e9)
    found = report([Case.parse("f./0:delete:a/calm"), Case.parse("f./1:write:a/calm")])
    assert [str(failure.case) for failure in found.failures] == ["f./0:delete:a/calm"]
    assert "convergence" in found.failures[0].text
    assert found.failures[0].bundle == (found.failures[0].case,)


# Each of these failed once.
FOUND = (
    ".f/1:link:b:a+0:chmod:a/calm",
    "f./0:link:a:b+0:chmod:b/end-0-1",
    "f./0:link:a:b+0:write:b/end-0-1",
    ".l/0:create:a+1:to-file:b/at-once",
    ".e/0:to-file:b+1:replace:a/at-once",
    "dl/0:write-below:a+1:rmdir:a/at-once",
    ".d/1:chmod:b+1:to-symlink:b/end-0-0",
    "ee/1:chmod:a+1:to-file:a/end-0-0",
    "de/0:chmod:b+0:to-file:b/end-0-1",
    ".e/0:to-file:b/calm",
    "dl/1:to-file:a/calm",
)


@pytest.mark.parametrize("name", FOUND)
def test_what_failed_once_ends_well(name: str) -> None:
    for seed in range(3):
        [told] = play([Case.parse(name)], seed=seed)
        assert not told.problems


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", (["--length", "1", "--share", "0/23"], ["--length", "2", "--share", f"0/{OF_TWO}"]))
def test_short_stories_end_well(which: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONHASHSEED": "random"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.exhaustive", "--jobs", "1", *which],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
