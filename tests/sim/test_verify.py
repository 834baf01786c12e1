"""Nodes prove to each other that they are equal, or name what differs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from unittest.mock import patch

import msgspec
import pytest

from everynode.group import tree_hash, verify
from everynode.group.life import Group
from everynode.model.message import Entries, GroupMessage, TreeParts
from everynode.model.path import RelPath
from everynode.report.status import VerifyResult
from everynode.wire.codec import encode
from tests.sim import network
from tests.sim.cluster import Cluster
from tests.sim.node import SimNode
from tests.sim.test_rot import group_of, rot, until, written
from tests.sim.test_rules import play


async def verified(node: SimNode, contents: int | None = None) -> VerifyResult:
    group = group_of(node)
    assert isinstance(group, Group)
    return await group.verify(contents, 60.0)


def states(result: VerifyResult) -> set[str]:
    return {node.state for node in result.nodes}


def lie(node: SimNode, path: bytes, **other: object) -> None:
    """What the index of a node says that it has placed becomes something else, and nobody hears of it."""
    index = node.index
    record = index.get(RelPath(path))
    assert record is not None and record.placed is not None and record.placed.entry is not None
    entry = msgspec.structs.replace(record.placed.entry, **other)
    with index.transaction():
        placed = msgspec.structs.replace(record.placed, entry=entry)
        assert index.set_placed(msgspec.structs.replace(record, placed=placed), record)


def lives(story: Callable[[Cluster], Awaitable[None]]) -> None:
    assert play(1, story) == []


def test_equal_trees_are_equal_and_hash_alike_on_every_node() -> None:
    async def story(cluster: Cluster) -> None:
        cluster.nodes[0].user.mkdir(b"d")
        cluster.nodes[1].user.symlink(b"target", b"link")
        await written(cluster, one=b"1", two=b"2")
        cluster.nodes[2].user.unlink(b"two")
        await asyncio.sleep(5.0)
        results = [await verified(node) for node in cluster.nodes]
        assert [states(result) for result in results] == [{"equal"}] * 3
        assert len({result.hash for result in results}) == 1
        assert {(result.entries, result.exit_code) for result in results} == {(3, 0)}

    lives(story)


@pytest.mark.parametrize(
    ("other", "what"),
    [({"mode": 0o600}, "mode"), ({"uid": 7}, "owner"), ({"mtime_ns": 1}, "time"), ({"digest": bytes(32)}, "content")],
)
def test_each_difference_is_named_with_what_stands_on_each_node(other: dict[str, object], what: str) -> None:
    async def story(cluster: Cluster) -> None:
        one, two, _ = cluster.nodes
        await written(cluster, same=b"1", other=b"2")
        good = two.index.get(RelPath(b"other"))
        assert good is not None and good.placed is not None
        lie(two, b"other", **other)
        result = await verified(one)
        assert sorted(node.state for node in result.nodes) == ["differs", "equal"]
        (difference,) = result.differences
        assert (difference.path, difference.what, difference.pending) == ("other", (what,), False)
        assert set(difference.nodes) == {two.node.hex()[:4], one.node.hex()[:4]} and result.exit_code == 1
        seen_from_two = await verified(two)
        assert states(seen_from_two) == {"differs"}
        assert len(seen_from_two.differences[0].nodes) == 3
        lie(two, b"other", **msgspec.structs.asdict(good.placed.entry))

    lives(story)


def test_one_difference_among_many_files_costs_a_few_small_messages() -> None:
    sent: list[GroupMessage] = []

    async def story(cluster: Cluster) -> None:
        one, two, _ = cluster.nodes
        await written(cluster, **{f"file{number:04}": b"%d" % number for number in range(300)})
        lie(two, b"file0123", mode=0)
        carry = network.Network.carry

        async def counted(self: network.Network, sender: network.Side, message: GroupMessage) -> None:
            sent.append(message)
            await carry(self, sender, message)

        with patch.object(network.Network, "carry", counted):
            result = await verified(one)
        assert [difference.path for difference in result.differences] == ["file0123"]
        assert sum(len(message.entries) for message in sent if isinstance(message, Entries)) == 2
        assert sum(len(message.hashes) for message in sent if isinstance(message, TreeParts)) <= 2 * 19 + 8
        assert sum(len(encode(message)) for message in sent) < 5000
        lie(two, b"file0123", mode=0o644)

    with patch.object(verify, "TREE_PART_ROWS", 16), patch.object(verify, "TREE_PARTS_MAX", 8):
        lives(story)


def test_who_lacks_nearly_everything_differs_and_the_answer_is_bounded() -> None:
    async def story(cluster: Cluster) -> None:
        one, two, _ = cluster.nodes
        await written(cluster, **{f"file{number:03}": b"" for number in range(60)})
        with two.index.transaction():
            for record in two.index.below(RelPath(b""), b"", 1000)[:55]:
                two.index.set_placed(msgspec.structs.replace(record, placed=None), record)
        for node, other in ((one, two), (two, one)):
            result = await verified(node)
            assert result.more and len(result.differences) == 20
            assert all(difference.what == ("existence",) for difference in result.differences)
            assert {n.name: n.state for n in result.nodes}[other.node.hex()[:4]] == "differs"

    sizes = {"TREE_PART_ROWS": 4, "TREE_PARTS_MAX": 2, "TREE_DIFFERENCES_MAX": 20}
    with patch.multiple(verify, **sizes), patch.object(tree_hash, "TREE_PART_ROWS_MAX", 8):
        play(1, story)


def test_what_is_under_way_is_said_to_be_still_syncing_and_not_to_differ() -> None:
    async def story(cluster: Cluster) -> None:
        one, two, _ = cluster.nodes
        await written(cluster, file=b"1")
        writing = two.user.open_for_write(b"file", truncate=False)  # keeps what comes from being placed
        one.user.replace_file(b"file", b"another")
        await asyncio.sleep(2.0)
        result = await verified(one)
        named = {node.name: node.state for node in result.nodes}
        assert named[two.node.hex()[:4]] == "syncing" and result.exit_code == 1
        assert [difference.pending for difference in result.differences] == [True]
        writing.close()

    lives(story)


def test_who_is_not_linked_is_unreachable() -> None:
    async def story(cluster: Cluster) -> None:
        one, two, three = cluster.nodes
        await written(cluster, file=b"1")
        cluster.network.partition([frozenset({one.node, two.node}), frozenset({three.node})])
        await asyncio.sleep(1.0)
        result = await verified(one)
        assert {node.name: node.state for node in result.nodes} == {
            two.node.hex()[:4]: "equal",
            three.node.hex()[:4]: "unreachable",
        }
        assert result.exit_code == 4

    lives(story)


def test_with_contents_the_disks_are_proved_and_not_the_indexes_alone() -> None:
    async def story(cluster: Cluster) -> None:
        one, two, _ = cluster.nodes
        await written(cluster, file=b"content")
        rot(two, b"file")
        assert states(await verified(one)) == {"equal"}  # the index cannot know
        result = await verified(one, 5)
        assert result.exit_code == 1
        assert {name: at.damaged for name, at in result.reading.items()}[two.node.hex()[:4]] == 1
        assert all(at.done for at in result.reading.values()) and len(result.reading) == 3
        await until(lambda: not group_of(two).ground.problems.all())
        again = await verified(one, 6)
        assert (again.exit_code, states(again)) == (0, {"equal"})

    lives(story)
