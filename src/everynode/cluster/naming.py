"""From ids to the names that people use, and back; from default roots to the roots of this node."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from everynode.cluster import places
from everynode.cluster.home import Home, is_inside
from everynode.config.node_file import NodeSettings
from everynode.errors import ConfigError
from everynode.model.ids import NodeId, show_node
from everynode.model.member import Member
from everynode.model.message import GroupId
from everynode.model.policy import GroupSettings
from everynode.trust.statement_set import Meaning

ID_PREFIX_MIN = 8


def members_of(meaning: Meaning) -> dict[NodeId, Member]:
    names = _unique({node: (s.node.name, show_node(node)) for node, s in meaning.nodes.items()})
    return {node: Member(node, names[node], s.node.certificate, s.node.addresses) for node, s in meaning.nodes.items()}


def groups_of(meaning: Meaning, home: Home, settings: NodeSettings) -> dict[GroupId, GroupSettings]:
    """The groups with this node's roots. Of overlapping roots the group that ran here before keeps its own."""
    names = _unique({group: (s.group.name, group.hex()) for group, s in meaning.groups.items()})
    found: dict[GroupId, GroupSettings] = {}
    order = sorted(meaning.groups, key=lambda group: (not home.index_path(group).exists(), group))
    for group in order:
        value, name = meaning.groups[group].group, names[group]
        root = settings.roots.get(name, value.root)
        others = {other.name: other.root for other in found.values() if not other.trouble}
        trouble = places.objection(name, root, home, settings) or overlap(root, others, home)
        found[group] = GroupSettings(group, name, root, value.policy, trouble)
    return dict(sorted(found.items(), key=lambda item: item[1].name))


def overlap(root: str, others: Mapping[str, str], home: Home) -> str:
    """Why `root` cannot be a root beside the roots of other groups (name -> root); empty: it can."""
    advice = f"choose another one, for this node alone under [roots] in {home.settings_path}"
    if is_inside(root, str(home.path)) or is_inside(str(home.path), root):
        return f"the root {root} and the node's home {home.path} lie in each other; {advice}"
    for name, other in others.items():
        if is_inside(root, other) or is_inside(other, root):
            return f"the root {root} and the root {other} of group {name} lie in each other; {advice}"
    return ""


def find_member(members: Mapping[NodeId, Member], who: str) -> Member:
    """By name, id, or a beginning of the id (8 characters or more). Raises ConfigError with a suggestion."""
    named = [m for m in members.values() if m.name == who]
    if named:
        return named[0]
    begun = [m for m in members.values() if len(who) >= ID_PREFIX_MIN and show_node(m.node).startswith(who.lower())]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise ConfigError(f"several nodes have an id that begins with {who}: write more of it")
    raise ConfigError(_unknown("node", who, [m.name for m in members.values()]))


def find_group(groups: Mapping[GroupId, GroupSettings], name: str) -> GroupSettings:
    """Raises ConfigError with a suggestion."""
    for group in groups.values():
        if group.name == name:
            return group
    raise ConfigError(_unknown("group", name, [g.name for g in groups.values()]))


def _unknown(what: str, name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    there_are = f"there are {', '.join(sorted(known))}" if known else "there are none"
    return f"there is no {what} {name!r}; " + (f"did you mean {close[0]}?" if close else there_are)


def _unique(named: Mapping[bytes, tuple[str, str]]) -> dict[bytes, str]:
    """Two members may give one name at once: the lowest id keeps it, the others show a piece of their id."""
    taken: set[str] = set()
    names: dict[bytes, str] = {}
    for key in sorted(named):
        name, shown_id = named[key]
        names[key] = name if name not in taken else f"{name[:54]}-{shown_id[:8]}"
        taken.add(names[key])
    return names
