"""Rules of the design that random runs rarely reach, each in a scenario of its own, in several lives."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from dataclasses import replace
from unittest.mock import patch

import pytest

from everynode.group.apply import Applier
from everynode.group.life import Group
from everynode.group.scan import Scanner
from everynode.limits import BRAKE_WINDOW
from everynode.model.entry import Kind
from everynode.model.path import RelPath
from everynode.tree.digest import digest_bytes
from tests.sim.cluster import Cluster
from tests.sim.disk import Did, Event
from tests.sim.fake_kernel import When
from tests.sim.loop import SimLoop, simulate
from tests.sim.node import SimNode
from tests.sim.plan import Plan, limits_of
from tests.sim.promises import Content, content_of
from tests.sim.user import Writing

CALM = Plan(nodes=3, skew_seconds=60.0)
SEEDS = range(8)

Story = Callable[[Cluster], Awaitable[None]]


def play(
    seed: int, story: Story, plan: Plan = CALM, in_the_end: Callable[[Cluster], None] = lambda cluster: None
) -> list[str]:
    """A cluster that is linked and has looked at everything lives through `story`; what the oracle says in the end."""

    async def scenario(loop: SimLoop) -> list[str]:
        cluster = Cluster(loop, plan, Group)
        await cluster.start()
        await asyncio.sleep(10.0)
        await story(cluster)
        found = await cluster.finish()
        in_the_end(cluster)
        await cluster.stop()
        return found

    with limits_of(plan):
        return simulate(seed, scenario)


async def acknowledged(cluster: Cluster, author: int, path: bytes, nodes: int | None) -> None:
    """`wait` at the author says that it is done; the oracle holds everybody to it who is said to have it."""
    node = cluster.nodes[author]
    content = content_of(node.user.see(path))
    assert content is not None
    result = await node.wait(RelPath(path), nodes, 60.0)
    assert result is not None and result.done
    members = frozenset(n.node for n in cluster.nodes if n.node.hex()[:4] not in result.missing)
    cluster.oracle.acknowledged(node.node, cluster.loop.time(), path, content, members)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_all_acknowledged_survives_a_power_cut_of_all(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        cluster.nodes[0].user.mkdir(b"d")
        for number in range(3):
            path = b"d/%d" % number
            cluster.nodes[0].user.write_file(path, b"%d;" % number * 5000)
            await acknowledged(cluster, 0, path, None)
        await cluster.cut_power(*cluster.nodes)

    assert play(seed, story) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_author_alone_acknowledged_survives_his_power_cut(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        author = cluster.nodes[0]
        cluster.network.partition([frozenset({node.node}) for node in cluster.nodes])
        author.user.write_file(b"p", b"only here")
        await acknowledged(cluster, 0, b"p", 1)
        await cluster.cut_power(author)

    assert play(seed, story) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_power_cut_of_the_author_changes_nothing_that_others_have(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        author = cluster.nodes[0]
        author.user.write_file(b"old", b"old content")
        await asyncio.sleep(10.0)  # synced by now
        author.user.write_file(b"new", b"new content" * 1000)
        author.user.write_file(b"old", b"changed" * 1000)
        await asyncio.sleep(1.0)  # placed elsewhere, and not synced here
        assert cluster.nodes[1].user.see(b"new") is not None
        await cluster.cut_power(author)

    assert play(seed, story) == []


async def captured(author: SimNode, *paths: bytes) -> None:
    """Until it is in his index what users wrote there; it is not synced then."""
    seen = {path: author.user.see(path) for path in paths}
    digests = {path: digest_bytes(what.content) for path, what in seen.items() if what is not None}
    while any(_recorded(author, path) != digest for path, digest in digests.items()):
        await asyncio.sleep(0.01)


def _recorded(node: SimNode, path: bytes) -> bytes | None:
    record = node.index.get(RelPath(path))
    return record.version.siblings[0].entry.digest if record is not None else None


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_power_cut_left_of_a_change_that_nobody_got_takes_the_place_of_nothing(seed: int) -> None:
    old, new = b"old content", b"changed" * 1000
    paths = [b"written", b"renamed over", b"made again"]

    async def story(cluster: Cluster) -> None:
        author = cluster.nodes[0]
        for path in paths:
            author.user.write_file(path, old)
        await asyncio.sleep(10.0)
        cluster.network.partition([frozenset({node.node}) for node in cluster.nodes])
        author.user.write_file(b"written", new)
        author.user.replace_file(b"renamed over", new)
        author.user.unlink(b"made again")
        author.user.write_file(b"made again", new)
        await captured(author, *paths)
        await cluster.cut_power(author)
        lost.update(what.content for path in paths if (what := author.user.see(path)) is not None and what.content)

    def look(cluster: Cluster) -> None:
        shown.extend(content_of(node.user.see(path)) for node in cluster.nodes for path in paths)
        lost.difference_update(content for _, content in cluster.nodes[0].vault())

    shown: list[Content | None] = []
    lost: set[bytes] = set()
    assert play(seed, story, in_the_end=look) == []
    assert set(shown) <= {("file", old), ("file", new)}
    assert lost <= {old, new}, "what a cut left, emptied or torn, is in the vault"


@pytest.mark.parametrize("seed", SEEDS)
def test_an_older_content_that_a_power_cut_brings_back_whole_is_no_damage(seed: int) -> None:
    """Others have only what was before it: it is its author's work of hours, and only he had it."""

    async def story(cluster: Cluster) -> None:
        author = cluster.nodes[0]
        author.user.write_file(b"p", b"what all have")
        await asyncio.sleep(10.0)
        cluster.network.partition([frozenset({node.node}) for node in cluster.nodes])
        author.user.replace_file(b"p", b"written alone")
        await asyncio.sleep(10.0)  # synced
        author.user.replace_file(b"p", b"written last" * 1000)
        await captured(author, b"p")
        await cluster.cut_power(author)
        left.add(content_of(author.user.see(b"p")))

    def look(cluster: Cluster) -> None:
        shown.update(content_of(node.user.see(b"p")) for node in cluster.nodes)

    left: set[Content | None] = set()
    shown: set[Content | None] = set()
    assert play(seed, story, in_the_end=look) == []
    if left == {("file", b"written alone")}:
        assert len(shown) == 1 and ("file", b"what all have") not in shown


