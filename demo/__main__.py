"""`python -m demo`: three daemons, a real tree, changes, an absence, a conflict; then yours to play with."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab.namespaces import LabError
from lab.node import Node, everynode_program, link_nodes
from lab.trees import compare, outline, wait_until

NAMES = ("anna", "berta", "carla")
GROUP = "library"
TIMEOUT = 120.0
POLL = 0.0005

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


class NotShown(Exception):
    """Something that the demonstration promised did not happen."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--once", action="store_true", help="end by itself; exit status 0 when the three trees are equal"
    )
    once = parser.parse_args().once
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="everynode-demo-"))
    nodes = [Node(name, folder / name / "home", folder / name / "tree", "127.0.0.1") for name in NAMES]
    for node in nodes:
        node.home.mkdir(parents=True)
        node.root.mkdir()
        node.port = _free_port()
    try:
        equal = _show(nodes)
        if not once:
            _play(nodes)
        return 0 if equal else 1
    except (LabError, NotShown) as error:
        print(f"\nThis did not work: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0 if not once else 130
    finally:
        for node in nodes:
            node.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _show(nodes: list[Node]) -> bool:
    """The whole story; True when the three trees are equal at its end."""
    anna, berta, carla = nodes
    _title("Three nodes, each with its own key, home and folder, linked by TLS on this machine")
    link_nodes(nodes)
    _say(f"{', '.join(NAMES)} are running. Two of them joined with a one-time token from {anna.name}.")
    _first_copy(nodes)
    _changes(nodes)
    _absence(anna, berta, carla)
    _conflict(nodes)
    _title("Compared from outside: types, contents, modes, owners, times, link targets")
    found = wait_until(lambda: not compare([node.root for node in nodes]), timeout=30, every=0.5)
    if not found:
        for line in compare([node.root for node in nodes]):
            _say(f"differs: {line}")
        return False
    _say(f"all three trees are equal: {len(outline(anna.root)):,} paths each.")
    return True


def _first_copy(nodes: list[Node]) -> None:
    anna = nodes[0]
    _title("A real tree: Python's own standard library")
    source = sysconfig.get_path("stdlib")
    ignored = shutil.ignore_patterns("__pycache__", "site-packages", "dist-packages")
    shutil.copytree(source, anna.root, symlinks=True, ignore=ignored, dirs_exist_ok=True)
    entries = outline(anna.root)
    megabytes = sum(size for _, size in entries.values()) / 1e6
    _say(f"{anna.name} has {len(entries):,} files and directories, {megabytes:.0f} MB. The others have nothing yet.")
    began = time.perf_counter()
    anna.add_group(GROUP)
    for node in nodes[1:]:
        _wait(_has_outline(node, entries), f"the tree to arrive at {node.name}", every=0.05)
        _say(f"arrived at {node.name}", seconds=time.perf_counter() - began)


def _changes(nodes: list[Node]) -> None:
    anna, berta, carla = nodes
    _title("Whoever changes it leads, the rest follow")
    anna.cli("wait", "--timeout", "60", timeout=90)

    def written(node: Node) -> None:
        (node.root / "hello.txt").write_text(f"written on {node.name}\n")

    def has(text: str) -> Callable[[Node], bool]:
        return lambda node: _text(node.root / "hello.txt") == text

    for node in nodes:
        _timed(nodes, node, f"{node.name} writes hello.txt", written, has(f"written on {node.name}\n"))
    _timed(
        nodes,
        berta,
        f"{berta.name} renames the directory json to jason",
        lambda node: os.rename(node.root / "json", node.root / "jason"),
        lambda node: (node.root / "jason/decoder.py").exists() and not (node.root / "json").exists(),
    )
    _timed(
        nodes,
        carla,
        f"{carla.name} deletes the directory email",
        lambda node: shutil.rmtree(node.root / "email"),
        lambda node: not (node.root / "email").exists(),
    )
    _timed(
        nodes,
        anna,
        f"{anna.name} makes hello.txt read-only",
        lambda node: (node.root / "hello.txt").chmod(0o444),
        lambda node: (node.root / "hello.txt").stat().st_mode & 0o777 == 0o444,
    )


def _absence(anna: Node, berta: Node, carla: Node) -> None:
    _title(f"{carla.name} goes away and comes back")
    carla.stop()
    for number in range(500):
        writer = (anna, berta)[number % 2]
        (writer.root / f"while-away-{number:03}.txt").write_text(f"{number}\n")
    (anna.root / "this.py").unlink()
    _say(f"{carla.name} is stopped; {anna.name} and {berta.name} write 500 files and delete one.")
    wanted = {os.fsencode(f"while-away-{number:03}.txt") for number in range(500)}
    _wait(lambda: wanted <= outline(berta.root).keys() & outline(anna.root).keys(), "the 500 files at both")
    began = time.perf_counter()
    carla.start()
    _wait(lambda: outline(carla.root) == outline(anna.root), f"{carla.name} to catch up", every=0.02)
    _say(f"{carla.name} is back and has caught up (start of the daemon included)", seconds=time.perf_counter() - began)


def _conflict(nodes: list[Node]) -> None:
    anna, berta, carla = nodes
    _title("Two people change the same file at once")
    path = "antigravity.py"
    # Both really do not know of each other: one daemon is frozen while the two versions are written.
    berta.pause()
    try:
        (anna.root / path).write_text("Anna's version\n")
        _wait(lambda: _text(carla.root / path) == "Anna's version\n", f"Anna's version at {carla.name}")
        (berta.root / path).write_text("Berta's version\n")
    finally:
        berta.resume()
    _say(f"{anna.name} and {berta.name} both wrote {path} while {berta.name} was frozen.")
    _wait(lambda: all(path in node.ask("conflicts").stdout for node in nodes), "the conflict at all nodes", every=0.2)
    for node in nodes:
        node.ask("wait", "--timeout", "60", timeout=90)
    _wait(lambda: len({_text(node.root / path) for node in nodes}) == 1, "the same winner everywhere", every=0.02)
    shown = _text(carla.root / path).strip()
    _say(f"Every node shows the same one ({shown}); the other is kept. {carla.name} says:")
    for line in carla.ask("conflicts", "show", str(carla.root / path)).stdout.splitlines():
        _say(f"    {line}")


def _play(nodes: list[Node]) -> None:
    """Keep running until the person has seen enough."""
    anna, berta, _ = nodes
    _title("Yours to play with")
    print("  Three folders, always alike:")
    for node in nodes:
        print(f"  {node.root}")
    program = everynode_program()
    print("\nTry, in another terminal:")
    print(f"  echo hello > {anna.root}/hello.new; cat {berta.root}/hello.new")
    for what in ("status", "log -f", "conflicts", "members"):
        print(f"  {program} --home {berta.home} {what}")
    print("\nCtrl-C ends the demonstration and removes all of it.", flush=True)
    while all(node.alive() for node in nodes):
        time.sleep(0.5)
    dead = [node for node in nodes if not node.alive()]
    print(f"{', '.join(node.name for node in dead)} ended. Its last words:")
    for node in dead:
        print(node.last_words())


def _timed(
    nodes: list[Node], where: Node, what: str, change: Callable[[Node], None], arrived: Callable[[Node], bool]
) -> None:
    """Make a change on one node and say when each other had it."""
    change(where)
    began = time.perf_counter()
    waiting = [node for node in nodes if node is not where]
    taken = {}
    while waiting:
        for node in list(waiting):
            if arrived(node):
                taken[node.name] = time.perf_counter() - began
                waiting.remove(node)
        if time.perf_counter() - began > TIMEOUT:
            raise NotShown(f"{what}: did not arrive at {waiting[0].name} within {TIMEOUT:.0f} s")
        time.sleep(POLL)
    print(
        f"  {what:<45}" + "  ".join(f"{name} {_bold(_duration(took)):>8}" for name, took in taken.items()), flush=True
    )


def _wait(condition: Callable[[], bool], what: str, *, every: float = POLL) -> None:
    if not wait_until(condition, timeout=TIMEOUT, every=every):
        raise NotShown(f"waited {TIMEOUT:.0f} s in vain for {what}")


def _has_outline(node: Node, entries: dict[bytes, tuple[int, int]]) -> Callable[[], bool]:
    return lambda: outline(node.root) == entries


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _free_port() -> int:
    """A port that nobody listens on. Another program could take it before the daemon does; then the demo says so."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _title(text: str) -> None:
    print(f"\n{_bold(text)}", flush=True)


def _say(text: str, *, seconds: float | None = None) -> None:
    print(f"  {text}" + (f": {_bold(_duration(seconds))}" if seconds is not None else ""), flush=True)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if COLOUR else text


if __name__ == "__main__":
    sys.exit(main())
