"""Checks the records and vectors of a message: bounded, well-formed, cheap enough for every record of a first copy."""

from __future__ import annotations

import re
from collections.abc import Sequence as Sequence_
from itertools import pairwise

from everynode import limits
from everynode.model.entry import Entry, Kind
from everynode.model.hold import Span
from everynode.model.ids import DIGEST_BYTES, ORIGIN_BYTES, Origin, Sequence
from everynode.model.message import WireRecord
from everynode.model.path import parse_path
from everynode.model.record import Sibling, Vector, Version, weight_of

_MODE_MAX = 0o7777
_OWNER_MAX = 2**32 - 2  # 2^32 - 1 is the kernel's "leave it", no owner
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_TARGET_BYTES_MAX = 4095  # PATH_MAX without the closing NUL

# In paths joined as NUL path NUL path NUL: what `parse_path` may refuse. A hit is no verdict, only a reason to ask it.
_DOUBTFUL = re.compile(rb"[\0/]\.(?:\.?[\0/]|everynode[\0/])")


class Malformed(ValueError):
    """What a peer sent is not what any everynode sends."""


def check_records(records: Sequence_[WireRecord]) -> None:
    """Raises Malformed or PathError for the first thing that is not as model.record and limits say.

    Written out flat: it runs for every record of a first copy, where a function call more is a tenth of its cost.
    """
    if len(records) > limits.MESSAGE_RECORDS_MAX:
        raise Malformed(f"{len(records)} records in one message, more than {limits.MESSAGE_RECORDS_MAX}")
    _check_paths([record.path for record in records])
    file, sequence_max = Kind.FILE, limits.SEQUENCE_MAX
    for record in records:
        version = record.version
        siblings = version.siblings
        if len(siblings) != 1 or version.context:
            check_version(version)
            continue
        sibling = siblings[0]
        entry = sibling.entry
        if not (
            len(sibling.origin) == ORIGIN_BYTES
            and 0 < sibling.sequence <= sequence_max
            and entry.kind is file
            and len(entry.digest) == DIGEST_BYTES
            and 0 <= entry.size <= _INT64_MAX
            and 0 <= entry.mode <= _MODE_MAX
            and 0 <= entry.uid <= _OWNER_MAX
            and 0 <= entry.gid <= _OWNER_MAX
            and _INT64_MIN <= entry.mtime_ns <= _INT64_MAX
            and (sibling.live or not sibling.content)
        ):
            _check_sibling(sibling)


def check_vector(vector: Vector) -> None:
    if len(vector) > limits.ORIGINS_MAX:
        raise Malformed(f"a vector of {len(vector)} origins, more than {limits.ORIGINS_MAX}")
    for origin, sequence in vector.items():
        check_dot(origin, sequence)


def check_dot(origin: Origin, sequence: Sequence) -> None:
    if len(origin) != ORIGIN_BYTES:
        raise Malformed(f"an origin has {len(origin)} bytes instead of {ORIGIN_BYTES}")
    if not 0 < sequence <= limits.SEQUENCE_MAX:
        raise Malformed(f"a sequence is {sequence}, outside 1..{limits.SEQUENCE_MAX}")


def check_span(span: Span) -> None:
    check_dot(span.origin, span.first)
    check_dot(span.origin, span.last)
    if span.last < span.first:
        raise Malformed(f"a span of changes ends at {span.last}, before its beginning {span.first}")


def _check_paths(paths: list[bytes]) -> None:
    """The same verdict as `parse_path` of each, at a tenth of the price: one look at all of them joined."""
    if not paths:
        return
    joined = b"\0" + b"\0".join(paths) + b"\0"
    if (
        joined.count(0) != len(paths) + 1
        or max(map(len, paths)) > limits.NAME_BYTES_MAX
        or b"\0\0" in joined
        or b"\0/" in joined
        or b"/\0" in joined
        or b"//" in joined
        or ((b"/." in joined or b"\0." in joined) and _DOUBTFUL.search(joined))
    ):
        for path in paths:
            parse_path(path)


def check_version(version: Version) -> None:
    siblings, context = version.siblings, version.context
    if not 0 < len(siblings) <= limits.SIBLINGS_MAX:
        raise Malformed(f"a version of {len(siblings)} siblings, outside 1..{limits.SIBLINGS_MAX}")
    if (weight := weight_of(version)) > limits.VERSION_BYTES_MAX:
        raise Malformed(f"a version of some {weight} bytes, more than {limits.VERSION_BYTES_MAX}")
    for sibling in siblings:
        _check_sibling(sibling)
    for one, next_ in pairwise(siblings):
        if not one.dot < next_.dot:
            raise Malformed("the siblings of a version are not in rising order of their dots")
    check_vector(context)
    for sibling in siblings:
        if context.get(sibling.origin, sibling.sequence + 1) <= sibling.sequence:
            raise Malformed("the context of a version repeats what its siblings say already")


def _check_sibling(sibling: Sibling) -> None:
    check_dot(sibling.origin, sibling.sequence)
    check_entry(sibling.entry)
    if sibling.content and not sibling.live:
        raise Malformed("a tombstone that claims to change content")


def check_entry(entry: Entry) -> None:
    if not 0 <= entry.mode <= _MODE_MAX:
        raise Malformed(f"a mode is {entry.mode:o}, outside 0..{_MODE_MAX:o}")
    if not (0 <= entry.uid <= _OWNER_MAX and 0 <= entry.gid <= _OWNER_MAX):
        raise Malformed(f"an owner is {entry.uid}:{entry.gid}, outside 0..{_OWNER_MAX}")
    if not _INT64_MIN <= entry.mtime_ns <= _INT64_MAX:
        raise Malformed(f"an mtime is {entry.mtime_ns} ns, not a 64-bit number")
    digest = entry.digest
    if entry.kind is Kind.FILE:
        if len(digest) != DIGEST_BYTES:
            raise Malformed(f"the digest of a file has {len(digest)} bytes instead of {DIGEST_BYTES}")
        if not 0 <= entry.size <= _INT64_MAX:
            raise Malformed(f"a file's size is {entry.size}, outside 0..{_INT64_MAX}")
        return
    if entry.size:
        raise Malformed(f"a {entry.kind.name.lower()} of {entry.size} bytes; only files have a size")
    if entry.kind is Kind.DIRECTORY:
        if digest:
            raise Malformed("a directory with a digest")
    elif not 0 < len(digest) <= _TARGET_BYTES_MAX or b"\0" in digest:
        raise Malformed(f"a symlink's target of {len(digest)} bytes, outside 1..{_TARGET_BYTES_MAX} or with a NUL")
