"""A disk loses what was written: found, never spread, repaired from whoever has it; nobody's work where nobody has."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from unittest.mock import patch

import pytest

from everynode.group import scrub
from everynode.group.life import Group
from everynode.model.path import RelPath
from everynode.model.problem import Problem, Trouble
from everynode.tree.digest import digest_bytes
from tests.sim.cluster import Cluster
from tests.sim.node import ROOT_PATH, SimNode
from tests.sim.test_rules import play
from tests.sim.user import find

SEEDS = range(4)
NUMBERS = itertools.count(1)
LARGE = b"0123456789" * 50_000
"""Does not come inline, and has more blocks than one."""


def group_of(node: SimNode) -> Group:
    assert node.life is not None and isinstance(node.life.group, Group)
    return node.life.group


def problems_of(node: SimNode) -> list[Problem]:
    """None while it starts."""
    return group_of(node).ground.problems.all() if node.life is not None and node.life.group is not None else []


def rot(node: SimNode, path: bytes, offset: int = 0) -> bytes:
    """What the disk shows from now on."""
    inode = find(node.disk, ROOT_PATH + b"/" + path)
    assert inode is not None
    node.disk.rot(inode, offset)
    return bytes(inode.data)


async def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.1)


def shows(node: SimNode, path: bytes, content: bytes) -> bool:
    inode = find(node.disk, ROOT_PATH + b"/" + path)
    return inode is not None and inode.data == content


async def passed(node: SimNode) -> int:
    """Everything is read again; how many are found damaged."""
    one = group_of(node)._scrubber.want_pass(next(NUMBERS))
    await until(lambda: one.done)
    return one.damaged


async def written(cluster: Cluster, **files: bytes) -> None:
    for name, content in files.items():
        cluster.nodes[0].user.write_file(name.encode(), content)
    for node in cluster.nodes:
        await until(lambda node=node: all(shows(node, n.encode(), c) for n, c in files.items()))
    await asyncio.sleep(1.0)
    for node in cluster.nodes:
        await passed(node)  # what was captured in the tick of its writing is read once more


def knowledge(cluster: Cluster) -> list[dict[bytes, int]]:
    return [dict(node.index.knowledge) for node in cluster.nodes]


def in_vault(node: SimNode, content: bytes) -> bool:
    return bool(node.index.vault.of_digest(digest_bytes(content)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("damaged_at", [0, 1])
def test_damage_is_found_told_kept_and_repaired_from_a_peer_and_makes_no_change(seed: int, damaged_at: int) -> None:
    async def story(cluster: Cluster) -> None:
        await written(cluster, small=b"small content", large=LARGE)
        before = knowledge(cluster)
        node = cluster.nodes[damaged_at]
        bad = {b"small": rot(node, b"small", 3), b"large": rot(node, b"large", 300_000)}
        assert await passed(node) == 2
        assert {p.path for p in problems_of(node) if p.trouble is Trouble.DAMAGED} <= set(bad)
        await until(lambda: shows(node, b"small", b"small content") and shows(node, b"large", LARGE))
        await until(lambda: not problems_of(node))
        assert all(in_vault(node, content) for content in bad.values())
        assert knowledge(cluster) == before
        told = [event.what.value for event in group_of(node).ground.setup.journal.since(0) if event.path == "small"]
        assert told[-3:] == ["problem", "placed", "solved"]

    assert play(seed, story) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_look_at_a_damaged_file_spreads_nothing_either_and_leads_to_its_repair(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        await written(cluster, small=b"small content")
        node = cluster.nodes[1]
        before = knowledge(cluster)
        rot(node, b"small")
        group_of(node).capture.look_soon(RelPath(b"small"), forced=True)
        await until(lambda: shows(node, b"small", b"small content"))
        assert knowledge(cluster) == before
        assert not cluster.nodes[0].index.vault.of_path(RelPath(b"small"))

    assert play(seed, story) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_what_nobody_else_has_stays_a_problem_that_names_it_and_is_never_announced(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        node = cluster.nodes[0]
        await written(cluster, only=LARGE)  # a small one may still be in somebody's memory
        before = knowledge(cluster)
        for each in cluster.nodes:
            rot(each, b"only")
        await asyncio.gather(*(passed(each) for each in cluster.nodes))
        await asyncio.sleep(30.0)
        assert knowledge(cluster) == before
        for each in cluster.nodes:
            assert Trouble.DAMAGED in {p.trouble for p in problems_of(each) if p.path == b"only"}
        await cluster.restart(node)
        await until(lambda: Trouble.DAMAGED in {p.trouble for p in problems_of(node) if p.path == b"only"})
        await asyncio.sleep(30.0)
        assert knowledge(cluster) == before
        # What was lost is lost, and the oracle says so; what somebody writes there is a content like any other.
        cluster.nodes[1].user.write_file(b"only", b"somebody writes it anew")
        await until(lambda: all(shows(each, b"only", b"somebody writes it anew") for each in cluster.nodes))
        await until(lambda: not any(problems_of(each) for each in cluster.nodes))

    assert all("0123456789" in said for said in play(seed, story))


@pytest.mark.parametrize("seed", SEEDS)
def test_who_changes_the_mode_of_a_damaged_file_does_not_announce_its_damage(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        node = cluster.nodes[0]
        await written(cluster, small=b"small content")
        cluster.network.partition([frozenset({each.node}) for each in cluster.nodes])
        rot(node, b"small")
        await passed(node)
        node.user.chmod(b"small", 0o600)
        await asyncio.sleep(5.0)
        cluster.network.heal()
        await until(lambda: all(shows(each, b"small", b"small content") for each in cluster.nodes))

    assert play(seed, story) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_the_slow_round_finds_it_by_itself(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        await written(cluster, small=b"small content")
        rot(cluster.nodes[2], b"small")
        await until(lambda: shows(cluster.nodes[2], b"small", b"small content"), 200.0)
        assert cluster.nodes[2].index.scrubbed()

    with (
        patch.object(scrub, "FRESHEN_INTERVAL", 1.0),
        patch.object(scrub, "SCRUB_INTERVAL", 5.0),
        patch.object(scrub, "DAY", 2.0),
    ):
        assert play(seed, story) == []
