"""What `wait` acknowledged, and whether it is kept: on the nodes that acknowledged a content it outlives power cuts.

Only a user of that very node may take it away again. Everything else, deletions and changes that come from other nodes
included, leaves it in the tree or in the vault. That gives nothing up in a simulation but to a disk that is full: then
what some user replaced or deleted at that path is no longer owed; what nobody replaced still is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from everynode.model.ids import NodeId
from tests.sim.user import Seen, Tree

Content = tuple[str, bytes]
"""(kind, bytes): a file's content or a link's target."""
Vault = frozenset[Content]


def content_of(what: Seen | None) -> Content | None:
    """Directories have none."""
    return None if what is None or what.kind == "directory" else (what.kind, what.content)


@dataclass(frozen=True)
class Promise:
    time: float
    asker: NodeId
    path: bytes
    content: Content
    nodes: frozenset[NodeId]
    """Who acknowledged."""


class Promises:
    def __init__(self) -> None:
        self.made: list[Promise] = []
        self._taken: set[tuple[NodeId, Content]] = set()
        self._decided: set[tuple[bytes, Content]] = set()
        """What some user replaced or deleted at a path, or had in his vault when he changed it."""
        self.given_up: set[tuple[NodeId, Content]] = set()
        """What left a vault while the disk was full."""

    def add(self, promise: Promise) -> None:
        self.made.append(promise)

    def acted(self, node: NodeId, path: bytes, before: Seen | None, after: Seen | None, vault: Vault) -> None:
        """A user of `node` changed something: what stood there is no longer owed there."""
        content = content_of(before)
        if content is not None and content != content_of(after):
            self._taken.add((node, content))
            self._decided.add((path, content))
        self._decided.update((path, loser) for loser in vault if loser != content_of(after))

    def forgive(self, node: NodeId) -> None:
        """Its owner took what it had away."""
        self.made = [replace(promise, nodes=promise.nodes - {node}) for promise in self.made]

    def broken(self, node: NodeId, tree: Tree, vault: Vault) -> list[str]:
        """What `node` acknowledged and does not have."""
        owed = [p for p in self.made if node in p.nodes and (node, p.content) not in self._taken]
        if not owed:
            return []
        there = vault | {content for what in tree.values() if (content := content_of(what)) is not None}
        return [
            f"durability: {promise.content[0]} {promise.content[1][:40]!r}, written at {promise.path!r}, was "
            f"acknowledged by {node.hex()[:4]} at {promise.time:.3f}s (asked for at {promise.asker.hex()[:4]}) and is "
            f"in neither its tree nor its vault"
            for promise in owed
            if promise.content not in there
            and not ((node, promise.content) in self.given_up and (promise.path, promise.content) in self._decided)
        ]
