"""One signed statement of the cluster file: what it may say, its bytes, its signature.

    genesis   there is a cluster, and this certificate began it       key: empty
    node      a node, its name, certificate and addresses             key: node id
    group     a group, its name, default root and policy              key: group id

A removed statement keeps its value: the certificate in it is still needed to check what that node signed.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Annotated, Final

import msgspec

from everynode import limits
from everynode.config.gitignore import parse_rule
from everynode.errors import EverynodeError, TrustError
from everynode.model.ids import NODE_ID_BYTES, NodeId
from everynode.model.message import GroupId
from everynode.model.names import check_address, check_name, check_root
from everynode.model.policy import GroupPolicy
from everynode.trust.identity import Identity, check_certificate, node_id_of, verify

FORMAT: Final = 1
GROUP_ID_BYTES: Final = 16
PURPOSE: Final = b"everynode statement\0"

Id = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises for bytes of strangers."""


class Kind(IntEnum):
    GENESIS = 1
    NODE = 2
    GROUP = 3


class Genesis(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    certificate: bytes
    nonce: Id
    """Random, so that one node may begin several clusters."""


class NodeValue(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    name: str
    certificate: bytes
    addresses: Annotated[tuple[str, ...], msgspec.Meta(max_length=limits.ADDRESSES_MAX)]
    heirs: Annotated[tuple[Id, ...], msgspec.Meta(max_length=limits.MEMBERS_MAX)] = ()
    """Only in a removal by another node: who stays of those whom the removed node had let in."""


class GroupValue(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    name: str
    root: str
    """Absolute directory, unless a node says otherwise for itself."""
    policy: GroupPolicy


Value = Genesis | NodeValue | GroupValue

_VALUE_TYPES: Final[dict[Kind, type[Value]]] = {
    Kind.GENESIS: Genesis,
    Kind.NODE: NodeValue,
    Kind.GROUP: GroupValue,
}

Subject = tuple[Kind, bytes]
"""What a statement is about: its kind and key."""


class _Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    format: int
    kind: Kind
    key: Annotated[bytes, msgspec.Meta(max_length=16)]
    version: Annotated[int, msgspec.Meta(ge=1, le=limits.SEQUENCE_MAX)]
    removed: bool
    author: Id
    value: msgspec.Raw


class _Signed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    body: bytes
    signature: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]


_ENCODER: Final = msgspec.msgpack.Encoder()
_SIGNED: Final = msgspec.msgpack.Decoder(_Signed)
_BODY: Final = msgspec.msgpack.Decoder(_Body)


class Statement(msgspec.Struct, frozen=True):
    """A statement well formed in itself. Whether its author signed it and may say so is another question."""

    kind: Kind
    key: bytes
    version: int
    removed: bool
    author: NodeId
    value: Value
    raw: bytes
    """The bytes as signed and sent; equal bytes are the same statement."""
    digest: bytes
    """SHA-256 of the signed body; breaks ties."""

    @property
    def subject(self) -> Subject:
        return (self.kind, self.key)

    @property
    def rank(self) -> tuple[bool, int, bytes]:
        """The higher one of two statements about a subject wins: removal, then version, then digest."""
        return (self.removed, self.version, self.digest)

    @property
    def node(self) -> NodeValue:
        assert isinstance(self.value, NodeValue)
        return self.value

    @property
    def group(self) -> GroupValue:
        assert isinstance(self.value, GroupValue)
        return self.value

    def signed_by(self, certificate: bytes, cluster: bytes) -> bool:
        """Whether `certificate` belongs to the author and its key signed this for the cluster."""
        signed = _SIGNED.decode(self.raw)
        return node_id_of(certificate) == self.author and verify(
            certificate, PURPOSE + cluster + signed.body, signed.signature
        )


def begin_cluster(identity: Identity, nonce: bytes) -> Statement:
    """The genesis; its digest is the fingerprint of the new cluster. `nonce`: 16 random bytes."""
    return _sign(identity, b"", Kind.GENESIS, b"", 1, Genesis(identity.certificate, nonce), removed=False)


def state(
    identity: Identity,
    cluster: bytes,
    value: NodeValue | GroupValue,
    version: int,
    *,
    group: GroupId = b"",
    removed: bool = False,
) -> Statement:
    """Sign a statement about a node (named by its certificate) or `group`. Raises TrustError if not well formed."""
    if isinstance(value, NodeValue):
        return _sign(identity, cluster, Kind.NODE, node_id_of(value.certificate), version, value, removed=removed)
    return _sign(identity, cluster, Kind.GROUP, group, version, value, removed=removed)


def parse(raw: bytes) -> Statement:
    """Bounded and strict: raises TrustError for anything that everynode would not have written."""
    if len(raw) > limits.STATEMENT_BYTES_MAX:
        raise TrustError(f"a statement of {len(raw)} bytes is larger than {limits.STATEMENT_BYTES_MAX}")
    try:
        body_bytes = _SIGNED.decode(raw).body
        body = _BODY.decode(body_bytes)
        value = msgspec.msgpack.decode(body.value, type=_VALUE_TYPES[body.kind])
    except UNREADABLE as error:
        raise TrustError(f"a statement is damaged or from a newer everynode: {error}") from error
    if body.format != FORMAT:
        raise TrustError(f"a statement has format {body.format}, this everynode knows {FORMAT}: upgrade this node")
    digest = hashlib.sha256(body_bytes).digest()
    statement = Statement(body.kind, body.key, body.version, body.removed, NodeId(body.author), value, raw, digest)
    try:
        _check_value(statement)
    except TrustError:
        raise
    except EverynodeError as error:
        raise TrustError(f"a statement says what cannot be: {error}") from error
    return statement


def _sign(
    identity: Identity, cluster: bytes, kind: Kind, key: bytes, version: int, value: Value, *, removed: bool
) -> Statement:
    value_bytes = msgspec.Raw(_ENCODER.encode(value))
    body = _ENCODER.encode(_Body(FORMAT, kind, key, version, removed, identity.node, value_bytes))
    # The genesis names its own cluster; every other signature is bound to one, so that none can be carried over.
    cluster = cluster or hashlib.sha256(body).digest()
    return parse(_ENCODER.encode(_Signed(body, identity.sign(PURPOSE + cluster + body))))


def _check_value(statement: Statement) -> None:
    right = False
    match statement.value:
        case Genesis(certificate=certificate):
            check_certificate(certificate)
            right = statement.key == b"" and node_id_of(certificate) == statement.author and not statement.removed
        case NodeValue(name=name, certificate=certificate, addresses=addresses, heirs=heirs):
            check_certificate(certificate)
            check_name("node", name)
            for address in addresses:
                check_address(address)
            right = statement.key == node_id_of(certificate) and (statement.removed or not heirs)
        case GroupValue(name=name, root=root, policy=policy):
            check_name("group", name)
            check_root(root)
            for pattern in policy.exclude:
                parse_rule(pattern)
            right = len(statement.key) == GROUP_ID_BYTES
    if not right:
        raise TrustError(f"a statement about a {statement.kind.name.lower()} contradicts itself")


assert NODE_ID_BYTES == GROUP_ID_BYTES == 16
