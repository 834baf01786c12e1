"""The laboratory itself: a test that cannot fail proves nothing, so its eyes and its scissors are tried first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.namespaces import DIE_WITH_PARENT, LabError, Network
from lab.trees import difference, snapshot, wait_until


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network(3)
    yield network
    network.close()


def reaches(network: Network, one: int, other: int) -> bool:
    """Whether a TCP connection can be opened."""
    listen = f"import socket; socket.create_server(('{network.address(other)}', 9000)).accept()"
    command = [*network.hosts[other].enter, *DIE_WITH_PARENT, sys.executable, "-c", listen]
    server = subprocess.Popen(command)
    try:
        wait_until(lambda: "LISTEN" in network.hosts[other].run("ss", "-Hltn", "sport = :9000"), timeout=10)
        connect = f"import socket; socket.create_connection(('{network.address(other)}', 9000), timeout=0.5)"
        network.hosts[one].run(sys.executable, "-c", connect)
    except LabError:
        return False
    finally:
        server.kill()
        server.wait()
    return True


def test_a_cut_link_passes_nothing_in_either_direction_and_spares_the_third(network: Network) -> None:
    assert reaches(network, 0, 1)
    network.cut(0, 1)
    assert not reaches(network, 0, 1)
    assert not reaches(network, 1, 0)
    assert reaches(network, 0, 2)


def test_a_healed_link_passes_again_and_cutting_twice_is_cutting_once(network: Network) -> None:
    network.cut(0, 1)
    network.cut(0, 1)
    network.heal(0, 1)
    assert reaches(network, 0, 1)
    network.cut(1, 2)
    network.heal_all()
    assert reaches(network, 1, 2)


def test_traffic_is_counted(network: Network) -> None:
    before = network.sent_bytes()
    assert reaches(network, 0, 1)
    assert network.sent_bytes() > before


@pytest.mark.parametrize("what", ["content", "mode", "owner", "time", "target", "type", "extra", "directory time"])
def test_the_comparison_sees_every_single_difference(what: str, tmp_path: Path) -> None:
    for name in ("one", "other"):
        root = tmp_path / name
        (root / "directory").mkdir(parents=True)
        (root / "directory/file").write_bytes(b"content")
        (root / "link").symlink_to("directory/file")
        (root / ".everynode").mkdir()
        (root / ".everynode/vault").write_text(name)
        for path in ("directory/file", "link", "directory"):
            os.utime(root / path, ns=(10**18, 10**18), follow_symlinks=False)
    assert difference(snapshot(tmp_path / "one"), snapshot(tmp_path / "other")) == []
    root = tmp_path / "other"
    file = root / "directory/file"
    match what:
        case "content":
            file.write_bytes(b"CONTENT")
            os.utime(file, ns=(10**18, 10**18))
        case "mode":
            file.chmod(0o600)
        case "owner":
            os.chown(file, 12, 34)
        case "time":
            os.utime(file, ns=(10**18, 10**18 + 1))
        case "target":
            (root / "link").unlink()
            (root / "link").symlink_to("directory")
            os.utime(root / "link", ns=(10**18, 10**18), follow_symlinks=False)
        case "type":
            (root / "link").unlink()
            (root / "link").mkdir()
        case "extra":
            (root / "extra").touch()
        case "directory time":
            os.utime(root / "directory", ns=(10**18, 10**18 + 1))
        case _:
            raise AssertionError(what)
    [line] = difference(snapshot(tmp_path / "one"), snapshot(tmp_path / "other"))
    assert line
