"""What the benchmark asks of each system that takes part."""

from __future__ import annotations

import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from bench.hosts import Pair


class Peer(ABC):
    """One system between two hosts. Made anew for each row, on empty trees.

    The order of calls: `prepare` (configuration, keys, daemons; linked where the system knows links, but with nothing
    to keep alike), then the tree of the sender is made, then `begin` (the clock starts), then `push` after each change.
    """

    name: str
    live: bool = False
    """True: sees changes by itself, `push` has nothing to do."""
    needs: Sequence[str] = ()
    """Programs that have to be installed."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.sender = pair.sender
        self.receiver = pair.receiver

    @classmethod
    def missing(cls) -> list[str]:
        return [program for program in cls.needs if shutil.which(program) is None]

    def prepare(self) -> None:  # noqa: B027 - most one-shot tools have nothing to prepare
        """Whatever has to run before there is anything to copy. Nothing by default."""

    @abstractmethod
    def begin(self) -> subprocess.Popen[bytes] | None:
        """Start the first copy and return without waiting; a one-shot tool returns its process."""

    def push(self, changed: Path | None = None) -> subprocess.Popen[bytes] | None:
        """A change was made (at `changed`, when it is one file). One-shot tools run again; live ones do nothing."""
        return None if self.live else self.begin()

    def unchanged(self) -> subprocess.Popen[bytes] | None:
        """Find out that nothing changed; None where the system has no such run."""
        return None if self.live else self.begin()

    def close(self) -> None:  # noqa: B027 - what was started by the hosts is stopped by them
        """End what this system started beside the hosts' own processes. Always called, last."""
