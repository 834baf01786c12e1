"""The daemon's process: lock, limits, loop, signals, API and signs of life around one node."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
from pathlib import Path

from everynode.cluster.home import Home
from everynode.cluster.membership import Membership
from everynode.daemon.api import make_app
from everynode.daemon.logs import start_logging
from everynode.daemon.node import Node
from everynode.daemon.notify import notify, watchdog_seconds
from everynode.daemon.server import LocalServer, bound_socket
from everynode.kernel.linux import ignore_lease_breaks
from everynode.kernel.memory import give_back_freed_memory, keep_freed_memory, resident_bytes
from everynode.limits import GC_THRESHOLD, MEMORY_BYTES, MEMORY_PAUSE

logger = logging.getLogger("everynode.daemon")

# How often systemd is told the verdict, when it has changed.
STATUS_SECONDS = 5.0


def run(home_path: str, log_level: str = "info") -> int:
    """Until SIGTERM, SIGINT or the API's `down`; the exit code. Raises EverynodeError when it cannot start."""
    start_logging(log_level)
    home = Home(Path(home_path))
    with home.lock():
        membership = Membership.load(home)
        _raise_file_limit()
        # A write to a file on which we hold a read lease sends SIGIO, which would end us.
        ignore_lease_breaks()
        keep_freed_memory()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(home, membership))


async def _serve(home: Home, membership: Membership) -> int:
    node = Node(home, membership)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.stop)
    await node.listen()
    server = LocalServer(make_app(node))
    with bound_socket(str(home.path), str(home.api_path(membership.settings))) as listener:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_run_node(node, server))
            tasks.create_task(server.serve([listener]))
            for_ever = [tasks.create_task(_show_life(node)), tasks.create_task(_give_back_memory())]
            logger.info("node %s is up, home %s", node.status().name, home.path)
            notify(READY="1", STATUS=node.status().verdict)
            _tune_gc()
            await node.wait_stopping()
            notify(STOPPING="1")
            for task in for_ever:
                task.cancel()
    logger.info("stopped")
    return 0


async def _run_node(node: Node, server: LocalServer) -> None:
    """The API answers until the node has stopped, so that `down` and `status` work meanwhile."""
    try:
        await node.run()
    finally:
        node.stop()
        server.stop()


async def _show_life(node: Node) -> None:
    """Tells systemd the verdict, and that the loop turns."""
    watchdog = watchdog_seconds()
    pause = min(STATUS_SECONDS, watchdog) if watchdog else STATUS_SECONDS
    shown = ""
    while True:
        fields = {"WATCHDOG": "1"} if watchdog else {}
        status = node.status()
        line = status.verdict
        if line != shown:
            fields["STATUS"] = shown = line
            if status.settings:
                # It may be that nobody asks: a node that was removed runs on, and does nothing.
                logger.warning("%s", line)
        if fields:
            notify(**fields)
        await asyncio.sleep(pause)


async def _give_back_memory() -> None:
    """After much work the heap is mostly holes: they are another program's memory."""
    while True:
        await asyncio.sleep(MEMORY_PAUSE)
        if resident_bytes() >= MEMORY_BYTES:
            await asyncio.to_thread(give_back_freed_memory)


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop's where it can be had (TLS and streams cost less than half); asyncio's own works too."""
    try:
        import uvloop
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop


def _raise_file_limit() -> None:
    """Links, directories and files being fetched want descriptors; the usual soft limit of 1024 is for select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _tune_gc() -> None:
    """What was imported and made by now stays for ever: do not walk it again and again; and walk the rest seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
