"""`torture`: daemons of its own on this machine, written to, killed and frozen; then their trees must be equal."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from everynode.cli.session import EXIT_FAILED, Session, common_options, pass_session

if TYPE_CHECKING:
    from everynode.cli.torture_nodes import Daemon
    from everynode.cli.torture_work import Writer

# All writers together; what a node follows beside daemons that start all the time, on a small machine.
CHANGES_PER_SECOND = 120
BURST_FILES = 2000
BURST_SECONDS = 20.0
# From one kill or freeze to the next, drawn between these; frozen for longer than links live without a sign.
TROUBLE_SECONDS = (0.5, 4.0)
FROZEN_SECONDS = (0.2, 9.0)
DOWN_SECONDS = (0.0, 3.0)
PROGRESS_SECONDS = 10.0
# After the last change: what the longest pauses between tries and a scan take, and a second more per this many changes.
SYNC_SECONDS = 120.0
CHANGES_PER_SYNC_SECOND = 200


@dataclass
class Outcome:
    """What came of it. Equal: `differences` is empty."""

    seed: int
    nodes: int
    seconds: float
    changes: int = 0
    kills: int = 0
    freezes: int = 0
    paths: int = 0
    sync_seconds: float = 0.0
    differences: tuple[str, ...] = ()
    kept: str = ""
    """Where the trees were left to be looked at."""


@click.command(name="torture", epilog="Example: everynode torture --minutes 5 --nodes 3")
@click.option("--minutes", type=click.FloatRange(0.05, 1440), default=1.0, show_default=True, help="How long.")
@click.option("--nodes", type=click.IntRange(2, 20), default=3, show_default=True, help="How many daemons.")
@click.option("--folder", type=click.Path(file_okay=False), default=None, help="Where; without: the temporary folder.")
@click.option("--seed", type=click.IntRange(min=0), default=None, help="Of chance; without: another one each time.")
@common_options
@pass_session
def torture(session: Session, minutes: float, nodes: int, folder: str | None, seed: int | None) -> int:
    """Torture a cluster of its own on this machine, and say whether all its trees are equal afterwards.

    It starts daemons with homes, keys and loopback ports of their own. Somebody writes on each node, now and then in
    bursts, while daemons are killed (SIGKILL) and frozen (SIGSTOP) again and again. Then the writing ends, all must get
    in sync, and the trees are compared from outside: lstat and SHA-256 of every path.

    The nodes of this machine have no part in it; root is not needed. Nothing is left behind but, with --folder, trees
    that differ. Exit code 0: equal; 1: not.
    """
    from everynode.cli.torture_nodes import TortureFailed

    seed = random.SystemRandom().getrandbits(32) if seed is None else seed
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="everynode-torture-", dir=folder))
    outcome = Outcome(seed, nodes, minutes * 60)
    try:
        try:
            _torture(session, place, outcome)
        except TortureFailed as error:
            outcome.differences = (str(error),)
        if outcome.differences and folder is not None:
            outcome.kept = str(place)
    finally:
        if not outcome.kept:
            shutil.rmtree(place, ignore_errors=True)
    return _say(session, outcome)


def _torture(session: Session, place: Path, outcome: Outcome) -> None:
    from everynode.cli.torture_nodes import kill_all, make_cluster
    from everynode.cli.torture_work import Writer

    session.say(f"{outcome.nodes} nodes in {place}, seed {outcome.seed}")
    nodes = make_cluster(place, outcome.nodes)
    rate = CHANGES_PER_SECOND / len(nodes)
    writers = [Writer(node.root, node.name, outcome.seed, rate, BURST_FILES, BURST_SECONDS) for node in nodes]
    over = threading.Event()
    threads = [threading.Thread(target=writer.work, args=(over.wait,), daemon=True) for writer in writers]
    try:
        for thread in threads:
            thread.start()
        _trouble(session, nodes, writers, outcome)
        over.set()
        for thread in threads:
            thread.join()
        _end_equal(session, nodes, outcome)
    finally:
        over.set()
        kill_all(nodes)
        for thread in threads:
            thread.join()


def _trouble(session: Session, nodes: list[Daemon], writers: list[Writer], outcome: Outcome) -> None:
    """Kills and freezes for the time; all run in the end."""
    dice = random.Random(outcome.seed)
    began = told = time.monotonic()
    wake: dict[str, float] = {}
    """Frozen and killed ones, and when they go on."""
    next_trouble = began + dice.uniform(*TROUBLE_SECONDS)
    while (now := time.monotonic()) < began + outcome.seconds:
        for node in nodes:
            if node.name in wake and now >= wake[node.name]:
                del wake[node.name]
                _wake(node)
            node.check_alive()
        if now >= next_trouble:
            next_trouble = now + dice.uniform(*TROUBLE_SECONDS)
            node = dice.choice(nodes)
            if node.name not in wake:
                if dice.random() < 0.5:
                    node.kill()
                    outcome.kills += 1
                    wake[node.name] = now + dice.uniform(*DOWN_SECONDS)
                else:
                    node.freeze()
                    outcome.freezes += 1
                    wake[node.name] = now + dice.uniform(*FROZEN_SECONDS)
        outcome.changes = sum(writer.changes for writer in writers)
        if now - told >= PROGRESS_SECONDS:
            told = now
            session.say(
                f"{now - began:4.0f} s: {outcome.changes:,} changes, {outcome.kills} kills, {outcome.freezes} freezes"
            )
        time.sleep(0.05)
    for node in nodes:
        if node.name in wake:
            _wake(node)


def _wake(node: Daemon) -> None:
    if node.process is None:
        node.start()
    node.thaw()


def _end_equal(session: Session, nodes: list[Daemon], outcome: Outcome) -> None:
    """Nobody writes any more: wait until the trees are equal, and stay so while nothing is on its way."""
    from everynode.cli.torture_trees import differences, read_tree

    session.say("nobody writes any more; waiting until all are in sync")
    began = time.monotonic()
    deadline = began + SYNC_SECONDS + outcome.changes / CHANGES_PER_SYNC_SECOND
    while True:
        for node in nodes:
            node.check_alive()
        synced = all(_in_sync(node) for node in nodes)
        trees = {node.name: read_tree(str(node.root)) for node in nodes}
        found = differences(trees)
        outcome.paths = len(trees[nodes[0].name])
        outcome.sync_seconds = time.monotonic() - began
        if synced and not found:
            return
        if time.monotonic() >= deadline:
            outcome.differences = tuple(found) or ("all trees are equal, but some node says that it is not in sync",)
            return
        time.sleep(0.5)


def _in_sync(node: Daemon) -> bool:
    answer = node.client.post("/v1/wait", {"path": None, "group": None, "nodes": "all", "timeout": 5.0})
    return bool(answer["done"])


def _say(session: Session, outcome: Outcome) -> int:
    import msgspec

    equal = not outcome.differences
    done = (
        f"{outcome.changes:,} changes, {outcome.kills} kills, {outcome.freezes} freezes in {outcome.seconds:.0f} s, "
        f"seed {outcome.seed}"
    )
    if equal:
        text = f"equal: {outcome.nodes} trees of {outcome.paths:,} paths, {outcome.sync_seconds:.1f} s after the last "
        text += f"change ({done})"
    else:
        head = f"NOT equal, {outcome.sync_seconds:.0f} s after the last change ({done}):"
        kept = [f"the trees are kept in {outcome.kept}"] if outcome.kept else []
        text = "\n  ".join([head, *outcome.differences, *kept])
    session.result({"equal": equal, **msgspec.to_builtins(outcome)}, text)
    return 0 if equal else EXIT_FAILED
