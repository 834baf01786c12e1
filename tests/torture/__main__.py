"""The long run for developers: `python -m tests.torture --minutes 30 --nodes 5`, in network namespaces, as root.

Somebody works on each node, 1,000 changes a second in all, with bursts of 50,000 small files; meanwhile links are cut
(nftables), daemons are killed and frozen. In the end: equal trees (lstat and SHA-256), flat memory of the daemon that
is never killed, bounded index, vault and log. Prints a report; exit status 0 when all of it holds.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit

from lab.namespaces import LabError, Network, why_not_possible
from lab.node import Node, link_nodes
from lab.trees import compare, wait_until
from tests.torture.load import Load
from tests.torture.measure import Memory, measure, problems, tree_paths

GROUP = "tree"
VAULT_BYTES = 256 << 20
TROUBLE_SECONDS = (1.0, 8.0)
CUT_SECONDS = (0.5, 20.0)
FROZEN_SECONDS = (0.2, 10.0)
DOWN_SECONDS = (0.0, 5.0)
SAMPLE_SECONDS = 5.0
PROGRESS_SECONDS = 30.0
# What is still on its way when the writing ends takes its time: of the run itself, and a fixed part.
SYNC_SECONDS = 300.0


@dataclass
class Counts:
    kills: int = 0
    freezes: int = 0
    cuts: int = 0
    paths_most: int = 0
    sync_seconds: float = 0.0
    lines: list[str] = field(default_factory=list)
    """What is wrong."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1000.0, help="changes a second, of all writers together")
    parser.add_argument("--burst", type=int, default=50_000, help="small files in a burst")
    parser.add_argument("--burst-every", type=float, default=120.0, help="seconds from one burst to the next")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="where; without: the temporary folder")
    options = parser.parse_args()
    if reason := why_not_possible():
        print(f"not possible here: {reason}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="en-torture-", dir=options.folder))
    network = Network(options.nodes)
    nodes = [_node(network, folder, number) for number in range(options.nodes)]
    load = Load([node.root for node in nodes], seed, options.rate, options.burst, options.burst_every)
    counts = Counts()
    try:
        _say(f"{options.nodes} nodes for {options.minutes:g} minutes, seed {seed}")
        _make_cluster(nodes)
        load.start()
        memory = _trouble(network, nodes, load, counts, options.minutes * 60, seed)
        load.stop()
        _wait_equal(nodes, counts, options.minutes * 60)
        return _report(nodes, load, memory, counts, options.minutes)
    except (LabError, AssertionError) as error:
        _say(f"FAILED: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted: this says nothing")
        return 130
    finally:
        load.stop()
        for node in nodes:
            node.kill()
        network.close()
        shutil.rmtree(folder, ignore_errors=True)


def _node(network: Network, folder: Path, number: int) -> Node:
    name = f"n{number}"
    home, root = folder / name / "home", folder / name / "root"
    home.mkdir(parents=True, mode=0o700)
    root.mkdir()
    return Node(name, home, root, network.address(number), enter=network.hosts[number].enter)


def _make_cluster(nodes: list[Node]) -> None:
    link_nodes(nodes)
    first = nodes[0]
    first.add_group(GROUP)
    settings = tomlkit.parse(first.cli("config", "show"))
    group: Any = settings["groups"][GROUP]
    file = first.home.with_name("cluster.toml")
    # Bursts are taken away again, and that is no accident here; little is kept of old contents.
    group["brake_files"] = 0
    group["vault"]["bytes"] = VAULT_BYTES
    file.write_text(tomlkit.dumps(settings))
    first.cli("config", "apply", str(file))


def _trouble(
    network: Network, nodes: list[Node], load: Load, counts: Counts, seconds: float, seed: int
) -> dict[str, Memory]:
    """Cuts, kills and freezes for the time; in the end all run and hear each other. The first node is never killed."""
    dice = random.Random(seed)
    began = time.monotonic()
    memory = {nodes[0].name: Memory()}
    due: list[tuple[float, str, tuple[int, ...]]] = []
    """What ends when: a cut, a freeze, a time down."""
    next_trouble, next_sample, next_told = began, began, began + PROGRESS_SECONDS
    while (now := time.monotonic()) < began + seconds:
        for entry in [entry for entry in due if entry[0] <= now]:
            due.remove(entry)
            _end(network, nodes, entry[1], entry[2])
        if now >= next_trouble:
            next_trouble = now + dice.uniform(*TROUBLE_SECONDS)
            _begin(network, nodes, counts, dice, due, now)
        if now >= next_sample:
            next_sample = now + SAMPLE_SECONDS
            memory[nodes[0].name].add(now - began, nodes[0].resident_bytes())
        if now >= next_told:
            next_told = now + PROGRESS_SECONDS
            counts.paths_most = max(counts.paths_most, tree_paths([nodes[0].root]))
            _say(
                f"{now - began:5.0f} s: {load.changes:,} changes, {load.bursts} bursts, {counts.kills} kills, "
                f"{counts.freezes} freezes, {counts.cuts} cuts; {nodes[0].resident_bytes() / 1e6:.0f} MB, "
                f"{counts.paths_most:,} paths at most"
            )
        time.sleep(0.1)
    for _, what, whom in due:
        _end(network, nodes, what, whom)
    network.heal_all()
    return memory


def _begin(
    network: Network,
    nodes: list[Node],
    counts: Counts,
    dice: random.Random,
    due: list[tuple[float, str, tuple[int, ...]]],
    now: float,
) -> None:
    busy = {number for _, what, whom in due if what != "cut" for number in whom}
    what = dice.choice(("kill", "freeze", "cut", "cut"))
    if what == "cut":
        one, other = dice.sample(range(len(nodes)), 2)
        if any(entry[1] == "cut" and set(entry[2]) == {one, other} for entry in due):
            return
        network.cut(one, other)
        counts.cuts += 1
        due.append((now + dice.uniform(*CUT_SECONDS), "cut", (one, other)))
        return
    number = dice.randrange(1, len(nodes))
    if number in busy:
        return
    if what == "kill":
        nodes[number].kill()
        counts.kills += 1
        due.append((now + dice.uniform(*DOWN_SECONDS), "kill", (number,)))
    else:
        nodes[number].pause()
        counts.freezes += 1
        due.append((now + dice.uniform(*FROZEN_SECONDS), "freeze", (number,)))


def _end(network: Network, nodes: list[Node], what: str, whom: tuple[int, ...]) -> None:
    match what:
        case "cut":
            network.heal(*whom)
        case "kill":
            nodes[whom[0]].start()
        case _:
            nodes[whom[0]].resume()


def _wait_equal(nodes: list[Node], counts: Counts, seconds: float) -> None:
    _say("nobody writes any more; waiting until the trees are equal")
    began = time.monotonic()
    deadline = began + SYNC_SECONDS + seconds
    for node in nodes:
        left = max(1.0, deadline - time.monotonic())
        done = node.ask("wait", "--timeout", f"{left:.0f}", timeout=left + 60)
        if done.returncode:
            counts.lines.append(f"{node.name} is not in sync: {(done.stdout + done.stderr).strip()}")
    found = wait_until(lambda: _are_equal(nodes), timeout=60, every=2.0)
    counts.sync_seconds = time.monotonic() - began
    if not found:
        counts.lines += compare([node.root for node in nodes])


def _are_equal(nodes: list[Node]) -> bool:
    try:
        return not compare([node.root for node in nodes])
    except OSError:
        return False  # something there is still changing


def _report(nodes: list[Node], load: Load, memory: dict[str, Memory], counts: Counts, minutes: float) -> int:
    counts.paths_most = max(counts.paths_most, tree_paths([node.root for node in nodes]))
    sizes = {}
    for node in nodes:
        node.stop()
        sizes[node.name] = measure(node)
    for name, samples in memory.items():
        if samples.samples and (problem := samples.problem()):
            counts.lines.append(f"{name}: {problem}")
    for name, size in sizes.items():
        found = problems(size, paths_most=counts.paths_most, vault_policy=VAULT_BYTES, minutes=minutes)
        counts.lines += [f"{name}: {line}" for line in found]
    middle, last = memory[nodes[0].name].thirds()
    most = max(size for _, size in memory[nodes[0].name].samples)
    _say(
        f"{load.changes:,} changes in {minutes:g} minutes ({load.changes / minutes / 60:.0f}/s), {load.bursts} bursts, "
        f"{counts.kills} kills, {counts.freezes} freezes, {counts.cuts} cuts"
    )
    _say(f"in sync and compared {counts.sync_seconds:.0f} s after the last change; {counts.paths_most:,} paths at most")
    _say(
        f"memory of {nodes[0].name}: {middle / 1e6:.0f} MB in the middle third, {last / 1e6:.0f} MB in the last, "
        f"{most / 1e6:.0f} MB at most"
    )
    for name, size in sizes.items():
        _say(
            f"{name}: index {size.index_bytes / 1e6:.1f} MB for {size.records:,} records, vault "
            f"{size.vault_bytes / 1e6:.0f} MB, log {size.log_bytes / 1e3:.0f} kB"
        )
    for line in counts.lines:
        _say(f"WRONG: {line}")
    _say("clean" if not counts.lines else f"{len(counts.lines)} wrong")
    return 1 if counts.lines else 0


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
