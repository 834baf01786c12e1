"""rsync to an rsync daemon: what everybody trusts. Without encryption."""

from __future__ import annotations

import subprocess

from bench.hosts import Host
from bench.peers.base import Peer
from lab.trees import wait_until

PORT = 873


def start_daemon(host: Host) -> None:
    """An rsync daemon that offers the host's tree as the module `tree`."""
    config = host.state / "rsyncd.conf"
    config.write_text(
        f"pid file = {host.state}/rsyncd.pid\nuse chroot = no\nuid = 0\ngid = 0\n"
        f"[tree]\npath = {host.tree}\nread only = no\n"
    )
    host.start("rsync", "--daemon", "--no-detach", f"--config={config}", f"--port={PORT}", f"--address={host.address}")
    wait_until(lambda: "LISTEN" in host.run("ss", "-Hltn", f"sport = :{PORT}"), timeout=10)


class Rsync(Peer):
    name = "rsync"
    needs = ("rsync",)

    def prepare(self) -> None:
        start_daemon(self.receiver)

    def begin(self) -> subprocess.Popen[bytes]:
        target = f"rsync://{self.receiver.address}/tree/"
        return self.sender.start("rsync", "-a", "--delete", f"{self.sender.tree}/", target)
