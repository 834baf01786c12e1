"""The cluster file as people read and edit it: TOML to and from nodes, groups and policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from everynode.config.check import Checker
from everynode.config.gitignore import parse_rule
from everynode.model.names import check_address, check_name, check_root
from everynode.model.policy import GroupPolicy

if TYPE_CHECKING:
    from tomlkit.items import Table

HEAD = """\
# The cluster file, as every node has it. Edit a copy and apply it: everynode config apply FILE
# Nodes come by everynode join; leaving one out removes it for good. `cluster` and `id` cannot be changed.
"""


class NodeTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    """As `model.ids.show_node` writes it."""
    addresses: tuple[str, ...] = ()


class GroupTable(GroupPolicy, frozen=True, forbid_unknown_fields=True, kw_only=True):
    root: str
    """On nodes that say nothing else in their own node.toml."""

    @property
    def policy(self) -> GroupPolicy:
        return GroupPolicy(**{field: getattr(self, field) for field in GroupPolicy.__struct_fields__})

    @classmethod
    def of(cls, root: str, policy: GroupPolicy) -> GroupTable:
        return cls(root=root, **msgspec.structs.asdict(policy))


class ClusterView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cluster: str = ""
    """Fingerprint in hex; a file that names it cannot be applied to another cluster by mistake."""
    nodes: dict[str, NodeTable] = {}
    groups: dict[str, GroupTable] = {}


def read_cluster(text: str, file: str) -> tuple[ClusterView, Checker]:
    """Raises ConfigErrors with every error found. The checker is for what only the membership can tell is wrong."""
    checker = Checker(text, file)
    view = checker.struct(checker.data, (), ClusterView)
    # What is wrong in one table must not keep the others from being looked at: go by the raw data.
    for name, table in _tables(checker.data, "nodes").items():
        checker.check(("nodes", name), check_name, "node", name)
        addresses = table.get("addresses")
        for number, address in enumerate(addresses if isinstance(addresses, list) else ()):
            if isinstance(address, str):
                checker.check(("nodes", name, "addresses", number), check_address, address)
    for name, table in _tables(checker.data, "groups").items():
        checker.check(("groups", name), check_name, "group", name)
        root, exclude = table.get("root"), table.get("exclude")
        if isinstance(root, str):
            checker.check(("groups", name, "root"), check_root, root)
        for number, pattern in enumerate(exclude if isinstance(exclude, list) else ()):
            if isinstance(pattern, str) and pattern:
                checker.check(("groups", name, "exclude", number), parse_rule, pattern)
    checker.finish()
    assert view is not None
    return view, checker


def write_cluster(view: ClusterView) -> str:
    """The inverse of `read_cluster`, every setting written out, in a fixed order."""
    import tomlkit

    document = tomlkit.parse(HEAD)
    document.add("cluster", tomlkit.item(view.cluster))
    for kind, tables in (("nodes", view.nodes), ("groups", view.groups)):
        outer = tomlkit.table(is_super_table=True)
        for name in sorted(tables):
            outer.add(name, _table(msgspec.to_builtins(tables[name])))
        document.add(kind, outer)
    return tomlkit.dumps(document)


def _tables(data: dict[str, object], kind: str) -> dict[str, dict[str, object]]:
    tables = data.get(kind)
    return (
        {name: table for name, table in tables.items() if isinstance(table, dict)} if isinstance(tables, dict) else {}
    )


def _table(values: dict[str, object]) -> Table:
    import tomlkit

    table = tomlkit.table()
    # Plain settings before tables: TOML would count what follows a table as part of it. The root reads best first.
    for key, value in sorted(values.items(), key=lambda item: (isinstance(item[1], dict), item[0] != "root")):
        table.add(key, _table(value) if isinstance(value, dict) else tomlkit.item(value))
    return table
