from __future__ import annotations

import msgspec
import pytest

from everynode import limits
from everynode.errors import TrustError
from everynode.model.policy import GroupPolicy
from everynode.trust.identity import Identity
from everynode.trust.statement_set import StatementSet
from everynode.trust.statements import GroupValue, Kind, NodeValue, Statement, begin_cluster, parse, state

GROUP = b"g" * 16
WWW = GroupValue("www", "/srv/www", GroupPolicy())


class Cluster:
    """Node 0 began it and let node 1 in; node 1 let node 2 in; nodes 3 and 4 are strangers."""

    def __init__(self, identities: list[Identity]) -> None:
        self.ids = identities
        genesis = begin_cluster(identities[0], b"n" * 16)
        self.fingerprint = genesis.digest
        self.base = [genesis.raw, self.node(0, 0), self.node(0, 1), self.node(1, 2)]

    def value(self, of: int, name: str = "", heirs: tuple[int, ...] = ()) -> NodeValue:
        return NodeValue(
            name or f"node{of}",
            self.ids[of].certificate,
            (f"node{of}:1",),
            tuple(self.ids[heir].node for heir in heirs),
        )

    def node(self, by: int, of: int, version: int = 1, name: str = "") -> bytes:
        return state(self.ids[by], self.fingerprint, self.value(of, name), version).raw

    def removal(self, by: int, of: int, heirs: tuple[int, ...] = (), version: int = 2) -> bytes:
        return state(self.ids[by], self.fingerprint, self.value(of, heirs=heirs), version, removed=True).raw

    def group(self, by: int, version: int = 1, root: str = "/srv/www", *, removed: bool = False) -> bytes:
        value = GroupValue("www", root, GroupPolicy())
        return state(self.ids[by], self.fingerprint, value, version, group=GROUP, removed=removed).raw

    def held(self, *raw: bytes) -> StatementSet:
        held = StatementSet(self.fingerprint)
        assert not held.apply(self.base).rejected
        assert not held.apply(raw).rejected
        return held

    def names(self, held: StatementSet) -> list[str]:
        return sorted(statement.node.name for statement in held.meaning.nodes.values())

    def root(self, held: StatementSet) -> str:
        return held.meaning.groups[GROUP].group.root


@pytest.fixture
def cluster(identities: list[Identity]) -> Cluster:
    return Cluster(identities)


def test_a_chain_of_members_reaches_from_the_genesis_to_everyone(cluster: Cluster) -> None:
    held = cluster.held()
    assert cluster.names(held) == ["node0", "node1", "node2"]
    assert held.raw()[0] == cluster.base[0]


def test_statements_may_arrive_before_those_that_let_their_authors_in(cluster: Cluster) -> None:
    held = StatementSet(cluster.fingerprint)
    changes = held.apply(reversed([*cluster.base, cluster.group(2)]))
    assert len(changes.accepted) == 5 and not changes.rejected
    assert cluster.root(held) == "/srv/www"


def test_a_replayed_statement_changes_nothing(cluster: Cluster) -> None:
    held = cluster.held(cluster.group(0), cluster.group(0, 2, "/new"))
    before = held.digest()
    assert not held.apply([cluster.group(0), *cluster.base])
    assert held.digest() == before and cluster.root(held) == "/new"


def test_a_statement_by_a_stranger_is_refused(cluster: Cluster) -> None:
    held = cluster.held()
    changes = held.apply([cluster.group(3), cluster.node(3, 3), cluster.node(3, 4)])
    assert not changes.accepted and len(changes.rejected) == 3
    assert all("whom nobody let in" in why for why in changes.rejected)


def test_a_forged_statement_is_refused(cluster: Cluster) -> None:
    body, signature = msgspec.msgpack.decode(cluster.group(0))
    for forged in ((body.replace(b"/srv", b"/bad"), signature), (body, signature[::-1])):
        changes = cluster.held().apply([msgspec.msgpack.encode(forged)])
        assert not changes.accepted and "forged" in changes.rejected[0]


def test_a_stranger_cannot_speak_in_the_name_of_a_member(cluster: Cluster) -> None:
    body, _ = msgspec.msgpack.decode(cluster.group(0))
    signature = cluster.ids[3].sign(b"everynode statement\0" + cluster.fingerprint + body)
    assert "forged" in cluster.held().apply([msgspec.msgpack.encode((body, signature))]).rejected[0]


def test_a_statement_of_another_cluster_does_not_count_here(cluster: Cluster) -> None:
    other = begin_cluster(cluster.ids[0], b"o" * 16)
    carried = state(cluster.ids[0], other.digest, WWW, 1, group=GROUP)
    changes = cluster.held().apply([other.raw, carried.raw])
    assert not changes.accepted
    assert "another cluster" in changes.rejected[0] and "forged" in changes.rejected[1]


