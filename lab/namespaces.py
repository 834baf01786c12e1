"""Hosts as network namespaces, held by a process each, so that they vanish with whoever made them.

Nothing here has a name in /run/netns and nothing touches the network of the machine: each namespace belongs to a
sleeping process that dies with its parent (`setpriv --pdeathsig`), and the switch between hosts lives in a namespace
of its own. So a killed test run leaves no interface, no address and no rule behind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
SUBNET = "10.213.0"


class LabError(Exception):
    """The laboratory itself failed: a missing tool, a missing right, a command that failed."""


def run(*command: str | Path, timeout: float = 30.0, env: dict[str, str] | None = None) -> str:
    """Run a tool to its end and return its output; LabError names the command and what it said."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=env,
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]}: no such program; install its Debian package") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no end after {timeout:.0f} s: {' '.join(map(str, command))}") from error
    if done.returncode:
        raise LabError(f"exit {done.returncode}: {' '.join(map(str, command))}\n{done.stderr or done.stdout}".rstrip())
    return done.stdout


def why_not_possible() -> str:
    """Why namespaces cannot be made here; empty when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "nft", "nsenter", "unshare", "setpriv") if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


class Namespace:
    """One network namespace, alive while its holder lives. May be closed twice."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", *DIE_WITH_PARENT, "sleep", "infinity"], stdin=subprocess.DEVNULL
        )
        self._wait_made()
        self.run("ip", "link", "set", "lo", "up")

    @property
    def pid(self) -> int:
        return self._holder.pid

    @property
    def enter(self) -> tuple[str, ...]:
        """What to put before a command so that it runs here (and only the network differs)."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net")

    def run(self, *command: str, timeout: float = 30.0) -> str:
        return run(*self.enter, *command, timeout=timeout)

    def sent_bytes(self, interface: str) -> int:
        """Bytes that left through this interface, as the kernel counts them."""
        [link] = json.loads(self.run("ip", "-j", "-s", "link", "show", "dev", interface))
        return int(link["stats64"]["tx"]["bytes"])

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()

    def _wait_made(self) -> None:
        """unshare(1) makes the namespace after it was started: wait until it differs from ours."""
        ours = os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self._holder.poll() is not None:
                raise LabError("cannot make a network namespace: unshare(1) ended; are we root?")
            if os.readlink(f"/proc/{self.pid}/ns/net") != ours:
                return
            time.sleep(0.002)
        raise LabError("cannot make a network namespace: unshare(1) hangs")


class Network:
    """`count` hosts on one switch, with addresses SUBNET.1 and up. Links between two hosts can be cut and healed."""

    def __init__(self, count: int) -> None:
        self.hosts: list[Namespace] = []
        self._switch = Namespace()
        self._switch.run("ip", "link", "add", "br0", "type", "bridge")
        self._switch.run("ip", "link", "set", "br0", "up")
        for _ in range(count):
            self.add_host()

    def add_host(self) -> int:
        """One more host on the switch; returns its number, from 0."""
        number = len(self.hosts)
        host = Namespace()
        self.hosts.append(host)
        port = f"port{number}"
        host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", str(self._switch.pid))
        self._switch.run("ip", "link", "set", port, "master", "br0", "up")
        host.run("ip", "address", "add", f"{self.address(number)}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        return number

    def address(self, number: int) -> str:
        return f"{SUBNET}.{number + 1}"

    def cut(self, one: int, other: int) -> None:
        """From now on nothing passes between the two: no packet, no refusal. Repeating changes nothing."""
        for here, there in ((one, other), (other, one)):
            self._rules(here, "add", self.address(there))

    def heal(self, one: int, other: int) -> None:
        for here, there in ((one, other), (other, one)):
            self._rules(here, "delete", self.address(there))

    def heal_all(self) -> None:
        for host in self.hosts:
            host.run("nft", "flush", "ruleset")

    def sent_bytes(self) -> int:
        """Bytes that all hosts sent together since they were made."""
        return sum(host.sent_bytes("eth0") for host in self.hosts)

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        self._switch.close()

    def _rules(self, here: int, verb: str, address: str) -> None:
        host = self.hosts[here]
        host.run(
            "nft",
            "table inet lab { set away { type ipv4_addr; };"
            " chain in { type filter hook input priority 0; ip saddr @away drop; };"
            " chain out { type filter hook output priority 0; ip daddr @away drop; }; }"
            if "table inet lab" not in host.run("nft", "list", "tables")
            else "list tables",
        )
        # Adding twice and deleting what is absent are both made harmless: add first, then delete.
        host.run("nft", f"add element inet lab away {{ {address} }}")
        if verb == "delete":
            host.run("nft", f"delete element inet lab away {{ {address} }}")


def mount_tmpfs(at: Path, *, size: str, options: Sequence[str] = ()) -> None:
    at.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "lab", at)


def unmount(at: Path) -> None:
    """Take a mount away even while it is in use; no error when nothing is mounted there."""
    if os.path.ismount(at):
        run("umount", "--lazy", at)
