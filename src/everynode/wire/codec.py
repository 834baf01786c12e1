"""Messages to bytes and back; what comes from a peer is checked here, once, before anybody uses it.

`decode` promises that every number, length and path of a message is within what `limits` and `model` say, so the
floors above need no second look. Decoding costs memory in proportion to the frame, which `frames` bounds.
"""

from __future__ import annotations

from itertools import pairwise
from typing import assert_never

import msgspec

from everynode import limits
from everynode.errors import LinkError, PathError
from everynode.model.ids import DIGEST_BYTES, NODE_ID_BYTES, ORIGIN_BYTES, Digest
from everynode.model.message import (
    AnyMessage,
    Batch,
    Blocks,
    BlocksRequest,
    ComparePart,
    Entries,
    EntriesRequest,
    FetchPart,
    FetchRequest,
    Gone,
    GroupBye,
    GroupHello,
    Heads,
    Hello,
    Ping,
    ReadRequest,
    ReadState,
    Released,
    RunCredit,
    RunEnd,
    RunPart,
    RunRequest,
    Statements,
    TreeParts,
    TreeRequest,
)
from everynode.model.path import parse_path
from everynode.wire.comparison import check_comparison
from everynode.wire.records import Malformed, check_dot, check_records, check_span, check_vector, check_version

_GROUP_ID_BYTES = 16
_INDEX_ID_BYTES = 16
_FINGERPRINT_BYTES = 32
_INT64_MAX = 2**63 - 1

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage) -> bytes:
    """The body of one frame. What we send ourselves is not checked: the receiver does."""
    return _encoder.encode(message)


def encode_into(message: AnyMessage, buffer: bytearray, offset: int) -> None:
    """The same, written into `buffer` from `offset` on; the buffer then ends where the message ends."""
    _encoder.encode_into(message, buffer, offset)


def decode(body: bytes | bytearray | memoryview) -> AnyMessage:
    """The message in the body of one frame.

    Raises LinkError for anything that no well-behaved node sends; nothing else is ever raised, whatever the bytes.
    """
    try:
        message = _decoder.decode(body)
        _check(message)
    except (Malformed, PathError) as error:
        raise LinkError(f"refused a message from the peer: {error}; the link is closed") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LinkError(f"cannot read a message from the peer: {error}; the link is closed") from error
    return message


def _check(message: AnyMessage) -> None:
    match message:
        case FetchPart():
            _check_group_request(message.group, message.request)
            if len(message.data) > limits.FETCH_BYTES_MAX:
                raise Malformed(f"{len(message.data)} bytes of content, more than {limits.FETCH_BYTES_MAX} at once")
        case Batch():
            _check_group(message.group)
            _check_length("an origin", message.origin, ORIGIN_BYTES)
            _check_range("the sequence before a batch", message.before, 0, limits.SEQUENCE_MAX)
            _check_range("the sequence after a batch", message.after, message.before, limits.SEQUENCE_MAX)
            check_records(message.records)
            _check_contents(message.contents)
        case RunPart():
            _check_group_request(message.group, message.run)
            check_records(message.records)
            _check_contents(message.contents)
        case Heads():
            _check_heads(message)
        case FetchRequest():
            _check_group_request(message.group, message.request)
            parse_path(message.path)
            _check_length("a digest", message.digest, DIGEST_BYTES)
            _check_range("an offset", message.offset, 0, _INT64_MAX)
            _check_range("a length to fetch", message.length, 1, limits.FETCH_BYTES_MAX)
        case RunRequest():
            _check_group_request(message.group, message.run)
            check_vector(message.knows)
            if message.index:
                _check_length("the name of an index life", message.index, _INDEX_ID_BYTES)
            _check_range("an arrival position", message.since, 0, _INT64_MAX)
        case RunEnd():
            _check_group_request(message.group, message.run)
            check_vector(message.knows)
            check_vector(message.forgotten)
            if message.index:
                _check_length("the name of an index life", message.index, _INDEX_ID_BYTES)
            _check_range("an arrival position", message.arrival, 0, _INT64_MAX)
        case ComparePart():
            _check_compare_part(message)
        case Blocks():
            _check_group_request(message.group, message.request)
            if len(message.blocks) % DIGEST_BYTES:
                raise Malformed(f"block digests of {len(message.blocks)} bytes, not a multiple of {DIGEST_BYTES}")
        case BlocksRequest():
            _check_group_request(message.group, message.request)
            parse_path(message.path)
            _check_length("a digest", message.digest, DIGEST_BYTES)
        case Gone():
            _check_group_request(message.group, message.request)
            if message.shown is not None:
                check_version(message.shown)
        case RunCredit():
            _check_group_request(message.group, message.run)
        case TreeRequest() | TreeParts() | EntriesRequest() | Entries() | ReadRequest() | ReadState():
            _check_group_request(message.group, message.request)
            check_comparison(message)
        case Ping():
            _check_range("a ping", message.number, 0, _INT64_MAX)
        case GroupHello():
            _check_group_hello(message)
        case GroupBye():
            _check_group(message.group)
            _check_text("a reason", message.why)
        case Released():
            _check_group(message.group)
            if len(message.spans) > limits.RELEASES_MAX:
                raise Malformed(f"{len(message.spans)} released spans, more than {limits.RELEASES_MAX}")
            for span in message.spans:
                check_span(span)
        case Hello():
            _check_hello(message)
        case Statements():
            _check_statements(message)
        case _:
            assert_never(message)


