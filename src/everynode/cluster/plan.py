"""An edited cluster file against the present one: what would change, said before it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from everynode.cluster import naming
from everynode.cluster.edit import Edit
from everynode.cluster.membership import Membership
from everynode.config.check import Checker
from everynode.config.cluster_file import ClusterView, GroupTable, NodeTable, read_cluster, write_cluster
from everynode.errors import ConfigError
from everynode.model.ids import show_node
from everynode.model.policy import GroupPolicy, GroupSettings
from everynode.trust.statements import GroupValue, NodeValue


@dataclass(frozen=True)
class Step:
    text: str
    """What it does, for a person."""
    do: Callable[[Edit], object]
    root: tuple[str, str, str] | None = None
    """A group that gets another default root: its name, the new one, the old one (or nothing)."""


@dataclass(frozen=True)
class Plan:
    steps: tuple[Step, ...]
    """In the order in which they are done; empty: the file says what is already so."""
    digest: bytes
    """Of the cluster file that it was made for."""


def view_toml(membership: Membership) -> str:
    """The cluster file as TOML, with the default roots."""
    return write_cluster(_view(membership))


def make_plan(membership: Membership, text: str, file: str) -> Plan:
    """Raises ConfigErrors with every error found in `text`. Changes nothing."""
    wanted, checker = read_cluster(text, file)
    if wanted.cluster and wanted.cluster != membership.cluster.hex():
        checker.refuse(("cluster",), f"this is another cluster's file; this one is {membership.cluster.hex()}")
    steps = [*_node_steps(membership, wanted, checker), *_group_steps(membership, wanted, checker)]
    checker.finish()
    return Plan(tuple(steps), membership.held().digest())


def apply_plan(membership: Membership, plan: Plan) -> None:
    """All steps or none. Raises ConfigError if the cluster file has changed since the plan was made."""
    if membership.held().digest() != plan.digest:
        raise ConfigError("the cluster file was changed meanwhile; nothing was applied: look at it and apply again")

    def all_steps(edit: Edit) -> None:
        for step in plan.steps:
            step.do(edit)

    for step in plan.steps:
        if step.root is not None:
            membership.consent(*step.root)
    membership.commit(all_steps)


def _view(membership: Membership) -> ClusterView:
    groups = membership.held().meaning.groups
    return ClusterView(
        membership.cluster.hex(),
        {m.name: NodeTable(show_node(m.node), m.addresses) for m in membership.members().values()},
        {g.name: GroupTable.of(groups[g.id].group.root, g.policy) for g in membership.groups().values()},
    )


def _node_steps(membership: Membership, wanted: ClusterView, checker: Checker) -> list[Step]:
    by_id = {show_node(node): member for node, member in membership.members().items()}
    steps: list[Step] = []
    seen: dict[str, str] = {}
    for name, table in wanted.nodes.items():
        member = by_id.get(table.id)
        if member is None:
            checker.refuse(("nodes", name, "id"), "no member has this id; nodes come by everynode join")
            continue
        if table.id in seen:
            checker.refuse(("nodes", name, "id"), f"the node {seen[table.id]} has this id already")
            continue
        seen[table.id] = name
        told = [f"is renamed to {name}"] if name != member.name else []
        told += (
            [f"is reached at {', '.join(table.addresses) or 'nowhere'}"] if table.addresses != member.addresses else []
        )
        if told:
            value = NodeValue(name, member.certificate, table.addresses)
            steps.append(Step(f"node {member.name} {' and '.join(told)}", partial(Edit.node, value=value)))
    for missing in sorted(by_id.keys() - seen.keys()):
        member = by_id[missing]
        if member.node == membership.node:
            checker.refuse(("nodes",), f"{member.name} is this node itself and cannot be left out: use everynode leave")
        steps.append(Step(f"node {member.name} is removed for good", partial(Edit.expel, node=member.node)))
    return steps


def _group_steps(membership: Membership, wanted: ClusterView, checker: Checker) -> list[Step]:
    present = _view(membership).groups
    by_name = {group.name: group for group in membership.groups().values()}
    steps: list[Step] = []
    gone = [group for name, group in by_name.items() if name not in wanted.groups]
    for name, table in wanted.groups.items():
        if name not in present:
            _refuse_renaming(name, table, gone, present, checker)
            steps.append(
                Step(
                    f"group {name} is added, root {table.root}",
                    partial(Edit.add_group, name=name, root=table.root, policy=table.policy),
                    (name, table.root, ""),
                )
            )
        elif table != present[name]:
            value = GroupValue(name, table.root, table.policy)
            told = ", ".join(_differences(present[name], table))
            change = partial(Edit.change_group, group=by_name[name].id, value=value)
            moved = (name, table.root, present[name].root) if table.root != present[name].root else None
            steps.append(Step(f"group {name}: {told}", change, moved))
    for group in gone:
        text = f"group {group.name} is removed, its trees stay where they are"
        steps.append(Step(text, partial(Edit.remove_group, group=group.id)))
    _check_roots(membership, wanted, checker)
    return steps


def _refuse_renaming(
    name: str, table: GroupTable, gone: list[GroupSettings], present: dict[str, GroupTable], checker: Checker
) -> None:
    """A new group on the root of one left out is meant as another name: its index and history would be lost."""
    for group in gone:
        if present[group.name].root == table.root:
            checker.refuse(
                ("groups", name), f"a group keeps its name: leave it as {group.name}, or choose another root"
            )


def _check_roots(membership: Membership, wanted: ClusterView, checker: Checker) -> None:
    roots: dict[str, str] = {}
    for name, table in wanted.groups.items():
        root = membership.settings.roots.get(name, table.root)
        why = naming.overlap(root, roots, membership.home)
        if why:
            checker.refuse(("groups", name, "root"), why)
        roots[name] = root


def _differences(old: GroupTable, new: GroupTable) -> list[str]:
    told = []
    for field in ("root", *GroupPolicy.__struct_fields__):
        before, after = getattr(old, field), getattr(new, field)
        if field == "vault":
            told += [
                f"vault.{part} {getattr(before, part)} -> {getattr(after, part)}"
                for part in ("generations", "age_days", "bytes")
                if getattr(before, part) != getattr(after, part)
            ]
        elif before != after:
            told.append(f"{field} {_show(before)} -> {_show(after)}")
    return told


def _show(value: object) -> str:
    return "[" + ", ".join(map(repr, value)) + "]" if isinstance(value, tuple) else str(value)
