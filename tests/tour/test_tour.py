"""ARCHITECTURE.md tells the truth: every module's sentence, and the way of one changed file through two real nodes."""

from __future__ import annotations

import ast
import asyncio
import dis
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from everynode.cluster import joining
from everynode.cluster.home import Home
from everynode.cluster.membership import Membership
from everynode.daemon.node import Node
from everynode.kernel.linux import ignore_lease_breaks
from everynode.limits import FETCH_BYTES_MAX

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "src" / "everynode"
MAP = (REPOSITORY / "ARCHITECTURE.md").read_text()

DEADLINE = 20.0
# A heartbeat or a look that ends in another thread may cross a tour; all of these in a row cannot.
TRIES = 8


# -- the map


def sentence_of(module: Path) -> str:
    return (ast.get_docstring(ast.parse(module.read_text())) or "").split("\n")[0]


def test_the_map_has_every_module_with_the_sentence_of_its_docstring() -> None:
    said = dict(re.findall(r"^\| `([\w/]+)` \| (.+) \|$", MAP, re.MULTILINE))
    modules = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    written = {str(path.relative_to(PACKAGE).with_suffix("")): sentence_of(path) for path in modules}
    assert said == written


# -- the tour


def listed(title: str) -> list[str]:
    """The modules of a numbered list below the heading `title`, in order."""
    section = MAP.split(f"\n### {title}\n", 1)[1].split("\n#", 1)[0]
    return re.findall(r"^\d+\. `([\w/]+)`", section, re.MULTILINE)


def resumes(frame: FrameType) -> bool:
    """Whether a coroutine goes on after an await: its caller is entered again first, whoever has the news.

    The argument of the RESUME instruction tells (dis): 0 at the start of a function.
    """
    code = frame.f_code.co_code
    return dis.opname[code[frame.f_lasti]] == "RESUME" and code[frame.f_lasti + 1] != 0


class Trace:
    """In which order modules are first entered, per node: each node has its own threads."""

    def __init__(self) -> None:
        self.tours: dict[str, list[str]] = {}
        self._modules: dict[Any, str] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        with self._lock:
            self.tours = {"author": [], "follower": []}

    def stop(self) -> dict[str, list[str]]:
        with self._lock:
            tours, self.tours = self.tours, {}
            return tours

    def profile(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call" or not self.tours or resumes(frame):
            return
        module = self._module(frame.f_code.co_filename)
        tour = self.tours.get(owner_of.get(threading.get_ident(), ""))
        if module and tour is not None and module not in tour:
            tour.append(module)

    def _module(self, file: str) -> str:
        if file not in self._modules:
            path = Path(file)
            inside = path.is_relative_to(PACKAGE)
            self._modules[file] = str(path.relative_to(PACKAGE).with_suffix("")) if inside else ""
        return self._modules[file]


owner_of: dict[int, str] = {}
"""Thread -> node: a thread belongs to the node whose thread started it."""


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trace]:
    trace = Trace()
    original_start, original_run = threading.Thread.start, threading.Thread.run

    def start(thread: threading.Thread) -> None:
        thread.tour_side = owner_of.get(threading.get_ident(), "")  # type: ignore[attr-defined]
        original_start(thread)

    def run(thread: threading.Thread) -> None:
        owner_of[threading.get_ident()] = getattr(thread, "tour_side", "") or thread.name
        original_run(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(threading.Thread, "run", run)
    threading.setprofile(trace.profile)
    try:
        yield trace
    finally:
        threading.setprofile(None)
        owner_of.clear()


class Side:
    """One node in a thread of its own, with everything that the daemon gives it but the HTTP API."""

    def __init__(self, name: str, home: Home) -> None:
        self.name = name
        self.up: Future[None] = Future()
        self._home = home
        self._thread = threading.Thread(target=self._live, name=name)

    def start(self) -> None:
        self._thread.start()
        self.up.result(DEADLINE)

    def _live(self) -> None:
        async def live() -> None:
            self.node = Node(self._home, Membership.load(self._home))
            self.loop = asyncio.get_running_loop()
            await self.node.listen()
            self.up.set_result(None)
            await self.node.run()

        asyncio.run(live())

    def ask(self, what: Callable[[], Any]) -> Any:
        async def answer() -> Any:
            return what()

        return asyncio.run_coroutine_threadsafe(answer(), self.loop).result(DEADLINE)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.node.stop)
        self._thread.join(DEADLINE)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def sides(tmp_path: Path, trace: Trace) -> Iterator[tuple[Side, Side]]:
    ignore_lease_breaks()
    first, second = (f"127.0.0.1:{free_port()}" for _ in range(2))
    homes = Home(tmp_path / "author.home"), Home(tmp_path / "follower.home")
    author = Membership.create(homes[0], "author", (first,), (first,))
    author.group_add("www", str(tmp_path / "author"))
    prepared = joining.prepare_join(homes[1], author.invite(), "follower", (second,), (second,))
    follower = joining.finish_join(prepared, author.redeem(prepared.request))
    follower.set_root("www", str(tmp_path / "follower"))
    both = Side("author", homes[0]), Side("follower", homes[1])
    started: list[Side] = []
    try:
        for side in both:
            side.start()
            started.append(side)
        yield both
    finally:
        for side in started:
            side.stop()


def wait_until(true: Callable[[], bool], words: str) -> None:
    pause = threading.Event()
    for _ in range(int(DEADLINE / 0.02)):
        if true():
            return
        pause.wait(0.02)
    raise AssertionError(f"{words}: not within {DEADLINE:.0f} s")


def quiet(both: tuple[Side, Side]) -> bool:
    statuses = [side.ask(side.node.status) for side in both]
    return all(s.exit_code == 0 and s.groups and s.groups[0].in_sync and s.peers[0].linked for s in statuses)


def write_from_outside(path: Path, size: int) -> None:
    """By another process: a node skips what its own process does."""
    subprocess.run([sys.executable, "-c", f"open({str(path)!r}, 'wb').write(b'x' * {size})"], check=True)


def toured(trace: Trace, both: tuple[Side, Side], folder: Path, name: str, size: int) -> dict[str, list[str]]:
    wait_until(lambda: quiet(both), "both in sync")
    trace.start()
    write_from_outside(folder / "author" / name, size)
    there = folder / "follower" / name
    wait_until(lambda: there.exists() and there.stat().st_size == size, f"{name} has arrived")
    wait_until(lambda: "index/store" in trace.tours["follower"] and quiet(both), "it is recorded")
    return trace.stop()


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="fanotify needs root")
@pytest.mark.parametrize(
    ("size", "at_the_author", "at_the_follower"),
    [
        (100, "At the author", "At the follower"),
        (4 * FETCH_BYTES_MAX, "At the author", "At the follower, a large file"),
    ],
    ids=["small", "large"],
)
def test_a_change_takes_the_tour(
    trace: Trace, sides: tuple[Side, Side], tmp_path: Path, size: int, at_the_author: str, at_the_follower: str
) -> None:
    expected = {"author": listed(at_the_author), "follower": listed(at_the_follower)}
    assert all(len(way) > 5 for way in expected.values())
    went: dict[str, str] = {}
    for attempt in range(TRIES):
        tours = toured(trace, sides, tmp_path, f"file-{attempt}", size)
        for side in list(expected):
            went[side] = " ".join(module for module in tours[side] if module in expected[side])
            if went[side] == " ".join(expected[side]):
                del expected[side], went[side]
        if not expected:
            return
    assert went == {side: " ".join(way) for side, way in expected.items()}
