"""Checks the messages by which nodes prove to each other that their trees are equal."""

from __future__ import annotations

from itertools import pairwise

from everynode import limits
from everynode.model.message import (
    TREE_HASH_BYTES,
    Entries,
    EntriesRequest,
    ReadRequest,
    ReadState,
    TreeParts,
    TreeRequest,
)
from everynode.model.path import parse_path
from everynode.wire.records import Malformed, check_entry

_INT64_MAX = 2**63 - 1


def check_comparison(message: TreeRequest | TreeParts | EntriesRequest | Entries | ReadRequest | ReadState) -> None:
    """Raises Malformed or PathError. Group and number of the request are checked already."""
    match message:
        case TreeRequest():
            _check_bounds(message.bounds)
        case TreeParts():
            _check_hash(message.heard)
            _check_count(message.unplaced)
            if len(message.hashes) > limits.TREE_PARTS_MAX:
                raise Malformed(f"{len(message.hashes)} parts of a tree, more than {limits.TREE_PARTS_MAX}")
            for part in message.hashes:
                if part:
                    _check_hash(part)
        case EntriesRequest():
            _check_bounds((message.low, message.high))
        case Entries():
            _check_entries(message)
        case ReadRequest():
            _check_count(message.pass_number)
        case ReadState():
            for count in (message.seen, message.expected, message.damaged):
                _check_count(count)


def _check_bounds(bounds: tuple[bytes, ...]) -> None:
    if len(bounds) > limits.TREE_PARTS_MAX + 1:
        raise Malformed(f"{len(bounds)} bounds of parts, more than {limits.TREE_PARTS_MAX + 1}")
    if any(len(bound) > limits.PATH_BYTES_MAX + 1 for bound in bounds):
        raise Malformed("a bound that is longer than any path")
    for number, (low, high) in enumerate(pairwise(bounds), 2):
        if not (low < high or (not high and number == len(bounds))):
            raise Malformed("bounds of parts that do not rise")


def _check_entries(message: Entries) -> None:
    _check_hash(message.heard)
    if len(message.entries) > limits.TREE_ENTRIES:
        raise Malformed(f"{len(message.entries)} entries of a tree, more than {limits.TREE_ENTRIES}")
    if len(message.then) > limits.PATH_BYTES_MAX + 1:
        raise Malformed("a bound that is longer than any path")
    for entry in message.entries:
        parse_path(entry.path)
        _check_hash(entry.version)
        if entry.entry is not None:
            check_entry(entry.entry)


def _check_hash(value: bytes) -> None:
    if len(value) != TREE_HASH_BYTES:
        raise Malformed(f"a hash has {len(value)} bytes instead of {TREE_HASH_BYTES}")


def _check_count(value: int) -> None:
    if not 0 <= value <= _INT64_MAX:
        raise Malformed(f"a count is {value}, outside 0..{_INT64_MAX}")
