"""The verdict: its line and the exit code, in the documented order."""

from __future__ import annotations

import pytest

from everynode.report.status import GroupPeer, GroupState, GroupStatus, HoldView, NodeStatus, PeerStatus
from everynode.report.verdict import verdict


def group(*, conflicts: int = 0, in_sync: bool = True, state: GroupState = "live", **fields: object) -> GroupStatus:
    return GroupStatus(
        name="www",
        id="00" * 16,
        root="/srv/www",
        state=state,
        conflicts=conflicts,
        in_sync=in_sync,
        **fields,  # type: ignore[arg-type]
    )


def node(*groups: GroupStatus, peers: tuple[PeerStatus, ...] = (), settings: tuple[str, ...] = ()) -> NodeStatus:
    return NodeStatus(
        name="a", node="k" * 26, version="1", pid=1, uptime=1.0, groups=groups, peers=peers, settings=settings
    )


def peer(name: str, *, linked: bool) -> PeerStatus:
    return PeerStatus(node=name * 26, name=name, linked=linked)


HERE, AWAY = peer("b", linked=True), peer("c", linked=False)


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (None, 5, "not running"),
        (node(group(conflicts=1), peers=(AWAY,), settings=("bad root",)), 2, "bad root"),
        (node(group(conflicts=2, in_sync=False), peers=(AWAY,)), 3, "2 conflicts"),
        (node(group(in_sync=False, backlog=7), peers=(HERE, AWAY)), 4, "1 of 2 peers unreachable (c)"),
        (node(group(in_sync=False, backlog=7), peers=(HERE,)), 1, "www has 7 to place"),
        (node(group(), peers=(HERE,)), 0, "in sync on 2 nodes"),
        (node(group()), 0, "in sync"),
        (node(), 0, "no group yet"),
    ],
)
def test_the_first_that_applies_gives_the_exit_code(status: NodeStatus | None, code: int, word: str) -> None:
    line, exit_code = verdict(status)
    assert exit_code == code
    assert word in line


def test_a_worse_trouble_does_not_hide_the_others_from_the_line() -> None:
    line, _ = verdict(node(group(conflicts=1, in_sync=False, state="scanning"), peers=(AWAY,)))
    assert "1 conflict:" in line
    assert "unreachable" in line
    assert "www is being scanned" in line


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (group(in_sync=False, state="halted", reason="the root is missing"), "halted: the root is missing"),
        (group(in_sync=False, problems_blocking=3), "3 problems"),
        (
            group(in_sync=False, backlog=7, problems_blocking=1),
            "has 7 to place and has 1 problem: `everynode problems`",
        ),
        (
            group(in_sync=False, state="scanning", reason="waits for a contact"),
            "is being scanned and waits for a contact",
        ),
        (
            group(in_sync=False, peers=(GroupPeer(node="b", name="b", open=True, behind=4),)),
            "waits for b: see `everynode status` there",
        ),
    ],
)
def test_the_line_says_why_a_group_is_not_in_sync(status: GroupStatus, word: str) -> None:
    line, code = verdict(node(status))
    assert code == 1
    assert word in line


def test_a_linked_peer_on_which_a_group_does_not_run_is_not_in_sync() -> None:
    halted_there = group(peers=(GroupPeer(node="b" * 26, name="b", open=False),))
    line, code = verdict(node(halted_there, peers=(peer("b", linked=True),)))
    assert code == 1
    assert "does not run on b" in line


def test_a_peer_on_which_a_group_does_not_run_is_named_beside_one_that_is_behind() -> None:
    behind, halted = GroupPeer(node="b" * 26, name="b", open=True, behind=4), GroupPeer(node="c" * 26, name="c")
    line, _ = verdict(node(group(in_sync=False, peers=(behind, halted)), peers=(HERE, peer("c", linked=True))))
    assert "waits for b" in line
    assert "does not run on c" in line


def test_all_who_hold_the_same_are_named_in_one_place() -> None:
    holding = tuple(GroupPeer(node=name * 26, name=name, open=True, behind=9, held=9) for name in ("b", "c"))
    line, _ = verdict(node(group(in_sync=False, peers=holding), peers=(HERE,)))
    assert line.startswith("HELD in www by b, c: 9 files")
    assert line.count("HELD") == 1


def test_what_is_held_is_said_before_all_else() -> None:
    hold = HoldView(path="site", node="b", files=2000, first="x:1", last="x:2000", since=1.0)
    line, code = verdict(node(group(in_sync=False, holds=(hold,), problems_blocking=1), peers=(HERE, AWAY)))
    assert line.startswith("HELD in www: 2,000 files removed or emptied by b: `everynode release www`")
    assert code == 4
    assert verdict(node(group(in_sync=False, holds=(hold,), problems_blocking=1)))[1] == 1


def test_the_author_is_told_who_holds_its_removals() -> None:
    other = GroupPeer(node="b" * 26, name="b", open=True, behind=2000, held=2000)
    line, code = verdict(node(group(in_sync=False, peers=(other,)), peers=(HERE,)))
    assert line.startswith("HELD in www by b: 2,000 files")
    assert code == 1
