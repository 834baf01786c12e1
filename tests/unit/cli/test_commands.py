"""What people type, against the real API in front of a fake node."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from everynode.cli.main import COMMANDS, everynode
from everynode.daemon.facade import HeldGroup
from everynode.errors import PathError
from everynode.model.path import RelPath
from everynode.report.status import GroupPeer, GroupStatus, PeerStatus, WaitResult
from tests.unit.daemon.fake_node import CONTENT, PATH, RunningApi, running_api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[RunningApi]:
    with running_api(tmp_path / "home", tmp_path / "www") as running:
        yield running


def run(api: RunningApi | str, *arguments: str | bytes) -> Result:
    home = api if isinstance(api, str) else api.home
    return CliRunner().invoke(everynode, ["--home", home, *map(os.fsdecode, arguments)])


def inside(api: RunningApi, path: bytes) -> bytes:
    return os.fsencode(api.node.group.root) + b"/" + path


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(everynode, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Example" in result.output
    assert "--json" in result.output


def test_the_table_of_commands_is_shown_without_importing_them() -> None:
    result = CliRunner().invoke(everynode, ["--help"])
    assert result.exit_code == 0
    for name, (_, text) in COMMANDS.items():
        assert name in result.output
        assert text.split()[0] in result.output


@pytest.mark.parametrize("seconds", ["nan", "-1", "soon"])
def test_a_wait_that_could_never_end_is_refused(api: RunningApi, seconds: str) -> None:
    result = run(api, "wait", "--timeout", seconds)
    assert result.exit_code == 2
    assert seconds in result.output


def test_status_shows_the_verdict_first(api: RunningApi) -> None:
    result = run(api, "status")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "in sync on 2 nodes"
    assert any(line.startswith("group www at ") for line in lines)
    assert any("watched by fanotify" in line for line in lines)


@pytest.mark.parametrize(
    ("conflicts", "linked", "in_sync", "code"),
    [(1, False, False, 3), (0, False, False, 4), (0, True, False, 1), (0, True, True, 0)],
)
def test_status_exits_with_the_first_code_that_applies(
    api: RunningApi, conflicts: int, linked: bool, in_sync: bool, code: int
) -> None:
    api.node.group.conflict_count = conflicts
    api.node.group.in_sync = in_sync
    api.node.peers = (PeerStatus(node="b" * 26, name="b", linked=linked, last_error="refused"),)
    assert run(api, "status").exit_code == code
    as_json = run(api, "status", "--json")
    assert as_json.exit_code == code
    assert json.loads(as_json.output)["exit_code"] == code


def test_json_may_stand_before_or_after_the_command(api: RunningApi) -> None:
    assert json.loads(run(api, "--json", "status").output) == json.loads(run(api, "status", "--json").output)


def test_without_a_daemon_the_exit_code_is_5(tmp_path: Path) -> None:
    result = run(str(tmp_path), "status")
    assert result.exit_code == 5
    assert "not running" in result.output
    for command in (["wait"], ["log"], ["conflicts"], ["hint", "x"], ["down"], ["leave"]):
        result = run(str(tmp_path), *command, "--json")
        assert (command, result.exit_code) == (command, 5)
        assert "everynode up" in json.loads(result.output)["error"]


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["wait", "--nodes", "0"], ["wait", "--nodes", "most"], ["hint"], ["wait", "--timeout", "-1"]],
)
def test_wrong_use_exits_with_2(api: RunningApi, arguments: list[str]) -> None:
    assert run(api, *arguments).exit_code == 2
    with_json = run(api, "--json", *arguments)
    assert with_json.exit_code == 2
    assert json.loads(with_json.output)["exit_code"] == 2


def test_wait_maps_a_path_and_reports(api: RunningApi) -> None:
    result = run(api, "wait", inside(api, b"a.html"), "--nodes", "2", "--timeout", "3")
    assert result.exit_code == 0, result.output
    assert api.node.group.asked[0][1:3] == (b"a.html", 2)  # type: ignore[index]


def test_wait_does_not_ask_again_what_was_answered_before_the_time_was_up(api: RunningApi) -> None:
    api.node.group.wait_result = WaitResult(done=False, reached=0, wanted=2, reason="it does not exist")
    result = run(api, "wait", inside(api, b"nothing"))
    assert result.exit_code == 1
    assert "it does not exist" in result.output


def test_wait_in_vain_says_who_is_missing(api: RunningApi) -> None:
    api.node.group.wait_result = WaitResult(done=False, reached=1, wanted=2, missing=("b",))
    result = run(api, "wait", "--timeout", "0")
    assert result.exit_code == 1
    assert "not yet on b" in result.output
    api.node.peers = ()
    assert run(api, "wait", "--timeout", "0").exit_code == 4


def test_paths_that_are_not_utf8_and_relative_ones_reach_the_group(
    api: RunningApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(api.node.group.root)
    result = run(api, "hint", b"caf\xe9", "./d/../e", "--renamed", "old", "new")
    assert result.exit_code == 0, result.output
    assert api.node.group.asked == [("hint", [b"caf\xe9", b"e"], [(b"old", b"new")])]


def test_a_symlink_is_named_not_followed(api: RunningApi) -> None:
    (api.node.group.root / "link").symlink_to("/etc/hostname")
    assert run(api, "hint", inside(api, b"link")).exit_code == 0
    assert api.node.group.asked == [("hint", [b"link"], [])]


def test_a_path_outside_of_all_roots_is_wrong_use(api: RunningApi) -> None:
    for arguments in (["hint", "/etc/hostname"], ["conflicts", "show", "/etc/hostname"], ["restore", "/etc/hostname"]):
        result = run(api, *arguments)
        assert (arguments, result.exit_code) == (arguments, 2)
        assert "not in any group" in result.output


def test_conflicts_are_listed_shown_printed_and_resolved(api: RunningApi) -> None:
    listed = run(api, "conflicts")
    assert listed.exit_code == 3
    assert "caf\\xe9.html" in listed.output
    assert "bbbbbbbb.0:9" in listed.output
    as_json = json.loads(run(api, "conflicts", "list", "--json").output)
    assert as_json["conflicts"]["www"][0]["path_b64"] == "Y2Fm6S5odG1s"
    path = inside(api, PATH)
    assert run(api, "conflicts", "show", path).exit_code == 3
    assert run(api, "conflicts", "get", path, "bbbbbbbb.0:9").stdout_bytes == CONTENT
    assert run(api, "conflicts", "resolve", path, "--keep", "aaaaaaaa.0:1").exit_code == 0
    assert api.node.group.asked == [("resolve", PATH, "aaaaaaaa.0:1")]


def test_a_generation_is_listed_restored_and_written_elsewhere(api: RunningApi, tmp_path: Path) -> None:
    path = inside(api, b"a.html")
    assert [line.split()[0] for line in run(api, "restore", path, "--list").output.splitlines()] == ["g2", "g1"]
    target = tmp_path / "old.html"
    assert run(api, "restore", path, "--to", str(target)).exit_code == 0
    assert target.read_bytes() == CONTENT
    assert run(api, "restore", path, "--generation", "g1").exit_code == 0
    assert api.node.group.asked == [("generation", b"a.html", "g2"), ("restore", b"a.html", "g1")]


def test_the_log_is_shown_as_text_and_json_lines(api: RunningApi) -> None:
    api.log(b"a", b"\xff", b"c")
    run(api, "status")
    assert [line.split()[-1] for line in run(api, "log", "-n", "2").output.splitlines()] == ["\\xff", "c"]
    lines = run(api, "log", "--json").output.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [1, 2, 3]


def test_rescan_asks_all_groups_or_one(api: RunningApi) -> None:
    assert run(api, "rescan").exit_code == 0
    assert run(api, "rescan", "www").exit_code == 0
    assert api.node.group.asked == ["rescan", "rescan"]
    assert run(api, "rescan", "nope").exit_code == 2


def test_verify_says_that_all_are_equal_or_names_what_differs(api: RunningApi) -> None:
    equal = run(api, "verify")
    assert (equal.exit_code, "b: equal" in equal.output) == (0, True)
    contents = run(api, "verify", "www", "--contents")
    assert (contents.exit_code, "all contents read again" in contents.output) == (0, True)
    api.node.group.in_sync = False
    differs = run(api, "verify", "www")
    assert differs.exit_code == 1
    assert "caf\\xe9.html: mode" in differs.output and "b: file 0600" in differs.output
    (group,) = json.loads(run(api, "verify", "--json").output)["groups"]
    assert group["differences"][0]["what"] == ["mode"] and group["nodes"] == [{"name": "b", "state": "differs"}]
    assert api.node.group.asked == [("verify", False), ("verify", True), ("verify", False), ("verify", False)]
    assert run(api, "verify", "nope").exit_code == 2


def test_problems_are_counted_even_when_there_are_none(api: RunningApi) -> None:
    result = run(api, "problems")
    assert (result.exit_code, result.output) == (0, "no problems\n")


def test_removals_are_released_and_discarded(api: RunningApi) -> None:
    done = run(api, "release", "www", "--by", "b")
    assert (done.exit_code, done.output) == (0, "released 2,000 files removed or emptied by b\n")
    done = run(api, "discard", "www")
    assert (done.exit_code, done.output) == (0, "2,000 files come back that were removed or emptied by b\n")
    assert api.node.group.asked == [("release", "b"), ("discard", None)]
    assert json.loads(run(api, "--json", "release", "www").output) == {"files": 2000, "by": ["b"]}


def test_deciding_where_nothing_is_held_says_so(api: RunningApi) -> None:
    done = run(api, "release", "www", "--by", "nobody")
    assert (done.exit_code, done.output) == (0, "nothing is held in www of what nobody removed\n")
    done = run(api, "discard", "www", "--by", "b")
    assert done.exit_code == 1
    assert "say it on a node that holds it" in done.output
    done = run(api, "--json", "discard", "www", "--by", "b")
    assert done.exit_code == 1


def test_a_group_that_does_not_run_is_a_problem_and_hides_no_other_group(
    api: RunningApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = api.node.group
    running = group.status()
    halted = GroupStatus(name="other", id="02" * 16, root="/srv/other", state="halted", reason="the root is missing")
    node = api.node.status()
    monkeypatch.setattr(api.node, "status", lambda: msgspec.structs.replace(node, groups=(halted, running)))
    result = run(api, "problems")
    assert (result.exit_code, result.output) == (
        1,
        "/srv/other: the whole group other is halted\n    the root is missing\n",
    )
    as_json = json.loads(run(api, "problems", "--json").output)
    assert as_json == {
        "problems": {"other": [], "www": []},
        "blocking": 0,
        "not_running": {"other": "the root is missing"},
    }
    api.node.held = {"other": HeldGroup("/srv/other", None, "the root is missing"), **api.node.held}
    listed = run(api, "conflicts")
    assert listed.exit_code == 3
    assert "caf\\xe9.html" in listed.output
    assert "other does not run on this node: the root is missing" in listed.output


def test_a_linked_peer_without_the_group_is_told_from_one_that_is_away(
    api: RunningApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = GroupPeer(node="b" * 26, name="b", behind=0)
    status = api.node.status()
    group = msgspec.structs.replace(status.groups[0], peers=(peer,))
    node = msgspec.structs.replace(status, groups=(group,))
    monkeypatch.setattr(api.node, "status", lambda: node)
    assert "b      does not run there: see `everynode status` on that node" in run(api, "status").output
    away = PeerStatus(node="b" * 26, name="b", linked=False, since=time.time() - 600)
    monkeypatch.setattr(api.node, "status", lambda: msgspec.structs.replace(node, peers=(away,)))
    output = run(api, "status").output
    assert "has everything (as last heard)" in output
    assert "b  away for 10 min" in output


def test_status_names_the_home_for_which_no_daemon_runs(tmp_path: Path) -> None:
    """It may well run: for another home, or for another user."""
    result = run(str(tmp_path), "status")
    assert result.exit_code == 5
    assert result.output.startswith(f"not running for {tmp_path}: start it with `everynode up`, or name another home")


def test_writing_a_generation_elsewhere_empties_no_file_in_vain_and_adds_nothing(
    api: RunningApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = inside(api, PATH)
    piped = run(api, "restore", path, "--to", "-")
    assert piped.stdout_bytes == CONTENT
    assert run(api, "restore", path, "--to", "-", "--json").stdout_bytes == CONTENT
    there = tmp_path / "there"
    there.write_text("not to be lost\n")

    async def none(path: RelPath, name: str) -> int:
        raise PathError(f"there is no generation {name}")

    monkeypatch.setattr(api.node.group, "generation_content", none)
    result = run(api, "restore", path, "--generation", "g9", "--to", str(there))
    assert result.exit_code == 2
    assert "there is no generation g9" in result.output
    assert there.read_text() == "not to be lost\n"


@pytest.mark.parametrize("name", ["gr\u00fcn", b"\xff\xfe", "a/b?c", ""])
@pytest.mark.parametrize(
    "command",
    [["verify"], ["rescan"], ["release"], ["discard"], ["wait", "--group"], ["group", "remove"], ["group", "root"]],
    ids=" ".join,
)
def test_what_cannot_name_a_group_is_said_to_be_so(api: RunningApi, command: list[str], name: str | bytes) -> None:
    result = run(api, *command, name)
    assert result.exit_code == 2
    assert "cannot name a group" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", [["remove"], ["release", "www", "--by"]], ids=" ".join)
def test_an_argument_that_is_not_utf8_is_named(api: RunningApi, command: list[str]) -> None:
    result = run(api, *command, b"n\xff")
    assert result.exit_code == 2
    assert result.output == "everynode: \\xff is not UTF-8: only paths may hold such bytes\n"


def test_a_file_of_settings_may_have_any_name(api: RunningApi, tmp_path: Path) -> None:
    file = os.fsencode(tmp_path) + b"/n\xff.toml"
    with open(file, "w") as settings:
        settings.write("colour = 1\n")
    result = run(api, "config", "apply", file)
    assert result.exit_code == 2
    assert "n\\xff.toml:1:1: unknown key" in result.output


def test_the_settings_of_a_home_that_is_not_there_are_not_correct(tmp_path: Path) -> None:
    result = run(str(tmp_path / "none"), "config", "check")
    assert result.exit_code == 2
    assert "there is no home" in result.output


def test_a_root_has_no_versions_of_its_own(api: RunningApi) -> None:
    result = run(api, "restore", os.fsencode(api.node.group.root))
    assert result.exit_code == 2
    assert "is the root of group www itself" in result.output


def test_a_path_without_a_conflict_is_named(api: RunningApi) -> None:
    result = run(api, "conflicts", "show", inside(api, b"quiet"))
    assert result.exit_code == 2
    assert result.output == "everynode: there is no conflict at quiet (any more); see `everynode conflicts`\n"


DOCUMENTED = re.findall(
    r"^\| `([a-z ]+)` \| (.+) \|$",
    (Path(__file__).parents[3] / "docs/reference/commands.md").read_text().split("## JSON", 1)[1].split("## ", 1)[0],
    re.MULTILINE,
)


# The others need homes of their own: tests/unit/daemon/test_process.py.
AT_THE_FAKE = [(command, keys) for command, keys in DOCUMENTED if command not in ("init", "join", "down")]


@pytest.mark.parametrize(("command", "keys"), AT_THE_FAKE, ids=[command for command, _ in AT_THE_FAKE])
def test_the_json_of_a_command_has_the_keys_that_are_documented(
    api: RunningApi, tmp_path: Path, command: str, keys: str
) -> None:
    (tmp_path / "toml").write_text("[group]\n")
    arguments = {
        "remove": ["b"],
        "group add": ["notes", str(tmp_path / "notes")],
        "group remove": ["www"],
        "group root": ["www"],
        "config apply": [str(tmp_path / "toml")],
        "conflicts resolve": [inside(api, PATH), "--keep", "bbbbbbbb.0:9"],
        "restore": [inside(api, PATH)],
    }
    Path(api.home).chmod(0o700)
    result = run(api, *command.split(), *arguments.get(command, []), "--json")
    assert result.exit_code in (0, 3), result.output
    outer = re.sub(r"\(.*?\)", "", keys.split(";")[0].split(":")[0])
    assert set(json.loads(result.output)) == set(re.findall(r"`(\w+)`", outer))
