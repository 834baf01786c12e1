"""Hear: one index transaction that takes in what peers say: records into the index, knowledge at checkpoints only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from everynode.core.runs import may_claim
from everynode.core.shown import in_conflict
from everynode.core.vectors import dominates, join
from everynode.core.versions import hear
from everynode.group.announce import Announcement
from everynode.group.compare import drop_dead
from everynode.index.store import Index
from everynode.limits import ORIGINS_MAX, OVERTAKEN_MAX, VERSION_BYTES_MAX
from everynode.model.ids import NodeId, Origin, node_of
from everynode.model.message import Batch, ComparePart, RunEnd, RunPart, WireRecord
from everynode.model.path import RelPath
from everynode.model.record import Record, Sibling, Vector, Version, weight_of

NOTHING: Vector = {}
Inbound = Batch | RunPart | RunEnd | ComparePart


@dataclass(slots=True)
class Heard:
    """What a few messages came to."""

    changed: int = 0
    gaps: set[NodeId] = field(default_factory=set)
    """Peers whose batches left a hole: to be asked for a run."""
    claimed: bool = False
    ended: set[int] = field(default_factory=set)
    """Runs that were closed."""
    conflicts: list[RelPath] = field(default_factory=list)
    foreign_own: bool = False
    """Somebody knows changes of this node's present origin that it has not made: the index is old or a copy."""
    made: list[Announcement] = field(default_factory=list)
    """Deletions of this node's own: a comparison found what is dead."""
    lies: list[tuple[NodeId, str]] = field(default_factory=list)
    """Peers that said what cannot be, and what."""
    last: WireRecord | None = None
    must_compare: dict[NodeId, Vector] = field(default_factory=dict)
    """Peers that have forgotten more, by the end of their run, than this node knows; and what. Nothing is claimed."""
    too_large: RelPath | None = None
    """A path, one of perhaps many, of which more versions were told than anybody can hold; it stays as it was."""


def hear_all(
    index: Index,
    messages: Iterable[tuple[NodeId, Inbound]],
    sufficient: Iterable[Vector] = (),
    doubted: set[NodeId] | None = None,
    young: Vector = NOTHING,
) -> Heard:
    """All or nothing, durable when it returns. `sufficient`: see `allow_changes`. Runs on the index thread.

    `doubted`: this life of the index has just begun, so nobody can know changes of it that it has not made. Whoever
    says so is added and not heard; a run of theirs is not claimed, so that what it brought is asked for again.
    `young`: what peers had forgotten when nothing was held here yet.
    """
    heard = Heard()
    with index.transaction():
        for peer, message in messages:
            if doubted is not None and _is_doubtful(index, message, peer in doubted):
                doubted.add(peer)
                heard.lies.append((peer, "changes of this node that it never made"))
                if not isinstance(message, Batch):
                    heard.ended.add(message.run)
                continue
            match message:
                case Batch() if node_of(message.origin) != peer:
                    heard.lies.append((peer, "a live batch of another node's changes"))
                case Batch():
                    _hear_records(index, message.records, heard)
                    if may_claim(index.knowledge, message.origin, message.before):
                        index.claim_one(message.origin, message.after)
                        heard.claimed = True
                    else:
                        heard.gaps.add(peer)
                case RunPart():
                    _hear_records(index, message.records, heard)
                case RunEnd() if _claims_too_much(index, message.knows):
                    heard.lies.append((peer, "knowledge of changes never made, or of too many origins"))
                    heard.ended.add(message.run)
                case RunEnd() if not dominates(join(index.knowledge, young), message.forgotten):
                    # It has learnt of that since its hello, from a comparison of its own: part of what it sent is dead.
                    heard.must_compare[peer] = message.forgotten
                    heard.ended.add(message.run)
                case RunEnd():
                    index.claim(message.knows)
                    index.note_forgotten(message.forgotten)
                    if message.index:
                        index.change_state().cursors[peer] = (message.index, message.arrival)
                    heard.claimed = True
                    heard.ended.add(message.run)
                case ComparePart() if _claims_too_much(index, message.knows):
                    heard.lies.append((peer, "knowledge of changes never made, or of too many origins"))
                    heard.ended.add(message.run)
                case ComparePart():
                    _hear_records(index, message.records, heard)
                    heard.made += drop_dead(index, message)
                    if message.last:
                        index.claim(message.knows)
                        index.note_forgotten(message.forgotten)
                        heard.claimed = True
                        heard.ended.add(message.run)
        if heard.foreign_own:
            index.begin_new_epoch()
        else:
            allow_changes(index, sufficient)
    return heard


