"""Capture: whatever moves the time of a directory has the directory looked at, after that."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from everynode.group.announce import Announcer
from everynode.group.capture import Capture
from everynode.group.notify import Notifier
from everynode.model.notice import Notice, What
from everynode.model.path import RelPath
from everynode.tree.root import Root
from tests.unit.group.fakes import Clock, get, new_ground

D, F = RelPath(b"d"), RelPath(b"d/f")


class Bench:
    """`d` with `d/f` in it, captured; the time of `d` is long ago then."""

    def __init__(self, root: Root, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tree = tree
        self.ground = new_ground(root=root, exclude=("*.tmp", "build/"))
        clock = cast(Clock, self.ground.clock)

        async def sleep(seconds: float) -> None:
            clock.now += seconds
            await asyncio.sleep(0)

        monkeypatch.setattr(clock, "sleep", sleep)
        self.ground.may_change.set()
        self.capture = Capture(self.ground, Announcer(self.ground))
        self.notifier = Notifier(self.ground, self.capture)
        (tree / "d").mkdir()
        (tree / "d" / "f").write_bytes(b"one")
        os.utime(tree / "d", ns=(7, 7))
        for path in (D, F):
            self.capture.look_soon(path)
        asyncio.run(self.settled())
        assert self.time() == 7

    async def settled(self) -> None:
        looking = asyncio.create_task(self.capture.run())
        while self.capture.pending():
            await asyncio.sleep(0)
        looking.cancel()

    def tell(self, *notices: Notice) -> None:
        async def run() -> None:
            await self.notifier.notice(notices)
            await self.settled()

        asyncio.run(asyncio.wait_for(run(), 5))

    def time(self) -> int:
        """Of the directory, as other nodes hear of it."""
        (sibling,) = get(self.ground.index, b"d").version.siblings
        return sibling.entry.mtime_ns

    def captured(self) -> bool:
        return self.time() == (self.tree / "d").stat().st_mtime_ns != 7


@pytest.fixture
def bench(root: Root, tree: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(root, tree, monkeypatch)


def test_a_file_that_came_in_place_of_another_with_its_inode_has_its_directory_looked_at(bench: Bench) -> None:
    """As on ext4: what is made right after a deletion has the number of what was deleted."""
    aside = bench.tree.with_name("aside")
    os.rename(bench.tree / "d" / "f", aside)
    aside.write_bytes(b"two")
    os.rename(aside, bench.tree / "d" / "f")
    bench.tell(Notice(What.GONE | What.TOUCHED | What.WRITTEN, F))
    assert bench.captured()


def test_a_file_that_became_a_directory_with_its_inode_has_its_directory_looked_at(bench: Bench) -> None:
    (bench.tree / "d" / "f").unlink()
    (bench.tree / "d" / "f").mkdir()
    bench.tell(Notice(What.GONE | What.TOUCHED | What.DIRECTORY, F))
    assert bench.captured()


def test_what_was_renamed_away_and_back_has_its_directory_looked_at(bench: Bench) -> None:
    os.rename(bench.tree / "d" / "f", bench.tree / "other")
    os.rename(bench.tree / "other", bench.tree / "d" / "f")
    other = RelPath(b"other")
    bench.tell(Notice(What.RENAMED, other, F), Notice(What.RENAMED, F, other))
    assert bench.captured()


def test_what_went_and_came_while_it_could_not_be_judged_has_its_directory_looked_at_all_the_same(
    bench: Bench,
) -> None:
    """The look at the directory that follows each try comes before the next change there."""
    aside = bench.tree.with_name("aside")

    def swap() -> None:
        os.rename(bench.tree / "d" / "f", aside)
        os.rename(aside, bench.tree / "d" / "f")

    async def run() -> None:
        with open(bench.tree / "d" / "f", "ab") as writer:
            writer.write(b"more")
            swap()
            await bench.notifier.notice([Notice(What.GONE | What.TOUCHED, F)])
            looking = asyncio.create_task(bench.capture.run())
            while not bench.capture.is_busy(F) or not bench.captured():
                await asyncio.sleep(0)
            looking.cancel()
            swap()
        bench.capture.look_soon(F, forced=True)
        await bench.settled()

    asyncio.run(asyncio.wait_for(run(), 5))
    assert bench.captured()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("pipe", os.mkfifo),
        ("x.tmp", lambda path: path.write_bytes(b"excluded")),
        ("build", os.mkdir),
    ],
)
def test_what_is_not_replicated_moves_the_time_of_its_directory_too(
    bench: Bench, name: str, make: Callable[[Path], object]
) -> None:
    make(bench.tree / "d" / name)
    directory = What.DIRECTORY if name == "build" else What(0)
    bench.tell(Notice(What.TOUCHED | directory, RelPath(b"d/" + name.encode())))
    assert bench.captured()
    assert bench.ground.index.get(RelPath(b"d/" + name.encode())) is None


def test_what_happens_in_an_excluded_directory_is_nothing(bench: Bench) -> None:
    (bench.tree / "d" / "build").mkdir()
    (bench.tree / "d" / "build" / "x").write_bytes(b"excluded")
    bench.tell(Notice(What.TOUCHED | What.WRITTEN, RelPath(b"d/build/x")))
    assert bench.time() == 7
