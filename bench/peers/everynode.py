"""everynode as it is installed: TLS, durable index, vault, two daemons."""

from __future__ import annotations

import subprocess

from bench.hosts import Host, Pair, wait_for_end
from bench.peers.base import Peer
from lab.namespaces import LabError
from lab.node import Node, everynode_program, link_nodes
from lab.trees import wait_until


class Everynode(Peer):
    name = "everynode"
    live = True

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self._nodes = [self._node(host) for host in pair.both]

    def prepare(self) -> None:
        link_nodes(self._nodes)
        if not wait_until(self._linked, timeout=30):
            raise LabError("everynode: the two daemons did not link")

    def begin(self) -> None:
        self._nodes[0].add_group_at_once()

    def unchanged(self) -> subprocess.Popen[bytes]:
        """Start both again after a stop, and wait until each has looked at its whole tree and says `in sync`."""
        self._restart()
        program = everynode_program()
        waits = [f"until {program} --home {node.home} status; do sleep 0.02; done" for node in self._nodes]
        return self.sender.start("sh", "-c", "; ".join(waits))

    def close(self) -> None:
        for node in self._nodes:
            node.kill()

    def quiet_resident_bytes(self) -> int:
        """Resident memory of the receiver's daemon, started again and done with looking at its tree."""
        wait_for_end(self.unchanged(), timeout=300)
        return self._nodes[1].resident_bytes()

    def _restart(self) -> None:
        for node in self._nodes:
            node.stop()
        for node in self._nodes:
            node.start()

    def _linked(self) -> bool:
        return all(peer["linked"] for node in self._nodes for peer in node.asks_json("status")["peers"])

    def _node(self, host: Host) -> Node:
        return Node(host.name, host.state / "home", host.tree, host.address, enter=host.enter)
