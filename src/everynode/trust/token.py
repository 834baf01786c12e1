"""The invite token: one pasteable string that lets one new node in, once.

    everynode1-<base32 of: length (2 bytes), MessagePack of `Token`, first 4 bytes of its SHA-256>

Base32 without padding, in lower case: it survives terminals, mail and being read aloud; case and white space
do not matter. The length tells a truncated token from a mistyped one.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b32decode, b32encode
from typing import Annotated, Final

import msgspec

from everynode import limits
from everynode.errors import ConfigError, TrustError
from everynode.model.names import check_address

PREFIX: Final = "everynode1-"
SECRET_BYTES: Final = 20
_CHECKSUM_BYTES: Final = 4
_LENGTH_BYTES: Final = 2
_ALPHABET: Final = frozenset("abcdefghijklmnopqrstuvwxyz234567")

Secret = Annotated[bytes, msgspec.Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]
Fingerprint = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Token(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`secret` is known to the inviter only as `proof_key_of(secret)`, and to whoever got the token."""

    secret: Secret
    addresses: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=limits.ADDRESSES_MAX)]
    """`host:port` of the inviter, in the order in which to try them."""
    inviter: Fingerprint
    cluster: Fingerprint
    expires: int
    """Unix seconds by the inviter's clock, which alone decides; the joiner may warn."""


def invite_id_of(secret: bytes) -> bytes:
    """16 bytes naming the invite without giving the secret away; serves as the inviter's nonce."""
    return hashlib.sha256(b"everynode invite id\0" + secret).digest()[:16]


def proof_key_of(secret: bytes) -> bytes:
    """What the inviter keeps: enough to check a proof, not enough to make the token again."""
    return hashlib.sha256(b"everynode invite key\0" + secret).digest()


def proof(proof_key: bytes, purpose: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 over `parts`, each with its length, so that no two lists of parts look alike."""
    message = purpose + b"\0" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(proof_key, message, "sha256")


def show_token(token: Token) -> str:
    packed = msgspec.msgpack.encode(token)
    checksum = hashlib.sha256(packed).digest()[:_CHECKSUM_BYTES]
    data = len(packed).to_bytes(_LENGTH_BYTES, "big") + packed + checksum
    return PREFIX + b32encode(data).decode().rstrip("=").lower()


def parse_token(text: str) -> Token:
    """Raises TrustError saying whether it is no token, truncated, or mistyped. Expiry is not looked at."""
    # Bounded first: what is pasted may be anything.
    text = "".join(text[: limits.JOIN_MESSAGE_BYTES_MAX].split()).lower()
    if not text.startswith(PREFIX):
        if PREFIX.startswith(text) and text:
            raise TrustError("the token is truncated: paste it whole, from everynode1- to its end")
        raise TrustError(f"this is no invite token: it begins with {PREFIX}; make one with everynode invite")
    body = text.removeprefix(PREFIX)
    wrong = next((character for character in body if character not in _ALPHABET), "")
    if wrong:
        raise TrustError(f"the token is mistyped: {wrong!r} cannot occur in one; copy it again")
    data = _decode(body)
    length = int.from_bytes(data[:_LENGTH_BYTES], "big")
    packed, rest = data[_LENGTH_BYTES : _LENGTH_BYTES + length], data[_LENGTH_BYTES + length :]
    if len(data) < _LENGTH_BYTES or len(rest) < _CHECKSUM_BYTES:
        raise TrustError("the token is truncated: paste it whole, from everynode1- to its end")
    if rest != hashlib.sha256(packed).digest()[:_CHECKSUM_BYTES]:
        raise TrustError("the token is mistyped (its checksum is wrong): copy it again")
    if b32encode(data).decode().rstrip("=").lower() != body:
        raise TrustError("the token is mistyped (a character too many or too few): copy it again")
    try:
        token = msgspec.msgpack.decode(packed, type=Token)
        for address in token.addresses:
            check_address(address)
    except (msgspec.MsgspecError, UnicodeDecodeError, ConfigError) as error:
        raise TrustError(f"the token was made by another version of everynode: {error}") from error
    return token


def _decode(body: str) -> bytes:
    """Whole bytes of base32 without padding; a cut inside a group of 8 characters loses only that group's end."""
    # 1, 3 and 6 characters over are no whole number of bytes: such a text was cut; drop the odd character.
    if len(body) % 8 in (1, 3, 6):
        body = body[:-1]
    return b32decode(body.upper() + "=" * (-len(body) % 8))
