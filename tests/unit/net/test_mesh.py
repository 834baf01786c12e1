"""Links between real meshes on loopback: who gets in, who is cut, and that one link remains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from everynode import limits
from everynode.errors import ConfigError, LinkError
from everynode.model.ids import NodeId
from everynode.model.message import FetchPart, Gone, GroupBye, Hello, Ping, RunEnd, RunPart
from everynode.net import mesh
from everynode.net.channel import Lane
from everynode.net.link import PROTOCOL
from everynode.wire.frames import frame_of
from tests.unit.net.nodes import CLUSTER, GROUP, Node, frames_until_end, nodes_of, raw_tls, running

Run = Callable[[Coroutine[None, None, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "asyncio":
        return asyncio.run
    return pytest.importorskip("uvloop").run  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def quick_reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_MIN", 0.01)
    monkeypatch.setattr(limits, "RECONNECT_MAX", 0.05)


def test_three_nodes_link_and_messages_cross_in_order(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        nodes = await nodes_of(tmp_path, "a", "b", "c")
        names = {node.name for node in nodes}
        async with running(*nodes):
            for node in nodes:
                await node.until(lambda node=node: node.linked_with() == names - {node.name})
            sender, *receivers = nodes
            for receiver in receivers:
                for number in range(300):
                    await sender.mesh.send(receiver.node, Gone(GROUP, number))
            for receiver in receivers:
                await receiver.until(lambda r=receiver: len(r.messages()) == 300)
                assert receiver.messages() == [Gone(GROUP, number) for number in range(300)]
            await sender.until(lambda: all(report.rtt_ms is not None for report in sender.mesh.report()))
            report = sender.report_of(receivers[0])
            assert report.bytes_out > 300 * 20 and report.bytes_in > 0 and report.linked_since and not report.error
        for node in nodes:
            assert node.mesh.peers() == []
            assert [said for said in node.said if said[0] == "unlinked"]

    run(main())


def test_both_dial_at_once_and_exactly_one_link_stays(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        for attempt in range(8):
            a, b = await nodes_of(tmp_path / str(attempt), "a", "b")
            async with running(a, b):
                await a.until(lambda: a.linked_with() == {"b"} and b.linked_with() == {"a"})
                await a.mesh.send(b.node, Gone(GROUP, 1))
                await b.mesh.send(a.node, Gone(GROUP, 2))
                await b.until(lambda: len(b.messages()) == 1 and len(a.messages()) == 1)
                assert [said for said in a.said if isinstance(said[1], str)] == [("linked", "b")]
                assert [said for said in b.said if isinstance(said[1], str)] == [("linked", "a")]

    run(main())


def test_a_node_without_addresses_is_reached_because_it_dials(tmp_path: Path) -> None:
    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b", dial=False)
        a.knows(b, dial=True)
        async with running(a, b):
            await b.until(lambda: b.linked_with() == {"a"} and a.linked_with() == {"b"})

    asyncio.run(main())


def test_a_removed_member_is_cut_and_refused_from_then_on(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b")
        async with running(a, b):
            await a.until(lambda: a.linked_with() == {"b"} and b.linked_with() == {"a"})
            del a.members[b.node]
            a.mesh.refresh()
            await a.until(lambda: ("unlinked", "b") in a.said)
            assert a.mesh.report() == []
            with pytest.raises(LinkError, match="no link"):
                await a.mesh.send(b.node, Gone(GROUP, 1))
            await b.until(lambda: "does not count this node" in b.error_with(a))
            lost = b.report_of(a)
            assert lost.linked_since is None
            assert 0 <= time.time() - lost.away_since < 600
            assert a.said == [("linked", "b"), ("unlinked", "b")]
            a.knows(b)
            a.mesh.refresh()
            await a.until(lambda: a.linked_with() == {"b"})

    run(main())


def test_a_certificate_with_a_members_id_and_another_fingerprint_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id is half of a digest; the whole of it is compared every time."""

    async def main() -> None:
        a, b, forger = await nodes_of(tmp_path, "a", "b", "forger")
        async with running(a, b):
            await a.until(lambda: a.linked_with() == {"b"})
            monkeypatch.setattr(mesh, "node_id_of", lambda certificate: b.node)
            assert a.mesh._member_of(b.identity.certificate).member.name == "b"
            with pytest.raises(LinkError, match="not a member"):
                a.mesh._member_of(forger.identity.certificate)
            monkeypatch.undo()

    asyncio.run(main())


