"""Whoever has no member's key: endless half handshakes, junk, join requests that lie. The members go on meanwhile."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import ssl
import tempfile
import time
from pathlib import Path

import msgspec
import pytest

from everynode.kernel.landlock import why_unavailable
from everynode.trust.identity import Identity
from everynode.trust.joining import JoinRequest
from everynode.wire.frames import frame_of_bytes
from tests.hostile.siege import Siege

ELSEWHERE = "127.0.0.66"


def connect(siege: Siege, source: str = ELSEWHERE) -> socket.socket:
    address = (siege.victim.address, siege.victim.port)
    return socket.create_connection(address, timeout=10, source_address=(source, 0))


def stranger_tls(siege: Siege) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connect(siege))


def ask_to_join(siege: Siege, request: bytes) -> bytes:
    """What is answered; empty: the connection was cut."""
    with stranger_tls(siege) as sock:
        sock.sendall(frame_of_bytes(request))
        with contextlib.suppress(OSError):
            return sock.recv(1 << 16)
        return b""


@pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "-")
def test_the_threads_that_work_on_a_tree_are_confined(siege: Siege) -> None:
    """Those of the index and of the workers, at each node; what that means is in `tests/unit/kernel`."""
    for node in (siege.victim, siege.friend):
        assert siege.confined_threads(node) >= 2
        assert "not confined" not in node.ask("status").stdout


def test_two_thousand_silent_connections_hinder_no_member(siege: Siege) -> None:
    silent = [connect(siege) for _ in range(2000)]
    siege.assert_in_touch(timeout=10)
    # Nor one that links anew, and that is refused nothing because of the crowd.
    siege.attack().close()
    for sock in silent:
        sock.close()


def test_two_hundred_silent_tls_clients_hinder_no_member(siege: Siege) -> None:
    silent = []
    for _ in range(200):
        with contextlib.suppress(OSError):  # those that made room before they were through
            silent.append(stranger_tls(siege))
    siege.assert_in_touch(timeout=10)
    siege.attack().close()
    for sock in silent:
        sock.close()


def test_a_byte_now_and_then_is_no_way_to_stay(siege: Siege) -> None:
    """TLS records and the frame of a join request, a byte at a time: the deadline is for the whole of it."""
    sock = connect(siege)
    began = time.monotonic()
    with contextlib.suppress(OSError):
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500):
            sock.sendall(bytes([byte]))
            time.sleep(0.1)
            sock.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                if not sock.recv(100):
                    break
    assert time.monotonic() - began < 20
    tls = stranger_tls(siege)
    began = time.monotonic()
    with contextlib.suppress(OSError):
        for byte in frame_of_bytes(bytes(1000)):
            tls.sendall(bytes([byte]))
            time.sleep(0.1)
    assert time.monotonic() - began < 20


def test_what_is_no_tls_is_refused(siege: Siege) -> None:
    chance = random.Random(1)
    for junk in (b"GET / HTTP/1.1\r\n\r\n", bytes(100_000), b"\xff" * 1000, b"\x16\x03\x01\xff\xff" + bytes(70_000)):
        with connect(siege) as sock, contextlib.suppress(OSError):
            sock.sendall(junk)
            sock.recv(10)
    for _ in range(100):
        with connect(siege) as sock, contextlib.suppress(OSError):
            sock.sendall(b"\x16\x03\x01" + chance.randbytes(chance.randrange(300)))


def junk_requests() -> list[bytes]:
    """Join requests, well formed and spoiled in every way that once ended a daemon, or might."""
    with tempfile.TemporaryDirectory() as folder:
        identity = Identity.create(Path(folder), "stranger")
    certificate = identity.certificate
    wrong_version = certificate.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07")
    good = JoinRequest(1, b"i" * 16, b"n" * 16, certificate, "name", (), b"p" * 32, b"s" * 64)
    encoded = msgspec.msgpack.encode(good)
    spoiled = [
        b"",
        b"\xc1",
        b"\x91" * 60_000,
        encoded.replace(b"\xa4name", b"\xa4\xff\xff\xff\xff"),
        msgspec.msgpack.encode(msgspec.structs.replace(good, certificate=wrong_version)),
        msgspec.msgpack.encode(msgspec.structs.replace(good, name="x" * 255, addresses=("a" * 60_000,))),
    ]
    chance = random.Random(2)
    for _ in range(150):
        body = bytearray(encoded)
        for _ in range(chance.randint(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        spoiled.append(bytes(body))
    return spoiled


def test_join_requests_that_lie_are_refused_one_after_another(siege: Siege) -> None:
    for request in junk_requests():
        answer = ask_to_join(siege, request)
        assert b"welcome" not in answer
    members = siege.victim.asks_json("members")["members"]
    assert len(members) == 3


def test_a_flood_of_messages_before_any_answer_is_cut(siege: Siege) -> None:
    with stranger_tls(siege) as sock, contextlib.suppress(OSError):
        for _ in range(2000):
            sock.sendall(bytes(1 << 16))
        raise AssertionError("it was let talk on")
    with stranger_tls(siege) as sock, contextlib.suppress(OSError):
        for _ in range(500):
            sock.sendall(frame_of_bytes(os.urandom(60_000)) * 4)
        raise AssertionError("it was let talk on")


@pytest.mark.parametrize("length", [0, 2**16 + 1, 2**31, 2**32 - 1])
def test_a_stranger_who_announces_too_much_is_cut(siege: Siege, length: int) -> None:
    with stranger_tls(siege) as sock:
        sock.settimeout(15)
        sock.sendall(length.to_bytes(4, "big"))
        with contextlib.suppress(OSError):
            answer = sock.recv(1000)
            assert b"welcome" not in answer
