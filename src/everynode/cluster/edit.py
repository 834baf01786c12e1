"""New statements of this node, made on a copy of the cluster file: all of them become true together or none."""

from __future__ import annotations

from secrets import token_bytes

from everynode.errors import TrustError
from everynode.model.ids import NodeId
from everynode.model.message import GroupId
from everynode.model.policy import GroupPolicy
from everynode.trust.identity import Identity, node_id_of
from everynode.trust.statement_set import StatementSet
from everynode.trust.statements import GROUP_ID_BYTES, GroupValue, Kind, NodeValue, Subject, state


class Edit:
    """`held` is the changed copy, `said` what was added to it. Nothing is checked but the bounds of the set."""

    def __init__(self, identity: Identity, held: StatementSet) -> None:
        self._identity = identity
        self.held = held.copy()
        self.said: list[bytes] = []

    def node(self, value: NodeValue) -> None:
        """Let a node in, or change its name or addresses."""
        self._say((Kind.NODE, node_id_of(value.certificate)), value)

    def add_group(self, name: str, root: str, policy: GroupPolicy) -> GroupId:
        group = token_bytes(GROUP_ID_BYTES)
        self.change_group(group, GroupValue(name, root, policy))
        return group

    def change_group(self, group: GroupId, value: GroupValue) -> None:
        self._say((Kind.GROUP, group), value)

    def remove_group(self, group: GroupId) -> None:
        self._say((Kind.GROUP, group), self.held.meaning.groups[group].group, removed=True)

    def leave(self) -> None:
        """Remove this node itself. What it said goes on to count: nobody distrusts it."""
        mine = self.held.meaning.nodes[self._identity.node].node
        self._say((Kind.NODE, self._identity.node), mine, removed=True)

    def expel(self, node: NodeId) -> None:
        """Remove another node. What it said no longer counts, so this node says again what is to stay of it."""
        meaning = self.held.meaning
        value = meaning.nodes[node].node
        adopted = [s for s in meaning.winners.values() if s.author == node and s.key != node]
        heirs = tuple(sorted(meaning.standing - {node}))
        removal = NodeValue(value.name, value.certificate, value.addresses, heirs)
        self._say((Kind.NODE, node), removal, removed=True)
        for statement in adopted:
            if isinstance(statement.value, NodeValue | GroupValue):
                self._say(statement.subject, statement.value, removed=statement.removed)

    def _say(self, subject: Subject, value: NodeValue | GroupValue, *, removed: bool = False) -> None:
        statement = state(
            self._identity,
            self.held.cluster,
            value,
            self.held.next_version(subject),
            group=subject[1] if subject[0] == Kind.GROUP else b"",
            removed=removed,
        )
        changes = self.held.apply([statement.raw])
        if changes.rejected:
            raise TrustError(f"nothing was changed: {changes.rejected[0]}")
        self.said.append(statement.raw)
