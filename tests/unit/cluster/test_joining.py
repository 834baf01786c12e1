from __future__ import annotations

import asyncio

import msgspec
import pytest

from everynode.cluster.joining import Joining, finish_join, join, prepare_join
from everynode.cluster.membership import Membership
from everynode.errors import ConfigError, TrustError
from everynode.trust.joining import JoinRequest
from everynode.trust.token import parse_token, show_token
from tests.unit.cluster.conftest import Nodes


def prepared(nodes: Nodes, token: str, name: str = "beta", home: str = "") -> Joining:
    return prepare_join(nodes.home(home or name), token, name, (), ("beta:7420",), nodes.clock)


def refusal(nodes: Nodes, joining: Joining, inviter: Membership) -> str:
    answer = inviter.redeem(joining.request)  # never raises for what a stranger sends
    with pytest.raises(TrustError) as caught:
        finish_join(joining, answer, nodes.clock)
    assert not joining.home.has_cluster
    return str(caught.value)


def test_a_node_joins_with_a_token_and_both_know_each_other_after_a_restart(nodes: Nodes) -> None:
    alpha = nodes.first()
    alpha.group_add("www", "/srv/www")
    beta = nodes.joined(alpha, "beta")
    for member in (alpha, beta, nodes.again(alpha), nodes.again(beta)):
        assert {m.name for m in member.members().values()} == {"alpha", "beta"}
        assert [g.name for g in member.groups().values()] == ["www"]
        assert member.cluster == alpha.cluster
    assert alpha.members()[beta.node].addresses == ("beta:7420",)
    assert beta.certificate_of(alpha.node) == alpha.identity.certificate


def test_the_transport_is_given_addresses_fingerprint_and_request(nodes: Nodes) -> None:
    alpha = nodes.first()
    asked: list[tuple[tuple[str, ...], bytes]] = []

    async def ask(addresses: tuple[str, ...], fingerprint: bytes, request: bytes) -> bytes:
        asked.append((addresses, fingerprint))
        return alpha.redeem(request)

    beta = asyncio.run(join(prepared(nodes, alpha.invite()), ask))
    assert asked == [(("alpha:7420",), alpha.identity.fingerprint)]
    assert beta.node in alpha.members()


def test_who_dies_before_everything_asked_for_is_noted_has_not_joined_and_can_try_again(nodes: Nodes) -> None:
    """Else the tree would come to the place that another node named for it."""
    alpha = nodes.first()
    alpha.group_add("www", "/srv/www")
    token = alpha.invite()
    first = prepared(nodes, token)

    def die(membership: Membership) -> None:
        membership.set_root("www", "/elsewhere")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish_join(first, alpha.redeem(first.request), nodes.clock, die)
    assert not first.home.has_cluster
    again = prepared(nodes, token)
    joined = finish_join(again, alpha.redeem(again.request), nodes.clock, lambda m: m.set_root("www", "/there"))
    assert [group.root for group in joined.groups().values()] == ["/there"]
    assert [group.root for group in nodes.again(joined).groups().values()] == ["/there"]


def test_a_used_token_lets_nobody_else_in(nodes: Nodes) -> None:
    alpha = nodes.first()
    token = alpha.invite()
    first = prepared(nodes, token)
    finish_join(first, alpha.redeem(first.request), nodes.clock)
    assert "used by another node already" in refusal(nodes, prepared(nodes, token, "gamma"), alpha)
    # Also after a restart of the inviter.
    assert "used by another node already" in refusal(nodes, prepared(nodes, token, "delta"), nodes.again(alpha))
    assert {m.name for m in alpha.members().values()} == {"alpha", "beta"}


def test_an_invite_is_used_up_and_the_member_kept_before_the_answer_leaves(nodes: Nodes) -> None:
    alpha = nodes.first()
    joining = prepared(nodes, alpha.invite())
    alpha.redeem(joining.request)
    after = nodes.again(alpha)
    assert joining.identity.node in after.members()
    assert [invite.used_by for invite in after.home.read_invites()] == [joining.identity.fingerprint]


def test_a_node_whose_answer_was_lost_may_ask_again_even_after_the_expiry(nodes: Nodes) -> None:
    alpha = nodes.first()
    token = alpha.invite()
    alpha.redeem(prepared(nodes, token).request)
    nodes.clock.seconds += 10_000
    again = prepared(nodes, token)
    assert "expired" in again.warning
    assert finish_join(again, alpha.redeem(again.request), nodes.clock).node in alpha.members()
    assert len(alpha.members()) == 2


