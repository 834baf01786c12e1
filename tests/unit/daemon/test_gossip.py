"""The cluster file travels: two memberships talk until they are equal, and then stop talking."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

import pytest

from everynode.cluster import joining
from everynode.cluster.home import Home
from everynode.cluster.membership import Membership
from everynode.daemon.gossip import Gossip
from everynode.errors import LinkError
from everynode.model.ids import NodeId
from everynode.model.message import Statements


class Wire:
    """What the gossip of one node sends, kept in order."""

    def __init__(self, *peers: NodeId, broken: bool = False) -> None:
        self.sent: deque[tuple[NodeId, Statements]] = deque()
        self._peers = list(peers)
        self._broken = broken

    def peers(self) -> list[NodeId]:
        return self._peers

    async def send(self, peer: NodeId, message: Statements) -> None:
        if self._broken:
            raise LinkError("gone")
        self.sent.append((peer, message))

    def disconnect(self, peer: NodeId, reason: str) -> None:
        raise AssertionError(reason)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Membership, Membership]:
    address = ("127.0.0.1:7391",)
    first = Membership.create(Home(tmp_path / "a"), "a", address, address)
    prepared = joining.prepare_join(Home(tmp_path / "b"), first.invite(), "b", address, address)
    return first, joining.finish_join(prepared, first.redeem(prepared.request))


def test_two_that_differ_are_equal_after_they_linked_and_then_silent(two: tuple[Membership, Membership]) -> None:
    async def run() -> int:
        first, second = two
        first.group_add("www", "/srv/www")
        second.group_add("log", "/srv/log")
        wires = (Wire(second.node), Wire(first.node))
        gossips = (Gossip(first, wires[0]), Gossip(second, wires[1]))
        await gossips[0].linked(second.node)
        await gossips[1].linked(first.node)
        messages = 0
        while wires[0].sent or wires[1].sent:
            for here, there in ((0, 1), (1, 0)):
                if wires[here].sent:
                    _, message = wires[here].sent.popleft()
                    messages += 1
                    assert messages < 20, "they talk in circles"
                    await gossips[there].heard(two[here].node, message)
        assert {g.name for g in first.groups().values()} == {g.name for g in second.groups().values()} == {"www", "log"}
        return messages

    assert asyncio.run(run()) >= 3


def test_news_go_to_all_peers_and_nothing_without_news(two: tuple[Membership, Membership]) -> None:
    async def run() -> None:
        first, second = two
        others = [second.node, NodeId(b"c" * 16)]
        wire = Wire(*others)
        gossip = Gossip(first, wire)
        heard: list[object] = []
        first.listener = heard.append
        first.group_add("www", "/srv/www")
        [changes] = heard
        await gossip.spread(changes)  # type: ignore[arg-type]
        assert [peer for peer, _ in wire.sent] == others
        assert all(message.statements for _, message in wire.sent)
        wire.sent.clear()
        first.set_root("www", "/srv/elsewhere")
        await gossip.spread(heard[-1])  # type: ignore[arg-type]
        assert not wire.sent, "a root of this node alone is nobody else's news"

    asyncio.run(run())


def test_a_peer_that_has_gone_keeps_nobody(two: tuple[Membership, Membership]) -> None:
    async def run() -> None:
        gossip = Gossip(two[0], Wire(two[1].node, broken=True))
        await gossip.linked(two[1].node)

    asyncio.run(run())


def test_who_sends_statements_by_the_thousand_that_do_not_hold_is_cut_and_fills_no_log(
    two: tuple[Membership, Membership], caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        first, second = two
        gossip = Gossip(first, Wire(second.node))
        await gossip.heard(second.node, Statements((b"of another version",) * 3))
        with pytest.raises(LinkError, match="5000 statements"):
            await gossip.heard(second.node, Statements((b"junk",) * 5000))

    asyncio.run(run())
    assert caplog.text.count("refused a statement") == 6
