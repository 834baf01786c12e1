"""The node as one object: what it holds, before and while it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from everynode.cluster.home import Home
from everynode.cluster.membership import Membership
from everynode.daemon.node import Node
from everynode.daemon.waiting import wait_for_targets
from everynode.model.path import ROOT


def test_a_group_that_is_still_to_be_opened_is_held_already_and_waited_for(tmp_path: Path) -> None:
    """Else who asks right after the start, or after the group was made, hears that everything is safe."""

    async def run() -> None:
        home = Home(tmp_path / "home")
        membership = Membership.create(home, "a", (), ())
        node = Node(home, membership)
        membership.group_add("www", str(tmp_path / "www"))
        held = node.held_groups()["www"]
        assert (held.root, held.running, held.opening) == (str(tmp_path / "www"), None, True)
        reply = await wait_for_targets(node, [(name, ROOT) for name in node.held_groups()], "all", 0.05)
        assert not reply.done and "being opened" in reply.groups["www"].reason
        node.stop()

    asyncio.run(run())