def test_an_inviter_that_died_between_invite_and_statement_finishes_when_asked_again(nodes: Nodes) -> None:
    alpha = nodes.first()
    token = alpha.invite()
    joining = prepared(nodes, token)
    (invite,) = alpha.home.read_invites()
    alpha.home.write_invites((msgspec.structs.replace(invite, used_by=joining.identity.fingerprint),))
    after = nodes.again(alpha)
    assert finish_join(joining, after.redeem(joining.request), nodes.clock).node in after.members()


def test_an_expired_token_is_refused_by_the_inviter_s_clock_alone(nodes: Nodes) -> None:
    alpha = nodes.first()
    joining = prepared(nodes, alpha.invite(60))
    assert joining.warning == ""
    nodes.clock.seconds += 61.5
    assert "the token has expired" in refusal(nodes, joining, alpha)
    assert len(alpha.members()) == 1


def test_a_joiner_whose_clock_runs_ahead_is_warned_and_let_in(nodes: Nodes) -> None:
    alpha = nodes.first()
    token = alpha.invite(60)
    joining = prepare_join(nodes.home("beta"), token, "beta", (), (), lambda: nodes.clock() + 1e6)
    assert "expired" in joining.warning
    finish_join(joining, alpha.redeem(joining.request), nodes.clock)
    assert len(alpha.members()) == 2


@pytest.mark.parametrize("wrong", [{"secret": b"x" * 20}, {"cluster": b"x" * 32}, {"inviter": b"x" * 32}])
def test_a_wrong_token_is_refused_and_told_nothing_more(nodes: Nodes, wrong: dict[str, bytes]) -> None:
    alpha = nodes.first()
    token = msgspec.structs.replace(parse_token(alpha.invite()), **wrong)
    answer = alpha.redeem(prepared(nodes, show_token(token)).request)
    assert b"the token is not known here" in answer and alpha.identity.certificate not in answer
    assert len(alpha.members()) == 1 and alpha.home.read_invites()[0].used_by == b""


def test_who_knows_only_the_name_of_an_invite_is_told_the_same_as_who_knows_nothing(nodes: Nodes) -> None:
    alpha = nodes.first()
    good = prepared(nodes, alpha.invite())
    request = msgspec.msgpack.decode(good.request, type=JoinRequest)
    assert request.invite == alpha.home.read_invites()[0].id
    stranger = prepared(nodes, show_token(msgspec.structs.replace(good.token, secret=b"x" * 20)), home="other")
    guess = msgspec.structs.replace(
        msgspec.msgpack.decode(stranger.request, type=JoinRequest), invite=request.invite, signature=b"\0" * 64
    )
    unsigned = b"everynode join signature\0" + msgspec.msgpack.encode(guess)
    signed = msgspec.structs.replace(guess, signature=stranger.identity.sign(unsigned))
    assert alpha.redeem(msgspec.msgpack.encode(signed)) == alpha.redeem(stranger.request)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "gamma"},
        {"addresses": ("evil:1",)},
        {"nonce": b"z" * 16},
        {"signature": b"z" * 64},
        {"proof": b"z" * 32},
        {"protocol": 2},
        {"certificate": b"junk"},
    ],
)
def test_a_request_changed_on_the_way_is_refused(nodes: Nodes, change: dict[str, object]) -> None:
    alpha = nodes.first()
    joining = prepared(nodes, alpha.invite())
    changed = msgspec.structs.replace(msgspec.msgpack.decode(joining.request, type=JoinRequest), **change)
    with pytest.raises(TrustError, match="the inviter refused"):
        finish_join(joining, alpha.redeem(msgspec.msgpack.encode(changed)), nodes.clock)
    assert len(alpha.members()) == 1


NO_TEXT = b"\x98\x01\xc4\x10" + b"i" * 16 + b"\xc4\x10" + b"n" * 16 + b"\xc4\x01c" + b"\xa2\xff\xff"


@pytest.mark.parametrize("junk", [b"", b"\xc1", b"\x91" * 60_000, b"\x00" * 1_000_000, NO_TEXT])
def test_junk_is_answered_by_a_refusal_and_refused_as_an_answer(nodes: Nodes, junk: bytes) -> None:
    alpha = nodes.first()
    joining = prepared(nodes, alpha.invite())
    with pytest.raises(TrustError, match="the inviter refused"):
        finish_join(joining, alpha.redeem(junk), nodes.clock)
    with pytest.raises(TrustError, match="cannot be read"):
        finish_join(joining, junk, nodes.clock)


def test_the_certificate_of_the_connection_must_be_the_one_that_asks(nodes: Nodes) -> None:
    alpha = nodes.first()
    joining = prepared(nodes, alpha.invite())
    with pytest.raises(TrustError, match="another certificate than the connection"):
        finish_join(joining, alpha.redeem(joining.request, alpha.identity.certificate), nodes.clock)
    finish_join(joining, alpha.redeem(joining.request, joining.identity.certificate), nodes.clock)


