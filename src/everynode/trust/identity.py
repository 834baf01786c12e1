"""This node's key and certificate, and what a certificate says of another node.

`cryptography` takes some 90 ms to import, so it is imported where it is used: the command line stays quick.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from everynode import limits
from everynode.errors import TrustError
from everynode.model.ids import NODE_ID_BYTES, NodeId
from everynode.trust.durable import write_durably

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_NAME = "key.pem"
CERTIFICATE_NAME = "certificate.pem"

VALID_YEARS = 50
# Clocks decide nothing here: valid since long ago, and counted from this release where a clock stands at 1970.
NOT_BEFORE = datetime(2000, 1, 1, tzinfo=UTC)
RELEASED = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Identity:
    """One node's key pair. The certificate's fingerprint *is* the node; its subject name decides nothing."""

    node: NodeId
    fingerprint: bytes
    """SHA-256 of `certificate`, 32 bytes."""
    certificate: bytes
    """DER."""
    certificate_path: Path
    key_path: Path
    """Both PEM, as `ssl.SSLContext.load_cert_chain` wants them."""
    _key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def create(cls, home: Path, name: str) -> Identity:
        """Make a key and certificate in the existing directory `home`, durable, the key readable by nobody else.

        A key without certificate is what a crash between the two leaves: it is used. Raises TrustError if there
        is a certificate already: an identity is never overwritten.
        """
        key_path, certificate_path = home / KEY_NAME, home / CERTIFICATE_NAME
        if certificate_path.exists():
            raise TrustError(f"{certificate_path} exists already: this home has an identity, which is kept")
        try:
            if not key_path.exists():
                write_durably(key_path, _new_key())
            key = _read_key(key_path)
            write_durably(certificate_path, _self_signed(key, name), mode=0o644)
        except OSError as error:
            raise TrustError(f"the node's key cannot be written to {home}: {error.strerror}") from error
        return cls.load(home)

    @classmethod
    def load(cls, home: Path) -> Identity:
        """Raises TrustError if key or certificate are missing, damaged, no pair, or the key is open to others."""
        key_path, certificate_path = home / KEY_NAME, home / CERTIFICATE_NAME
        key = _read_key(key_path)
        certificate = _read_certificate(certificate_path)
        if _public_bytes(_public_key(certificate)) != _public_bytes(key.public_key()):
            raise TrustError(
                f"{key_path} is not the key of {certificate_path}: restore both from the same backup, "
                "or give this node a new home and let it join again"
            )
        fingerprint = fingerprint_of(certificate)
        return cls(node_id_of(certificate), fingerprint, certificate, certificate_path, key_path, key)

    def sign(self, data: bytes) -> bytes:
        """Ed25519 signature, 64 bytes. `data` must begin with what it is for, so that no signature serves two ends."""
        return self._key.sign(data)


def exists(home: Path) -> bool:
    """Whether `home` has a complete identity, readable or not."""
    return (home / CERTIFICATE_NAME).exists()


def fingerprint_of(certificate: bytes) -> bytes:
    """SHA-256 of a certificate (DER), 32 bytes."""
    return hashlib.sha256(certificate).digest()


def node_id_of(certificate: bytes) -> NodeId:
    """The node whose certificate (DER) this is. Looks at the bytes only; see `check_certificate`."""
    return NodeId(fingerprint_of(certificate)[:NODE_ID_BYTES])


def check_certificate(certificate: bytes) -> None:
    """Raises TrustError unless this is a DER certificate with an Ed25519 key that may not sign certificates."""
    _public_key(certificate)


def verify(certificate: bytes, data: bytes, signature: bytes) -> bool:
    """Whether the key of `certificate` (DER) made `signature` over `data`. Never raises; hostile input is False."""
    from cryptography.exceptions import InvalidSignature

    try:
        _public_key(certificate).verify(signature, data)
    except (InvalidSignature, TrustError):
        return False
    return True


def _new_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _self_signed(key: Ed25519PrivateKey, name: str) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    not_after = max(datetime.now(UTC), RELEASED).replace(microsecond=0) + timedelta(days=VALID_YEARS * 365.25)
    builder = x509.CertificateBuilder(
        issuer_name=subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=NOT_BEFORE,
        not_valid_after=not_after,
    )
    # CA:FALSE: else whoever pins this certificate would accept every certificate that this key signs.
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return builder.sign(key, None).public_bytes(Encoding.PEM)


def _read_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    mode, data = _read(path, "key")
    if mode & 0o077:
        raise TrustError(f"{path} can be read or written by others (mode {mode:04o}): run chmod 600 {path}")
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise TrustError(_damaged(path, "key")) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"{path} holds a key that is not Ed25519: restore it from a backup")
    return key


def _read_certificate(path: Path) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    _, data = _read(path, "certificate")
    try:
        return x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)
    except ValueError as error:
        raise TrustError(_damaged(path, "certificate")) from error


def _read(path: Path, what: str) -> tuple[int, bytes]:
    """(permission bits, content)"""
    try:
        with path.open("rb") as file:
            return stat.S_IMODE(path.stat().st_mode), file.read(limits.CERTIFICATE_BYTES_MAX)
    except FileNotFoundError as error:
        raise TrustError(
            f"the node's {what} {path} does not exist: restore it from a backup, or run everynode init or join"
        ) from error
    except OSError as error:
        raise TrustError(f"the node's {what} {path} cannot be read: {error.strerror}") from error


def _damaged(path: Path, what: str) -> str:
    return (
        f"the node's {what} {path} is damaged: restore it from a backup, "
        "or give this node a new home and let it join again"
    )


# The certificates of all members fit; verifying many statements of one author parses its certificate once.
@lru_cache(maxsize=256)
def _public_key(certificate: bytes) -> Ed25519PublicKey:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(certificate) > limits.CERTIFICATE_BYTES_MAX:
        raise TrustError(f"a certificate of {len(certificate)} bytes is longer than any that everynode makes")
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        key = parsed.public_key()
        authority = parsed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (
        ValueError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise TrustError("a certificate is damaged or was not made by everynode") from error
    if not isinstance(key, Ed25519PublicKey) or authority:
        raise TrustError("a certificate is not an Ed25519 leaf certificate: it was not made by everynode")
    return key


def _public_bytes(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes_raw()
