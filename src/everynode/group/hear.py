"""Hear: one index transaction that takes in what peers say: records into the index, knowledge at checkpoints only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from everynode.core.runs import may_claim
from everynode.core.shown import in_conflict
from everynode.core.vectors import dominates
from everynode.core.versions import hear
from everynode.group.announce import Announcement
from everynode.group.compare import drop_dead
from everynode.index.store import Index
from everynode.limits import ORIGINS_MAX
from everynode.model.ids import NodeId, Origin, node_of
from everynode.model.message import Batch, ComparePart, RunEnd, RunPart, WireRecord
from everynode.model.path import RelPath
from everynode.model.record import Record, Vector, Version

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


def hear_all(index: Index, messages: Iterable[tuple[NodeId, Inbound]], sufficient: Iterable[Vector] = ()) -> Heard:
    """All or nothing, durable when it returns. `sufficient`: see `allow_changes`. Runs on the index thread."""
    heard = Heard()
    with index.transaction():
        for peer, message in messages:
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
    own_highest = index.knowledge.get(own, 0)
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
        if any(s.origin == own and s.sequence > own_highest for s in wire.version.siblings) or (
            wire.version.context.get(own, 0) > own_highest
        ):
            # Held all the same: the batch or run that it came with may be claimed, and then it never comes again.
            heard.foreign_own = True
        index.put(Record(wire.path, merged, old.placed if old is not None else None, unplaced=True), old)
        heard.changed += 1
        heard.last = wire
        if old is None or _lives(old.version) != _lives(merged):
            index.recheck_ancestors(wire.path)
        if len(merged.siblings) > 1 and in_conflict(merged) and not (old and in_conflict(old.version)):
            heard.conflicts.append(wire.path)


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
