"""What can be done to the membership, for the API of a running daemon and for the command line without one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from everynode.cluster import plan
from everynode.cluster.home import Home
from everynode.cluster.membership import Membership
from everynode.model.ids import show_node
from everynode.model.message import GroupId
from everynode.model.names import check_root
from everynode.model.policy import ConflictPolicy, GroupPolicy
from everynode.report.status import GroupView, Invitation, MemberView
from everynode.trust.durable import write_durably
from everynode.trust.token import parse_token

# `join --root` into a cluster without groups: kept until it gets its first.
FIRST_ROOT_NAME = "first-root"


class Admin:
    """Raises what `Membership` raises; then nothing was changed."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership

    def members(self) -> list[MemberView]:
        own = self.membership.node
        views = [
            MemberView(node=show_node(m.node), name=m.name, addresses=m.addresses, this=m.node == own)
            for m in self.membership.members().values()
        ]
        return sorted(views, key=lambda view: view.name)

    def groups(self) -> list[GroupView]:
        meaning = self.membership.held().meaning.groups
        return [
            GroupView(
                name=group.name,
                id=group.id.hex(),
                root=group.root,
                path=meaning[group.id].group.root,
                exclude=group.policy.exclude,
                conflict=group.policy.conflict,
                trouble=group.trouble,
            )
            for group in self.membership.groups().values()
        ]

    def founded_here(self, group: GroupId) -> bool:
        """Whether this node made the group and nobody changed it since."""
        statement = self.membership.held().meaning.groups.get(group)
        return statement is not None and statement.author == self.membership.node and statement.version == 1

    def invite(self, valid_seconds: float, advertise: Sequence[str] = ()) -> Invitation:
        """`advertise`: from now on the addresses at which all others reach this node."""
        if advertise:
            self.membership.set_addresses(tuple(advertise))
        token = self.membership.invite(int(valid_seconds))
        return Invitation(token=token, expires=float(parse_token(token).expires))

    def remove_member(self, node: str) -> None:
        self.membership.remove(node)

    def leave(self) -> None:
        self.membership.leave()

    def add_group(self, name: str, root: str, exclude: Sequence[str], conflict: str) -> None:
        policy = GroupPolicy(exclude=tuple(exclude), conflict=cast(ConflictPolicy, conflict))
        self.membership.group_add(name, root, policy)

    def remove_group(self, name: str) -> None:
        self.membership.group_remove(name)

    def set_root(self, name: str, root: str | None) -> None:
        self.membership.set_root(name, root)

    def config_text(self) -> str:
        return plan.view_toml(self.membership)

    def check_config(self, text: str, file: str) -> list[str]:
        """What applying it would do, one line each."""
        return [step.text for step in plan.make_plan(self.membership, text, file).steps]

    def apply_config(self, text: str, file: str) -> list[str]:
        made = plan.make_plan(self.membership, text, file)
        plan.apply_plan(self.membership, made)
        return [step.text for step in made.steps]

    # The root that `join --root` named before there was a group.

    def want_first_root(self, root: str) -> None:
        """Of the one group there is; or of the first that there will be."""
        check_root(root)
        groups = self.membership.groups()
        if groups:
            self.membership.set_root(next(iter(groups.values())).name, root)
        else:
            write_durably(self._first_root, os.fsencode(root))

    def settle_first_root(self) -> None:
        """To be called whenever groups may have come, before any of them runs. Idempotent."""
        groups = self.membership.groups()
        if not groups or not self._first_root.exists():
            return
        root = os.fsdecode(self._first_root.read_bytes())
        if len(groups) == 1:
            self.membership.set_root(next(iter(groups.values())).name, root)
        self._first_root.unlink()

    @property
    def _first_root(self) -> Path:
        return self.membership.home.path / FIRST_ROOT_NAME


@contextmanager
def open_admin(home: str) -> Iterator[Admin]:
    """For the command line when no daemon runs; keeps one from starting meanwhile."""
    place = Home(Path(home))
    with place.lock():
        yield Admin(Membership.load(place))
