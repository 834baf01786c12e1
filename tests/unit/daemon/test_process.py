"""The real daemon as a process, asked by the real command line: start, join, halt, removal, stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PROGRAM = [sys.executable, "-c", "from everynode.cli.main import main; main()"]
DEADLINE = 30.0


@dataclass
class Daemon:
    folder: Path
    name: str
    port: int
    process: subprocess.Popen[bytes] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / f"{self.name}.home"

    @property
    def root(self) -> Path:
        return self.folder / f"{self.name}.root"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, "--home", str(self.home), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def status(self) -> Any:
        return json.loads(self.run("status", "--json").stdout)

    def place(self) -> list[str]:
        address = f"127.0.0.1:{self.port}"
        return ["--name", self.name, "--listen", address, "--advertise", address]

    def up(self) -> None:
        """Returns when the daemon tells systemd that it is ready."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            address = str(self.folder / f"{self.name}.notify")
            Path(address).unlink(missing_ok=True)
            notified.bind(address)
            notified.settimeout(DEADLINE)
            environment = {**os.environ, "NOTIFY_SOCKET": address}
            with open(self.folder / f"{self.name}.log", "ab") as log:
                command = [*PROGRAM, "--home", str(self.home), "up"]
                self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            assert "READY=1" in notified.recv(4096).decode()

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE)
        self.process = None
        return code

    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text()


