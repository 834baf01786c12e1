from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from everynode.cluster.home import Home, Invite, default_home
from everynode.cluster.membership import Membership
from everynode.config.node_file import NodeSettings
from everynode.errors import ConfigError, ConfigErrors, StoreError, TrustError


@pytest.fixture
def member(tmp_path: Path) -> Membership:
    return Membership.create(Home(tmp_path / "home"), "alpha", ("0.0.0.0:1",), ("alpha:1",))


def test_a_home_is_closed_to_others_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        member = Membership.create(Home(tmp_path / "a/b"), "alpha", (), ("alpha:1",))
    finally:
        os.umask(before)
    member.invite()
    assert stat.S_IMODE(member.home.path.stat().st_mode) == 0o700
    for name in ("key.pem", "cluster.msgpack", "invites.msgpack", "node.toml"):
        assert stat.S_IMODE((member.home.path / name).stat().st_mode) == 0o600, name


def test_a_missing_home_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run everynode init or everynode join first"):
        Membership.load(Home(tmp_path / "none"))


def test_a_home_that_others_can_enter_is_refused(member: Membership) -> None:
    member.home.path.chmod(0o750)
    with pytest.raises(TrustError, match="run chmod 700"):
        Membership.load(member.home)


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be made|is no directory"):
        Membership.create(Home(tmp_path / "file"), "alpha", (), ())


@pytest.mark.parametrize("name", ["cluster.msgpack", "key.pem", "certificate.pem"])
def test_each_missing_piece_is_named(member: Membership, name: str) -> None:
    (member.home.path / name).unlink()
    with pytest.raises((StoreError, TrustError), match=f"{name} does not exist"):
        Membership.load(member.home)


@pytest.mark.parametrize("name", ["cluster.msgpack", "invites.msgpack"])
def test_each_flipped_bit_in_a_store_is_noticed(member: Membership, name: str) -> None:
    member.invite()
    path = member.home.path / name
    good = path.read_bytes()
    for position in range(0, len(good), 7):
        path.write_bytes(good[:position] + bytes([good[position] ^ 4]) + good[position + 1 :])
        with pytest.raises(StoreError, match=f"{name} is damaged"):
            Membership.load(member.home)
    for length in (0, 1, 40, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(StoreError, match=f"{name} is damaged"):
            Membership.load(member.home)


def test_errors_in_node_toml_are_told_with_their_place(member: Membership) -> None:
    member.home.settings_path.write_text("listen = 3\nlissen = 4\n")
    with pytest.raises(ConfigErrors, match=r"node\.toml:1:1: listen") as caught:
        Membership.load(member.home)
    assert len(caught.value.errors) == 2
    member.home.settings_path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Membership.load(member.home)


def test_roots_may_be_allowed_anywhere(member: Membership) -> None:
    member.home.settings_path.write_text('roots_within = ["/"]\n')
    assert member.home.read_settings().roots_within == ("/",)


def test_a_home_without_node_toml_has_the_defaults(member: Membership) -> None:
    member.home.settings_path.unlink()
    assert Membership.load(member.home).settings == NodeSettings()


def test_two_processes_cannot_hold_one_home(member: Membership) -> None:
    code = (
        "from pathlib import Path; from everynode.cluster.home import Home\n"
        f"with Home(Path({str(member.home.path)!r})).lock(): pass"
    )
    with member.home.lock():
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert f"another everynode (process {os.getpid()})" in other.stderr
        with pytest.raises(StoreError, match="is using the home"), member.home.lock():
            pass
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_write_that_fails_leaves_what_was_there(member: Membership, monkeypatch: pytest.MonkeyPatch) -> None:
    before = member.home.cluster_path.read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device; nothing was changed"):
        member.group_add("www", "/srv/www")
    monkeypatch.undo()
    assert member.home.cluster_path.read_bytes() == before and not member.groups()
    assert not [path for path in member.home.path.iterdir() if path.name.endswith(".new")]


def test_invites_survive_a_restart(member: Membership) -> None:
    invites = (Invite(b"i" * 16, b"k" * 32, 5), Invite(b"j" * 16, b"k" * 32, 5, b"f" * 32))
    member.home.write_invites(invites)
    assert member.home.read_invites() == invites


def test_the_default_home_follows_the_environment_and_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYNODE_HOME", "/some/where")
    assert default_home() == Path("/some/where")
    monkeypatch.delenv("EVERYNODE_HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_home() == Path("/var/lib/everynode")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/person")
    assert default_home() == Path("/home/person/.local/share/everynode")


def test_a_socket_path_that_the_kernel_would_refuse_is_refused_first(tmp_path: Path) -> None:
    home = Home(tmp_path / ("x" * 100))
    with pytest.raises(ConfigError, match="too long for a socket"):
        home.api_path(NodeSettings())
    assert home.api_path(NodeSettings(api="/run/short.sock")) == Path("/run/short.sock")
    assert Home(Path("/h")).api_path(NodeSettings()) == Path("/h/api.sock")