def _check_range(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Malformed(f"{what} is {value}, outside {low}..{high}")


def _check_length(what: str, value: bytes, length: int) -> None:
    if len(value) != length:
        raise Malformed(f"{what} has {len(value)} bytes instead of {length}")


def _check_text(what: str, text: str) -> None:
    if len(text) > limits.TEXT_CHARS_MAX:
        raise Malformed(f"{what} has {len(text)} characters, more than {limits.TEXT_CHARS_MAX}")


def _check_group(group: bytes) -> None:
    _check_length("a group id", group, _GROUP_ID_BYTES)


def _check_group_request(group: bytes, request: int) -> None:
    _check_group(group)
    _check_range("the number of a request or run", request, 0, _INT64_MAX)


def _check_contents(contents: dict[Digest, bytes]) -> None:
    if not contents:
        return
    if len(contents) > limits.MESSAGE_RECORDS_MAX:
        raise Malformed(f"{len(contents)} inline contents, more than {limits.MESSAGE_RECORDS_MAX}")
    if set(map(len, contents)) != {DIGEST_BYTES}:
        raise Malformed(f"an inline content whose digest is not {DIGEST_BYTES} bytes")
    longest = max(map(len, contents.values()))
    if longest > limits.INLINE_BYTES_MAX:
        raise Malformed(f"an inline content of {longest} bytes, more than {limits.INLINE_BYTES_MAX}")


def _check_compare_part(message: ComparePart) -> None:
    _check_group_request(message.group, message.run)
    check_records(message.records)
    check_vector(message.knows)
    check_vector(message.forgotten)
    paths = [message.after, *(record.path for record in message.records)]
    if any(one >= next_ for one, next_ in pairwise(paths)) or message.upto < paths[-1]:
        raise Malformed("the paths of a comparison are not in rising order")
    if len(message.upto) > limits.PATH_BYTES_MAX:
        raise Malformed(f"a path of {len(message.upto)} bytes, more than {limits.PATH_BYTES_MAX}")


def _check_heads(message: Heads) -> None:
    _check_group(message.group)
    check_vector(message.heard)
    check_vector(message.placed)
    if len(message.exceptions) > limits.EXCEPTIONS_MAX:
        raise Malformed(f"{len(message.exceptions)} exceptions, more than {limits.EXCEPTIONS_MAX}")
    for dot in message.exceptions:
        check_dot(*dot)
    _check_range("a backlog", message.backlog, 0, _INT64_MAX)
    if len(message.holds) > limits.HOLDS_MAX:
        raise Malformed(f"{len(message.holds)} holds, more than {limits.HOLDS_MAX}")
    for held in message.holds:
        check_span(held.span)
        _check_range("a number of held files", held.files, 0, _INT64_MAX)


def _check_group_hello(message: GroupHello) -> None:
    _check_group(message.group)
    _check_length("an origin", message.origin, ORIGIN_BYTES)
    _check_length("the name of an index life", message.index, _INDEX_ID_BYTES)
    check_vector(message.heard)
    check_vector(message.forgotten)


def _check_hello(message: Hello) -> None:
    _check_range("a protocol version", message.protocol, 0, _INT64_MAX)
    _check_length("a cluster fingerprint", message.cluster, _FINGERPRINT_BYTES)
    _check_length("a node id", message.node, NODE_ID_BYTES)
    _check_text("a node's name", message.name)
    if len(message.listen) > limits.ADDRESSES_MAX:
        raise Malformed(f"{len(message.listen)} addresses, more than {limits.ADDRESSES_MAX}")
    for address in message.listen:
        _check_text("an address", address)


def _check_statements(message: Statements) -> None:
    if len(message.statements) > limits.STATEMENTS_MAX:
        raise Malformed(f"{len(message.statements)} statements, more than {limits.STATEMENTS_MAX}")
    for statement in message.statements:
        if len(statement) > limits.STATEMENT_BYTES_MAX:
            raise Malformed(f"a statement of {len(statement)} bytes, more than {limits.STATEMENT_BYTES_MAX}")
    if message.digest:
        _check_length("the digest of statements", message.digest, DIGEST_BYTES)