def wait_until(what: Callable[[], object], words: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < deadline, f"never: {words}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[tuple[Daemon, Daemon]]:
    both = (Daemon(tmp_path, "a", free_port()), Daemon(tmp_path, "b", free_port()))
    yield both
    for daemon in both:
        if daemon.process is not None:
            daemon.process.kill()
            daemon.process.wait()


@pytest.fixture
def alone(daemons: tuple[Daemon, Daemon]) -> Daemon:
    daemon = daemons[0]
    made = json.loads(daemon.ok("init", *daemon.place(), "--json"))
    assert set(made) == {"name", "node", "cluster", "home", "advertise"}
    return daemon


def test_a_daemon_starts_answers_and_stops_cleanly_on_a_signal(alone: Daemon) -> None:
    alone.up()
    assert alone.status()["exit_code"] == 0
    assert alone.run("status").stdout.startswith("running, no group yet")
    assert alone.end() == 0
    assert alone.run("status").returncode == 5
    assert not (alone.home / "api.sock").exists()
    assert "Traceback" not in alone.log()


def test_down_returns_when_the_process_has_gone(alone: Daemon) -> None:
    alone.up()
    assert set(json.loads(alone.ok("down", "--json"))) == {"stopped", "pid"}
    assert alone.process is not None
    assert alone.process.wait(DEADLINE) == 0
    alone.process = None
    assert alone.run("down").returncode == 5


def test_a_second_daemon_on_one_home_is_refused_and_harms_nothing(alone: Daemon) -> None:
    alone.up()
    second = alone.run("up")
    assert second.returncode == 2
    assert "another everynode" in second.stderr
    assert alone.run("status").returncode == 0


def test_a_daemon_that_was_killed_leaves_nothing_in_the_way(alone: Daemon) -> None:
    alone.up()
    assert alone.end(signal.SIGKILL) == -signal.SIGKILL
    assert alone.run("status").returncode == 5
    alone.up()
    assert alone.run("status").returncode == 0


def test_up_without_a_cluster_says_what_to_do(daemons: tuple[Daemon, Daemon]) -> None:
    done = daemons[0].run("up")
    assert done.returncode == 2
    assert "everynode init" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_taken_is_said_and_ends_the_start(alone: Daemon) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", alone.port))
        taken.listen()
        done = alone.run("up")
    assert done.returncode == 2
    assert f"127.0.0.1:{alone.port}" in done.stderr


def test_wrong_settings_of_the_node_end_the_start_with_their_place(alone: Daemon) -> None:
    with open(alone.home / "node.toml", "a") as settings:
        settings.write('\n[rots]\nwww = "/srv"\n')
    for command in ("up", "config"):
        done = alone.run(*([command] if command == "up" else ["config", "check"]))
        assert done.returncode == 2
        assert "node.toml:" in done.stderr
        assert "roots" in done.stderr


@pytest.mark.cluster
def test_two_nodes_join_share_a_tree_and_part(daemons: tuple[Daemon, Daemon]) -> None:
    a, b = daemons
    a.ok("init", *a.place())
    a.up()
    token = a.ok("invite").split()[-1]
    joined = json.loads(b.ok("join", token, *b.place(), "--root", str(b.root), "--json"))
    assert set(joined) == {"name", "node", "cluster", "members", "groups"}
    b.up()
    again = daemons[1].run("join", token, *b.place())
    assert again.returncode == 2
    a.root.mkdir()
    (a.root / "first").write_text("written before the group\n")
    a.ok("group", "add", "tree", str(a.root))
    wait_until((b.root / "first").exists, "the file on b, at the root that join was given")
    assert not (b.folder / "a.root" / "second").exists()
    (b.root / "second").write_text("written on b\n")
    b.ok("wait", str(b.root / "second"), "--nodes", "all", "--timeout", "20")
    assert (a.root / "second").read_text() == "written on b\n"
    assert {one["name"] for one in json.loads(a.ok("members", "--json"))["members"]} == {"a", "b"}
    a.ok("remove", "b")
    wait_until(lambda: a.status()["peers"] == [], "a without b")
    wait_until(lambda: b.status()["exit_code"] == 2, "b knows that it was removed")
    assert "no longer a member" in b.status()["verdict"]
    wait_until(lambda: "no longer a member of the cluster" in b.log(), "that nobody needs to ask")
    (b.root / "third").write_text("not for a\n")
    assert a.end() == b.end() == 0
    assert not (a.root / "third").exists()
    assert "Traceback" not in a.log() + b.log()


@pytest.mark.cluster
def test_a_missing_root_halts_its_group_alone_until_it_is_back(alone: Daemon) -> None:
    other = alone.folder / "other"
    alone.ok("group", "add", "tree", str(alone.root))
    alone.ok("group", "add", "other", str(other))
    alone.up()
    wait_until(lambda: alone.run("status").returncode == 0, "both groups in sync")
    (alone.root / "kept").write_text("kept\n")
    alone.ok("wait", "--timeout", "20")
    alone.root.rename(alone.folder / "away")

    def states() -> dict[str, str]:
        return {group["name"]: group["state"] for group in alone.status()["groups"]}

    wait_until(lambda: states() == {"tree": "halted", "other": "live"}, "one halted, the other live")
    assert alone.run("wait", "--timeout", "0").returncode == 1
    assert not alone.root.exists()
    (alone.folder / "away").rename(alone.root)
    wait_until(lambda: states() == {"tree": "live", "other": "live"}, "both live again")
    assert (alone.root / "kept").read_text() == "kept\n"


def test_a_group_that_is_given_up_frees_its_root(alone: Daemon) -> None:
    alone.ok("group", "add", "tree", str(alone.root))
    alone.up()
    wait_until((alone.root / ".everynode" / "marker").exists, "the marker")
    alone.ok("group", "remove", "tree")
    wait_until(lambda: not (alone.root / ".everynode" / "marker").exists(), "no marker any more")
    wait_until(lambda: list((alone.home / "index").iterdir()) == [], "its index is put away, too")
    alone.ok("group", "add", "anew", str(alone.root))
    wait_until(lambda: [g["state"] for g in alone.status()["groups"]] == ["live"], "the new group lives there")


def test_a_damaged_index_is_set_aside_and_built_anew(alone: Daemon) -> None:
    alone.ok("group", "add", "tree", str(alone.root))
    alone.root.mkdir()
    (alone.root / "kept").write_text("kept\n")
    alone.up()
    alone.ok("wait", "--timeout", "20")
    assert alone.end() == 0
    [index] = (alone.home / "index").glob("*.db")
    index.write_bytes(b"no database" * 1000)
    alone.up()
    wait_until(lambda: [g["files"] for g in alone.status()["groups"]] == [1], "the index built from the tree")
    assert list((alone.home / "index").glob("*.damaged-*"))
    assert (alone.root / "kept").read_text() == "kept\n"


@pytest.mark.cluster
@pytest.mark.parametrize("how", ["command", "cluster file", "node.toml while it is down"])
def test_another_root_that_is_empty_deletes_nothing_and_is_filled(daemons: tuple[Daemon, Daemon], how: str) -> None:
    """What the index says was placed stood in the old root: its absence in the new one is no deletion."""
    a, b = daemons
    a.ok("init", *a.place())
    a.ok("group", "add", "tree", str(a.root))
    (a.root / "folder").mkdir(parents=True)
    (a.root / "folder" / "kept").write_text("kept\n")
    a.up()
    # On b the cluster file says where: the other way round it is a's root that changes, too.
    own_root = [] if how == "cluster file" else ["--root", str(b.root)]
    b.ok("join", a.ok("invite").split()[-1], *b.place(), *(own_root or ["--root", f"other={b.root}"]))
    if how == "cluster file":
        a.ok("group", "root", "tree", str(a.root))
        (b.folder / "toml").write_text(a.ok("config", "show").replace(f'root = "{a.root}"', f'root = "{b.root}"'))
        a.ok("config", "apply", str(b.folder / "toml"))
    b.up()
    wait_until((b.root / "folder" / "kept").exists, "the file on b")
    b.ok("wait", "--timeout", "20")
    moved = b.folder / "moved"
    if how == "command":
        b.ok("group", "root", "tree", str(moved))
    elif how == "cluster file":
        text = a.ok("config", "show").replace(f'root = "{b.root}"', f'root = "{moved}"')
        (b.folder / "toml").write_text(text)
        a.ok("config", "apply", str(b.folder / "toml"))
    else:
        assert b.end() == 0
        settings = (b.home / "node.toml").read_text()
        assert str(b.root) in settings
        (b.home / "node.toml").write_text(settings.replace(str(b.root), str(moved)))
        b.up()
    wait_until((moved / "folder" / "kept").exists, "the file in the new root")
    b.ok("wait", "--timeout", "20")
    for root in (a.root, b.root, moved):
        assert (root / "folder" / "kept").read_text() == "kept\n"
    assert [group["files"] for group in a.status()["groups"]] == [1]
    assert not any(json.loads(line)["what"] == "deleted" for line in b.ok("log", "--json").splitlines())
    (moved / "new").write_text("written in the new root\n")
    wait_until((a.root / "new").exists, "what was written there since, on a")


def test_a_node_that_goes_back_to_its_old_root_counts_it_as_news(alone: Daemon) -> None:
    alone.ok("group", "add", "tree", str(alone.root))
    alone.root.mkdir()
    (alone.root / "kept").write_text("kept\n")
    alone.up()
    alone.ok("wait", "--timeout", "20")
    alone.ok("group", "root", "tree", str(alone.folder / "elsewhere"))
    wait_until((alone.folder / "elsewhere" / ".everynode" / "marker").exists, "the marker of the new root")
    (alone.root / "since").write_text("added meanwhile\n")
    alone.ok("group", "root", "tree")
    wait_until(lambda: [g["files"] for g in alone.status()["groups"]] == [2], "both files known")
    assert (alone.root / "kept").read_text() == "kept\n"
    assert len(list((alone.home / "index").glob("*.moved-*"))) == 2


def test_what_only_a_mistyped_name_asks_for_is_refused(alone: Daemon) -> None:
    alone.ok("group", "add", "tree", str(alone.root))
    alone.up()
    wait_until(lambda: [g["state"] for g in alone.status()["groups"]] == ["live"], "the group lives")
    for command in ("release", "discard"):
        done = alone.run(command, "tree", "--by", "nosuch")
        assert done.returncode == 2
        assert "there is no node 'nosuch'" in done.stderr and "there are a" in done.stderr
        assert "nothing is held in tree" in alone.ok(command, "tree", "--by", "a")
    for exclude, why in (("", "1 to 4,096 characters"), (b"\xff", "not UTF-8"), ("a[", "never closed")):
        done = alone.run("group", "add", "other", str(alone.folder / "other"), "--exclude", os.fsdecode(exclude))
        assert done.returncode == 2
        assert why in done.stderr
        assert "statement" not in done.stderr


def test_what_is_in_the_vault_unknown_is_said_in_one_line_and_kept(alone: Daemon) -> None:
    alone.ok("group", "add", "tree", str(alone.root))
    alone.up()
    wait_until(lambda: [g["state"] for g in alone.status()["groups"]] == ["live"], "the group lives")
    assert alone.end() == 0
    vault = alone.root / ".everynode" / "vault"
    for number in range(3):
        (vault / f"d-0123456789ab-{number}").write_text(f"old {number}\n")
    alone.up()
    wait_until(lambda: [g["state"] for g in alone.status()["groups"]] == ["live"], "the group lives again")
    events = [json.loads(line) for line in alone.ok("log", "--json").splitlines()]
    assert [event["detail"][:12] for event in events if "vault" in event["detail"]] == ["3 in the vau"]
    assert len(list(vault.iterdir())) == 3


def test_what_is_done_to_the_root_itself_is_no_change_and_parts_no_nodes(daemons: tuple[Daemon, Daemon]) -> None:
    a, b = daemons
    a.ok("init", *a.place())
    a.ok("group", "add", "tree", str(a.root))
    a.up()
    b.ok("join", a.ok("invite").split()[-1], *b.place(), "--root", str(b.root))
    b.up()
    b.ok("wait", "--timeout", "20")
    linked = [peer["since"] for peer in a.status()["peers"]]
    b.root.chmod(0o700)
    os.utime(b.root, (1, 1))
    b.ok("hint", str(b.root))
    b.ok("rescan")
    (b.root / "after").write_text("after\n")
    b.ok("wait", str(b.root / "after"), "--timeout", "20")
    assert (a.root / "after").read_text() == "after\n"
    assert [(group["files"], group["directories"]) for group in b.status()["groups"]] == [(1, 0)]
    events = [json.loads(line) for line in b.ok("log", "--json").splitlines()]
    assert [(event["what"], event["path"]) for event in events] == [("started", ""), ("created", "after")]
    assert [peer["since"] for peer in a.status()["peers"]] == linked
