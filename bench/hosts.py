"""Two hosts on one machine: network namespaces joined by a switch, and a tmpfs each for tree and state."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from lab.namespaces import DIE_WITH_PARENT, LabError, Network, mount_tmpfs, run, unmount

# The benchmark runs in a mount namespace of its own (see __main__), so this hides /mnt from nobody else.
LABORATORY = Path("/mnt")
FILESYSTEM_SIZE = "8g"


@dataclass
class Host:
    """One side: where its tree and its state lie, and how to run something on it."""

    name: str
    address: str
    enter: tuple[str, ...]
    filesystem: Path
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def tree(self) -> Path:
        return self.filesystem / "tree"

    @property
    def state(self) -> Path:
        """Configuration, databases and logs of the system under test."""
        return self.filesystem / "state"

    def start(self, *command: str | Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Run a command here in the background; it writes to its log in `state` and dies with the benchmark."""
        log = self.state / f"{Path(str(command[0])).name}.log"
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [*self.enter, *DIE_WITH_PARENT, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
            )
        self._started.append(process)
        return process

    def run(self, *command: str | Path, env: dict[str, str] | None = None, timeout: float = 120.0) -> str:
        return run(*self.enter, *command, env=env, timeout=timeout)

    def stop_all(self) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._started.clear()


class Pair:
    """The sender and the receiver, both empty. A context manager; nothing is left of them afterwards."""

    def __init__(self) -> None:
        self._network = Network(2)
        self.sender, self.receiver = (
            Host(name, self._network.address(number), self._network.hosts[number].enter, LABORATORY / name)
            for number, name in enumerate(("sender", "receiver"))
        )
        for host in self.both:
            mount_tmpfs(host.filesystem, size=FILESYSTEM_SIZE)
            host.tree.mkdir()
            host.state.mkdir()

    @property
    def both(self) -> tuple[Host, Host]:
        return self.sender, self.receiver

    def sent_bytes(self) -> int:
        """Bytes on the wire so far, both ways, with all headers."""
        return self._network.sent_bytes()

    def __enter__(self) -> Pair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.both:
            host.stop_all()
        self._network.close()
        for host in self.both:
            unmount(host.filesystem)


def wait_for_end(process: subprocess.Popen[bytes], *, timeout: float, log: Path | None = None) -> None:
    """Wait for a one-shot tool; LabError when it fails or hangs."""
    try:
        status = process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise LabError(f"no end after {timeout:.0f} s: {process.args!r}") from None
    if status:
        said = log.read_text(errors="replace")[-500:] if log and log.exists() else ""
        raise LabError(f"exit {status}: {process.args!r} {said}")