def test_an_answer_of_an_earlier_attempt_or_for_another_node_is_not_taken(nodes: Nodes) -> None:
    alpha = nodes.first()
    token = alpha.invite()
    early = prepared(nodes, token)
    answer = alpha.redeem(early.request)
    for other in (prepared(nodes, token), prepared(nodes, token, home="other")):
        with pytest.raises(TrustError, match="did not prove"):
            finish_join(other, answer, nodes.clock)
        assert not other.home.has_cluster
    assert finish_join(early, answer, nodes.clock).cluster == alpha.cluster


def test_a_name_that_is_taken_is_refused_with_a_proposal_and_the_token_stays_good(nodes: Nodes) -> None:
    alpha = nodes.first()
    token = alpha.invite()
    assert "--name NAME" in refusal(nodes, prepared(nodes, token, "alpha", home="beta"), alpha)
    again = prepared(nodes, token, "beta")
    assert finish_join(again, alpha.redeem(again.request), nodes.clock).node in alpha.members()


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 64, "é", "a/b"])
def test_a_name_that_cannot_be_is_refused_before_anything_is_made(nodes: Nodes, name: str) -> None:
    token = nodes.first().invite()
    with pytest.raises(ConfigError, match="cannot name a node"):
        prepare_join(nodes.home("beta"), token, name, (), ())
    assert not nodes.home("beta").path.exists()


def test_a_bad_token_is_refused_before_anything_is_made(nodes: Nodes) -> None:
    token = nodes.first().invite()
    with pytest.raises(TrustError, match="truncated"):
        prepared(nodes, token[:-10])
    assert not nodes.home("beta").path.exists()


def test_a_home_that_is_in_a_cluster_cannot_join_or_begin_another(nodes: Nodes) -> None:
    alpha = nodes.first()
    before = alpha.home.cluster_path.read_bytes()
    with pytest.raises(ConfigError, match="is in a cluster already"):
        prepared(nodes, alpha.invite(), home="alpha")
    with pytest.raises(ConfigError, match="is in a cluster already"):
        nodes.first()
    assert alpha.home.cluster_path.read_bytes() == before


def test_a_node_that_left_joins_again_from_the_same_home_with_a_new_key(nodes: Nodes) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    beta.home.index_path(b"g" * 16).write_text("old")
    beta.leave()
    alpha.apply_statements(beta.everything().statements)
    again = nodes.joined(alpha, "beta")
    assert again.node != beta.node and set(alpha.members()) == {alpha.node, again.node}
    assert not again.home.index_path(b"g" * 16).exists()
    assert (again.home.path / "retired-1/index" / f"{(b'g' * 16).hex()}.db").read_text() == "old"
    # Died while putting it aside: only the cluster file was left.
    again.leave()
    alpha.apply_statements(again.everything().statements)
    again.home.key_path.unlink()
    again.home.certificate_path.unlink()
    assert nodes.joined(alpha, "beta").node in alpha.members()


def test_a_removed_key_does_not_come_back(nodes: Nodes) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    alpha.remove("beta")
    beta.home.cluster_path.unlink()
    assert "its key does not come back" in refusal(nodes, prepared(nodes, alpha.invite()), alpha)


def test_a_removed_inviter_lets_nobody_in(nodes: Nodes) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    token = beta.invite()
    alpha.remove("beta")
    beta.apply_statements(alpha.everything().statements)
    assert "no longer a member" in refusal(nodes, prepared(nodes, token, "gamma"), beta)


def test_a_node_without_address_cannot_invite(nodes: Nodes) -> None:
    alone = Membership.create(nodes.home("alone"), "alone", (), ())
    with pytest.raises(ConfigError, match="has no address"):
        alone.invite()
    alone.set_addresses(("alone:1",))
    assert parse_token(alone.invite()).addresses == ("alone:1",)
    with pytest.raises(ConfigError, match="at least a second"):
        alone.invite(0)


def test_a_full_cluster_file_lets_nobody_in_and_says_so(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    from everynode import limits

    alpha = nodes.first()
    joining = prepared(nodes, alpha.invite())
    monkeypatch.setattr(limits, "MEMBERS_MAX", 1)
    assert "the cluster has 1 nodes" in refusal(nodes, joining, alpha)
    monkeypatch.undo()
    assert finish_join(joining, alpha.redeem(joining.request), nodes.clock).node in alpha.members()


def test_invites_are_bounded(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    from everynode import limits

    monkeypatch.setattr(limits, "INVITES_MAX", 3)
    alpha = nodes.first()
    tokens = [alpha.invite() for _ in range(5)]
    assert len(alpha.home.read_invites()) == 3
    assert "not known here" in refusal(nodes, prepared(nodes, tokens[0]), alpha)
    assert nodes.joined(alpha, "gamma").node in alpha.members()
