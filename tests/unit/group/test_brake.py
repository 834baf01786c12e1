"""The brake of a group: what it keeps back, holds, lets go and puts back; a real root and index."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from everynode.group import brake as brake_module
from everynode.group.announce import Announcer
from everynode.group.brake import Brake, Gathering
from everynode.group.discard import Discarder
from everynode.group.hear import hear_all
from everynode.limits import BRAKE_COUNT_INTERVAL, BRAKE_GATHER, BRAKE_QUIET
from everynode.model.entry import Entry
from everynode.model.hold import Held, Span
from everynode.model.ids import Digest, Sequence
from everynode.model.message import Batch, Released
from everynode.model.path import RelPath
from everynode.model.policy import GroupPolicy
from everynode.model.problem import Trouble
from everynode.model.record import Sibling
from everynode.report.audit import Happening
from everynode.tree.root import Root
from tests.unit.core.samples import NODE_B, NODE_C, B, C, dead, directory, live, version
from tests.unit.group.fakes import GROUP, FakeLinks, get, wire
from tests.unit.group.test_apply import Bench, mine

FEW = 3
QUIET = BRAKE_QUIET + 0.01
FILES = 6
"""Held when more than this many are removed."""


class Story(Bench):
    """Files f0, f1, ... of node B, which then removes some of them."""

    def __init__(self, root: Root, tree: Path) -> None:
        super().__init__(root, tree)
        self.ground.setup = dataclasses.replace(
            self.ground.setup, policy=GroupPolicy(brake_files=FILES, brake_percent=10)
        )

    def say(self, *changes: tuple[bytes, Sibling], contents: tuple[bytes, ...] = ()) -> None:
        """One batch of B."""
        before = self.ground.index.knowledge.get(B, Sequence(0))
        records = tuple(wire(path, version(sibling)) for path, sibling in changes)
        after = Sequence(before + len(changes))
        hear_all(self.ground.index, [(NODE_B, Batch(GROUP, B, before, after, records))])
        self.ground.inline.add({Digest(mine(content).digest): content for content in contents})

    @property
    def next(self) -> int:
        return self.ground.index.knowledge.get(B, 0) + 1

    async def fill(self, count: int, folder: bytes = b"") -> None:
        first = self.next
        contents = tuple(b"%d" % number for number in range(count))
        named = [(folder + b"f%d" % n, live(B, first + n, mine(c))) for n, c in enumerate(contents)]
        self.say(*named, contents=contents)
        await self.go()

    def remove(self, *numbers: int, folder: bytes = b"") -> None:
        first = self.next
        self.say(*((folder + b"f%d" % n, dead(B, first + at, mine(b"%d" % n))) for at, n in enumerate(numbers)))

    async def go(self, seconds: float = 0.0) -> None:
        """Passes until there is no work, after some time."""
        self.clock.now += seconds
        self.ground.work.set()
        while self.ground.work.is_set():
            await self.turn()
            await self.brake.decide()

    async def settle(self) -> None:
        """Until what gathers is decided."""
        await self.go()
        await self.go(QUIET)

    @property
    def files(self) -> set[str]:
        found = (path.relative_to(self.tree) for path in self.tree.rglob("*") if path.is_file())
        return {str(path) for path in found if path.parts[0] != ".everynode"}


def names(*numbers: int) -> set[str]:
    return {f"f{number}" for number in numbers}


@pytest.fixture
def story(root: Root, tree: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setattr(brake_module, "BRAKE_FEW", FEW)
    return Story(root, tree)


def test_a_few_removals_are_placed_at_once(story: Story) -> None:
    async def tale() -> None:
        await story.fill(10)
        story.remove(0, 1, 2)
        await story.go()
        assert story.files == names(*range(3, 10))
        assert story.heads.current().placed == {B: 13}

    story.run(tale)


def test_more_of_them_wait_for_the_end_of_the_run_and_are_placed_when_they_are_not_too_many(story: Story) -> None:
    async def tale() -> None:
        await story.fill(10)
        story.remove(*range(5))
        await story.go()
        assert len(story.files) == 10
        assert story.heads.current().placed == {B: 10}, "what is kept back is not placed"
        assert story.ground.index.state.counters.unplaced == 0, "and no work, either"
        assert story.brake.due() == pytest.approx(story.clock.now + BRAKE_QUIET)
        await story.go(QUIET)
        assert story.files == names(*range(5, 10))
        assert story.heads.current().placed == {B: 15}
        assert not story.ground.holds

    story.run(tale)


def test_a_run_that_does_not_end_is_decided_after_a_while(story: Story) -> None:
    async def tale() -> None:
        await story.fill(10)
        story.remove(*range(5))
        await story.go()
        for number in range(20):
            story.say((b"new%d" % number, live(B, story.next, mine(b""))))
            await story.go(BRAKE_GATHER / 15)
        assert not names(*range(5)) & story.files

    story.run(tale)


def test_too_many_are_held_and_everybody_is_told(story: Story) -> None:
    async def tale() -> None:
        await story.fill(10)
        story.remove(*range(8))
        await story.settle()
        assert len(story.files) == 10
        assert [(hold.span, hold.files) for hold in story.ground.holds] == [(Span(B, Sequence(11), Sequence(18)), 8)]
        heads = story.heads.current()
        assert heads.placed == {B: 10} and heads.heard == {B: 18}
        assert heads.holds == (Held(Span(B, Sequence(11), Sequence(18)), 8),)
        (problem,) = story.ground.problems.all()
        assert (problem.trouble, problem.blocks) == (Trouble.HELD, True)
        assert "b removed or emptied 8 files" in problem.detail
        assert [event.what for event in story.ground.setup.journal.since(0)].count(Happening.HELD) == 1

        # And the next removal joins them, while all else goes on.
        story.remove(8)
        story.say((b"more", live(B, story.next, mine(b"more"))), contents=(b"more",))
        await story.settle()
        await story.go(BRAKE_COUNT_INTERVAL + 1)
        assert len(story.files) == 11
        assert [hold.files for hold in story.ground.holds] == [9]

    story.run(tale)


def test_what_was_removed_lately_is_put_back_when_too_much_is_held(story: Story) -> None:
    async def tale() -> None:
        await story.fill(10)
        for number in range(3):
            story.remove(number)
            await story.go(5.0)
        assert story.files == names(*range(3, 10))
        story.remove(*range(3, 8))
        await story.settle()
        assert story.files == names(*range(10))
        assert (story.tree / "f1").read_bytes() == b"1"
        await story.go(BRAKE_COUNT_INTERVAL + 1)
        assert [(hold.span.first, hold.files) for hold in story.ground.holds] == [(11, 8)]
        assert story.ground.index.state.counters.held == 8
        await story.brake.release([story.ground.holds[0].span], "test")
        await story.go()
        assert story.files == names(8, 9)

    story.run(tale)


def test_the_number_that_is_told_has_what_is_being_put_back(story: Story) -> None:
    async def tale() -> None:
        await story.fill(12)
        story.remove(0, 1, 2)
        await story.go(5.0)
        story.remove(*range(3, 9))
        await story.go()
        story.clock.now += QUIET
        story.ground.work.clear()
        await story.brake.decide()
        assert [hold.files for hold in story.ground.holds] == [9]
        await story.turn()  # puts the first three back
        story.remove(*range(9, 10))
        gathering = dict(story.brake._gathering)
        story.brake._gathering[B] = Gathering(Span(B, Sequence(22), Sequence(22)), 0.0)
        await story.brake.decide()  # another run of the author ends in this very moment
        assert not gathering
        assert [hold.files for hold in story.ground.holds] == [9]
        await story.go(BRAKE_COUNT_INTERVAL + 1)
        await story.go(BRAKE_COUNT_INTERVAL + 1)
        assert [hold.files for hold in story.ground.holds] == [10]

    story.run(tale)


def test_a_user_of_this_node_who_deletes_is_not_asked(story: Story) -> None:
    async def tale() -> None:
        await story.fill(10)
        for number in range(10):
            (story.tree / f"f{number}").unlink()
            story.capture.look_soon(RelPath(b"f%d" % number))
        looking = asyncio.create_task(story.capture.run())
        await story.capture.flush(RelPath(b""), busy=True)
        looking.cancel()
        await story.settle()
        assert not story.files and not story.ground.holds
        assert story.ground.index.state.counters.tombstones == 10

    story.run(tale)


@pytest.mark.parametrize("order", ["created first", "removed first", "together"])
def test_what_was_moved_does_not_count(story: Story, order: str) -> None:
    async def tale() -> None:
        await story.fill(10)
        contents = tuple(b"%d" % number for number in range(8))
        if order == "removed first":
            story.remove(*range(8))
            await story.go()
        first = story.next
        story.say(*((b"m%d" % n, live(B, first + n, mine(c))) for n, c in enumerate(contents)), contents=contents)
        if order != "removed first":
            if order == "created first":
                await story.go()
            story.remove(*range(8))
        await story.settle()
        assert story.files == {*names(8, 9), *(f"m{number}" for number in range(8))}
        assert not story.ground.holds

    story.run(tale)


def test_each_author_is_counted_by_itself(story: Story) -> None:
    async def tale() -> None:
        await story.fill(10)
        story.remove(*range(5))
        records = [wire(b"f%d" % n, version(dead(C, n, mine(b"%d" % n)), B=n + 1)) for n in range(5, 10)]
        hear_all(story.ground.index, [(NODE_C, Batch(GROUP, C, Sequence(0), Sequence(9), tuple(records)))])
        await story.settle()
        assert not story.files

    story.run(tale)


def emptied(number: int, sequence: int) -> tuple[bytes, Sibling]:
    nothing: Entry = mine(b"", mtime=2)
    return b"f%d" % number, live(B, sequence, nothing)


def test_emptied_files_are_held_too(story: Story) -> None:
    async def tale() -> None:
        await story.fill(10)
        first = story.next
        story.say(*(emptied(number, first + number) for number in range(8)))
        await story.settle()
        assert all((story.tree / f"f{number}").read_bytes() for number in range(10))
        assert [hold.files for hold in story.ground.holds] == [8]

    story.run(tale)


def test_a_directory_stays_while_something_in_it_is_held_and_goes_with_it(story: Story) -> None:
    async def tale() -> None:
        entry = directory(uid=mine(b"").uid)
        story.say((b"d", live(B, story.next, entry)))
        await story.fill(8, b"d/")
        story.remove(*range(8), folder=b"d/")
        story.say((b"d", dead(B, story.next, entry)))
        await story.settle()
        assert len(story.files) == 8 and story.ground.holds[0].place == b"d"
        assert not [problem for problem in story.ground.problems.all() if problem.trouble is not Trouble.HELD]
        await story.brake.release([story.ground.holds[0].span], "test")
        await story.go()
        assert not (story.tree / "d").exists()
        assert story.ground.index.state.counters.held == 0

    story.run(tale)


def test_a_release_lets_go_here_and_tells_the_peers_once(story: Story) -> None:
    async def tale() -> None:
        links = story.ground.links
        assert isinstance(links, FakeLinks)
        await story.fill(10)
        story.remove(*range(8))
        await story.settle()
        span = story.ground.holds[0].span
        await story.brake.release([span], "test")
        await story.go()
        assert story.files == names(8, 9)
        assert not story.ground.holds and not story.ground.problems.all()
        assert story.heads.current().placed == {B: 18}
        told = [message for message in links.to(NODE_C) if isinstance(message, Released)]
        assert told == [Released(GROUP, (span,))]
        await story.brake.release([span], "test")
        assert [message for message in links.to(NODE_C) if isinstance(message, Released)] == told

    story.run(tale)


def test_what_was_released_before_it_is_heard_of_is_not_held(story: Story) -> None:
    async def tale() -> None:
        await story.fill(10)
        await story.brake.release([Span(B, Sequence(11), Sequence(18))], "test")
        story.remove(*range(8))
        await story.go()
        assert story.files == names(8, 9)

    story.run(tale)


def test_a_restart_holds_what_was_held_and_gathers_anew_what_gathered(story: Story) -> None:
    async def tale() -> None:
        await story.fill(20)
        story.remove(*range(8))
        await story.settle()
        records = [wire(b"f%d" % n, version(dead(C, n - 9, mine(b"%d" % n)), B=n + 1)) for n in range(10, 15)]
        hear_all(story.ground.index, [(NODE_C, Batch(GROUP, C, Sequence(0), Sequence(5), tuple(records)))])
        await story.go()
        assert story.ground.index.state.counters.held == 13
        await restart(story)
        assert story.heads.current().placed == {B: 20}
        await story.settle()
        assert story.files == names(*range(10), *range(15, 20))
        assert [hold.files for hold in story.ground.holds] == [8]

    story.run(tale)


def test_a_brake_that_is_set_off_lets_go_at_the_next_start(story: Story) -> None:
    async def tale() -> None:
        await story.fill(10)
        story.remove(*range(8))
        await story.settle()
        story.ground.setup = dataclasses.replace(story.ground.setup, policy=GroupPolicy(brake_files=0))
        await restart(story)
        await story.go()
        assert story.files == names(8, 9) and not story.ground.holds

    story.run(tale)


async def restart(story: Story) -> None:
    story.ground.holds, story.ground.withheld = (), {}
    story.ground.placed = {B: Sequence(20)}
    story.brake = story.applier._brake = Brake(story.ground)
    await story.brake.begin()


def test_a_discard_makes_changes_of_what_stands_here_and_the_hold_is_over(story: Story) -> None:
    async def tale() -> None:
        await story.fill(10)
        story.remove(*range(8))
        await story.settle()
        announcer = Announcer(story.ground)
        discarded = await Discarder(story.ground, announcer).discard([story.ground.holds[0].span])
        assert discarded.files == 8
        await story.go(BRAKE_COUNT_INTERVAL + 1)
        assert len(story.files) == 10
        assert not story.ground.holds and story.ground.index.state.counters.held == 0
        for number in range(8):
            record = get(story.ground.index, b"f%d" % number)
            (sibling,) = record.version.siblings
            assert sibling.live and sibling.origin == story.ground.index.origin
            assert sibling.entry == mine(b"%d" % number)
            assert not record.unplaced

    story.run(tale)


def test_a_discard_brings_back_directories_too_and_leaves_no_work(story: Story) -> None:
    async def tale() -> None:
        entry = directory(uid=mine(b"").uid)
        story.say((b"d", live(B, story.next, entry)), (b"d/empty", live(B, story.next + 1, entry)))
        await story.fill(8, b"d/")
        story.remove(*range(8), folder=b"d/")
        story.say((b"d/empty", dead(B, story.next, entry)), (b"d", dead(B, story.next + 1, entry)))
        await story.settle()
        assert (await Discarder(story.ground, Announcer(story.ground)).discard([story.ground.holds[0].span])).files == 8
        await story.go(BRAKE_COUNT_INTERVAL + 1)
        assert len(story.files) == 8 and (story.tree / "d/empty").is_dir()
        counters = story.ground.index.state.counters
        assert (counters.held, counters.unplaced, counters.tombstones) == (0, 0, 0)

    story.run(tale)


def test_a_discard_brings_back_from_the_vault_what_is_gone_and_leaves_what_was_moved(story: Story) -> None:
    async def tale() -> None:
        await story.fill(4)
        first = story.next
        story.say((b"moved", live(B, first, mine(b"0"))), (b"f0", dead(B, first + 1, mine(b"0"))), contents=(b"0",))
        await story.go()
        story.remove(1, 2)
        await story.go()
        assert story.files == {"moved", "f3"}
        span = Span(B, Sequence(first), Sequence(first + 3))
        assert (await Discarder(story.ground, Announcer(story.ground)).discard([span])).files == 2
        await story.go()
        assert story.files == {"moved", "f1", "f2", "f3"}
        assert (story.tree / "f2").read_bytes() == b"2"

    story.run(tale)


def test_an_edit_of_a_held_file_keeps_it_and_takes_it_out_of_the_hold(story: Story) -> None:
    async def tale() -> None:
        await story.fill(10)
        story.remove(*range(8))
        await story.settle()
        (story.tree / "f1").write_bytes(b"edited")
        (story.tree / "f2").unlink()
        looking = asyncio.create_task(story.capture.run())
        for path in (b"f1", b"f2"):
            story.capture.look_soon(RelPath(path), forced=True)
        await story.capture.flush(RelPath(b""), busy=True)
        looking.cancel()
        await story.go(BRAKE_COUNT_INTERVAL + 1)
        assert [hold.files for hold in story.ground.holds] == [6]
        await story.brake.release([story.ground.holds[0].span], "test")
        await story.go()
        assert story.files == names(1, 8, 9)
        assert (story.tree / "f1").read_bytes() == b"edited"

    story.run(tale)
