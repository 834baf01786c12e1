"""A new node's way into a cluster: prepare, ask, finish. Who asks over the network is given from outside."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from secrets import token_bytes

from everynode.cluster.entrance import own_identity, refuse_second_cluster
from everynode.cluster.home import Home
from everynode.cluster.membership import Membership
from everynode.config.node_file import NodeSettings
from everynode.errors import TrustError
from everynode.model.ids import NODE_ID_BYTES, NodeId
from everynode.model.names import check_address, check_name
from everynode.trust.identity import Identity
from everynode.trust.joining import NONCE_BYTES, read_answer, request_to_join
from everynode.trust.statement_set import StatementSet
from everynode.trust.token import Token, parse_token

AskJoin = Callable[[tuple[str, ...], bytes, bytes], Awaitable[bytes]]
"""(the inviter's addresses, its certificate's fingerprint, request) -> answer. Raises LinkError if none is reached."""


@dataclass(frozen=True)
class Joining:
    """Everything that is settled before the inviter is asked."""

    home: Home
    identity: Identity
    token: Token
    listen: tuple[str, ...]
    request: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    warning: str
    """For a person; empty: none."""


def prepare_join(
    home: Home,
    token_text: str,
    name: str,
    listen: tuple[str, ...],
    advertise: tuple[str, ...],
    now: Callable[[], float] = time.time,
) -> Joining:
    """Check the token, make this node's key. May be repeated: the same key is used until the node is let in.

    Raises TrustError for a bad token, ConfigError for a bad name or address, or where the home has a cluster.
    """
    token = parse_token(token_text)
    check_name("node", name)
    for address in (*listen, *advertise):
        check_address(address)
    refuse_second_cluster(home)
    identity = own_identity(home, name)
    nonce = token_bytes(NONCE_BYTES)
    # Only the inviter's clock decides; ours may be wrong.
    warning = "by this node's clock the token has expired" if now() > token.expires else ""
    request = request_to_join(token, identity, name, advertise, nonce)
    return Joining(home, identity, token, listen, request, nonce, warning)


def _nothing(membership: Membership) -> None:
    pass


def finish_join(
    joining: Joining,
    answer: bytes,
    now: Callable[[], float] = time.time,
    settle: Callable[[Membership], None] = _nothing,
) -> Membership:
    """Check the inviter's answer and make it this home's cluster, durable. Raises TrustError; then nothing was made.

    `settle` notes in the home what else was asked for, like roots: before the home is complete, so that whoever dies
    in between can join again as if nothing had been.
    """
    statements = read_answer(joining.token, joining.identity, joining.nonce, answer)
    held = StatementSet(joining.token.cluster)
    changes = held.apply(statements)
    nodes = held.meaning.nodes
    if changes.rejected:
        raise TrustError(f"the inviter sent what does not hold: {changes.rejected[0]}")
    if joining.identity.node not in nodes or NodeId(joining.token.inviter[:NODE_ID_BYTES]) not in nodes:
        raise TrustError("the inviter sent a cluster file in which this node or the inviter is no member")
    joining.home.write_settings(NodeSettings(listen=joining.listen))
    membership = Membership(joining.home, joining.identity, held, now)
    settle(membership)
    # Last: with the cluster file the home is complete.
    joining.home.write_statements(held)
    return membership


async def join(joining: Joining, ask: AskJoin, settle: Callable[[Membership], None] = _nothing) -> Membership:
    answer = await ask(joining.token.addresses, joining.token.inviter, joining.request)
    return finish_join(joining, answer, settle=settle)
