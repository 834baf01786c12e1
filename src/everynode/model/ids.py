"""Who and which: node, origin, sequence, dot, digest."""

from __future__ import annotations

from base64 import b32encode
from typing import NewType

NodeId = NewType("NodeId", bytes)
"""16 bytes: the first half of the SHA-256 of a node's certificate (DER). Full fingerprints are compared on links."""

Origin = NewType("Origin", bytes)
"""20 bytes: node id and its epoch, 4 bytes big-endian. One node in one life of its index."""

Sequence = NewType("Sequence", int)
"""Counts the changes of one origin in one group, from 1, without holes."""

Digest = NewType("Digest", bytes)
"""32 bytes naming the content of a file, see `tree.digest`."""

Dot = tuple[Origin, Sequence]
"""The name of one local change."""

NODE_ID_BYTES = 16
ORIGIN_BYTES = 20
DIGEST_BYTES = 32
EPOCH_MAX = 2**32 - 1


def origin_of(node: NodeId, epoch: int) -> Origin:
    """The origin of `node` in the life `epoch` (0 <= epoch <= EPOCH_MAX) of its index."""
    assert len(node) == NODE_ID_BYTES and 0 <= epoch <= EPOCH_MAX
    return Origin(node + epoch.to_bytes(4, "big"))


def node_of(origin: Origin) -> NodeId:
    return NodeId(origin[:NODE_ID_BYTES])


def epoch_of(origin: Origin) -> int:
    return int.from_bytes(origin[NODE_ID_BYTES:], "big")


def show_node(node: NodeId) -> str:
    """26 lower-case letters and digits; the form in which people see and type node ids."""
    return b32encode(node).decode().rstrip("=").lower()


def show_dot(dot: Dot) -> str:
    return f"{show_node(node_of(dot[0]))[:8]}.{epoch_of(dot[0])}:{dot[1]}"
