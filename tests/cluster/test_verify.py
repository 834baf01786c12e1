"""`everynode verify` between real daemons, over real links, with indexes on disk."""

from __future__ import annotations

import json

from lab.trees import wait_until
from tests.cluster.harness import Cluster


def test_nodes_prove_that_they_are_equal_and_say_who_cannot_be_asked() -> None:
    with Cluster(3) as cluster:
        for number in range(2_000):
            folder = cluster[number % 3].root / f"d{number % 3}-{number % 7}"  # of one node each
            folder.mkdir(exist_ok=True)
            (folder / f"f{number}").write_bytes(b"%d" % number * (number % 50))
        (cluster[1].root / "link").symlink_to("nowhere")
        cluster.wait_equal()
        cluster.wait_said(0, "verify", text="c: equal")
        answers = [json.loads(node.ask("verify", "--contents", "--json").stdout)["groups"][0] for node in cluster.nodes]
        assert len({answer["hash"] for answer in answers}) == 1
        for answer in answers:
            assert [node["state"] for node in answer["nodes"]] == ["equal", "equal"]
            assert answer["entries"] == 2_000 + 21 + 1 + 1
            assert {name: at["damaged"] for name, at in answer["reading"].items()} == {"a": 0, "b": 0, "c": 0}
        assert cluster[0].ask("verify").returncode == 0
        cluster[2].kill()
        assert wait_until(lambda: cluster[0].ask("verify").returncode == 4, timeout=30.0)
        assert "c: unreachable" in cluster[0].ask("verify").stdout
