"""The two messages by which a new node is let in: what they hold, how each side proves itself. No I/O.

The joiner dials the inviter over TLS with the certificate pinned by the token, so it knows whom it talks to. It
shows that it has the token (proof over both certificates and both nonces) and its key (signature). The inviter
answers with a proof of its own and the cluster file, in which the joiner is named.
"""

from __future__ import annotations

import hmac
from typing import Annotated, Final

import msgspec

from everynode import limits
from everynode.errors import TrustError
from everynode.model.ids import NodeId
from everynode.trust.identity import Identity, check_certificate, fingerprint_of, node_id_of, verify
from everynode.trust.statements import UNREADABLE
from everynode.trust.token import Token, invite_id_of, proof, proof_key_of

PROTOCOL: Final = 1
NONCE_BYTES: Final = 16

Short = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Long = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class JoinRequest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    protocol: int
    invite: Short
    """`token.invite_id_of` the secret."""
    nonce: Short
    """Random, the joiner's."""
    certificate: Annotated[bytes, msgspec.Meta(max_length=limits.CERTIFICATE_BYTES_MAX)]
    name: Annotated[str, msgspec.Meta(max_length=255)]
    addresses: Annotated[tuple[str, ...], msgspec.Meta(max_length=limits.ADDRESSES_MAX)]
    proof: Long
    signature: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
    """Of the joiner's key over all above."""

    @property
    def node(self) -> NodeId:
        return node_id_of(self.certificate)


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag="welcome", forbid_unknown_fields=True):
    proof: Long
    """Of the inviter, over the statements too."""
    statements: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=limits.STATEMENTS_MAX)]


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused", forbid_unknown_fields=True):
    why: Annotated[str, msgspec.Meta(max_length=1000)]
    """For a person; says what to do."""


JoinAnswer = Welcome | Refused

_REQUEST: Final = msgspec.msgpack.Decoder(JoinRequest)
_ANSWER: Final = msgspec.msgpack.Decoder(JoinAnswer)


def request_to_join(token: Token, identity: Identity, name: str, addresses: tuple[str, ...], nonce: bytes) -> bytes:
    """`nonce`: 16 random bytes, kept for `read_answer`."""
    invite = invite_id_of(token.secret)
    mine = _joiner_proof(
        proof_key_of(token.secret), token.cluster, token.inviter, identity.fingerprint, invite, nonce, name, addresses
    )
    unsigned = JoinRequest(PROTOCOL, invite, nonce, identity.certificate, name, addresses, mine, b"\0" * 64)
    request = msgspec.structs.replace(unsigned, signature=identity.sign(_signed_part(unsigned)))
    return msgspec.msgpack.encode(request)


def read_request(raw: bytes) -> JoinRequest:
    """Bounded and checked: the sender holds the key of the certificate. Raises TrustError."""
    if len(raw) > limits.JOIN_MESSAGE_BYTES_MAX:
        raise TrustError(f"a join request of {len(raw)} bytes is larger than {limits.JOIN_MESSAGE_BYTES_MAX}")
    try:
        request = _REQUEST.decode(raw)
    except UNREADABLE as error:
        raise TrustError(f"the join request cannot be read: {error}") from error
    if request.protocol != PROTOCOL:
        raise TrustError("the joining node has another version of everynode: install the same on both")
    check_certificate(request.certificate)
    if not verify(request.certificate, _signed_part(request), request.signature):
        raise TrustError("the join request was not signed by the key of its certificate")
    return request


def proves(request: JoinRequest, proof_key: bytes, cluster: bytes, inviter: bytes) -> bool:
    """Whether the sender had the secret behind `proof_key`, for this cluster and inviter. In constant time."""
    right = _joiner_proof(
        proof_key,
        cluster,
        inviter,
        fingerprint_of(request.certificate),
        request.invite,
        request.nonce,
        request.name,
        request.addresses,
    )
    return hmac.compare_digest(right, request.proof)


def welcome(request: JoinRequest, proof_key: bytes, inviter: bytes, statements: tuple[bytes, ...]) -> bytes:
    joiner = fingerprint_of(request.certificate)
    mine = _inviter_proof(proof_key, inviter, joiner, request.invite, request.nonce, statements)
    return msgspec.msgpack.encode(Welcome(mine, statements))


def refuse(why: str) -> bytes:
    return msgspec.msgpack.encode(Refused(why[:1000]))


def read_answer(token: Token, identity: Identity, nonce: bytes, raw: bytes) -> tuple[bytes, ...]:
    """The statements of the cluster. Raises TrustError with the inviter's words if it refused, or with ours."""
    if len(raw) > limits.FRAME_BYTES_MAX:
        raise TrustError(f"the inviter's answer of {len(raw)} bytes is larger than {limits.FRAME_BYTES_MAX}")
    try:
        answer: JoinAnswer = _ANSWER.decode(raw)
    except UNREADABLE as error:
        raise TrustError(f"the inviter's answer cannot be read: {error}") from error
    if isinstance(answer, Refused):
        words = "".join(c if c.isprintable() else "?" for c in answer.why)
        raise TrustError(f"the inviter refused: {words}")
    right = _inviter_proof(
        proof_key_of(token.secret),
        token.inviter,
        identity.fingerprint,
        invite_id_of(token.secret),
        nonce,
        answer.statements,
    )
    if not hmac.compare_digest(right, answer.proof):
        raise TrustError("the inviter did not prove that it made the token: nothing of its answer was used")
    return answer.statements


def _joiner_proof(
    proof_key: bytes,
    cluster: bytes,
    inviter: bytes,
    joiner: bytes,
    invite: bytes,
    nonce: bytes,
    name: str,
    addresses: tuple[str, ...],
) -> bytes:
    said = msgspec.msgpack.encode((name, addresses))
    return proof(proof_key, b"everynode join request", cluster, inviter, joiner, invite, nonce, said)


def _inviter_proof(
    proof_key: bytes, inviter: bytes, joiner: bytes, invite: bytes, nonce: bytes, statements: tuple[bytes, ...]
) -> bytes:
    return proof(proof_key, b"everynode join answer", inviter, joiner, invite, nonce, *statements)


def _signed_part(request: JoinRequest) -> bytes:
    unsigned = msgspec.structs.replace(request, signature=b"\0" * 64)
    return b"everynode join signature\0" + msgspec.msgpack.encode(unsigned)