@pytest.mark.parametrize("seed", SEEDS)
def test_who_was_away_while_a_file_was_deleted_does_not_bring_it_back(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, away = cluster.nodes
        one.user.write_file(b"p", b"content")
        await asyncio.sleep(2.0)
        assert away.user.see(b"p") is not None
        cluster.network.partition([frozenset({one.node, two.node}), frozenset({away.node})])
        two.user.unlink(b"p")
        await asyncio.sleep(10.0)  # many rounds of forgetting
        one.user.write_file(b"q", b"something else")
        await asyncio.sleep(2.0)

    assert play(seed, story, Plan(nodes=3, skew_seconds=60.0, forget_seconds=0.5)) == []


FORGETFUL = Plan(nodes=4, skew_seconds=60.0, forget_seconds=0.5, evict_seconds=5.0)
LONG = BRAKE_WINDOW + 20.0
"""Until what was removed lately is forgotten, too: the brake may want it back."""


def forgotten(node: SimNode, path: bytes) -> bool:
    return node.index.get(RelPath(path)) is None


@pytest.mark.parametrize("seed", range(2))
def test_who_was_given_up_brings_nothing_back_and_loses_nothing_of_his_own(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, three, away = cluster.nodes
        for name in (b"deleted", b"edited", b"d/deep", b"d/edited", b"kept"):
            if b"/" in name and one.user.see(b"d") is None:
                one.user.mkdir(b"d")
            one.user.write_file(name, b"content of " + name)
        await asyncio.sleep(3.0)
        assert away.user.see(b"d/deep") is not None
        cluster.network.partition([frozenset({one.node, two.node, three.node}), frozenset({away.node})])
        for name in (b"deleted", b"edited", b"d/deep", b"d/edited"):
            two.user.unlink(name)
        one.user.write_file(b"kept", b"changed meanwhile")
        away.user.write_file(b"edited", b"the edit of who was away")
        away.user.write_file(b"d/edited", b"another one")
        away.user.write_file(b"new", b"made alone")
        await asyncio.sleep(LONG)
        assert forgotten(one, b"deleted") and not forgotten(away, b"deleted")
        cluster.network.heal()
        await asyncio.sleep(30.0)
        for node in cluster.nodes:
            assert node.user.see(b"deleted") is None and node.user.see(b"d/deep") is None
            for name in (b"edited", b"d/edited", b"kept", b"new"):
                assert content_of(node.user.see(name)) == content_of(away.user.see(name)) is not None

    assert play(seed, story, FORGETFUL) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_directory_whose_deletion_only_some_have_forgotten_looks_the_same_everywhere(seed: int) -> None:
    """Who was given up kept it by what he made in it: nobody tells those who have forgotten it how it looks."""

    async def story(cluster: Cluster) -> None:
        one, two, three, away = cluster.nodes
        three.die()
        await three.reap()
        three.evict_days = 30.0
        three.start()
        one.user.mkdir(b"d")
        await asyncio.sleep(10.0)
        assert away.user.see(b"d") is not None
        away.die()
        await away.reap()
        one.user.rmdir(b"d")
        one.user.write_file(b"d", b"in its place")
        await asyncio.sleep(3.0)
        one.user.unlink(b"d")
        await asyncio.sleep(LONG)
        assert forgotten(one, b"d") and forgotten(two, b"d") and not forgotten(three, b"d")
        time = away.user.time_of(b"d")
        assert time is not None
        away.user.mkdir(b"d/new")
        away.user.set_mtime(b"d", time)  # else he would tell of it himself
        for other in (one, two):
            cluster.network.separate(away.node, other.node)
        away.start()
        await asyncio.sleep(30.0)
        cluster.network.heal()
        await asyncio.sleep(30.0)
        assert all(node.user.see(b"d/new") is not None for node in cluster.nodes)

    assert play(seed, story, FORGETFUL) == []


@pytest.mark.parametrize("seed", range(2))
def test_halves_that_gave_each_other_up_find_together(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, three, four = cluster.nodes
        names = [b"%d" % number for number in range(40)]
        for name in names:
            one.user.write_file(name, b"content of " + name)
        await asyncio.sleep(3.0)
        cluster.network.partition([frozenset({one.node, two.node}), frozenset({three.node, four.node})])
        for number, name in enumerate(names):
            match number % 4:
                case 0:
                    one.user.unlink(name)
                case 1:
                    three.user.unlink(name)
                case 2:
                    (two, four)[number % 8 == 2].user.write_file(name, b"changed in one half")
                case _:
                    two.user.unlink(name)
                    four.user.write_file(name, b"edited where it was not deleted")
        await asyncio.sleep(LONG)
        assert all(forgotten(node, names[0]) for node in (one, two)) and not forgotten(three, names[0])
        assert all(forgotten(node, names[1]) for node in (three, four)) and not forgotten(one, names[1])
        cluster.network.heal()
        await asyncio.sleep(40.0)
        for node in cluster.nodes:
            seen = [node.user.see(name) is not None for name in names]
            assert seen == [number % 4 in (2, 3) for number in range(40)]

    assert play(seed, story, FORGETFUL) == []


@pytest.mark.parametrize("seed", range(2))
def test_a_comparison_that_is_cut_again_and_again_misses_nothing(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, three, away = cluster.nodes
        for number in range(60):
            one.user.write_file(b"%d" % number, b"%d" % number)
        await asyncio.sleep(5.0)
        cluster.network.partition([frozenset({one.node, two.node, three.node}), frozenset({away.node})])
        for number in range(0, 60, 2):
            two.user.unlink(b"%d" % number)
        await asyncio.sleep(LONG)
        cluster.network.heal()
        for _ in range(40):
            await asyncio.sleep(cluster.rng.uniform(0.0, 0.3))
            for other in (one, two, three):
                cluster.network.cut(other.node, away.node)
        await asyncio.sleep(30.0)
        assert [away.user.see(b"%d" % number) is not None for number in range(4)] == [False, True, False, True]

    assert play(seed, story, replace(FORGETFUL, batch_records=4)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_peer_learns_to_be_dead_by_comparing_dies_where_it_was_sent_before(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, early, late = cluster.nodes
        network = cluster.network
        network.partition([frozenset({one.node, two.node, late.node}), frozenset({early.node})])
        early.user.write_file(b"p", b"older")
        early.user.set_mtime(b"p", 10**18)
        one.user.write_file(b"p", b"content")
        await asyncio.sleep(3.0)
        network.partition([frozenset({one.node, two.node}), frozenset({early.node}), frozenset({late.node})])
        two.user.unlink(b"p")
        await asyncio.sleep(20.0)
        assert forgotten(one, b"p") and forgotten(two, b"p")
        network.partition([frozenset({one.node, two.node}), frozenset({early.node, late.node})])
        await asyncio.sleep(5.0)
        assert content_of(early.user.see(b"p")) == ("file", b"content")
        for node in (one, two):  # what they said last is in their memory still
            await cluster.restart(node)
        network.heal()
        network.separate(one.node, early.node)
        network.separate(two.node, early.node)
        await asyncio.sleep(20.0)
        assert [content_of(node.user.see(b"p")) for node in cluster.nodes] == [("file", b"older")] * 4

    assert play(seed, story, replace(FORGETFUL, brake_window=0.5)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_catching_up_that_is_cut_again_and_again_misses_nothing(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, _, away = cluster.nodes
        cluster.network.separate(one.node, away.node)
        cluster.network.separate(cluster.nodes[1].node, away.node)
        one.user.mkdir(b"d")  # changes last and is sent first
        for number in range(100):
            one.user.write_file(b"d/%d" % number, b"%d" % number)
        await asyncio.sleep(20.0)
        cluster.network.heal()
        for _ in range(40):
            await asyncio.sleep(cluster.rng.uniform(0.0, 0.3))
            cluster.network.cut(one.node, away.node)
            cluster.network.cut(cluster.nodes[1].node, away.node)

    assert play(seed, story, Plan(nodes=3, skew_seconds=60.0, batch_records=4)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_deleted_directory_in_which_somebody_is_still_writing_keeps_its_attributes_everywhere(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, three = cluster.nodes
        one.user.mkdir(b"d", 0o700)
        await asyncio.sleep(2.0)
        writing = three.user.open_for_write(b"d/f").write(b"content")
        two.user.rmtree(b"d")
        await asyncio.sleep(20.0)
        assert one.user.see(b"d") is two.user.see(b"d") is None
        writing.close()
        await asyncio.sleep(20.0)
        seen = [node.user.see(b"d") for node in cluster.nodes]
        assert [what and what.mode for what in seen] == [0o700, 0o700, 0o700]
        three.user.unlink(b"d/f")
        await asyncio.sleep(20.0)
        assert all(node.user.see(b"d") is None and forgotten(node, b"d") for node in cluster.nodes)

    assert play(seed, story, replace(CALM, forget_seconds=1.0)) == []


def die_when_placed(node: SimNode, path: bytes) -> None:
    """The daemon of `node` dies between the system call that makes `path` visible, or removes it, and the record."""

    def watch(event: Event) -> None:
        ours = node.life is not None and event.process == node.life.kernel.pid
        names = {event.path.removeprefix(b"srv/tree/"), (event.source or b"").removeprefix(b"srv/tree/")}
        if ours and path in names:
            node.disk.watchers.remove(watch)
            node.die()

    node.disk.watchers.append(watch)


async def die_placing(cluster: Cluster, node: SimNode, path: bytes, act: Callable[[], None]) -> None:
    """Somebody else acts, and `node` dies in the moment in which it follows."""
    node.user.write_file(b"other", b"so that it has to look before it places")
    die_when_placed(node, path)
    act()
    await asyncio.sleep(2.0)
    assert not node.running
    await node.reap()
    cluster.network.partition([frozenset({n.node for n in cluster.nodes if n is not node}), frozenset({node.node})])


async def come_back(cluster: Cluster, node: SimNode) -> None:
    """It starts, and hears of everything else before the scan comes to it: trees are large."""
    scan = Scanner.run

    async def late(scanner: Scanner) -> None:
        await asyncio.sleep(5.0)
        await scan(scanner)

    cluster.network.heal()
    with patch.object(Scanner, "run", late):
        node.start()
        await asyncio.sleep(20.0)


@pytest.mark.parametrize("over", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_crash_kept_from_being_recorded_as_placed_stays_deleted(seed: int, over: bool) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, three = cluster.nodes
        if over:
            one.user.write_file(b"p", b"before")
        else:  # a tombstone of its own: what comes back here is not simply new
            three.user.write_file(b"p", b"before")
            await asyncio.sleep(2.0)
            three.user.unlink(b"p")
        await asyncio.sleep(2.0)
        await die_placing(cluster, three, b"p", lambda: one.user.write_file(b"p", b"content"))
        two.user.unlink(b"p")
        await asyncio.sleep(2.0)
        await come_back(cluster, three)
        assert [node.user.see(b"p") for node in cluster.nodes] == [None, None, None]

    assert play(seed, story) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_crash_kept_from_being_recorded_is_no_conflict_with_what_followed(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, three = cluster.nodes
        one.user.write_file(b"p", b"before")
        await asyncio.sleep(2.0)
        await die_placing(cluster, three, b"p", lambda: one.user.write_file(b"p", b"content"))
        two.user.write_file(b"p", b"after")
        await asyncio.sleep(2.0)
        await come_back(cluster, three)
        record = three.index.get(RelPath(b"p"))
        assert record is not None and len(record.version.siblings) == 1

    assert play(seed, story) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_removal_that_a_crash_kept_from_being_recorded_deletes_nothing_that_followed(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, three = cluster.nodes
        one.user.write_file(b"p", b"before")
        await asyncio.sleep(2.0)
        await die_placing(cluster, three, b"p", lambda: one.user.unlink(b"p"))
        two.user.write_file(b"p", b"after")
        await asyncio.sleep(2.0)
        await come_back(cluster, three)
        record = three.index.get(RelPath(b"p"))
        assert record is not None and len(record.version.siblings) == 1

    assert play(seed, story) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_crash_left_in_the_middle_of_a_move_is_still_there_after_the_next_power_cut(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, _, three = cluster.nodes
        one.user.write_file(b"old", b"content")
        await acknowledged(cluster, 0, b"old", None)
        await die_placing(cluster, three, b"old", lambda: one.user.rename(b"old", b"new"))
        assert three.user.see(b"old") is three.user.see(b"new") is None, "it was under way"
        three.start()
        await asyncio.sleep(20.0)
        await cluster.cut_power(three)

    assert play(seed, story) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_directory_made_for_what_lives_below_it_is_no_users_though_a_crash_kept_it_from_being_recorded(
    seed: int,
) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, three = cluster.nodes
        three.user.write_file(b"other", b"so that it has to look before it places")
        one.user.mkdir(b"d")
        one.user.write_file(b"d/x", b"old")
        await asyncio.sleep(2.0)
        cluster.network.partition([frozenset({one.node}), frozenset({two.node, three.node})])
        one.user.write_file(b"d/x", b"edited")
        two.user.rmtree(b"d")
        two.user.write_file(b"d", b"a file in the place of the directory")
        await asyncio.sleep(2.0)
        die_when_placed(three, b"d")
        cluster.network.heal()
        await asyncio.sleep(2.0)
        assert not three.running
        await three.reap()
        await come_back(cluster, three)
        record = three.index.get(RelPath(b"d"))
        assert record is not None and [s.entry.kind for s in record.version.siblings] == [Kind.FILE]

    assert play(seed, story) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_directory_that_could_not_be_listed_at_the_start_is_listed_later(seed: int) -> None:
    """No notice tells that a disk answers again, or that somebody gave the right to read."""

    async def story(cluster: Cluster) -> None:
        one = cluster.nodes[0]
        one.user.mkdir(b"d")
        await asyncio.sleep(2.0)
        one.die()
        await one.reap()
        one.user.mkdir(b"d/new")
        one.user.write_file(b"d/file", b"content")
        one.refused["open_beneath", b"d"] = errno.EACCES
        one.start()
        await asyncio.sleep(20.0)
        assert cluster.nodes[1].user.see(b"d/file") is None
        one.refused.clear()
        await asyncio.sleep(60.0)
        assert cluster.nodes[1].user.see(b"d/new") is not None
        assert cluster.nodes[1].user.see(b"d/file") is not None

    assert play(seed, story) == []


@pytest.mark.parametrize("author", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_what_a_full_disk_did_not_take_is_not_acknowledged_because_its_mode_was_changed(seed: int, author: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, full = cluster.nodes
        one.user.write_file(b"other", b"so that there was something")
        await asyncio.sleep(2.0)
        full.disk.hog = full.disk.free
        one.user.write_file(b"p", b"content")
        wait = asyncio.create_task(one.wait(RelPath(b"p"), None, 30.0))
        await asyncio.sleep(10.0)
        assert two.user.see(b"p") is not None and full.user.see(b"p") is None
        (one, two)[author].user.chmod(b"p", 0o600)
        result = await wait
        assert result is not None and not result.done and result.missing == (full.node.hex()[:4],)
        full.disk.hog = 0

    assert play(seed, story) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_full_disk_is_tried_again_ever_more_slowly(seed: int) -> None:
    """Also when the content, which was in memory at the first try, has to be fetched for the next one."""
    passes = 0

    async def story(cluster: Cluster) -> None:
        nonlocal passes
        one, _, full = cluster.nodes
        full.disk.hog = full.disk.free
        full.disk.quota = seed % 2 == 0
        for number in range(3):
            one.user.write_file(b"%d" % number, b"%d;" % number * (100 + 30_000 * number))
        await asyncio.sleep(5.0)
        with patch.object(Applier, "_pass", counted):
            await asyncio.sleep(100.0)
        full.disk.hog = 0

    apply = Applier._pass

    async def counted(applier: Applier) -> None:
        nonlocal passes
        passes += 1
        await apply(applier)

    assert play(seed, story) == []
    assert passes < 100


@pytest.mark.parametrize("seed", range(3))
def test_what_an_overflow_hid_is_found(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, _ = cluster.nodes
        one.user.mkdir(b"d")
        await asyncio.sleep(2.0)
        assert one.life is not None
        one.user.write_file(b"d/new", b"its notice is lost")
        one.user.unlink(b"d/new")
        one.user.write_file(b"new", b"and this one's, too")
        one.life.notices.overflow()
        await asyncio.sleep(10.0)
        assert content_of(two.user.see(b"new")) == content_of(one.user.see(b"new"))

    assert play(seed, story) == []


class Once(dict[tuple[str, bytes], int]):
    """Each is refused one time."""

    def get(self, key: tuple[str, bytes], default: int | None = None) -> int | None:  # type: ignore[override]
        return self.pop(key, default)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_a_directory_whose_time_could_not_be_set_once_gets_it_later(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, _ = cluster.nodes
        two.refused = Once()

        def fail_once(event: Event) -> None:
            """Right after it was placed: the next that opens it is the call for its time."""
            if event.path == b"srv/tree/d" and event.did is Did.RENAMED:
                two.disk.watchers.remove(fail_once)
                two.refused["open_beneath", b"d"] = errno.EIO

        two.disk.watchers.append(fail_once)
        one.user.mkdir(b"d")
        one.user.set_mtime(b"d", 10**18)
        await asyncio.sleep(20.0)
        assert fail_once not in two.disk.watchers and not two.refused
        assert [node.user.time_of(b"d") for node in cluster.nodes] == [10**18] * 3

    assert play(seed, story) == []


def open_when_exchanged(node: SimNode, path: bytes) -> list[Writing]:
    """A process opens `path` in the last moment before the daemon exchanges what stands there, and holds it open."""
    opened: list[Writing] = []
    life = node.life
    assert life is not None and life.kernel.gate is not None
    gate = life.kernel.gate

    def watch(call: str, about: bytes, when: When) -> None:
        if (call, when) == ("rename_at", "before") and not opened:
            opened.append(node.user.open_for_write(path).write(b"begun; "))
        gate(call, about, when)

    life.kernel.gate = watch
    return opened


async def replaced_while_open(one: SimNode, two: SimNode) -> list[Writing]:
    """What `one` writes at p takes the place of a file that a user of `two` has begun to write to; his hold of it."""
    one.user.write_file(b"p", b"before")
    await asyncio.sleep(2.0)
    opened = open_when_exchanged(two, b"p")
    one.user.write_file(b"p", b"meanwhile")
    await asyncio.sleep(2.0)
    assert content_of(two.user.see(b"p")) == content_of(one.user.see(b"p"))
    return opened


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_written_to_a_replaced_file_outlives_the_deletion_of_what_replaced_it(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, _ = cluster.nodes
        opened = await replaced_while_open(one, two)
        two.user.unlink(b"p")
        await asyncio.sleep(2.0)
        opened[0].write(b"done").close()
        await asyncio.sleep(2.0)
        assert [content_of(node.user.see(b"p")) for node in cluster.nodes] == [("file", b"begun; done")] * 3

    assert play(seed, story) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_written_to_a_replaced_file_supersedes_what_its_writer_found_there(seed: int) -> None:
    """A loser of his own node among it: that is no reason to tell nobody of what he wrote."""

    async def story(cluster: Cluster) -> None:
        one, two, three = cluster.nodes
        cluster.network.partition([frozenset({one.node, three.node}), frozenset({two.node})])
        two.user.write_file(b"p", b"loser")
        await asyncio.sleep(2.0)
        one.user.write_file(b"p", b"winner")
        await asyncio.sleep(2.0)
        cluster.network.partition([frozenset({one.node, two.node}), frozenset({three.node})])
        await asyncio.sleep(2.0)
        assert content_of(two.user.see(b"p")) == content_of(one.user.see(b"p"))
        three.user.write_file(b"p", b"meanwhile")
        await asyncio.sleep(2.0)
        opened = open_when_exchanged(two, b"p")
        cluster.network.heal()
        await asyncio.sleep(10.0)
        assert content_of(two.user.see(b"p")) == content_of(three.user.see(b"p"))
        opened[0].write(b"done").close()
        await asyncio.sleep(2.0)

    assert play(seed, story, Plan(nodes=3, skew_seconds=0.0)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_written_to_a_replaced_file_is_in_the_vault_if_his_own_node_wrote_another_content(seed: int) -> None:
    """One change per node and path: the other one would go if this were told."""

    async def story(cluster: Cluster) -> None:
        one, two, _ = cluster.nodes
        opened = await replaced_while_open(one, two)
        two.user.write_file(b"p", b"after")
        await asyncio.sleep(2.0)
        opened[0].write(b"done").close()
        await asyncio.sleep(2.0)
        assert ("file", b"begun; done") in two.vault()
        assert [kept.why for kept in two.index.vault.of_path(RelPath(b"p"))].count("written") == 1
        assert [content_of(node.user.see(b"p")) for node in cluster.nodes] == [("file", b"after")] * 3

    assert play(seed, story) == []


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_written_to_a_replaced_file_when_no_daemon_runs_is_a_change_but_for_a_power_cut(
    seed: int, cut: bool
) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, _ = cluster.nodes
        opened = await replaced_while_open(one, two)
        if cut:
            await cluster.cut_power(two)
        else:
            two.die()
            await two.reap()
            opened[0].write(b"done").close()
            two.start()
        await asyncio.sleep(10.0)
        content = b"meanwhile" if cut else b"begun; done"
        assert [content_of(node.user.see(b"p")) for node in cluster.nodes] == [("file", content)] * 3

    assert play(seed, story, Plan(nodes=3, skew_seconds=0.0)) == []
