"""Syncthing with its watcher at one second, between two addresses, and nothing that talks to the world. With TLS."""

from __future__ import annotations

import http.client
import json
import os
import socket
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from bench.hosts import Host
from bench.peers.base import Peer
from lab.namespaces import LabError
from lab.trees import wait_until

PORT = 22000
KEY = "bench"


class _LocalConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, which both hosts share with the benchmark although the network is theirs alone."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


class Syncthing(Peer):
    name = "syncthing"
    live = True
    needs = ("syncthing",)

    def prepare(self) -> None:
        for host in self.pair.both:
            host.run("syncthing", "generate", f"--home={host.state}", env=_environment(host))
        identities = {
            host.name: host.run("syncthing", "--device-id", f"--home={host.state}").strip() for host in self.pair.both
        }
        self._identities = identities
        for host in self.pair.both:
            self._configure(host)
            host.start(
                "syncthing", "serve", f"--home={host.state}", "--no-browser", "--no-restart", env=_environment(host)
            )
        # The receiver knows the (empty) folder beforehand; the sender has none yet.
        self._wait_answer(self.sender)
        self._wait_answer(self.receiver)
        self._add_folder(self.receiver)
        if not wait_until(self._linked, timeout=60):
            raise LabError("syncthing: the two daemons did not connect")

    def begin(self) -> None:
        self._add_folder(self.sender)

    def _linked(self) -> bool:
        connections = self._call(self.sender, "GET", "/rest/system/connections")["connections"]
        return bool(connections[self._identities["receiver"]]["connected"])

    def _add_folder(self, host: Host) -> None:
        devices = [{"deviceID": identity} for identity in self._identities.values()]
        folder = {"id": "tree", "path": str(host.tree), "devices": devices, "fsWatcherEnabled": True}
        self._call(host, "POST", "/rest/config/folders", {**folder, "fsWatcherDelayS": 1, "rescanIntervalS": 3600})

    def _configure(self, host: Host) -> None:
        file = host.state / "config.xml"
        tree = ET.parse(file)
        root = tree.getroot()
        for folder in root.findall("folder"):
            root.remove(folder)
        for device in root.findall("device"):
            root.remove(device)
        for other in self.pair.both:
            device = ET.SubElement(root, "device", id=self._identities[other.name], name=other.name)
            ET.SubElement(device, "address").text = f"tcp://{other.address}:{PORT}"
        settings = {
            "listenAddress": f"tcp://{host.address}:{PORT}",
            "globalAnnounceEnabled": "false",
            "localAnnounceEnabled": "false",
            "relaysEnabled": "false",
            "natEnabled": "false",
            "urAccepted": "-1",
            "crashReportingEnabled": "false",
            "autoUpgradeIntervalH": "0",
            "startBrowser": "false",
            "reconnectionIntervalS": "1",
            "setLowPriority": "false",
        }
        options = root.find("options")
        gui = root.find("gui")
        assert options is not None and gui is not None, f"unexpected configuration in {file}"
        _set(options, settings)
        _set(gui, {"address": f"{host.state}/api", "apikey": KEY})
        tree.write(file)

    def _wait_answer(self, host: Host) -> None:
        def answers() -> bool:
            try:
                return bool(self._call(host, "GET", "/rest/system/ping"))
            except OSError:
                return False

        if not wait_until(answers, timeout=60, every=0.1):
            raise LabError(f"syncthing on {host.name} does not answer")

    def _call(self, host: Host, method: str, path: str, body: dict[str, object] | None = None) -> Any:
        connection = _LocalConnection(host.state / "api")
        try:
            connection.request(method, path, json.dumps(body) if body else None, {"X-API-Key": KEY})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise LabError(f"syncthing: {method} {path}: {response.status} {content[:200]!r}")
        return json.loads(content) if content.strip() else None


def _environment(host: Host) -> dict[str, str]:
    return {**os.environ, "HOME": str(host.state), "STNOUPGRADE": "1", "STNODEFAULTFOLDER": "1"}


def _set(parent: ET.Element, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        element = parent.find(name)
        if element is None:
            element = ET.SubElement(parent, name)
        element.text = value
