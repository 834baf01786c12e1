"""What happens in a run: how many nodes, how much work, which faults and how often; drawn from a seed, or told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import everynode.core.brake
from everynode.group import announce, brake, keeper, serve, silence
from everynode.limits import BRAKE_WINDOW, PRUNE_INTERVAL, SEEN_STEP
from everynode.model.policy import ConflictPolicy
from tests.sim.loop import chance
from tests.sim.node import Faults
from tests.sim.workload import DEEP, DEPTHS, Weights


@dataclass(frozen=True)
class Plan:
    """What happens in a run, in virtual seconds and rates per second. `drawn` makes one from a seed."""

    nodes: int = 3
    seconds: float = 40.0
    acts: float = 2.0
    crashes: float = 0.02
    stops: float = 0.02
    power_cuts: float = 0.01
    blackouts: float = 0.005
    waits: float = 0.2
    cuts: float = 0.1
    partitions: float = 0.02
    stalls: float = 0.05
    overflows: float = 0.02
    write_backs: float = 0.1
    skew_seconds: float = 3600.0
    absences: float = 0.0
    """Nodes that are away for longer than a restart takes."""
    removals: float = 0.0
    """Members that are removed for good, down to two."""
    restores: float = 0.0
    """Nodes that are brought back to an earlier moment: disk and index, or the index alone."""
    clock_jumps: float = 0.0
    """Clocks that somebody sets, by up to years."""
    conflict: ConflictPolicy = "newest"
    depths: tuple[int, ...] = DEPTHS
    """Of the paths that users think of."""
    brake_window: float = BRAKE_WINDOW
    """While removals are young they are not forgotten."""
    fills: float = 0.0
    """Disks get full, and stay so for a while."""
    sickness: float = 0.0
    """Places of a disk can be read or written no more, for a while."""
    call_faults: Faults = field(default_factory=lambda: Faults(crash=0.0002, act=0.003))
    tick_ns: int = 0
    forget_seconds: float = 60.0
    """How often deletions that everybody knows are forgotten."""
    evict_seconds: float = 30 * 86_400.0
    """For how long they are kept for who is away."""
    batch_records: int = 1024
    """How many records a batch or a part of a run holds at most."""
    weights: Weights = field(default_factory=Weights)

    @staticmethod
    def drawn(seed: int) -> Plan:
        rng = chance(seed, "plan")
        calm = rng.random() < 0.2
        plan = Plan(
            nodes=rng.choice((2, 2, 3, 3, 3, 4, 5, 6)),
            seconds=rng.choice((10.0, 20.0, 40.0)),
            acts=rng.choice((1.0, 4.0, 10.0)),
            crashes=0.0 if calm else rng.choice((0.0, 0.02, 0.1)),
            stops=rng.choice((0.0, 0.05)),
            power_cuts=0.0 if calm else rng.choice((0.0, 0.02, 0.05)),
            blackouts=0.0 if calm else rng.choice((0.0, 0.0, 0.02)),
            waits=rng.choice((0.0, 0.2, 1.0)),
            cuts=rng.choice((0.0, 0.1, 0.5)),
            partitions=rng.choice((0.0, 0.05, 0.1)),
            stalls=rng.choice((0.0, 0.1)),
            overflows=rng.choice((0.0, 0.05)),
            call_faults=Faults(
                crash=0.0 if calm else rng.choice((0.0, 0.0002, 0.001)),
                fail=0.0 if calm else rng.choice((0.0, 0.0, 0.0005, 0.005)),
                act=rng.choice((0.0, 0.002, 0.01)),
            ),
            tick_ns=rng.choice((0, 0, 0, 4_000_000)),
            forget_seconds=rng.choice((60.0, 5.0, 0.5)),
            batch_records=rng.choice((1024, 4, 1)),
        )
        plan = plan if calm else replace(plan, **_troubles(chance(seed, "troubles")))
        if plan.depths is DEEP:  # a directory that is renamed is many changes, and users act during each of them
            plan = replace(plan, call_faults=replace(plan.call_faults, act=plan.call_faults.act / 10))
        return plan


def _troubles(rng: random.Random) -> dict[str, Any]:
    """What a seed has beside the faults that most have; each by itself, so that none makes another rare."""
    some: dict[str, Any] = {"conflict": rng.choice(("newest", "newest", "newest", "oldest", "largest", "smallest"))}
    if rng.random() < 0.2:  # deletions are forgotten while somebody is away
        some |= {"absences": rng.choice((0.0, 0.1)), "partitions": rng.choice((0.05, 0.2)), "brake_window": 0.5}
        some |= {"evict_seconds": rng.choice((0.5, 3.0)), "forget_seconds": 0.5}
    if rng.random() < 0.2:
        some["clock_jumps"] = rng.choice((0.05, 0.2))
    if rng.random() < 0.2:
        some |= {"depths": DEEP, "weights": Weights(mkdir=5, rename_directory=5)}
    if rng.random() < 0.2:
        some["fills"] = rng.choice((0.05, 0.2))
    if rng.random() < 0.2:
        some["sickness"] = rng.choice((0.05, 0.2))
    if rng.random() < 0.15:
        some["removals"] = 0.05
    if rng.random() < 0.15:
        some["restores"] = 0.1
    return some


@contextmanager
def limits_of(plan: Plan) -> Iterator[None]:
    """Bounds that small trees in short lives would never reach."""
    with (
        patch.object(keeper, "FORGET_INTERVAL", plan.forget_seconds),
        patch.object(keeper, "PRUNE_INTERVAL", 5.0 if plan.fills else PRUNE_INTERVAL),
        patch.object(brake, "BRAKE_WINDOW", plan.brake_window),
        patch.object(everynode.core.brake, "BRAKE_WINDOW", plan.brake_window),
        patch.object(silence, "SEEN_STEP", min(SEEN_STEP, plan.evict_seconds / 2)),
        patch.object(serve, "BATCH_RECORDS", plan.batch_records),
        patch.object(announce, "BATCH_RECORDS", plan.batch_records),
    ):
        yield
