"""Keeper: what pruning may take, and whom forgetting waits for."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import cast

from everynode.group.ground import Ground
from everynode.group.life import Group
from everynode.group.tidy import tidy
from everynode.index.vault_catalogue import BEING_WRITTEN, Kept
from everynode.model.ids import Sequence
from everynode.model.message import Heads
from everynode.model.path import RelPath
from everynode.model.policy import GroupPolicy, VaultPolicy
from everynode.model.record import Vector
from everynode.tree.root import Root
from tests.unit.core.samples import NODE_B, NODE_C, A, B, dead, file, live, placed, record, version
from tests.unit.group.fakes import GROUP, Clock, FakeLinks, new_setup, put

DAY = 86_400.0


def group_with(root: Root | None, policy: GroupPolicy, *linked: bytes) -> Group:
    group = Group(dataclasses.replace(new_setup(root=root), policy=policy))
    group.ground.links = FakeLinks(*linked)  # type: ignore[arg-type]
    return group


def heads(heard: Vector) -> Heads:
    return Heads(GROUP, heard, {})


def test_the_loser_of_a_conflict_is_kept_whatever_the_bounds_say(root: Root, tree: Path) -> None:
    """Its only copy may be an old generation of another path."""
    group = group_with(root, GroupPolicy(vault=VaultPolicy(generations=0, age_days=0, bytes=0)))
    index = group.ground.index
    winner, loser = file(b"winner"), file(b"loser")
    of = version(live(A, 1, winner), live(B, 1, loser))
    put(index, record(of, placed(of), path=b"p"))
    vault = tree / ".everynode/vault"
    for name, path, entry, content in (
        (b"n-loser", b"elsewhere", loser, b"loser"),
        (b"n-old", b"p", file(b"old"), b"old"),
    ):
        (vault / name.decode()).write_bytes(content)
        with index.transaction():
            index.vault.add(Kept(name, RelPath(path), entry, 1, "replaced"))
    asyncio.run(group._keeper.prune())
    assert [path.name for path in vault.iterdir()] == ["n-loser"]
    assert [kept.name for kept in index.vault.all()] == [b"n-loser"]


def test_what_somebody_is_writing_is_kept_whatever_the_bounds_say(root: Root, tree: Path) -> None:
    """It is no version yet: when he closes it, it becomes a change to its path."""
    group = group_with(root, GroupPolicy(vault=VaultPolicy(generations=0, age_days=0, bytes=0)))
    index = group.ground.index
    vault = tree / ".everynode/vault"
    for name, why in ((b"n-open", BEING_WRITTEN), (b"n-old", "replaced")):
        (vault / name.decode()).write_bytes(b"old")
        with index.transaction():
            index.vault.add(Kept(name, RelPath(b"p"), file(b"old"), 1, why))
    asyncio.run(group._keeper.prune())
    assert [path.name for path in vault.iterdir()] == ["n-open"]


def deleted(group: Group) -> Ground:
    """A deletion of ours that B has heard, and C has not."""
    ground = group.ground
    of = version(dead(A, 2))
    put(ground.index, record(of, placed(of, None), path=b"p"))
    with ground.index.transaction():
        ground.index.claim_one(A, Sequence(2))
    ground.heads = {NODE_B: heads({A: Sequence(2)}), NODE_C: heads({A: Sequence(1)})}
    return ground


def test_a_deletion_is_kept_for_a_member_that_was_linked_lately() -> None:
    group = group_with(None, GroupPolicy(evict_days=30), NODE_B)
    ground = deleted(group)
    clock = cast(Clock, ground.clock)

    async def story() -> None:
        assert await group._keeper.forget() == 0
        clock.now += 29 * DAY
        assert await group._keeper.forget() == 0
        assert group._keeper.silence.evicted == frozenset()

    asyncio.run(story())
    assert ground.index.get(RelPath(b"p")) is not None


def test_who_was_not_linked_for_long_is_waited_for_no_longer() -> None:
    group = group_with(None, GroupPolicy(evict_days=30), NODE_B)
    ground = deleted(group)
    clock = cast(Clock, ground.clock)

    async def story() -> None:
        assert await group._keeper.forget() == 0
        clock.now += 31 * DAY
        assert await group._keeper.forget() == 1
        assert group._keeper.silence.evicted == {NODE_C}, "B is linked all the time"

    asyncio.run(story())
    assert ground.index.get(RelPath(b"p")) is None
    assert ground.index.state.forgotten == {A: 2}


def test_never_means_never() -> None:
    group = group_with(None, GroupPolicy(evict_days=0), NODE_B)
    ground = deleted(group)

    async def story() -> None:
        await group._keeper.forget()
        cast(Clock, ground.clock).now += 10_000 * DAY
        assert await group._keeper.forget() == 0

    asyncio.run(story())


def test_how_long_a_member_is_away_is_counted_over_restarts() -> None:
    group = group_with(None, GroupPolicy(evict_days=30), NODE_B)
    ground = deleted(group)
    asyncio.run(group._keeper.forget())
    again = Group(dataclasses.replace(ground.setup, policy=GroupPolicy(evict_days=30)))
    again.ground.links = FakeLinks(NODE_B)
    again.ground.heads = ground.heads
    cast(Clock, ground.clock).now += 31 * DAY
    assert asyncio.run(again._keeper.forget()) == 1


def test_what_a_crash_left_in_the_vault_goes_only_where_the_vault_has_the_same_once_more(
    root: Root, tree: Path
) -> None:
    group = group_with(root, GroupPolicy())
    index = group.ground.index
    moved, twice = file(b"moved"), file(b"twice")
    put(index, record(version(live(B, 1, moved)), None, path=b"new"))
    put(index, record(version(live(B, 2, twice)), None, path=b"p"))
    vault = tree / ".everynode/vault"
    for name, content in (("n-1-1", b"moved"), ("n-1-2", b"twice"), ("n-1-3", b"twice"), ("n-1-4", b"torn")):
        (vault / name).write_bytes(content)
    with index.transaction():
        index.vault.add(Kept(b"n-1-3", RelPath(b"p"), twice, 1, "replaced"))
        index.vault.add(Kept(b"n-1-0", RelPath(b"new"), moved, 1, "replaced"))  # a power cut took it
    asyncio.run(tidy(group.ground))
    assert sorted(path.name for path in vault.iterdir()) == ["n-1-1", "n-1-3", "n-1-4"]
    kept = {kept.name: (kept.path, kept.why) for kept in index.vault.all()}
    assert kept[b"n-1-1"] == (b"new", "found") and kept[b"n-1-4"] == (b"", "found")


def test_a_directory_that_a_crash_left_in_the_vault_is_removed_unless_it_holds_something(
    root: Root, tree: Path
) -> None:
    group = group_with(root, GroupPolicy())
    vault = tree / ".everynode/vault"
    (vault / "n-1-1").mkdir()
    (vault / "n-1-2").mkdir()
    (vault / "n-1-2" / "work").write_bytes(b"of a user")
    asyncio.run(tidy(group.ground))
    assert [path.name for path in vault.iterdir()] == ["n-1-2"]
    assert (vault / "n-1-2" / "work").read_bytes() == b"of a user"
