"""Who belongs to the cluster and what its groups are told, as this node knows it; and every change of that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from secrets import token_bytes

import msgspec

from everynode import limits
from everynode.cluster import naming, places
from everynode.cluster.edit import Edit
from everynode.cluster.entrance import own_identity, refuse_second_cluster
from everynode.cluster.home import Home
from everynode.cluster.invites import Invites
from everynode.config.exclude import check_patterns
from everynode.config.node_file import NodeSettings
from everynode.errors import ConfigError, TrustError
from everynode.model.ids import NodeId, show_node
from everynode.model.member import Member
from everynode.model.message import GroupId, Statements
from everynode.model.names import check_address, check_name, check_root
from everynode.model.policy import GroupPolicy, GroupSettings
from everynode.trust import joining
from everynode.trust.identity import Identity, fingerprint_of
from everynode.trust.statement_set import Changes, StatementSet, digest_of
from everynode.trust.statements import NodeValue, begin_cluster, parse
from everynode.trust.token import Token, show_token

Listener = Callable[[Changes], None]

TOKEN_REFUSED = "the token is not known here; make a new one on a member: everynode invite"


class Membership:
    """Whoever holds one also holds `home.lock()`; not safe for use by several threads at once.

    Every change is durable before it is true here, and true before `listener` hears of it. Methods that change
    something raise ConfigError for a request that cannot be, TrustError when this node was removed, StoreError when
    the disk does not take it; then nothing was changed.
    """

    def __init__(self, home: Home, identity: Identity, held: StatementSet, now: Callable[[], float]) -> None:
        self.home = home
        self.identity = identity
        self.settings = home.read_settings()
        self.listener: Listener | None = None
        """Called after each change with what is new (nothing, when only this node's own settings changed)."""
        self._held = held
        self._invites = Invites(home)
        self._now = now
        self._members = naming.members_of(held.meaning)

    @classmethod
    def create(
        cls,
        home: Home,
        name: str,
        listen: tuple[str, ...],
        advertise: tuple[str, ...],
        now: Callable[[], float] = time.time,
    ) -> Membership:
        """Begin a cluster with this node alone. May be repeated after a crash; refused where a cluster exists."""
        check_name("node", name)
        refuse_second_cluster(home)
        for address in (*listen, *advertise):
            check_address(address)
        identity = own_identity(home, name)
        genesis = begin_cluster(identity, token_bytes(16))
        held = StatementSet(genesis.digest)
        held.apply([genesis.raw])
        edit = Edit(identity, held)
        edit.node(NodeValue(name, identity.certificate, advertise))
        home.write_settings(NodeSettings(listen=listen))
        # Last: with the cluster file the home is complete.
        home.write_statements(edit.held)
        return cls(home, identity, edit.held, now)

    @classmethod
    def load(cls, home: Home, now: Callable[[], float] = time.time) -> Membership:
        """Raises StoreError, TrustError or ConfigErrors naming the piece that is missing or damaged."""
        home.check()
        held = home.read_statements()
        return cls(home, Identity.load(home.path), held, now)

    @property
    def cluster(self) -> bytes:
        """The cluster's fingerprint, 32 bytes."""
        return self._held.cluster

    @property
    def node(self) -> NodeId:
        return self.identity.node

    @property
    def removed(self) -> bool:
        """Whether this node was removed or left: it may say nothing any more and no peer will talk to it."""
        return self.node not in self._members

    def members(self) -> dict[NodeId, Member]:
        """All nodes of the cluster, this one too. Exactly these may link."""
        return dict(self._members)

    def groups(self) -> dict[GroupId, GroupSettings]:
        """All groups, by name, with the roots of this node."""
        return naming.groups_of(self._held.meaning, self.home, self.settings)

    def ties(self) -> tuple[str, ...]:
        """Things said differently by two members at once, still to be looked at by a person."""
        return tuple(self._held.meaning.ties.values())

    def certificate_of(self, node: NodeId) -> bytes | None:
        member = self._members.get(node)
        return member.certificate if member else None

    # What members tell each other.

    def announcement(self) -> Statements:
        """What to send first on a link: nothing but what we have."""
        return Statements((), self._held.digest())

    def everything(self) -> Statements:
        return Statements(self._held.raw(), self._held.digest())

    def news(self, changes: Changes) -> Statements:
        """What to pass on to all other peers after a change."""
        return Statements(changes.accepted, self._held.digest())

    def apply_statements(self, raw: Iterable[bytes]) -> Changes:
        """Join with what a member sent. Idempotent, in any order. Durable on return."""
        edited = self._held.copy()
        changes = edited.apply(raw)
        if changes:
            self._become(edited, changes)
        return changes

    def answer_to(self, message: Statements) -> Statements | None:
        """What the sender of `message` lacks, once `apply_statements` has seen it. None: nothing to say.

        An announcement is answered by everything, everything by what is missing in it, news by nothing: so two peers
        are equal after at most three messages and never talk in circles, whatever either refuses.
        """
        if message.digest == self._held.digest():
            return None
        if not message.statements:
            return self.everything()
        try:
            whole = digest_of(parse(raw).digest for raw in message.statements) == message.digest
        except TrustError:
            return None
        missing = self._held.missing_for(message.statements) if whole else ()
        return Statements(missing, self._held.digest()) if missing else None

    # Nodes.

    def invite(self, valid_seconds: int = limits.TOKEN_VALID_SECONDS) -> str:
        """A token that lets one node in until it expires."""
        addresses = self._me().addresses
        if not addresses:
            raise ConfigError("this node has no address at which others reach it: say --advertise host:port first")
        if valid_seconds < 1:
            raise ConfigError("an invite must be valid for at least a second")
        expires = int(self._now()) + valid_seconds
        secret = self._invites.make(expires)
        return show_token(Token(secret, addresses, self.identity.fingerprint, self.cluster, expires))

    def redeem(self, raw: bytes, shown: bytes | None = None) -> bytes:
        """Answer a join request; never raises for what a stranger sends, StoreError if our own disk fails.

        `shown` is the certificate (DER) that the sender's TLS session proved, where it did. The invite is used up
        and the new member durable before the answer is returned; the same node may ask again (its answer was lost).
        """
        try:
            request = joining.read_request(raw)
        except TrustError as error:
            return joining.refuse(str(error))
        if shown is not None and shown != request.certificate:
            return joining.refuse("the join request names another certificate than the connection")
        invite = self._invites.find(request.invite)
        # Unknown invites are compared as well, with a key that nobody has: both ways take the same time.
        proof_key = invite.proof_key if invite else token_bytes(32)
        if not joining.proves(request, proof_key, self.cluster, self.identity.fingerprint) or invite is None:
            return joining.refuse(TOKEN_REFUSED)
        fingerprint = fingerprint_of(request.certificate)
        why = self._objection(request, invite.used_by, invite.expires, fingerprint)
        if why:
            return joining.refuse(why)
        self._invites.use(invite, fingerprint)
        if request.node not in self._members:
            edit = self._edit()
            try:
                edit.node(NodeValue(request.name, request.certificate, request.addresses))
            except TrustError as error:
                return joining.refuse(str(error))
            self._commit(edit)
        return joining.welcome(request, proof_key, self.identity.fingerprint, self._held.raw())

    def remove(self, who: str) -> Member:
        """Remove another node by name or id, for good: its key does not come back."""
        edit = self._edit()
        member = naming.find_member(self._members, who)
        if member.node == self.node:
            raise ConfigError(f"{member.name} is this node itself: use everynode leave")
        edit.expel(member.node)
        self._commit(edit)
        return member

    def leave(self) -> None:
        """Remove this node itself. It is to be told to at least one other member before the home is retired."""
        edit = self._edit()
        if len(self._members) == 1:
            raise ConfigError(f"this is the last node; to give the cluster up, stop it and delete {self.home.path}")
        edit.leave()
        self._commit(edit)

    def set_addresses(self, addresses: tuple[str, ...]) -> None:
        """Where the others are to dial this node; nothing happens if they know already."""
        for address in addresses:
            check_address(address)
        me = self._me()
        if me.addresses != addresses:
            edit = self._edit()
            edit.node(NodeValue(me.name, me.certificate, addresses))
            self._commit(edit)

    # Groups.

    def group_add(self, name: str, root: str, policy: GroupPolicy | None = None) -> GroupId:
        check_name("group", name)
        check_root(root)
        check_patterns(policy.exclude if policy is not None else ())
        edit = self._edit()
        groups = self.groups()
        if any(group.name == name for group in groups.values()):
            raise ConfigError(f"there is a group {name} already: choose another name, or everynode group remove {name}")
        why = naming.overlap(root, {group.name: group.root for group in groups.values()}, self.home)
        if why:
            raise ConfigError(f"group {name} was not added: {why}")
        group = edit.add_group(name, root, policy or GroupPolicy())
        self.consent(name, root)
        self._commit(edit)
        return group

    def group_remove(self, name: str) -> GroupSettings:
        """On all nodes. The trees stay where they are."""
        edit = self._edit()
        group = naming.find_group(self.groups(), name)
        edit.remove_group(group.id)
        self._commit(edit)
        return group

    def consent(self, name: str, root: str, before: str = "") -> None:
        """Somebody named a default root on this very node: it is kept there, wherever that is.

        `before`: what it was. Where this node keeps the group elsewhere, it goes on so.
        """
        here = self.settings.roots.get(name)
        others = {group: own for group, own in self.settings.roots.items() if group != name}
        bare = msgspec.structs.replace(self.settings, roots=others)
        if here is not None and (here != before or not places.objection(name, before, self.home, bare)):
            return  # it does not stand there for consent: somebody wanted this node's root to be its own
        strange = places.objection(name, root, self.home, bare)
        if strange or here is not None:
            self.home.set_root(name, root if strange else None)
            self.settings = self.home.read_settings()

    def set_root(self, name: str, root: str | None) -> None:
        """Keep a group elsewhere on this node alone; None: where the cluster file says."""
        groups = self.groups()
        group = naming.find_group(groups, name)
        if root is not None:
            check_root(root)
            others = {one.name: one.root for one in groups.values() if one.id != group.id}
            why = naming.overlap(root, others, self.home)
            if why:
                raise ConfigError(f"the root of group {name} was not changed: {why}")
        self.home.set_root(name, root)
        self.settings = self.home.read_settings()
        self._tell(Changes())

    # Changes made elsewhere in this folder (`cluster.plan`) go the same way.

    def held(self) -> StatementSet:
        """A copy of the cluster file."""
        return self._held.copy()

    def commit(self, change: Callable[[Edit], None]) -> None:
        """Let `change` say things, and make them true together."""
        edit = self._edit()
        change(edit)
        self._commit(edit)

    def _me(self) -> Member:
        if self.removed:
            raise TrustError(f"this node ({show_node(self.node)}) is no longer a member: join again with a new token")
        return self._members[self.node]

    def _edit(self) -> Edit:
        self._me()
        return Edit(self.identity, self._held)

    def _commit(self, edit: Edit) -> None:
        if edit.said:
            self._become(edit.held, Changes(tuple(edit.said)))

    def _become(self, held: StatementSet, changes: Changes) -> None:
        self.home.write_statements(held)
        self._held = held
        self._members = naming.members_of(held.meaning)
        self._tell(changes)

    def _tell(self, changes: Changes) -> None:
        if self.listener is not None:
            self.listener(changes)

    def _objection(self, request: joining.JoinRequest, used_by: bytes, expires: int, fingerprint: bytes) -> str:
        """Why somebody who did prove to have the token cannot come in all the same; empty: welcome."""
        if used_by and used_by != fingerprint:
            return "the token was used by another node already; make a new one: everynode invite"
        if not used_by and self._now() > expires:
            return "the token has expired; make a new one: everynode invite"
        if self.removed:
            return "the node that made the token is no longer a member; make a new one on a member"
        if request.node in self._held.meaning.removed:
            return "this node was removed from the cluster and its key does not come back: join with a new --home"
        try:
            check_name("node", request.name)
            for address in request.addresses:
                check_address(address)
        except ConfigError as error:
            return str(error)
        if any(m.name == request.name and m.node != request.node for m in self._members.values()):
            return f"there is a node {request.name} already; join under another name: --name NAME"
        return ""
