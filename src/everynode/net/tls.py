"""TLS contexts in which only the certificates of members count.

TLS 1.3 both ways. Each member's self-signed leaf is its own trust anchor (`VERIFY_X509_PARTIAL_CHAIN`); names and
issuers say nothing. What the handshake lets through is compared once more, by fingerprint, with the member list.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from everynode.errors import TrustError
from everynode.trust.identity import Identity


class TlsContexts:
    """The contexts of one node, rebuilt by `trust` when the members change; existing connections keep theirs."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._anchors: bytes | None = None
        self.trust(())

    def trust(self, certificates: Iterable[bytes]) -> None:
        """Accept exactly these (DER) from now on. Raises TrustError."""
        anchors = b"".join(sorted(certificates))
        if anchors == self._anchors:
            return
        # CERT_OPTIONAL: who has no certificate reaches the join exchange; who shows another one than a member's
        # fails the handshake.
        self.server = _context(ssl.PROTOCOL_TLS_SERVER, ssl.CERT_OPTIONAL)
        # No session is ever resumed: a resumed one would show the certificate of an earlier handshake.
        self.server.num_tickets = 0
        self.client = _context(ssl.PROTOCOL_TLS_CLIENT, ssl.CERT_REQUIRED)
        try:
            for context in (self.server, self.client):
                context.load_cert_chain(self._identity.certificate_path, self._identity.key_path)
                if anchors:
                    context.load_verify_locations(cadata=anchors)
        except ssl.SSLError as error:
            raise TrustError(f"OpenSSL cannot use this node's key or a member's certificate: {error}") from error
        except OSError as error:
            raise TrustError(f"this node's key {self._identity.key_path} cannot be read: {error.strerror}") from error
        self._anchors = anchors


def joining_context() -> ssl.SSLContext:
    """To ask for membership: no certificate of ours, any server's. Compare its fingerprint before you speak."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, ssl.CERT_NONE)


def _context(protocol: int, verify: ssl.VerifyMode) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = verify
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
