"""lsyncd: inotify, then rsync to an rsync daemon, gathered for one second. One way, without encryption."""

from __future__ import annotations

from bench.peers import rsync
from bench.peers.base import Peer


class Lsyncd(Peer):
    name = "lsyncd"
    live = True
    needs = ("lsyncd", "rsync")

    def prepare(self) -> None:
        rsync.start_daemon(self.receiver)

    def begin(self) -> None:
        config = self.sender.state / "lsyncd.lua"
        config.write_text(
            f"settings {{ nodaemon = true, insist = true }}\n"
            f'sync {{ default.rsync, source = "{self.sender.tree}", target = "{self.receiver.address}::tree",\n'
            f"  delay = 1, rsync = {{ archive = true }} }}\n"
        )
        self.sender.start("lsyncd", config)
