"""The floors: what a copy costs when nothing is compared, remembered or kept alike."""

from __future__ import annotations

import subprocess
import sys

from bench.peers.base import Peer
from lab.trees import wait_until

PORT = 9000
LISTEN = (
    "import os, socket, sys;"
    "s = socket.create_server((sys.argv[1], int(sys.argv[2]))).accept()[0];"
    "os.dup2(s.fileno(), 0);"
    "os.execlp('tar', 'tar', '-C', sys.argv[3], '-xf', '-')"
)


class Copy(Peer):
    """cp -a, without any network."""

    name = "cp -a"

    def begin(self) -> subprocess.Popen[bytes]:
        return self.sender.start("cp", "-a", f"{self.sender.tree}/.", self.receiver.tree)


class Tar(Peer):
    """tar through a TCP connection."""

    name = "tar over TCP"

    def prepare(self) -> None:
        arguments = (self.receiver.address, str(PORT), self.receiver.tree)
        self.receiver.start(sys.executable, "-c", LISTEN, *arguments)
        wait_until(lambda: "LISTEN" in self.receiver.run("ss", "-Hltn", f"sport = :{PORT}"), timeout=10)

    def begin(self) -> subprocess.Popen[bytes]:
        pipe = 'exec tar -C "$0" -cf - . >"/dev/tcp/$1/$2"'
        return self.sender.start("bash", "-c", pipe, self.sender.tree, self.receiver.address, str(PORT))
