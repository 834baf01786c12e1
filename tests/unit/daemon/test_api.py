"""The API over a real Unix socket, in front of a fake node."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from everynode.client import ApiError, Client, NotRunning
from everynode.client.roots import roots_of
from everynode.report.status import PeerStatus, WaitResult
from tests.unit.daemon.fake_node import CONTENT, PATH, RunningApi, running_api

PATH_B64 = b64encode(PATH).decode()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[RunningApi]:
    with running_api(tmp_path / "home", tmp_path / "www") as running:
        yield running


@pytest.fixture
def client(api: RunningApi) -> Client:
    return Client(api.home)


def refused(client: Client, method: str, target: str, body: object = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        if method == "GET":
            client.get(target)
        else:
            client.post(target, body)
    return caught.value


def test_the_socket_is_for_its_owner_only(api: RunningApi) -> None:
    assert stat.S_IMODE((Path(api.home) / "api.sock").stat().st_mode) == 0o600


def test_the_socket_goes_when_the_server_stops(tmp_path: Path) -> None:
    with running_api(tmp_path / "home", tmp_path / "www"):
        pass
    assert not (tmp_path / "home" / "api.sock").exists()


def test_a_socket_left_by_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "api.sock").write_bytes(b"")
    with running_api(tmp_path / "home", tmp_path / "www") as api:
        assert Client(api.home).get("/v1/status")["name"] == "a"


def test_a_home_with_a_very_long_name_works(tmp_path: Path) -> None:
    home = tmp_path / ("h" * 120)
    with running_api(home, tmp_path / "www"):
        assert Client(str(home)).get("/v1/status")["name"] == "a"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_can_use_it(api: RunningApi) -> None:
    output = subprocess.run(
        ["curl", "-s", "--unix-socket", f"{api.home}/api.sock", "http://everynode/v1/status"],
        capture_output=True,
        check=True,
        timeout=20,
    ).stdout
    assert json.loads(output)["verdict"] == "in sync on 2 nodes"


def test_status_carries_verdict_and_groups(client: Client) -> None:
    status = client.get("/v1/status")
    assert (status["verdict"], status["exit_code"]) == ("in sync on 2 nodes", 0)
    assert status["groups"][0]["watch"] == "fanotify"


def test_a_path_of_the_filesystem_reaches_its_group(api: RunningApi, client: Client) -> None:
    root = api.node.group.root
    reply = client.post("/v1/wait", {"path": f"{root}/d/a.html", "nodes": 2, "timeout": 7})
    assert reply["done"] is True
    [(what, path, nodes, timeout)] = api.node.group.asked  # type: ignore[misc]
    assert (what, path, nodes) == ("wait", b"d/a.html", 2)
    assert 6 < timeout <= 7


@pytest.mark.parametrize("body", [{}, {"group": "www"}, {"path": "ROOT"}])
def test_waiting_for_the_root_a_group_or_nothing_means_everything(
    api: RunningApi, client: Client, body: dict[str, str]
) -> None:
    if "path" in body:
        body = {"path": str(api.node.group.root)}
    assert client.post("/v1/wait", body)["groups"]["www"]["reached"] == 3
    assert api.node.group.asked[0][1:3] == (None, None)  # type: ignore[index]


@pytest.mark.parametrize(("linked", "code", "unreachable"), [(True, 1, []), (False, 4, ["b"])])
def test_a_wait_in_vain_says_who_is_missing_and_whether_it_is_reachable(
    api: RunningApi, client: Client, linked: bool, code: int, unreachable: list[str]
) -> None:
    api.node.peers = (PeerStatus(node="b" * 26, name="b", linked=linked),)
    api.node.group.wait_result = WaitResult(done=False, reached=1, wanted=2, missing=("b",))
    reply = client.post("/v1/wait", {"timeout": 0})
    assert (reply["done"], reply["exit_code"], reply["unreachable"]) == (False, code, unreachable)


def test_hints_are_mapped_to_groups_and_then_waited_for(api: RunningApi, client: Client) -> None:
    root = str(api.node.group.root)
    raw = {"path_b64": b64encode(root.encode() + b"/\xff").decode()}
    client.post("/v1/hint", {"paths": [f"{root}/a", raw], "renames": [[f"{root}/old", f"{root}/new"]], "wait": "all"})
    hint, *waits = api.node.group.asked
    assert hint == ("hint", [b"a", b"\xff"], [(b"old", b"new")])
    assert [wait[1] for wait in waits] == [b"a", b"\xff", b"old", b"new"]  # type: ignore[index]


def test_a_path_outside_of_all_roots_is_refused_with_the_roots(client: Client) -> None:
    error = refused(client, "POST", "/v1/hint", {"paths": ["/etc/passwd"]})
    assert error.status == 404
    assert "/etc/passwd" in str(error)
    assert "www at" in str(error)


def test_a_path_that_would_leave_the_root_is_refused(api: RunningApi, client: Client) -> None:
    error = refused(client, "POST", "/v1/hint", {"paths": [f"{api.node.group.root}/../x"]})
    assert "'..'" in str(error)
    assert api.node.group.asked == []


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "words"),
    [
        ("GET", "/v1/nothing", None, 404, "not found"),
        ("POST", "/v1/status", {}, 405, "not allowed"),
        ("GET", "/v1/groups/nope/conflicts", None, 404, "no group 'nope'"),
        ("POST", "/v1/wait", {"group": "nope"}, 404, "no group 'nope'"),
        ("POST", "/v1/wait", {"nodez": 2}, 400, "nodez"),
        ("POST", "/v1/wait", {"nodes": "most"}, 400, "nodes"),
        ("POST", "/v1/hint", {"paths": [{"path_b64": "*"}]}, 404, "not base64"),
        ("GET", "/v1/groups/www/generations", None, 400, "which path"),
        ("GET", "/v1/groups/www/conflicts?path=other", None, 404, "no conflict"),
        ("GET", "/v1/groups/www/content?path=x&dot=cccccccc.0:1", None, 404, "no version"),
        ("GET", "/v1/log?n=many", None, 400, "not a number"),
        (
            "POST",
            "/v1/config",
            {"toml": "colour = 1", "file": "cluster.toml"},
            400,
            "cluster.toml:1:1: unknown key 'colour'",
        ),
    ],
)
def test_wrong_requests_are_refused_with_a_reason(
    client: Client, method: str, target: str, body: object, status: int, words: str
) -> None:
    error = refused(client, method, target, body)
    assert error.status == status
    assert words in str(error)


def test_a_group_that_does_not_run_says_why(api: RunningApi, client: Client) -> None:
    held = api.node.held["www"]
    api.node.held["www"] = type(held)(held.root, None, "the root is missing")
    error = refused(client, "POST", "/v1/groups/www/rescan", {})
    assert error.status == 409
    assert "the root is missing" in str(error)
    reply = client.post("/v1/wait", {})
    assert (reply["done"], reply["groups"]["www"]["reason"]) == (False, "the root is missing")


def test_a_defect_is_an_answer_and_does_not_stop_the_server(api: RunningApi, client: Client) -> None:
    api.node.members = None  # type: ignore[assignment]
    error = refused(client, "GET", "/v1/members")
    assert error.status == 500
    assert "TypeError" in str(error)
    assert client.get("/v1/status")["name"] == "a"


def test_a_conflict_at_a_path_that_is_not_utf8_is_shown_read_and_resolved(api: RunningApi, client: Client) -> None:
    [view] = client.get("/v1/groups/www/conflicts")["conflicts"]
    assert (view["path"], view["path_b64"]) == ("caf\\xe9.html", PATH_B64)
    [same] = client.get(f"/v1/groups/www/conflicts?path_b64={PATH_B64}")["conflicts"]
    assert same == view
    blocks = client.blocks(f"/v1/groups/www/content?path_b64={PATH_B64}&dot=bbbbbbbb.0:9")
    assert b"".join(blocks) == CONTENT
    client.post("/v1/groups/www/resolve", {"path": {"path_b64": PATH_B64}, "keep": "aaaaaaaa.0:1"})
    assert api.node.group.asked == [("resolve", PATH, "aaaaaaaa.0:1")]


def test_generations_are_listed_read_and_restored(api: RunningApi, client: Client) -> None:
    names = [one["name"] for one in client.get("/v1/groups/www/generations?path=a")["generations"]]
    assert names == ["g2", "g1"]
    assert b"".join(client.blocks("/v1/groups/www/content?path=a&generation=g1")) == CONTENT
    client.post("/v1/groups/www/restore", {"path": "a", "generation": None})
    assert api.node.group.asked == [("generation", b"a", "g1"), ("restore", b"a", None)]


def test_the_log_gives_the_newest_and_follows(api: RunningApi, client: Client) -> None:
    api.log(b"a", b"b", b"c")
    client.get("/v1/status")  # the loop has been through what was added
    assert [json.loads(line)["path"] for line in client.lines("/v1/log?n=2")] == ["b", "c"]
    lines = client.lines("/v1/log?n=1&follow=1")
    assert json.loads(next(lines))["path"] == "c"
    api.log(b"\xff")
    event = json.loads(next(lines))
    assert (event["number"], event["path"], event["path_b64"]) == (4, "\\xff", "/w==")
    assert [json.loads(line)["number"] for line in client.lines("/v1/log?since=2")] == [3, 4]


def test_a_follower_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    with running_api(tmp_path / "home", tmp_path / "www") as api:
        lines = Client(api.home).lines("/v1/log?follow=1")
        api.log(b"a")
        assert json.loads(next(lines))["path"] == "a"
    assert list(lines) == []


def test_down_answers_before_it_stops(api: RunningApi, client: Client) -> None:
    assert client.post("/v1/down", {})["stopping"] is True


def test_membership_goes_to_the_node(api: RunningApi, client: Client) -> None:
    assert client.post("/v1/invite", {"valid_seconds": 60}) == {"token": "en1.secret", "expires": 1060.0}
    client.post("/v1/members/remove", {"node": "b"})
    client.post("/v1/groups", {"name": "log", "path": "/var/log", "exclude": ["*.gz"]})
    client.post("/v1/groups/remove", {"name": "log"})
    client.post("/v1/leave", {})
    assert api.node.asked == [
        ("remove", "b"),
        ("add_group", "log", "/var/log", ["*.gz"], "newest"),
        ("remove_group", "log"),
        "leave",
    ]
    assert client.get("/v1/members")["members"][0]["this"] is True
    assert client.post("/v1/config", {"toml": ""})["changes"] == ["group www: exclude is now *.tmp"]


def test_a_request_larger_than_its_bound_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everynode.daemon.api.API_BODY_BYTES_MAX", 1000)
    assert "larger than 1000 bytes" in str(refused(client, "POST", "/v1/config", {"toml": "#" * 2000}))


def test_no_daemon_is_told_from_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="everynode up"):
        Client(str(tmp_path)).get("/v1/status")
    with pytest.raises(NotRunning):
        Client(str(tmp_path / "no" / "home")).get("/v1/status")


def test_of_nested_roots_the_innermost_is_meant(tmp_path: Path) -> None:
    from everynode.client.roots import locate

    roots = roots_of([("outer", "/srv"), ("inner", "/srv/www")])
    assert locate(b"/srv/www/a", roots) == ("inner", b"a")
    assert locate(b"/srv/wwwx", roots) == ("outer", b"wwwx")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    linked = roots_of([("g", str(tmp_path / "link"))])
    assert locate(bytes(tmp_path / "real" / "a"), linked) == locate(bytes(tmp_path / "link" / "a"), linked)
