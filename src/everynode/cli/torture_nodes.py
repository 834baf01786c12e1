"""The daemons of a torture: child processes with homes, keys and loopback ports of their own, killed and frozen."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from everynode.client.connection import ApiError, Client, NotRunning
from everynode.errors import EverynodeError

GROUP = "torture"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
COMMAND_SECONDS = 60.0
# Of old contents per node: they are no part of what is compared, and the disk is somebody's.
VAULT_BYTES = 256 << 20
POLL = 0.05


class TortureFailed(EverynodeError):
    """A daemon or a command did not do what the torture needs; what it said is in the message."""


@dataclass
class Daemon:
    """One node. `stop` and `kill` may be called twice."""

    name: str
    folder: Path
    port: int
    frozen: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def home(self) -> str:
        return str(self.folder / "home")

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def client(self) -> Client:
        return Client(self.home)

    @property
    def place(self) -> tuple[str, ...]:
        where = f"127.0.0.1:{self.port}"
        return ("--name", self.name, "--listen", where, "--advertise", where)

    def command(self, *arguments: str) -> str:
        """Run a command of everynode to its end. Raises TortureFailed with what it said."""
        try:
            done = subprocess.run(
                self._program(*arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise TortureFailed(
                f"{self.name}: `everynode {arguments[0]}` did not end in {COMMAND_SECONDS} s"
            ) from error
        if done.returncode:
            raise TortureFailed(
                f"{self.name}: `everynode {' '.join(arguments)}`: {(done.stderr or done.stdout).strip()}"
            )
        return done.stdout

    def start(self) -> None:
        """Run the daemon and wait until it answers. Raises TortureFailed when it ends or is silent."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._program("up"), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None:
                raise TortureFailed(f"{self.name}: the daemon ended by itself: {self.last_words()}")
            if time.monotonic() > deadline:
                raise TortureFailed(
                    f"{self.name}: no answer {START_SECONDS:.0f} s after its start: {self.last_words()}"
                )
            time.sleep(POLL)

    def check_alive(self) -> None:
        """Raises TortureFailed when the daemon has ended and nobody killed it."""
        if self.process is not None and self.process.poll() is not None:
            raise TortureFailed(f"{self.name}: the daemon ended by itself: {self.last_words()}")

    def freeze(self) -> None:
        """SIGSTOP: for the others its links are dead until `thaw`."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)
            self.frozen = True

    def thaw(self) -> None:
        if self.process is not None and self.frozen:
            self.process.send_signal(signal.SIGCONT)
        self.frozen = False

    def kill(self) -> None:
        """SIGKILL, at whatever it is."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process, self.frozen = None, False

    def stop(self) -> None:
        """As a service manager does it; killed when it does not end."""
        if self.process is None:
            return
        self.thaw()
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return " | ".join(lines[-5:]) or "(it said nothing)"

    def _answers(self) -> bool:
        try:
            self.client.get("/v1/status")
        except (NotRunning, ApiError):
            return False
        return True

    def _program(self, *arguments: str) -> list[str]:
        # The kernel ends it with us, however we end (setpriv(1), PR_SET_PDEATHSIG).
        leash = [found, "--pdeathsig", "KILL"] if (found := shutil.which("setpriv")) else []
        start = "from everynode.cli.main import main; main()"
        return [*leash, sys.executable, "-c", start, "--home", self.home, *arguments]


def make_cluster(folder: Path, count: int) -> list[Daemon]:
    """`count` running nodes that keep one group alike; the caller ends them. None runs when this raises."""
    nodes = [Daemon(f"node{number}", folder / f"n{number}", free_port()) for number in range(1, count + 1)]
    try:
        for node in nodes:
            os.makedirs(node.home, mode=0o700)
            node.root.mkdir()
        first, *others = nodes
        first.command("init", *first.place)
        first.command("group", "add", GROUP, str(first.root))
        _set_policy(first)
        first.start()
        for node in others:
            token = first.command("invite").strip()
            node.command("join", token, *node.place, "--root", str(node.root))
            node.start()
    except BaseException:
        kill_all(nodes)
        raise
    return nodes


def kill_all(nodes: list[Daemon]) -> None:
    for node in nodes:
        node.kill()


def free_port() -> int:
    """A loopback port that nobody listens at. Another program may take it first; then a daemon says so."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _set_policy(node: Daemon) -> None:
    """Little is kept of old contents, and no brake: that many files go at once is what this is for."""
    import tomlkit

    document = tomlkit.parse(node.command("config", "show"))
    groups = document["groups"]
    assert isinstance(groups, dict)
    groups[GROUP]["vault"] = {"bytes": VAULT_BYTES}
    groups[GROUP]["brake_files"] = 0
    file = node.folder / "cluster.toml"
    file.write_text(tomlkit.dumps(document))
    node.command("config", "apply", str(file))
