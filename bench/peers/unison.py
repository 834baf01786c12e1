"""Unison over a plain socket: two ways, by scanning, run once per change. Without encryption."""

from __future__ import annotations

import os
import subprocess

from bench.hosts import Host
from bench.peers.base import Peer
from lab.trees import wait_until

PORT = 4000


def _environment(host: Host) -> dict[str, str]:
    # Both hosts have the machine's name; Unison keeps its archives by name.
    return {**os.environ, "UNISON": str(host.state / "unison"), "UNISONLOCALHOSTNAME": host.name}


class Unison(Peer):
    name = "unison"
    needs = ("unison",)

    def prepare(self) -> None:
        self.receiver.start("unison", "-socket", str(PORT), env=_environment(self.receiver))
        wait_until(lambda: "LISTEN" in self.receiver.run("ss", "-Hltn", f"sport = :{PORT}"), timeout=10)

    def begin(self) -> subprocess.Popen[bytes]:
        remote = f"socket://{self.receiver.address}:{PORT}/{self.receiver.tree}"
        options = ("-batch", "-auto", "-silent", "-confirmbigdel=false", "-times", "-perms", "-1", "-owner", "-group")
        return self.sender.start(
            "unison", self.sender.tree, remote, *options, "-numericids", env=_environment(self.sender)
        )