def test_the_higher_version_wins_whoever_said_it_and_in_whatever_order(cluster: Cluster) -> None:
    low, high = cluster.group(0, 1, "/low"), cluster.group(2, 2, "/high")
    for order in ([low, high], [high, low]):
        held = cluster.held(*order)
        assert cluster.root(held) == "/high" and not held.meaning.ties


def test_equal_versions_are_decided_alike_everywhere_and_reported(cluster: Cluster) -> None:
    one, two = cluster.group(0, 2, "/one"), cluster.group(1, 2, "/two")
    first, second = cluster.held(one), cluster.held(two)
    told = first.apply([two]).ties + second.apply([one]).ties
    assert cluster.root(first) == cluster.root(second)
    assert first.digest() == second.digest()
    assert len(told) == 2 and "at once" in told[0]
    assert not first.apply([two]).ties


def test_a_tie_is_over_when_somebody_says_it_again(cluster: Cluster) -> None:
    held = cluster.held(cluster.group(0, 2, "/one"), cluster.group(1, 2, "/two"))
    held.apply([cluster.group(0, 3, "/three")])
    assert not held.meaning.ties and cluster.root(held) == "/three"


def test_a_removed_group_stays_removed_whatever_version_others_reach(cluster: Cluster) -> None:
    held = cluster.held(cluster.group(0), cluster.group(1, 2, removed=True), cluster.group(0, 9))
    assert not held.meaning.groups


def test_a_removed_node_is_no_member_and_does_not_come_back(cluster: Cluster) -> None:
    held = cluster.held(cluster.removal(0, 2, (0, 1)), cluster.node(1, 2, 7), cluster.node(2, 2, 8))
    assert cluster.names(held) == ["node0", "node1"]
    assert held.meaning.removed == {cluster.ids[2].node}


def test_what_a_removed_node_said_and_its_remover_did_not_say_again_no_longer_counts(cluster: Cluster) -> None:
    held = cluster.held(cluster.group(0, 1, "/mine"), cluster.group(2, 2, "/theirs"))
    assert cluster.root(held) == "/theirs"
    held.apply([cluster.removal(0, 2, (0, 1))])
    assert cluster.root(held) == "/mine"


def test_what_a_removed_node_signs_afterwards_does_not_count(cluster: Cluster) -> None:
    held = cluster.held(cluster.removal(0, 2, (0, 1)), cluster.group(2, 5), cluster.node(2, 3, 5))
    assert cluster.names(held) == ["node0", "node1"] and not held.meaning.groups
    held.apply([cluster.node(3, 3), cluster.group(3, 9)])
    assert cluster.names(held) == ["node0", "node1"] and not held.meaning.groups


def test_a_group_that_a_removed_node_removed_unheard_stays(cluster: Cluster) -> None:
    held = cluster.held(cluster.group(0), cluster.removal(0, 2, (0, 1)), cluster.group(2, 2, removed=True))
    assert cluster.root(held) == "/srv/www"


def test_a_signature_by_another_key_than_the_author_s_never_counts(cluster: Cluster) -> None:
    body, _ = msgspec.msgpack.decode(cluster.group(0))
    signature = cluster.ids[1].sign(b"everynode statement\0" + cluster.fingerprint + body)
    carried = parse(msgspec.msgpack.encode((body, signature)))
    assert not carried.signed_by(cluster.ids[1].certificate, cluster.fingerprint)
    assert parse(cluster.group(0)).signed_by(cluster.ids[0].certificate, cluster.fingerprint)


def test_those_whom_a_removed_node_let_in_stay_when_its_remover_says_so(cluster: Cluster) -> None:
    stay = cluster.held(cluster.removal(0, 1, (0, 2)), cluster.node(0, 2, 2), cluster.group(2))
    assert cluster.names(stay) == ["node0", "node2"] and GROUP in stay.meaning.groups
    go = cluster.held(cluster.removal(0, 1, (0,)), cluster.group(2))
    assert cluster.names(go) == ["node0"] and GROUP not in go.meaning.groups


def test_the_node_that_began_the_cluster_can_be_removed_too(cluster: Cluster) -> None:
    held = cluster.held(cluster.removal(1, 0, (1, 2)), cluster.node(1, 1, 2), cluster.group(2))
    assert cluster.names(held) == ["node1", "node2"] and GROUP in held.meaning.groups


def test_what_a_node_that_left_by_itself_had_said_goes_on_to_count(cluster: Cluster) -> None:
    held = cluster.held(cluster.group(1), cluster.removal(1, 1))
    assert cluster.names(held) == ["node0", "node2"] and GROUP in held.meaning.groups


