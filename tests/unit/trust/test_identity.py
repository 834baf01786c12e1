from __future__ import annotations

import hashlib
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from everynode.errors import TrustError
from everynode.trust.identity import Identity, check_certificate, node_id_of, verify


def test_a_created_identity_is_the_one_that_is_loaded(tmp_path: Path) -> None:
    made = Identity.create(tmp_path, "alpha")
    loaded = Identity.load(tmp_path)
    assert (loaded.node, loaded.fingerprint, loaded.certificate) == (made.node, made.fingerprint, made.certificate)
    assert made.fingerprint == hashlib.sha256(made.certificate).digest()
    assert made.node == made.fingerprint[:16] == node_id_of(made.certificate)


def test_the_key_is_readable_by_its_owner_only_and_nothing_else_is_left_behind(tmp_path: Path) -> None:
    identity = Identity.create(tmp_path, "alpha")
    assert stat.S_IMODE(identity.key_path.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"key.pem", "certificate.pem"}


def test_the_certificate_is_a_leaf_valid_long_before_and_after_any_clock(identities: list[Identity]) -> None:
    from cryptography import x509

    certificate = x509.load_der_x509_certificate(identities[0].certificate)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and not constraints.value.ca
    assert certificate.not_valid_before_utc.year == 2000
    assert certificate.not_valid_after_utc.year >= 2075


def test_a_signature_holds_for_its_key_and_data_only(identities: list[Identity]) -> None:
    one, two = identities[:2]
    signature = one.sign(b"data")
    assert verify(one.certificate, b"data", signature)
    assert not verify(one.certificate, b"Data", signature)
    assert not verify(two.certificate, b"data", signature)
    assert not verify(one.certificate, b"data", signature[:-1])
    assert not verify(b"no certificate", b"data", signature)


def test_two_nodes_shake_hands_and_a_stranger_does_not(identities: list[Identity]) -> None:
    assert _handshake(identities[0], identities[1], expects=identities[1])
    with pytest.raises(ssl.SSLError):
        _handshake(identities[0], identities[2], expects=identities[1])


def _handshake(server: Identity, client: Identity, expects: Identity) -> bool:
    def context(me: Identity, peer: Identity, protocol: int) -> ssl.SSLContext:
        made = ssl.SSLContext(protocol)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_cert_chain(me.certificate_path, me.key_path)
        made.load_verify_locations(cadata=peer.certificate)
        return made

    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = context(server, expects, ssl.PROTOCOL_TLS_SERVER).wrap_bio(to_server, to_client, server_side=True)
    there = context(client, server, ssl.PROTOCOL_TLS_CLIENT).wrap_bio(to_client, to_server)
    for _ in range(4):
        for side in (there, here):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return here.getpeercert(True) == client.certificate and there.getpeercert(True) == server.certificate


def test_an_identity_is_never_overwritten(tmp_path: Path) -> None:
    before = Identity.create(tmp_path, "alpha").node
    with pytest.raises(TrustError, match="exists already"):
        Identity.create(tmp_path, "alpha")
    assert Identity.load(tmp_path).node == before


def test_a_key_left_by_a_crash_before_the_certificate_is_used(tmp_path: Path) -> None:
    Identity.create(tmp_path, "alpha").certificate_path.unlink()
    key = (tmp_path / "key.pem").read_bytes()
    Identity.create(tmp_path, "alpha")
    assert (tmp_path / "key.pem").read_bytes() == key


@pytest.mark.parametrize("name", ["key.pem", "certificate.pem"])
def test_a_missing_piece_is_named(tmp_path: Path, name: str) -> None:
    Identity.create(tmp_path, "alpha")
    (tmp_path / name).unlink()
    with pytest.raises(TrustError, match=f"{name} does not exist: restore it"):
        Identity.load(tmp_path)


@pytest.mark.parametrize("name", ["key.pem", "certificate.pem"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_piece_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    Identity.create(tmp_path, "alpha")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrustError, match=f"{name} is damaged"):
        Identity.load(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    Identity.create(tmp_path, "alpha").key_path.chmod(mode)
    with pytest.raises(TrustError, match="run chmod 600"):
        Identity.load(tmp_path)


def test_the_key_of_another_certificate_is_refused(tmp_path: Path, identities: list[Identity]) -> None:
    Identity.create(tmp_path, "alpha")
    (tmp_path / "key.pem").write_bytes(identities[0].key_path.read_bytes())
    with pytest.raises(TrustError, match="is not the key of"):
        Identity.load(tmp_path)


def test_a_certificate_that_may_sign_others_is_refused() -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    from everynode.trust.identity import NOT_BEFORE, RELEASED

    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOT_BEFORE, RELEASED)
    authority = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    for made in (authority, builder):
        with pytest.raises(TrustError, match="not made by everynode"):
            check_certificate(made.sign(key, None).public_bytes(Encoding.DER))


def test_a_certificate_of_a_version_that_does_not_exist_is_refused(identities: list[Identity]) -> None:
    good = identities[0].certificate
    version = b"\xa0\x03\x02\x01\x02"
    assert good.count(version) == 1
    with pytest.raises(TrustError, match="damaged"):
        check_certificate(good.replace(version, version[:-1] + b"\x07"))


def test_an_oversized_certificate_is_not_even_parsed() -> None:
    with pytest.raises(TrustError, match="longer than any"):
        check_certificate(b"0" * 100_000)


def test_importing_the_trust_floor_does_not_load_the_slow_library() -> None:
    code = (
        "import sys, everynode.trust.statement_set, everynode.trust.joining, everynode.cluster.plan, "
        "everynode.cluster.joining; print('cryptography' in sys.modules, 're2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"