def _is_doubtful(index: Index, message: Inbound, doubted: bool) -> bool:
    """Whether it tells changes of this node that it has not made, or goes on with a run that did."""
    if doubted and not isinstance(message, Batch):
        return True
    if isinstance(message, RunEnd):
        return False
    return any(_tells_own(index, wire.version) for wire in message.records)


def _tells_own(index: Index, version: Version) -> bool:
    own, highest = index.origin, index.knowledge.get(index.origin, 0)
    told = max((sibling.sequence for sibling in version.siblings if sibling.origin == own), default=0)
    return max(told, version.context.get(own, 0)) > highest


def _claims_too_much(index: Index, knows: Vector) -> bool:
    """A vector is believed as far as it can be true; own changes are numbered here alone."""
    own = knows.get(index.origin, 0) > index.knowledge.get(index.origin, 0)
    return own or len(index.knowledge.keys() | knows.keys()) > ORIGINS_MAX


def allow_changes(index: Index, sufficient: Iterable[Vector]) -> None:
    """A new epoch makes dots once it knows all that some settled member knew when they met. Inside a transaction."""
    if not index.state.may_change and any(dominates(index.knowledge, vector) for vector in sufficient):
        index.change_state().may_change = True


def _hear_records(index: Index, records: Iterable[WireRecord], heard: Heard) -> None:
    own = index.origin
    knowledge = index.knowledge
    fresh = True
    for wire in records:
        if fresh and _hear_new(index, wire, own, heard):
            continue
        old = index.get(wire.path)
        fresh = old is None
        merged = hear(old.version if old is not None else None, wire.version, knowledge)
        if merged is None:
            continue
        if len(merged.siblings) > 1 and weight_of(merged) > VERSION_BYTES_MAX:
            # No message could carry it on. Only forgers make so many, and they spoil this one path.
            heard.too_large = wire.path
            continue
        if _tells_own(index, wire.version):
            # Held all the same: the batch or run that it came with may be claimed, and then it never comes again.
            heard.foreign_own = True
        if old is None:
            new = Record(wire.path, merged, None, unplaced=True)
        else:
            overtaken = _overtaken(old, merged) if old.unplaced else ()
            new = Record(wire.path, merged, old.placed, unplaced=True, overtaken=overtaken)
        index.put(new, old)
        heard.changed += 1
        heard.last = wire
        if old is None or _lives(old.version) != _lives(merged):
            index.recheck_ancestors(wire.path)
        if len(merged.siblings) > 1 and in_conflict(merged) and not (old and in_conflict(old.version)):
            heard.conflicts.append(wire.path)


def _overtaken(old: Record, merged: Version) -> tuple[Sibling, ...]:
    """What was to be placed and no longer is: it may be under way to the disk at this moment."""
    known = {sibling.dot for sibling in merged.siblings}
    if old.placed is not None:
        known.update(sibling.dot for sibling in old.placed.version.siblings)
    return (*old.overtaken, *(s for s in old.version.siblings if s.dot not in known))[-OVERTAKEN_MAX:]


def _hear_new(index: Index, wire: WireRecord, own: Origin, heard: Heard) -> bool:
    """The short way for a new change of one node to a path that is not in the index; False: take the long one."""
    version = wire.version
    if version.context or len(version.siblings) > 1:
        return False
    (only,) = version.siblings
    if only.origin == own or index.knowledge.get(only.origin, 0) >= only.sequence:
        return False
    if not index.put_new(Record(wire.path, version, None, True)):
        return False
    heard.changed += 1
    heard.last = wire
    index.recheck_ancestors(wire.path)
    return True


def _lives(version: Version) -> bool:
    return any(sibling.live for sibling in version.siblings)
