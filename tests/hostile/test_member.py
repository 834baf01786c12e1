"""A member that lies: real daemons, a real member's key, and everything that a link lets one say."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import time

import msgspec
import pytest

from everynode import limits
from everynode.model.ids import Digest, Origin, Sequence, origin_of
from everynode.model.message import (
    Batch,
    Blocks,
    BlocksRequest,
    FetchPart,
    FetchRequest,
    Gone,
    GroupBye,
    GroupHello,
    Heads,
    Hello,
    Message,
    Ping,
    RunCredit,
    RunEnd,
    RunPart,
    RunRequest,
    Statements,
    WireRecord,
)
from everynode.model.path import RelPath
from everynode.model.record import Vector
from everynode.tree.digest import digest_bytes, hash_blocks
from everynode.wire.frames import frame_of_bytes
from lab.trees import wait_until
from tests.hostile.attacker import Attacker
from tests.hostile.lies import batch, directory_entry, file_entry, link_entry, record
from tests.hostile.siege import Siege

_numbers = itertools.count(1)


def new_origin(attacker: Attacker) -> Origin:
    """Of the traitor, in a life that nobody has heard of."""
    return origin_of(attacker.node, 1000 + next(_numbers))


def frames(*messages: Message) -> bytes:
    return b"".join(bytes(frame_of_bytes(msgspec.msgpack.encode(message))) for message in messages)


def vast_vector(salt: int = 0) -> Vector:
    """As many origins as one vector may have."""
    return {Origin(salt.to_bytes(4, "big") + n.to_bytes(16, "big")): Sequence(1) for n in range(limits.ORIGINS_MAX)}


def small_vector(salt: int) -> Vector:
    return {Origin(salt.to_bytes(4, "big") + n.to_bytes(16, "big")): Sequence(1) for n in range(2000)}


# -- frames


@pytest.mark.parametrize("length", [0, limits.FRAME_BYTES_MAX + 1, 2**31, 2**32 - 1])
def test_a_length_that_no_frame_has_ends_the_link(siege: Siege, length: int) -> None:
    attacker = siege.attack()
    attacker.send(length.to_bytes(4, "big"))
    assert attacker.is_cut()


def test_zeros_and_noise_end_the_link(siege: Siege) -> None:
    chance = random.Random(3)
    for noise in (bytes(1 << 20), frame_of_bytes(chance.randbytes(1000)), frame_of_bytes(b"\x91" * 1_000_000)):
        attacker = siege.attack()
        attacker.flood(bytes(noise), 0.2)
        assert attacker.is_cut()


def test_a_frame_that_never_ends_holds_its_own_link_only(siege: Siege) -> None:
    attacker = siege.attack()
    attacker.send(limits.FRAME_BYTES_MAX.to_bytes(4, "big"))
    for _ in range(5):
        attacker.send(b"\x93")
        siege.assert_in_touch()


def test_who_speaks_before_its_hello_or_says_it_twice_is_cut(siege: Siege) -> None:
    attacker = siege.attack(hello=False)
    attacker.say(Ping(2))
    assert attacker.is_cut()
    attacker = siege.attack()
    attacker.say(Hello(1, attacker.cluster, attacker.node, "again", ()))
    assert attacker.is_cut()


def test_addresses_that_are_none_do_no_harm(siege: Siege) -> None:
    attacker = siege.attack(hello=False)
    nonsense = (
        "\udcff".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
        "x" * 100_000,
        "a..b:1",
        "[::1",
        "",
    )
    attacker.say(Hello(1, attacker.cluster, attacker.node, "traitor\n\x1b[2J", nonsense))
    attacker.until(Hello)
    attacker.close()
    assert wait_until(lambda: "cannot be reached" in siege.victim.ask("status").stdout or True, timeout=5)


# -- records


def test_paths_that_lead_outside_end_the_link_and_touch_nothing(siege: Siege) -> None:
    outside = os.fsencode(siege.outside.relative_to(siege.victim.root.parent.parent))
    for path in (
        b"../../" + outside + b"/canary",
        b"/" + os.fsencode(siege.outside) + b"/canary",
        b"a/../../../" + outside + b"/canary",
        b".everynode/marker",
        b".everynode/vault/x",
        b"a//b",
        b"a/./b",
        b"a\0b",
        b"x" * 256,
        b"a/" * 1024 + b"b",
    ):
        attacker = siege.attack()
        attacker.open_group(siege.group)
        origin = new_origin(attacker)
        lie = record(path, origin, 1, file_entry(b"evil"))
        attacker.say(batch(siege.group, origin, 0, lie, contents=(b"evil",)))
        assert attacker.is_cut(), path
        attacker.close()


def test_what_is_below_a_link_that_leads_outside_is_not_written_there(siege: Siege) -> None:
    attacker = siege.attack()
    attacker.open_group(siege.group)
    origin = new_origin(attacker)
    leads_out = record(b"way-out", origin, 1, link_entry(os.fsencode(siege.outside)))
    below = record(b"way-out/canary", origin, 2, file_entry(b"evil"))
    new = record(b"way-out/new", origin, 3, file_entry(b"evil"))
    gone = WireRecord(
        RelPath(b"way-out/other"),
        msgspec.structs.replace(
            below.version, siblings=(msgspec.structs.replace(below.version.siblings[0], live=False, content=False),)
        ),
    )
    gone = msgspec.structs.replace(
        gone,
        version=msgspec.structs.replace(
            gone.version, siblings=(msgspec.structs.replace(gone.version.siblings[0], sequence=Sequence(4)),)
        ),
    )
    attacker.say(batch(siege.group, origin, 0, leads_out, below, new, gone, contents=(b"evil",)))
    siege.assert_in_touch()
    # The directory keeps the name, as between any two that say different things of one path.
    assert wait_until(lambda: (siege.victim.root / "way-out/new").is_file(), timeout=10)
    assert not (siege.victim.root / "way-out").is_symlink()
    siege.assert_canaries_untouched()


def test_live_changes_of_another_node_are_not_believed(siege: Siege) -> None:
    attacker = siege.attack()
    attacker.open_group(siege.group)
    friend = siege.attack(siege.friend).open_group(siege.group)
    true = record(b"forged", friend.origin, 10**6, file_entry(b"evil"))
    attacker.say(
        Batch(
            siege.group,
            friend.origin,
            Sequence(10**6 - 1),
            Sequence(10**6),
            (true,),
            {Digest(digest_bytes(b"evil")): b"evil"},
        )
    )
    siege.assert_stays_absent("forged")


def test_parts_and_ends_of_runs_that_nobody_asked_for_are_not_heard(siege: Siege) -> None:
    attacker = siege.attack()
    attacker.open_group(siege.group)
    origin = new_origin(attacker)
    for run in (0, 1, 2**63 - 1):
        attacker.say(
            RunPart(siege.group, run, (record(b"unasked", origin, 1, file_entry(b"")),)),
            RunEnd(siege.group, run, {origin: Sequence(99)}, b"i" * 16, 2**63 - 1),
        )
    siege.assert_stays_absent("unasked")


def answer_run(attacker: Attacker, group: bytes, heard: Vector, *parts: tuple[WireRecord, ...]) -> None:
    """Be asked for a run, and answer with these parts; a part is sent for each credit."""
    request = attacker.until(RunRequest)
    assert isinstance(request, RunRequest)
    for number, part in enumerate(parts):
        attacker.say(RunPart(group, request.run, part))
        if number >= limits.RUN_WINDOW - 1:
            attacker.until(RunCredit)
    attacker.say(RunEnd(group, request.run, heard, b"i" * 16, 1))


def test_an_end_of_a_run_that_claims_the_victim_s_own_changes_is_not_believed(siege: Siege) -> None:
    attacker = siege.attack()
    mine = new_origin(attacker)
    theirs = attacker.open_group(siege.group, {mine: Sequence(1)})
    attacker.origin = mine
    answer_run(attacker, siege.group, {mine: Sequence(1), theirs.origin: Sequence(2**50)})
    siege.assert_in_touch()
    again = siege.attack().open_group(siege.group)
    assert again.heard.get(theirs.origin, 0) < 2**50


def test_who_says_again_and_again_that_the_victim_s_index_is_old_is_believed_once(siege: Siege) -> None:
    """A new epoch is a new origin in every vector, for ever: nobody may make hundreds of them."""
    origins = set()
    for _ in range(20):
        attacker = siege.attack()
        theirs = attacker.open_group(siege.group)
        origins.add(theirs.origin)
        attacker.say(GroupHello(siege.group, attacker.origin, b"i" * 16, {theirs.origin: Sequence(2**50)}, {}))
        attacker.listen(0.1)
        attacker.close()
    siege.assert_in_touch()
    assert len(origins) <= 2


def test_records_that_claim_the_victim_s_own_changes_do_not_renew_it_for_ever(siege: Siege) -> None:
    origins = set()
    for number in range(10):
        attacker = siege.attack()
        theirs = attacker.open_group(siege.group)
        origins.add(theirs.origin)
        mine = new_origin(attacker)
        lie = record(b"yours-%d" % number, mine, 1, directory_entry(), {theirs.origin: Sequence(2**50)})
        attacker.say(batch(siege.group, mine, 0, lie))
        attacker.listen(0.2)
        attacker.close()
    siege.assert_in_touch()
    assert len(origins) <= 2


def test_a_record_with_more_origins_than_a_part_of_a_run_could_carry_ends_the_link(siege: Siege) -> None:
    attacker = siege.attack()
    attacker.open_group(siege.group)
    origin = new_origin(attacker)
    lie = batch(siege.group, origin, 0, record(b"vast", origin, 1, directory_entry(), vast_vector()))
    with contextlib.suppress(OSError):  # it may be cut before all of it is said
        attacker.say(lie)
    assert attacker.is_cut()


def test_records_with_vast_contexts_are_neither_kept_nor_passed_on_as_more_than_a_frame_holds(siege: Siege) -> None:
    """Each is as large as may be; a thousand of them in one part of a run to the friend would fit into no frame."""
    friend = siege.friend
    friend.stop()
    try:
        attacker = siege.attack()
        attacker.open_group(siege.group)
        origin = new_origin(attacker)
        for sequence in range(1, 201):
            context = small_vector(sequence)
            attacker.say(
                batch(
                    siege.group,
                    origin,
                    sequence - 1,
                    record(b"vast-%d" % sequence, origin, sequence, directory_entry(), context),
                )
            )
        target = b"t" * 4000
        others = [Origin(b"o" * 16 + n.to_bytes(4, "big")) for n in range(13)]
        for sequence in range(201, 301):
            lie = record(b"many-%d" % sequence, origin, sequence, link_entry(target))
            siblings = sorted(
                [
                    lie.version.siblings[0],
                    *(msgspec.structs.replace(lie.version.siblings[0], origin=o) for o in others),
                ],
                key=lambda sibling: (sibling.origin, sibling.sequence),
            )
            lie = WireRecord(lie.path, msgspec.structs.replace(lie.version, siblings=tuple(siblings)))
            attacker.say(batch(siege.group, origin, sequence - 1, lie))
        attacker.listen(1.0)
    finally:
        friend.start()
    siege.begin()
    siege.assert_in_touch(timeout=60)


# -- contents


def test_bytes_that_are_not_those_of_their_digest_are_refused_and_asked_for_elsewhere(siege: Siege) -> None:
    content = os.urandom(20_000)
    digest = Digest(digest_bytes(content))
    attacker = siege.attack()
    attacker.open_group(siege.group)
    origin = new_origin(attacker)
    wrong = Batch(
        siege.group,
        origin,
        Sequence(0),
        Sequence(1),
        (record(b"spoiled", origin, 1, file_entry(content)),),
        {digest: bytes(20_000)},
    )
    attacker.say(wrong)
    siege.assert_stays_absent("spoiled")
    (siege.friend.root / "honest").write_bytes(content)
    assert wait_until(lambda: _content(siege, "honest") == content, timeout=20)
    assert wait_until(lambda: _content(siege, "spoiled") in (None, content), timeout=20)


def test_blocks_that_are_not_those_of_the_list_are_fetched_from_another(siege: Siege) -> None:
    """The author of a large file is the traitor: honest to the friend, and not to the victim."""
    content = os.urandom(6 * limits.BLOCK_BYTES * 8 + 5)
    digest = Digest(digest_bytes(content))
    origin = None
    for target, spoil in ((siege.friend, False), (siege.victim, True)):
        attacker = siege.attack(target)
        attacker.open_group(siege.group)
        origin = origin or new_origin(attacker)
        attacker.say(batch(siege.group, origin, 0, record(b"large", origin, 1, file_entry(content))))
        node = siege.friend if not spoil else siege.victim
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if (node.root / "large").exists():
                break
            assert attacker.listen(0.1)
            _serve(attacker, digest, content, spoil=spoil)
        assert (node.root / "large").read_bytes() == content, node.name


def _serve(attacker: Attacker, digest: Digest, content: bytes, *, spoil: bool) -> None:
    """Answer what was asked for: blocks and list as they are, or every answer with a wrong byte in it."""
    asked = [message for message in attacker.heard if isinstance(message, BlocksRequest | FetchRequest)]
    attacker.heard.clear()
    for request in asked:
        if request.digest != digest:
            attacker.say(Gone(request.group, request.request))
        elif isinstance(request, BlocksRequest):
            attacker.say(Blocks(request.group, request.request, hash_blocks(content)))
        else:
            data = bytearray(content[request.offset : request.offset + request.length])
            if spoil:
                data[-1] ^= 1
            attacker.say(FetchPart(request.group, request.request, bytes(data)))


def test_only_contents_of_this_very_group_are_served(siege: Siege) -> None:
    canary = (siege.outside / "canary").read_bytes()
    os.utime(siege.outside / "canary", (1, 2))
    key = (siege.victim.home / "key.pem").read_bytes()
    marker = (siege.victim.root / ".everynode/marker").read_bytes()
    (siege.victim.root / "to-canary").symlink_to(siege.outside / "canary")
    siege.assert_in_touch()
    attacker = siege.attack()
    attacker.open_group(siege.group)
    numbers = itertools.count(1)
    for content in (canary, key, marker):
        for path in (b"to-canary", b"first", b"nowhere", b"a/b/c"):
            number = next(numbers)
            digest = Digest(digest_bytes(content))
            attacker.say(FetchRequest(siege.group, number, RelPath(path), digest, 0, len(content)))
            answer = attacker.until(Message, lambda m, n=number: getattr(m, "request", 0) == n)
            assert isinstance(answer, Gone)
    attacker.say(FetchRequest(b"x" * 16, 1, RelPath(b"to-canary"), Digest(digest_bytes(canary)), 0, 10))
    attacker.until(GroupBye)
    for path in (b"../outside/canary", b".everynode/marker", os.fsencode(siege.outside / "canary")):
        attacker = siege.attack()
        attacker.open_group(siege.group)
        attacker.say(FetchRequest(siege.group, 1, RelPath(path), Digest(bytes(32)), 0, 10))
        assert attacker.is_cut()
        attacker.close()
    (siege.victim.root / "to-canary").unlink()


# -- floods


def flood_of(siege: Siege, attacker: Attacker, kind: str) -> bytes:
    group, origin = siege.group, new_origin(attacker)
    vast = vast_vector()
    match kind:
        case "pings":
            return frames(*(Ping(n) for n in range(2, 20_000, 2)))
        case "heads":
            return frames(Heads(group, vast, vast))
        case "group hellos":
            return frames(GroupHello(group, origin, b"i" * 16, vast, {}))
        case "opening and closing":
            return frames(*(GroupBye(group, "x" * 1000), GroupHello(group, origin, b"i" * 16, {}, {})) * 100)
        case "farewells":
            return frames(*(GroupBye(group, "\n\x1b[2J" * 20_000) for _ in range(5)))
        case "unknown groups":
            return frames(*(Heads(n.to_bytes(16, "big"), {}, {}) for n in range(900)))
        case "run requests":
            return frames(*(RunRequest(group, n, {}, b"", 0) for n in range(500)))
        case "run requests with vast vectors":
            return frames(RunRequest(group, 1, vast, b"", 0))
        case "requests for blocks":
            return frames(*(BlocksRequest(group, n, RelPath(b"p" * 200), Digest(bytes(32))) for n in range(1000)))
        case "requests beyond the end":
            return frames(
                *(FetchRequest(group, n, RelPath(b"first"), Digest(bytes(32)), 2**63 - 1, 1 << 20) for n in range(1000))
            )
        case "answers":
            return frames(*(Blocks(group, n, bytes(1 << 20)) for n in range(8)))
        case "statements":
            return frames(Statements(tuple(os.urandom(40) for _ in range(limits.STATEMENTS_MAX))))
        case _:
            lies = (record(b"p%d" % n, origin, n + 5, file_entry(b"")) for n in range(5000))
            return frames(Batch(group, origin, Sequence(4), Sequence(10**6), tuple(lies)))


@pytest.mark.parametrize(
    "kind",
    [
        "pings",
        "heads",
        "group hellos",
        "opening and closing",
        "farewells",
        "unknown groups",
        "run requests",
        "run requests with vast vectors",
        "requests for blocks",
        "requests beyond the end",
        "answers",
        "statements",
        "batches with a gap",
    ],
)
def test_a_flood_gets_its_share_and_no_more(siege: Siege, kind: str) -> None:
    """While it goes on, the two others go on; afterwards no memory is missing and the log is no larger than a book."""
    log_before = siege.victim.log.stat().st_size
    attacker = siege.attack()
    attacker.open_group(siege.group)
    data = flood_of(siege, attacker, kind)
    sent = 0
    for _ in range(3):
        sent += attacker.flood(data, 1.0)
        siege.assert_in_touch(timeout=15)
    assert sent >= len(data) or attacker.is_cut(within=1)
    assert siege.victim.log.stat().st_size - log_before < 200_000


def test_a_stream_that_is_replayed_on_later_links_changes_nothing(siege: Siege) -> None:
    attacker = siege.attack()
    attacker.open_group(siege.group)
    origin = new_origin(attacker)
    said = [
        frames(batch(siege.group, origin, 0, record(b"replayed", origin, 1, file_entry(b"one")), contents=(b"one",))),
        frames(batch(siege.group, origin, 1, record(b"replayed", origin, 2, file_entry(b"two")), contents=(b"two",))),
    ]
    for frame in said:
        attacker.send(frame)
    assert wait_until(lambda: _content(siege, "replayed") == b"two", timeout=20)
    (siege.victim.root / "replayed").write_bytes(b"three, of the victim")
    chance = random.Random(4)
    for _ in range(5):
        attacker.close()
        attacker = siege.attack()
        attacker.open_group(siege.group)
        for frame in chance.choices(said, k=10):
            attacker.send(frame)
    siege.assert_in_touch()
    for node in (siege.victim, siege.friend):
        assert (node.root / "replayed").read_bytes() == b"three, of the victim"


def _content(siege: Siege, name: str) -> bytes | None:
    try:
        return (siege.victim.root / name).read_bytes()
    except FileNotFoundError:
        return None
