"""A node of the cluster as every node knows it."""

from __future__ import annotations

import msgspec

from everynode.model.ids import NodeId


class Member(msgspec.Struct, frozen=True):
    node: NodeId
    name: str
    certificate: bytes
    """DER; its SHA-256 is the node's fingerprint."""
    addresses: tuple[str, ...]
    """`host:port`, in the order in which to try them."""
