"""csync2 between two servers, told which file changed where there is one. TLS switched off."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench.hosts import Host
from bench.peers.base import Peer
from lab.namespaces import run
from lab.trees import wait_until

PORT = 30865


class Csync2(Peer):
    name = "csync2"
    needs = ("csync2",)

    def prepare(self) -> None:
        self._name_hosts()
        key = self.sender.state / "key"
        key.write_text("0123456789abcdef" * 4 + "\n")
        for host in self.pair.both:
            (host.state / "csync2.cfg").write_text(
                "nossl * *;\n"
                f"group tree {{ host sender receiver; key {key}; include %tree%; }}\n"
                f"prefix tree {{ on sender: {self.sender.tree}; on receiver: {self.receiver.tree}; }}\n"
            )
        self.receiver.start(
            "csync2", "-ii", "-N", "receiver", "-D", self.receiver.state, env=self._environment(self.receiver)
        )
        wait_until(lambda: "LISTEN" in self.receiver.run("ss", "-Hltn", f"sport = :{PORT}"), timeout=10)

    def begin(self) -> subprocess.Popen[bytes]:
        return self._sender_runs(f"{self._csync2} -x")

    def push(self, changed: Path | None = None) -> subprocess.Popen[bytes]:
        if changed is None:
            return self.begin()
        # Told which file, it looks at that one only; sending what it found is a second run.
        return self._sender_runs(f"{self._csync2} -cr {changed} && {self._csync2} -u")

    @property
    def _csync2(self) -> str:
        return f"csync2 -N sender -D {self.sender.state}"

    def _sender_runs(self, line: str) -> subprocess.Popen[bytes]:
        return self.sender.start("sh", "-c", line, env=self._environment(self.sender))

    def _environment(self, host: Host) -> dict[str, str]:
        return {**os.environ, "CSYNC2_SYSTEM_DIR": str(host.state)}

    def _name_hosts(self) -> None:
        """csync2 knows hosts by name only: a private /etc/hosts, seen by nobody outside of the benchmark."""
        names = self.sender.state / "hosts"
        names.write_text("127.0.0.1 localhost\n" + "".join(f"{h.address} {h.name}\n" for h in self.pair.both))
        run("mount", "--bind", names, "/etc/hosts")
