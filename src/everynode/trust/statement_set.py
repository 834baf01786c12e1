"""The cluster file as a set of signed statements, and the one pure rule that says what it means.

Kept is the highest statement of each author about each subject: joining two sets is joining maps by maximum, so it
is commutative, associative and idempotent, and nothing that a later removal would bring back was ever thrown away.
What the set means is computed from it anew:

    ever       whom a chain of node statements connects with the genesis; never shrinks
    removed    of whom anyone of `ever` said so; for good, a key does not come back
    expelled   removed by somebody else than themselves; what they said no longer counts, except removals of nodes
    standing   whom such a chain connects whose links come from nobody expelled, or are named as heirs in the expulsion
    counted    statements of standing authors who are not expelled, and all removals of nodes
    winner     of a subject: the highest counted statement (removal, then version, then digest)

Why so: docs/decisions/trust-statements.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from everynode import limits
from everynode.errors import TrustError
from everynode.model.ids import NodeId, show_node
from everynode.model.message import GroupId
from everynode.trust.statements import Genesis, GroupValue, Kind, NodeValue, Statement, Subject, parse


class Changes(msgspec.Struct, frozen=True):
    """What `StatementSet.apply` did."""

    accepted: tuple[bytes, ...] = ()
    """Raw statements that are new here, to be kept and passed on."""
    rejected: tuple[str, ...] = ()
    """Why others were refused, for the log."""
    ties: tuple[str, ...] = ()
    """Subjects of which two authors said different things at once, with who prevailed, for a person."""

    def __bool__(self) -> bool:
        return bool(self.accepted)


class Meaning(NamedTuple):
    """What the set says. `nodes` and `groups` without removed ones, `removed` the nodes that are."""

    nodes: dict[NodeId, Statement]
    groups: dict[GroupId, Statement]
    removed: frozenset[NodeId]
    standing: frozenset[NodeId]
    winners: dict[Subject, Statement]
    ties: dict[Subject, str]


class StatementSet:
    """Not safe for use by several threads at once."""

    def __init__(self, cluster: bytes) -> None:
        """An empty set for the cluster with this fingerprint; its genesis must be the first to arrive."""
        self.cluster = cluster
        self._kept: dict[tuple[Subject, NodeId], Statement] = {}
        self._certificates: dict[NodeId, bytes] = {}
        self._bytes = 0
        self._meaning: Meaning | None = None

    def copy(self) -> StatementSet:
        twin = StatementSet(self.cluster)
        twin._kept, twin._certificates = self._kept.copy(), self._certificates.copy()
        twin._bytes, twin._meaning = self._bytes, self._meaning
        return twin

    @property
    def meaning(self) -> Meaning:
        if self._meaning is None:
            self._meaning = _interpret(list(self._kept.values()))
        return self._meaning

    def raw(self) -> tuple[bytes, ...]:
        """All statements, in an order in which every author is known before it speaks; the same for equal sets."""
        return tuple(s.raw for s in sorted(self._kept.values(), key=lambda s: (s.kind, s.digest)))

    def digest(self) -> bytes:
        """32 bytes; equal sets have equal digests."""
        return digest_of(s.digest for s in self._kept.values())

    def missing_for(self, raw: Iterable[bytes]) -> tuple[bytes, ...]:
        """What a holder of exactly `raw` lacks."""
        held = set(raw)
        return tuple(one for one in self.raw() if one not in held)

    def apply(self, raw: Iterable[bytes]) -> Changes:
        """Join with `raw`, in any order, any number of times. Statements that are refused change nothing."""
        parsed: list[Statement] = []
        rejected: list[str] = []
        for one in raw:
            try:
                parsed.append(parse(one))
            except TrustError as error:
                rejected.append(str(error))
        before = dict(self.meaning.ties)
        accepted, refused = self._join(parsed)
        ties = self.meaning.ties
        return Changes(
            tuple(accepted),
            (*rejected, *refused),
            tuple(text for subject, text in ties.items() if before.get(subject) != text),
        )

    def next_version(self, subject: Subject) -> int:
        """One above everything that was ever heard about `subject`, counted or not."""
        return 1 + max((s.version for s in self._kept.values() if s.subject == subject), default=0)

    def _join(self, statements: list[Statement]) -> tuple[list[bytes], list[str]]:
        accepted: list[bytes] = []
        refused: list[str] = []
        waiting = [s for s in statements if not self._holds(s)]
        # Authors may be let in by statements further on; each round that admits somebody is worth another one.
        while waiting:
            later: list[Statement] = []
            admitted = len(self._certificates)
            for statement in waiting:
                if statement.kind != Kind.GENESIS and statement.author not in self._certificates:
                    later.append(statement)
                    continue
                why = self._refusal(statement)
                if why:
                    refused.append(why)
                    if len(refused) > limits.STATEMENTS_REFUSED_MAX:
                        return accepted, refused  # each costs a look at a signature: whoever made these has its share
                elif not self._holds(statement):
                    self._keep(statement)
                    accepted.append(statement.raw)
            if len(self._certificates) == admitted:
                refused += [f"{_show(s)} is signed by {show_node(s.author)}, whom nobody let in" for s in later]
                break
            waiting = later
        return accepted, refused

    def _holds(self, statement: Statement) -> bool:
        """Whether this one, or a higher one in its place, is kept."""
        kept = self._kept.get((statement.subject, statement.author))
        if kept is None or statement.kind == Kind.GENESIS:
            return kept is not None and kept.digest == statement.digest
        return kept.rank >= statement.rank

    def _refusal(self, statement: Statement) -> str:
        """Why a statement by a known author (or a genesis) cannot be kept; empty: it can."""
        if isinstance(statement.value, Genesis):
            if statement.digest != self.cluster:
                return "a statement belongs to another cluster"
            certificate = statement.value.certificate
        else:
            certificate = self._certificates[statement.author]
        if not statement.signed_by(certificate, self.cluster):
            return f"{_show(statement)} was not signed by {show_node(statement.author)} for this cluster: forged"
        replaced = self._kept.get((statement.subject, statement.author))
        size = self._bytes + len(statement.raw) - (len(replaced.raw) if replaced else 0)
        if size > limits.STATEMENTS_BYTES_MAX or (not replaced and len(self._kept) >= limits.STATEMENTS_MAX):
            return f"{_show(statement)} does not fit: the cluster file has reached its bound"
        new = statement.kind == Kind.NODE and NodeId(statement.key) not in self._certificates
        if new and len(self._certificates) >= limits.MEMBERS_MAX:
            return f"{_show(statement)} does not fit: the cluster has {limits.MEMBERS_MAX} nodes"
        return ""

    def _keep(self, statement: Statement) -> None:
        place = (statement.subject, statement.author)
        replaced = self._kept.get(place)
        self._bytes += len(statement.raw) - (len(replaced.raw) if replaced else 0)
        self._kept[place] = statement
        self._meaning = None
        match statement.value:
            case Genesis(certificate=certificate):
                self._certificates[statement.author] = certificate
            case NodeValue(certificate=certificate):
                self._certificates[NodeId(statement.key)] = certificate
            case GroupValue():
                pass


def digest_of(digests: Iterable[bytes]) -> bytes:
    """The digest of a set of statements that have these digests."""
    return hashlib.sha256(b"".join(sorted(digests))).digest()


def _interpret(statements: list[Statement]) -> Meaning:
    """The rule at the top of this module: pure, independent of the order of `statements`."""
    roots = {s.author for s in statements if s.kind == Kind.GENESIS}
    about_nodes = [s for s in statements if s.kind == Kind.NODE]
    # Every kept author is of `ever`: StatementSet refuses strangers, and an author is never un-let-in.
    removed = {NodeId(s.key) for s in about_nodes if s.removed}
    expelled = {NodeId(s.key) for s in about_nodes if s.removed and s.author != s.key}
    heirs = {(NodeId(s.key), heir) for s in about_nodes if s.removed and s.author != s.key for heir in s.node.heirs}

    def links(author: NodeId, node: NodeId) -> bool:
        return author not in expelled or (author, node) in heirs

    standing = _reachable(roots, about_nodes, links)
    counted = [s for s in statements if s.author in standing - expelled or (s.removed and s.kind == Kind.NODE)]
    winners: dict[Subject, Statement] = {}
    for statement in sorted(counted, key=lambda s: s.rank):
        winners[statement.subject] = statement
    living = {subject: s for subject, s in winners.items() if not s.removed}
    return Meaning(
        {NodeId(key): s for (kind, key), s in living.items() if kind == Kind.NODE and key in standing},
        {key: s for (kind, key), s in living.items() if kind == Kind.GROUP},
        frozenset(removed),
        frozenset(standing),
        winners,
        _ties(counted, winners),
    )


def _reachable(
    roots: set[NodeId], about_nodes: list[Statement], links: Callable[[NodeId, NodeId], bool]
) -> set[NodeId]:
    let_in: dict[NodeId, list[NodeId]] = {}
    for statement in about_nodes:
        node = NodeId(statement.key)
        if links(statement.author, node):
            let_in.setdefault(statement.author, []).append(node)
    found, todo = set(roots), list(roots)
    while todo:
        for node in let_in.get(todo.pop(), ()):
            if node not in found:
                found.add(node)
                todo.append(node)
    return found


def _ties(counted: list[Statement], winners: dict[Subject, Statement]) -> dict[Subject, str]:
    """Two authors who made the same version of a subject say different things: nobody saw the other's word."""
    ties: dict[Subject, str] = {}
    for statement in counted:
        winner = winners[statement.subject]
        if winner.removed or statement.author == winner.author or statement.version != winner.version:
            continue
        if statement.value != winner.value:
            ties[statement.subject] = (
                f"{show_node(statement.author)[:8]} and {show_node(winner.author)[:8]} changed {_show(winner)} "
                f"at once; what {show_node(winner.author)[:8]} said holds: look at it and set it again if it is wrong"
            )
    return ties


def _show(statement: Statement) -> str:
    match statement.value:
        case Genesis():
            return "the genesis of a cluster"
        case NodeValue(name=name):
            return f"the statement about node {name}"
        case GroupValue(name=name):
            return f"the statement about group {name}"