def test_a_stranger_is_refused_and_a_stranger_is_not_spoken_to(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        a, stranger = await nodes_of(tmp_path, "a", "stranger")
        del a.members[stranger.node]
        async with running(a, stranger):
            await stranger.until(lambda: "does not count this node" in stranger.error_with(a))
            assert a.said == [] and stranger.said == []

    run(main())


def test_another_certificate_under_a_members_address_and_name_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b", dial=False)
        impostor = Node(tmp_path / "impostor", "b")
        await impostor.listen()
        impostor.knows(a, dial=False)
        b.address = impostor.address
        a.knows(b)
        async with running(a, impostor):
            await a.until(lambda: "certificate is not a member's" in a.error_with(b))
            assert a.said == [] and impostor.said == []

    asyncio.run(main())


def test_a_certificate_signed_by_a_member_is_refused(tmp_path: Path) -> None:
    """A leaf with the member's name as issuer and the member's key as signer, sent with the member's certificate."""

    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b", dial=False)
        minted = _mint(tmp_path, b)
        async with running(a):
            with pytest.raises((OSError, EOFError)):
                reader, writer = await asyncio.open_connection(*a.host_port, ssl=minted)
                writer.write(frame_of(Hello(PROTOCOL, CLUSTER, b.node, "b", ())))
                await reader.readexactly(1)
            assert a.said == []

    asyncio.run(main())


def test_a_node_of_another_cluster_is_refused_by_name(tmp_path: Path) -> None:
    async def main() -> None:
        a, b = Node(tmp_path, "a"), Node(tmp_path, "b", cluster=b"x" * 32)
        for node in (a, b):
            await node.listen()
        b.knows(a, dial=False)
        a.knows(b)
        async with running(a, b):
            await a.until(lambda: a.error_with(b) != "")
            assert a.said == [] and b.said == []

    asyncio.run(main())


def _hello(sender: Node, **changes: object) -> bytes:
    fields: dict[str, object] = {
        "protocol": PROTOCOL,
        "cluster": CLUSTER,
        "node": sender.node,
        "name": "b",
        "listen": (),
    }
    return bytes(frame_of(Hello(**(fields | changes))))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (lambda b: b"GET / HTTP/1.1\r\n\r\n", "announces a message of"),
        (lambda b: (limits.FRAME_BYTES_MAX + 1).to_bytes(4, "big"), "announces a message of 8388609 bytes"),
        (lambda b: b"\0\0\0\5hello", "cannot read a message"),
        (lambda b: bytes(frame_of(Ping(1))), "before it said hello"),
        (lambda b: bytes(frame_of(Gone(GROUP, 1))), "before it said hello"),
        (lambda b: _hello(b, protocol=99), "speaks protocol 99, this node speaks 1"),
        (lambda b: _hello(b, cluster=b"x" * 32), "another cluster"),
        (lambda b: _hello(b, node=b"n" * 16), "another node than its certificate"),
        (lambda b: _hello(b) + bytes(frame_of(Gone(GROUP, 1))), "before it was answered"),
    ],
)
def test_who_does_not_begin_with_its_own_hello_is_cut_before_anything_is_delivered(
    what: Callable[[Node], bytes], why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "everynode.net")

    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b", dial=False)
        async with running(a):
            reader, writer = await raw_tls(a, b.identity)
            writer.write(what(b))
            assert await frames_until_end(reader) == []
            await a.until(lambda: why in caplog.text)
            assert a.said == []
            writer.close()

    asyncio.run(main())


def test_a_damaged_frame_cuts_that_link_only(tmp_path: Path) -> None:
    async def main() -> None:
        a, b, c = await nodes_of(tmp_path, "a", "b", "c", dial=False)
        a.knows(c)
        async with running(a, c):
            await a.until(lambda: a.linked_with() == {c.name})
            reader, writer = await raw_tls(a, b.identity)
            writer.write(_hello(b))
            await a.until(lambda: a.linked_with() == {b.name, c.name})
            writer.write(b"\0\0\0\4\x93\xa6gr")
            await frames_until_end(reader)
            await a.until(lambda: ("unlinked", b.name) in a.said)
            assert "cannot read a message" in a.error_with(b)
            assert a.linked_with() == {c.name} and ("unlinked", c.name) not in a.said
            writer.close()

    asyncio.run(main())


def test_silent_clients_time_out_and_hold_nobody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_TIMEOUT", 1.0)

    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b")
        async with running(a):
            silent = [await asyncio.open_connection(*a.host_port) for _ in range(8)]
            async with running(b):
                await b.until(lambda: b.linked_with() == {"a"})
                for reader, writer in silent:
                    assert await frames_until_end(reader) == []
                    writer.close()
                assert b.linked_with() == {"a"} and ("unlinked", "b") not in a.said

    asyncio.run(main())


