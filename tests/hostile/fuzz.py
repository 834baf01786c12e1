"""Coverage-guided fuzzing of everything that reads bytes of others: `python -m tests.hostile.fuzz [libFuzzer options]`.

Needs atheris (`pip install atheris`), which no other test does. It begins with valid messages of every type and ends at
the first exception that is not the refusal it should be, at a message out of bounds, or at more memory than allowed.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("fuzzing needs atheris: pip install atheris")

with atheris.instrument_imports(include=["everynode"]):
    import msgspec

    from everynode.errors import LinkError, TrustError
    from everynode.model.policy import GroupPolicy
    from everynode.trust import joining, statements, token
    from everynode.trust.identity import Identity
    from everynode.wire.codec import decode, encode
    from everynode.wire.frames import FrameSplitter

FRAME_BYTES_MAX = 4096


def one(data: bytes) -> None:
    """The first byte says who reads the rest."""
    if not data:
        return
    kind, body = data[0] % 5, data[1:]
    match kind:
        case 0:
            try:
                message = decode(body)
            except LinkError:
                return
            assert decode(encode(message)) == message
        case 1:
            split(body)
        case 2:
            refused(lambda: joining.read_request(body))
        case 3:
            refused(lambda: statements.parse(body))
        case _:
            refused(lambda: token.parse_token(body.decode("utf-8", "replace")))


def refused(read: object) -> None:
    try:
        read()  # type: ignore[operator]
    except TrustError:
        pass


def split(stream: bytes) -> None:
    """The first bytes of the stream say where it is cut."""
    splitter = FrameSplitter(FRAME_BYTES_MAX)
    cuts, stream = stream[:8], stream[8:]
    seen = 0
    try:
        for number in range(10_000):
            if not stream:
                break
            free = splitter.free()
            assert free and len(free) <= 2 * (FRAME_BYTES_MAX + 4)
            count = min(len(free), len(stream), 1 + (cuts[number % len(cuts)] if cuts else 99))
            free[:count], stream = stream[:count], stream[count:]
            for body in splitter.received(count):
                seen += len(body)
                decode_any(bytes(body))
    except LinkError:
        pass


def decode_any(body: bytes) -> None:
    try:
        decode(body)
    except LinkError:
        pass


def seeds(folder: Path) -> None:
    """A valid message of every type, a join request and statements, each behind its first byte."""
    from hypothesis import Phase, given, settings

    from tests.property.test_codec import messages

    found: list[bytes] = []

    @settings(max_examples=150, database=None, phases=[Phase.generate], deadline=None)
    @given(messages)
    def collect(message: object) -> None:
        found.append(b"\0" + encode(message))  # type: ignore[arg-type]

    collect()
    with tempfile.TemporaryDirectory() as home:
        identity = Identity.create(Path(home), "seed")
    request = joining.JoinRequest(1, b"i" * 16, b"n" * 16, identity.certificate, "name", ("a:1",), bytes(32), bytes(64))
    found.append(b"\2" + msgspec.msgpack.encode(request))
    genesis = statements.begin_cluster(identity, b"n" * 16)
    node = statements.NodeValue("name", identity.certificate, ("a:1",))
    group = statements.GroupValue("www", "/srv/www", GroupPolicy())
    for statement in (
        genesis,
        statements.state(identity, genesis.digest, node, 1),
        statements.state(identity, genesis.digest, group, 1, group=b"g" * 16),
    ):
        found.append(b"\3" + statement.raw)
    for number, seed in enumerate(found):
        (folder / f"seed-{number}").write_bytes(seed)


def main() -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        seeds(Path(folder))
        options = sys.argv[1:] or ["-max_total_time=60"]
        atheris.Setup([sys.argv[0], folder, "-max_len=8192", "-rss_limit_mb=1024", "-timeout=5", *options], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
