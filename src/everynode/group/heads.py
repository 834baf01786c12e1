"""Heads: tell peers what this node has heard and placed, and answer `wait` from what they tell."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from everynode.core.vectors import covers, dominates, missing_count
from everynode.errors import LinkError
from everynode.group.ground import Ground
from everynode.limits import EXCEPTIONS_MAX, HEADS_DELAY_MS, HOLDS_MAX
from everynode.model.hold import Held
from everynode.model.ids import Dot, NodeId, Sequence, node_of
from everynode.model.message import Heads
from everynode.model.path import RelPath
from everynode.model.record import Vector


@dataclass(frozen=True, slots=True)
class Reached:
    """Which nodes have a set of changes on stable storage."""

    nodes: frozenset[NodeId]
    missing: frozenset[NodeId]


def _newer(heads: Heads, before: Heads) -> bool:
    """Whether `heads` says no less of what is placed; by the same vector there are never more exceptions later."""
    if heads.placed == before.placed and heads.heard == before.heard:
        return set(heads.exceptions) <= set(before.exceptions)
    return dominates(heads.placed, before.placed)


class HeadsKeeper:
    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.stuck: dict[RelPath, tuple[Dot, ...]] = {}
        """Paths that cannot be placed at present, and their dots: exceptions to what is placed."""

    def current(self) -> Heads:
        ground = self._ground
        exceptions = [dot for dots in self.stuck.values() for dot in dots]
        placed = dict(ground.placed)
        own = ground.index.origin
        if own in placed:
            # Captured is not durable: applications rarely sync, the keeper does now and then.
            placed[own] = min(placed[own], Sequence(ground.index.state.synced))
        for origin, sequence in exceptions[EXCEPTIONS_MAX:]:
            # Too many to name: then the vector itself must not cover them.
            if placed.get(origin, 0) >= sequence:
                placed[origin] = type(sequence)(sequence - 1)
        for origin, first in ground.withheld.items():
            if placed.get(origin, 0) >= first:
                placed[origin] = Sequence(first - 1)
        unplaced = ground.index.state.counters.unplaced
        return Heads(
            ground.setup.group,
            ground.index.heard,
            {origin: sequence for origin, sequence in placed.items() if sequence},
            tuple(exceptions[:EXCEPTIONS_MAX]),
            unplaced,
            ground.index.state.may_change,
            tuple(Held(hold.span, hold.files) for hold in ground.holds[:HOLDS_MAX]),
        )

    def heard(self, peer: NodeId, heads: Heads) -> None:
        before = self._ground.heads.get(peer)
        if before is not None and not dominates(heads.heard, before.heard):
            return  # older than what it said last
        if before is not None and not _newer(heads, before):
            # What was placed stays placed: a daemon that starts again, or a late message, takes nothing back.
            heads = msgspec.structs.replace(heads, placed=before.placed, exceptions=before.exceptions)
        self._ground.heads[peer] = heads
        self._ground.progressed()

    async def run(self) -> None:
        """Announce knowledge a moment after it changed, once for many changes."""
        ground = self._ground
        while True:
            await ground.news.wait()
            await ground.clock.sleep(HEADS_DELAY_MS / 1000)
            ground.news.clear()
            heads = self.current()
            for peer in ground.links.peers():
                try:
                    await ground.links.send(peer, heads)
                except LinkError:
                    continue

    def behind(self, peer: NodeId) -> int | None:
        """Changes known here that a peer has not placed; None: it never told."""
        heads = self._ground.heads.get(peer)
        if heads is None:
            return None
        # What it wrote itself stands there, whether it has been synced or not.
        known = {o: s for o, s in self._ground.index.heard.items() if node_of(o) != peer}
        return missing_count(heads.placed, known) + len(heads.exceptions)

    def reached(self, dots: set[Dot] | Vector) -> Reached:
        """Which members have all of `dots` (a vector: all that it covers) placed, as far as they have told."""
        ground = self._ground
        members = ground.setup.members()
        told = {**ground.heads, ground.setup.node: self.current()}
        have = frozenset(peer for peer in members if peer in told and _has_placed(told[peer], dots))
        return Reached(have, members - have)


def _has_placed(heads: Heads, dots: set[Dot] | Vector) -> bool:
    if isinstance(dots, dict):
        return dominates(heads.placed, dots) and not any(covers(dots, dot) for dot in heads.exceptions)
    return all(covers(heads.placed, dot) for dot in dots) and dots.isdisjoint(heads.exceptions)
