"""Real daemons in a moment: processes forked from one that has imported everything already.

They run `everynode.daemon.run.run`, nothing else differs from `everynode up`: own process, own home, TLS on loopback.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import everynode.cli.cluster
import everynode.cli.main
import everynode.daemon.node
import everynode.daemon.run
from everynode.client.application import wait as wait_for
from everynode.client.connection import ApiError, Client, NotRunning
from tests.crash.gate import Gate

PR_SET_PDEATHSIG = 1
CLONE_NEWNET = 0x40000000
for late in (
    "encodings.idna",
    "cryptography.x509",
    "cryptography.hazmat.primitives.serialization.ssh",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.http.h11_impl",
    "uvloop",
):
    # What a daemon imports when it comes to need it; forked ones have it already then. Half of the time of a start.
    importlib.import_module(late)
_libc = ctypes.CDLL(None, use_errno=True)


class Trouble(Exception):
    """What a run of daemons came to that it must not have come to."""


def fork(does: Callable[[], int], network: int, log: Path, gate: Gate | None) -> int:
    """Run a function in a process of its own, in the network namespace of the process `network`; its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _live(does, network, log, gate)
    if gate is not None:
        gate.watch(pid)
    return pid


def _live(does: Callable[[], int], network: int, log: Path, gate: Gate | None) -> NoReturn:
    """The forked process."""
    code = 70
    gc.freeze()  # what the parent made need not be walked, and copied, by the daemon's collector
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        with open(f"/proc/{network}/ns/net") as namespace:
            if _libc.setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        random.seed()
        os.closerange(3, 4096)
        if gate is not None:
            gate.install()
        code = does()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException as error:
        print(f"the process ended: {error!r}", file=sys.stderr)
    finally:
        os._exit(code)


@dataclass
class Daemon:
    """One node's daemon, in one life after another. `network`: the process whose network namespace it lives in.

    `boot`: what the machine calls its present boot; another one after each power cut.
    """

    name: str
    home: Path
    root: Path
    network: int
    boot: str = "first boot"
    pid: int = field(default=0, repr=False)

    @property
    def log(self) -> Path:
        return self.home.with_name(self.home.name + ".log")

    @property
    def client(self) -> Client:
        return Client(str(self.home))

    def start(self, gate: Gate | None = None) -> None:
        """Returns at once; `gate` is to stand before its system calls from its first breath."""
        assert not self.pid, f"{self.name} runs already"
        self.pid = fork(self._run, self.network, self.log, gate)

    def command(self, *arguments: str, gate: Gate | None = None) -> int:
        """Run a command of `everynode` to its end; its exit code, negative for a signal."""
        words = ["--home", str(self.home), *arguments]
        pid = fork(lambda: int(everynode.cli.main.everynode.main(words)), self.network, self.log, gate)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _run(self) -> int:
        # The machine was not booted anew, but shall seem to be.
        with patch.object(everynode.daemon.node, "boot_id", lambda: self.boot):
            return everynode.daemon.run.run(str(self.home))

    def kill(self) -> None:
        """kill -9. May be called twice."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self.reap()

    def reap(self) -> int:
        """Wait for its end; the exit code, or the negative number of the signal that ended it."""
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def ended(self) -> bool:
        """Whether it is gone by itself; `reap` is still to be called."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    # -- what it is asked -------------------------------------------------------------------------

    def status(self) -> dict[str, Any] | None:
        """None: it does not answer (yet)."""
        try:
            answer: dict[str, Any] = self.client.get("/v1/status")
        except (NotRunning, ApiError):
            return None
        return answer

    def wait(self, timeout: float) -> dict[str, Any]:
        """`everynode wait --nodes all`."""
        try:
            return wait_for(nodes="all", timeout=timeout, home=str(self.home))
        except (NotRunning, ApiError) as error:
            return {"done": False, "reason": str(error)}

    def last_words(self, lines: int = 12) -> str:
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def wait_in_sync(daemons: list[Daemon], *, timeout: float = 30.0) -> None:
    """Until each daemon says that all it knows is on stable storage everywhere, and that nothing is left to do.

    Raises Trouble with what is left when the time is over, or when a daemon ends.
    """
    deadline = time.monotonic() + timeout
    left = ["nothing was answered"]
    while time.monotonic() < deadline:
        left = []
        for daemon in daemons:
            if daemon.pid and daemon.ended():
                raise Trouble(f"the daemon of {daemon.name} ended with {daemon.reap()}: {daemon.last_words()}")
            if reason := _not_linked(daemon, len(daemons) - 1):
                left.append(reason)
        if left:
            time.sleep(0.005)
            continue
        # At once: what a node wrote itself counts only when it has synced it, and that it does when it is asked.
        with ThreadPoolExecutor(len(daemons)) as pool:
            answers = list(pool.map(lambda daemon: daemon.wait(5.0), daemons))
        left += [f"{d.name}: wait: {told}" for d, told in zip(daemons, answers, strict=True) if not told["done"]]
        left += [reason for daemon in daemons for reason in _not_done(daemon)]
        if not left:
            return
        time.sleep(0.02)
    told = "\n".join(f"--- {daemon.name}:\n{daemon.last_words()}" for daemon in daemons)
    raise Trouble(f"not in sync after {timeout:.0f} s: {'; '.join(left)}\n{told}")


def _not_linked(daemon: Daemon, others: int) -> str:
    status = daemon.status()
    if status is None:
        return f"{daemon.name}: no answer"
    for group in status["groups"]:
        if group["state"] == "live" and sum(peer["open"] for peer in group["peers"]) == others:
            return ""
    return f"{daemon.name}: {[(group['state'], group['reason']) for group in status['groups']]} not open with the peer"


def _not_done(daemon: Daemon) -> list[str]:
    status = daemon.status()
    if status is None:
        return [f"{daemon.name}: no answer"]
    [group] = status["groups"]
    found = []
    if not group["in_sync"]:
        peers = [(peer["open"], peer["behind"]) for peer in group["peers"]]
        found.append(f"{daemon.name}: not in sync, backlog {group['backlog']}, peers {peers}, {group['reason']!r}")
    if group["problems_total"]:
        found.append(f"{daemon.name}: problems: {group['problems']}")
    return found
