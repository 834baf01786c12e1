"""The one exchange that somebody without a member's certificate may have."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from everynode import limits
from everynode.errors import LinkError
from everynode.net.dial import ask_join
from everynode.trust.identity import fingerprint_of
from everynode.wire.frames import frame_of_bytes
from tests.unit.net.nodes import Node, frames_until_end, nodes_of, raw_tls, running


def test_a_joiner_asks_and_gets_the_answer_after_a_dead_address(tmp_path: Path) -> None:
    async def main() -> None:
        (a,) = await nodes_of(tmp_path, "a")
        seen: list[bytes] = []

        def build(certificate: bytes) -> bytes:
            seen.append(certificate)
            return b"please"

        async with running(a):
            answer = await ask_join(["127.0.0.1:1", a.address], a.identity.fingerprint, build)
        assert answer == b"answer to please"
        assert [fingerprint_of(certificate) for certificate in seen] == [a.identity.fingerprint]
        assert a.said == []

    asyncio.run(main())


def test_a_large_answer_arrives_whole(tmp_path: Path) -> None:
    async def main() -> None:
        (a,) = await nodes_of(tmp_path, "a")

        async def answer(raw: bytes, address: str) -> bytes:
            return bytes(4 * limits.MiB)

        a.join_requested = answer  # type: ignore[method-assign]
        async with running(a):
            assert len(await ask_join([a.address], a.identity.fingerprint, lambda _: b"x")) == 4 * limits.MiB

    asyncio.run(main())


def test_nothing_is_said_to_a_server_with_another_certificate(tmp_path: Path) -> None:
    async def main() -> None:
        (a,) = await nodes_of(tmp_path, "a")

        def build(certificate: bytes) -> bytes:
            raise AssertionError("a request was made for a stranger")

        async with running(a):
            with pytest.raises(LinkError, match="not the one that made the token"):
                await ask_join([a.address], b"f" * 32, build)

    asyncio.run(main())


def test_a_refused_joiner_and_a_dead_inviter_end_in_an_error(tmp_path: Path) -> None:
    async def main() -> None:
        (a,) = await nodes_of(tmp_path, "a")
        async with running(a):
            with pytest.raises(LinkError):
                await ask_join([a.address], a.identity.fingerprint, lambda _: b"bad")
            assert await ask_join([a.address], a.identity.fingerprint, lambda _: b"good") == b"answer to good"
        with pytest.raises(
            LinkError, match=r"inviting node cannot be reached: 127\.0\.0\.1:1: Connection refused; everynode must run"
        ):
            await ask_join(["127.0.0.1:1"], a.identity.fingerprint, lambda _: b"x")
        for text in ("a b:1", "x" * 300 + ":1", "a:0x1", "a..b:1"):
            with pytest.raises(LinkError, match="cannot be reached"):
                await ask_join([text], a.identity.fingerprint, lambda _: b"x")
        with pytest.raises(LinkError, match="no address is known"):
            await ask_join([], a.identity.fingerprint, lambda _: b"x")

    asyncio.run(main())


def test_a_silent_inviter_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_TIMEOUT", 0.2)

    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LinkError):
            await ask_join([f"127.0.0.1:{port}"], b"f" * 32, lambda _: b"x")
        server.close()

    asyncio.run(main())


def test_a_joiner_may_send_one_small_message_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "everynode.net")

    async def main() -> None:
        a = Node(tmp_path, "a")
        await a.listen()
        async with running(a):
            reader, writer = await raw_tls(a, None)
            writer.write((limits.JOIN_MESSAGE_BYTES_MAX + 1).to_bytes(4, "big"))
            assert await frames_until_end(reader) == []
            await a.until(lambda: "announces a message of 65537 bytes" in caplog.text)
            writer.close()
            reader, writer = await raw_tls(a, None)
            writer.write(bytes(frame_of_bytes(b"first")) + bytes(frame_of_bytes(b"second")))
            assert await frames_until_end(reader) == []
            await a.until(lambda: "said more than one thing" in caplog.text)
            writer.close()

    asyncio.run(main())


def test_what_no_stranger_should_be_able_to_bring_about_ends_with_that_stranger(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        (a,) = await nodes_of(tmp_path, "a")
        answer_well = a.join_requested

        async def answer(raw: bytes, address: str) -> bytes:
            if raw == b"deadly":
                raise ZeroDivisionError
            return await answer_well(raw, address)

        a.join_requested = answer  # type: ignore[method-assign]
        async with running(a):
            with pytest.raises(LinkError):
                await ask_join([a.address], a.identity.fingerprint, lambda _: b"deadly")
            await a.until(lambda: "a defect" in caplog.text)
            assert await ask_join([a.address], a.identity.fingerprint, lambda _: b"good") == b"answer to good"

    asyncio.run(main())


def test_of_a_flood_of_refusals_only_the_first_are_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "REFUSALS_LOGGED", 3)
    monkeypatch.setattr(limits, "REFUSALS_INTERVAL", 60.0)
    caplog.set_level("INFO", "everynode.net")

    async def main() -> None:
        (a,) = await nodes_of(tmp_path, "a")
        async with running(a):
            for _ in range(8):
                reader, writer = await asyncio.open_connection(*a.host_port)
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                await frames_until_end(reader)
                writer.close()

    asyncio.run(main())
    assert caplog.text.count("refused a connection from") == 3