def test_two_nodes_that_remove_each_other_are_both_removed_in_any_order(cluster: Cluster) -> None:
    one, two = cluster.removal(0, 1, (0, 2)), cluster.removal(1, 0, (1, 2))
    assert cluster.names(cluster.held(one, two)) == cluster.names(cluster.held(two, one)) == []
    kept = cluster.held(one, two, cluster.node(2, 2, 2))
    assert cluster.names(kept) == ["node2"]


def test_missing_for_names_exactly_what_the_other_lacks(cluster: Cluster) -> None:
    full, part = cluster.held(cluster.group(0)), cluster.held()
    assert full.missing_for(part.raw()) == (cluster.group(0),)
    assert part.missing_for(full.raw()) == ()


def test_a_copy_is_independent(cluster: Cluster) -> None:
    held = cluster.held()
    twin = held.copy()
    twin.apply([cluster.group(0)])
    assert GROUP in twin.meaning.groups and GROUP not in held.meaning.groups and held.digest() != twin.digest()


def test_the_set_is_bounded_in_number_and_bytes(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    held = cluster.held()
    monkeypatch.setattr(limits, "STATEMENTS_MAX", 4)
    assert "reached its bound" in held.apply([cluster.group(0)]).rejected[0]
    # What replaces a statement takes no more room.
    assert held.apply([cluster.node(0, 0, 2, "other")]).accepted
    monkeypatch.setattr(limits, "STATEMENTS_MAX", 100)
    monkeypatch.setattr(limits, "STATEMENTS_BYTES_MAX", sum(map(len, held.raw())) + 10)
    assert "reached its bound" in held.apply([cluster.group(0)]).rejected[0]


def test_an_oversized_statement_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(TrustError, match="is larger than"):
        parse(b"\0" * (limits.STATEMENT_BYTES_MAX + 1))


def _body(cluster: Cluster, **changes: object) -> bytes:
    names = ("format", "kind", "key", "version", "removed", "author", "value")
    fields = dict(zip(names, msgspec.msgpack.decode(msgspec.msgpack.decode(cluster.group(0))[0]), strict=True))
    body = msgspec.msgpack.encode(list({**fields, **changes}.values()))
    signature = cluster.ids[0].sign(b"everynode statement\0" + cluster.fingerprint + body)
    return msgspec.msgpack.encode((body, signature))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"kind": 9},
        {"kind": Kind.NODE},
        {"key": b"short"},
        {"key": b"x" * 17},
        {"version": 0},
        {"version": -1},
        {"version": 2**60},
        {"author": b"x"},
        {"value": 5},
        {"value": ["www", "srv", {}]},
        {"value": ["www", "/srv/../etc", {}]},
        {"value": ["w w", "/srv", {}]},
        {"value": ["www", "/srv", {"settle_ms": -1}]},
        {"value": ["www", "/srv", {"unknown": 1}]},
        {"value": ["www", "/srv", {"exclude": ["["]}]},
        {"value": ["www", "/srv", {}, "more"]},
    ],
)
def test_a_member_cannot_sign_what_everynode_would_not_say(cluster: Cluster, changes: dict[str, object]) -> None:
    held = cluster.held()
    assert held.apply([_body(cluster)]).accepted
    told = cluster.held().apply([_body(cluster, **changes)])
    assert not told.accepted and len(told.rejected) == 1


def _no_text() -> bytes:
    """A statement about a group whose name is no UTF-8."""
    value = msgspec.msgpack.encode(("name", "/srv", GroupPolicy())).replace(b"\xa4name", b"\xa4\xff\xffme")
    body = b"\x97\x01\x03\xc4\x10" + b"g" * 16 + b"\x01\xc2\xc4\x10" + b"a" * 16 + value
    return msgspec.msgpack.encode((body, bytes(64)))


@pytest.mark.parametrize("junk", [b"", b"\xc0", b"\x92\xc4\x00\xc4\x00", b"\x91" * 100_000, _no_text()])
def test_junk_is_refused(cluster: Cluster, junk: bytes) -> None:
    changes = cluster.held().apply([junk])
    assert not changes.accepted and changes.rejected


def test_a_node_statement_must_be_about_the_certificate_it_shows(cluster: Cluster) -> None:
    with pytest.raises(TrustError, match="contradicts itself"):
        _sign_about(cluster, cluster.ids[3].node, cluster.value(4))


def _sign_about(cluster: Cluster, key: bytes, value: NodeValue) -> Statement:
    body = msgspec.msgpack.encode([1, Kind.NODE, key, 1, False, cluster.ids[0].node, value])
    signature = cluster.ids[0].sign(b"everynode statement\0" + cluster.fingerprint + body)
    return parse(msgspec.msgpack.encode((body, signature)))