def test_a_crowd_of_silent_clients_makes_room_for_a_member(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_TIMEOUT", 60.0)
    monkeypatch.setattr(limits, "CONNECTIONS_UNKNOWN_MAX", 4)

    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b")
        async with running(a):
            silent = [await asyncio.open_connection(*a.host_port) for _ in range(8)]
            for reader, _ in silent[:4]:
                assert await frames_until_end(reader) == []
            async with running(b):
                await b.until(lambda: b.linked_with() == {"a"})
            assert not silent[-1][0].at_eof()
            for _, writer in silent:
                writer.close()

    asyncio.run(main())


def test_a_flood_from_one_place_drowns_itself_and_not_who_dials_from_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_TIMEOUT", 60.0)
    monkeypatch.setattr(limits, "CONNECTIONS_UNKNOWN_MAX", 4)

    async def main() -> None:
        (a,) = await nodes_of(tmp_path, "a")
        async with running(a):
            elsewhere, kept = await asyncio.open_connection(*a.host_port, local_addr=("127.0.0.2", 0))
            flood = [await asyncio.open_connection(*a.host_port) for _ in range(12)]
            for reader, _ in flood[:9]:
                assert await frames_until_end(reader) == []
            assert not elsewhere.at_eof() and not flood[-1][0].at_eof()
            for _, writer in [*flood, (elsewhere, kept)]:
                writer.close()

    asyncio.run(main())


def test_a_peer_that_falls_silent_is_cut_after_the_missed_heartbeats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "HEARTBEAT_INTERVAL", 0.05)

    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b", dial=False)
        async with running(a):
            reader, writer = await raw_tls(a, b.identity)
            writer.write(_hello(b))
            await a.until(lambda: ("unlinked", "b") in a.said)
            assert "silent" in a.error_with(b)
            assert len(await frames_until_end(reader)) >= 3  # hello, and pings
            writer.close()

    asyncio.run(main())


def test_an_idle_link_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "HEARTBEAT_INTERVAL", 0.02)

    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b")
        async with running(a, b):
            await a.until(lambda: a.linked_with() == {"b"})
            link = a.mesh._peers[b.node].link
            assert link is not None
            await a.until(lambda: link._pings > 20)
            assert a.mesh._peers[b.node].link is link and ("unlinked", "b") not in a.said

    asyncio.run(main())


def test_a_restarted_peer_replaces_its_dead_link_at_once(tmp_path: Path) -> None:
    """The old connection stays open without a word, as after a power cut; the new one must not wait for heartbeats."""

    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b", dial=False)
        async with running(a):
            _, dead = await raw_tls(a, b.identity)
            dead.write(_hello(b))
            await a.until(lambda: a.linked_with() == {b.name})
            reader, writer = await raw_tls(a, b.identity)
            writer.write(_hello(b))
            await a.until(lambda: len(a.said) == 3)
            assert a.said == [("linked", b.name), ("unlinked", b.name), ("linked", b.name)]
            assert len(await reader.read(100)) > 40
            dead.close()
            writer.close()

    asyncio.run(main())


