"""One everynode daemon as a process of this machine: made, started, asked, stopped and killed from outside."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.namespaces import DIE_WITH_PARENT, LabError

NOT_RUNNING = 5
"""Exit status of every command that asks a daemon, when there is none."""


def everynode_program() -> str:
    """The `everynode` command that belongs to this Python, else the first on the PATH."""
    beside = Path(sys.executable).with_name("everynode")
    found = str(beside) if beside.exists() else shutil.which("everynode")
    if found is None:
        raise LabError("no everynode command found; run `make setup`")
    return found


@dataclass
class Node:
    """A node with its own home and root. `enter` is put before each command (a namespace).

    `powerless`: run it without any capability, so that root's daemon too may not read what others forbid.
    """

    name: str
    home: Path
    root: Path
    address: str
    port: int = 7391
    enter: tuple[str, ...] = ()
    powerless: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """What the daemon wrote, of all its lives."""
        return self.home.with_name(self.home.name + ".log")

    @property
    def place(self) -> tuple[str, ...]:
        where = f"{self.address}:{self.port}"
        return ("--name", self.name, "--listen", where, "--advertise", where)

    def ask(self, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever its exit status."""
        try:
            return subprocess.run(
                self._command(*arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: no end after {timeout:.0f} s: everynode {' '.join(arguments)}") from error

    def cli(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run a command that has to succeed; return what it printed."""
        done = self.ask(*arguments, timeout=timeout)
        if done.returncode:
            said = (done.stderr + done.stdout).strip()
            raise LabError(f"{self.name}: everynode {' '.join(arguments)}: exit {done.returncode}: {said}")
        return done.stdout

    def asks_json(self, *arguments: str, timeout: float = 60.0) -> Any:
        """The JSON answer of a command, whatever its exit status."""
        done = self.ask("--json", *arguments, timeout=timeout)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            said = (done.stderr + done.stdout).strip()
            raise LabError(f"{self.name}: everynode --json {' '.join(arguments)}: no JSON: {said}") from error

    def init(self) -> None:
        self.cli("init", *self.place)

    def invite(self) -> str:
        """A one-time token."""
        return str(self.asks_json("invite")["token"])

    def join(self, token: str) -> None:
        self.cli("join", token, *self.place, "--root", str(self.root))

    def add_group(self, name: str = "tree") -> None:
        self.cli("group", "add", name, str(self.root))

    def add_group_at_once(self, name: str = "tree") -> None:
        """The same by one request to the running daemon: the start of a program is not what is to be measured."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.home / "api.sock"))
        with closing(connection):
            body = json.dumps({"name": name, "path": str(self.root)})
            connection.request("POST", "/v1/groups", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            if response.status >= 300:
                raise LabError(f"{self.name} refused the group: {answer.decode(errors='replace')}")

    def start(self, *, timeout: float = 30.0) -> None:
        """Run the daemon and wait until it answers."""
        if self.alive():
            raise LabError(f"{self.name} runs already")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._command("up"), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + timeout
        while self.ask("status").returncode == NOT_RUNNING:
            if not self.alive():
                raise LabError(f"{self.name}: the daemon ended at once: {self.last_words()}")
            if time.monotonic() > deadline:
                raise LabError(f"{self.name}: the daemon does not answer after {timeout:.0f} s: {self.last_words()}")
            time.sleep(0.02)

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, *, timeout: float = 30.0) -> None:
        """The polite end, by SIGTERM; after `timeout` the impolite one, which is an error. May be called twice."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise LabError(f"{self.name}: the daemon did not end after {timeout:.0f} s: {self.last_words()}") from None
        finally:
            self.process = None

    def kill(self) -> None:
        """kill -9. May be called twice."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Freeze the daemon (SIGSTOP): it neither sees, sends nor answers."""
        assert self.process is not None, f"{self.name} is not running"
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None, f"{self.name} is not running"
        self.process.send_signal(signal.SIGCONT)

    def last_words(self, lines: int = 15) -> str:
        """The end of the daemon's log, for error messages."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def resident_bytes(self) -> int:
        """Resident memory of the daemon."""
        assert self.process is not None, f"{self.name} is not running"
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _command(self, *arguments: str) -> list[str]:
        less = ("--bounding-set=-all", "--inh-caps=-all") if self.powerless else ()
        program = (everynode_program(), "--home", str(self.home))
        return [*self.enter, *DIE_WITH_PARENT, *less, *program, *arguments]


def link_nodes(nodes: list[Node]) -> None:
    """Make one cluster of nodes: the first is initialised, every other joins by a token; all daemons run at the end."""
    first, *others = nodes
    first.init()
    first.start()
    for node in others:
        node.join(first.invite())
        node.start()