def test_a_slow_handler_stops_the_sender_and_memory_stays_bounded(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b")
        part = FetchPart(GROUP, 1, bytes(limits.FETCH_BYTES_MAX))
        async with running(a, b):
            await a.until(lambda: a.linked_with() == {"b"} and b.linked_with() == {"a"})
            b.hold.clear()
            sent = 0

            async def send() -> None:
                nonlocal sent
                for _ in range(60):
                    await a.mesh.send(b.node, part)
                    sent += 1

            task = asyncio.ensure_future(send())
            channel = b.mesh._peers[a.node].link.channel  # type: ignore[union-attr]
            out = a.mesh._peers[b.node].link.channel  # type: ignore[union-attr]
            bulk = out._lanes[Lane.BULK]
            await b.until(lambda: channel.reading_paused and bulk.turn.locked())
            for _ in range(100):  # were anybody still reading, all of it would cross meanwhile
                await asyncio.sleep(0.002)
            assert not task.done() and sent < 60
            assert channel.received_bytes_waiting < limits.RECEIVE_QUEUE_BYTES + limits.FRAME_BYTES_MAX
            assert sum(q.bytes for q in out._lanes.values()) <= limits.SEND_LANE_BYTES + 2 * limits.FETCH_BYTES_MAX
            # the bulk lane is full: what is urgent is taken all the same
            async with asyncio.timeout(5):
                await a.mesh.send(b.node, Gone(GROUP, 7))
            b.hold.set()
            await task
            await b.until(lambda: len(b.messages()) == 61)
            assert b.messages()[-1] == part, "the urgent message waited behind all bulk"

    run(main())


def test_a_goodbye_that_was_sent_arrives_before_the_link_ends(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b")
        async with running(b):
            async with running(a):
                await a.until(lambda: a.linked_with() == {"b"} and b.linked_with() == {"a"})
                await a.mesh.send(b.node, GroupBye(GROUP, "stopping"))
            await b.until(lambda: ("unlinked", "a") in b.said)
            assert b.messages() == [GroupBye(GROUP, "stopping")]

    run(main())


def test_messages_of_a_run_keep_their_order(tmp_path: Path) -> None:
    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b")
        async with running(a, b):
            await a.until(lambda: a.linked_with() == {"b"})
            end = RunEnd(GROUP, 1, {}, b"i" * 16, 0)
            for number in range(50):
                await a.mesh.send(b.node, RunPart(GROUP, number, ()))
            await a.mesh.send(b.node, end)
            await b.until(lambda: len(b.messages()) == 51)
            assert b.messages()[-1] == end

    asyncio.run(main())


def test_a_handler_that_refuses_ends_that_link_and_it_is_dialled_again(tmp_path: Path) -> None:
    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b")
        async with running(a, b):
            await a.until(lambda: a.linked_with() == {"b"} and b.linked_with() == {"a"})
            b.refuse = LinkError("nonsense from a")
            await a.mesh.send(b.node, Gone(GROUP, 1))
            await b.until(lambda: b.said.count(("linked", "a")) == 2)
            await a.until(lambda: a.linked_with() == {"b"})

    asyncio.run(main())


def test_a_defect_met_while_a_peer_is_dealt_with_ends_that_link_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        a, b, c = await nodes_of(tmp_path, "a", "b", "c")
        async with running(a, b, c):
            await b.until(lambda: b.linked_with() == {"a", "c"})
            await a.until(lambda: "b" in a.linked_with())
            b.refuse = ZeroDivisionError()
            await a.mesh.send(b.node, Gone(GROUP, 1))
            await b.until(lambda: b.said.count(("linked", "a")) == 2)
            assert ("unlinked", "c") not in b.said
        assert "a defect" in caplog.text

    asyncio.run(main())


def test_an_unresolvable_or_dead_address_says_so_and_hinders_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        a, b, gone = await nodes_of(tmp_path, "a", "b", "gone")
        async with running(gone):
            pass
        gone.address = "nowhere.invalid:1"
        for node in (a, b):
            node.knows(gone)
        async with running(*(node for node in (a, b, gone) if node.name != "gone")):
            live = next(node for node in (a, b, gone) if node.name == "a")
            lost = next(node for node in (a, b, gone) if node.name == "gone")
            await live.until(lambda: live.linked_with() == {"b"})
            await live.until(lambda: live.error_with(lost) != "")

    asyncio.run(main())


def test_a_listen_address_in_use_is_an_error_of_the_settings(tmp_path: Path) -> None:
    async def main() -> None:
        a, b = Node(tmp_path, "a"), Node(tmp_path, "b")
        await a.listen()
        with pytest.raises(ConfigError, match=r"cannot listen at 127\.0\.0\.1:\d+: Address already in use"):
            await b.listen(a.address)
        with pytest.raises(ConfigError, match=r"nowhere\.invalid"):
            await b.listen("nowhere.invalid:1")
        a.mesh.close()

    asyncio.run(main())


def test_a_node_that_dials_itself_notices(tmp_path: Path) -> None:
    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b", dial=False)
        b.address = a.address
        a.knows(b)
        async with running(a):
            await a.until(lambda: a.error_with(b) != "")
            assert a.said == []

    asyncio.run(main())


def _mint(home: Path, member: Node):  # type: ignore[no-untyped-def]
    """A TLS client context with a certificate signed by the key of `member`."""
    import ssl
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
    from cryptography.x509.oid import NameOID

    own = load_pem_private_key(member.identity.key_path.read_bytes(), None)
    issuer = x509.load_der_x509_certificate(member.identity.certificate)
    key = Ed25519PrivateKey.generate()
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "minted")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(own, None)  # type: ignore[arg-type]
    )
    chain = home / "minted.pem"
    chain.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
        + issuer.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(chain)
    return context


def test_links_that_never_last_are_made_more_and_more_rarely_by_both_sides_together(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both dial in turn: the pause of one must not end because the other's link came and went."""
    monkeypatch.setattr(limits, "RECONNECT_MIN", 0.02)
    monkeypatch.setattr(limits, "RECONNECT_MAX", 0.3)

    async def main() -> None:
        a, b = await nodes_of(tmp_path, "a", "b")
        b.refuse = LinkError("nonsense from a")
        begin = a.linked

        async def linked(peer: NodeId) -> None:
            await begin(peer)
            await a.mesh.send(peer, Gone(GROUP, 1))

        a.linked = linked  # type: ignore[method-assign]
        async with running(a, b):
            began = asyncio.get_running_loop().time()
            await b.until(lambda: b.said.count(("linked", "a")) >= 16, seconds=60)
            # One of them has dialled eight times, with pauses of at least 0.01, 0.02, 0.04, 0.08 and three times 0.15 s
            # in between; a busy machine only makes it longer.
            assert asyncio.get_running_loop().time() - began > 0.59

    run(main())
