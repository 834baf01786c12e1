"""Lost: contents that nobody has any more, and what takes their place."""

from __future__ import annotations

from collections.abc import Sequence as Several
from functools import reduce

from everynode.core.shown import ranking
from everynode.core.vectors import covers
from everynode.core.versions import make_version, merge, sibling_at, supersede
from everynode.group.announce import Announcement
from everynode.index.store import Index
from everynode.limits import EARLIER_MAX
from everynode.model.entry import FILE, Entry
from everynode.model.ids import Dot
from everynode.model.message import WireRecord
from everynode.model.path import RelPath
from everynode.model.policy import ConflictPolicy
from everynode.model.record import Placed, Record, Sibling, Version


def earlier(index: Index, record: Record, change: Sibling) -> tuple[Sibling, ...]:
    """What may stand again, whole, where a power cut takes `change`: what was synced last, and what came since."""
    placed = record.placed
    if placed is None or not change.live or change.entry.kind is not FILE:
        return ()
    stood = sibling_at(placed.version, placed.shown)
    if stood is None or placed.remains or not change.content:
        return record.earlier
    if stood.origin != index.origin or stood.sequence <= index.state.synced:
        return (stood,)
    before = record.earlier
    return (*before[:1], *(*before[1:], stood)[1 - EARLIER_MAX :])


def is_whole(record: Record, seen: Entry | None) -> bool:
    """Whether what a power cut left is what somebody wrote, or deleted: if an older state of it."""
    placed = record.placed
    recorded = placed.version.siblings if placed is not None and not placed.remains else ()
    known = (*recorded, *record.earlier)
    if seen is None:
        return any(not sibling.live for sibling in known)
    return any(sibling.live and sibling.entry.same_content(seen) for sibling in known)


def shown_here(index: Index, path: RelPath) -> Version | None:
    """What this node can testify of a path: what was placed there, or written; None: nothing, or nobody's work.

    Runs on the index thread.
    """
    record = index.get(path)
    placed = record.placed if record is not None else None
    return None if placed is None or placed.damaged or placed.remains else placed.version


def give_up(
    index: Index, path: RelPath, dot: Dot, testimonies: Several[Version] = (), policy: ConflictPolicy = "newest"
) -> Announcement | None:
    """Nobody has the content of our own change any more, a power cut took it: another change takes its place.

    | it is                          | the disk shows              | what takes its place                              |
    |--------------------------------|-----------------------------|---------------------------------------------------|
    | beside others, live or deleted | anything                    | a deletion: what a cut left is nobody's work      |
    | all there is                   | what somebody wrote         | that                                              |
    | all there is                   | nothing, or what a cut left | what the others show, fetched from them           |
    | all there is, also elsewhere   | nothing, or what a cut left | that                                              |

    It supersedes that change alone. `testimonies`: what the others show. None: more was heard meanwhile, or is to be.
    """
    with index.transaction():
        record = index.get(path)
        lost = sibling_at(record.version, dot) if record is not None else None
        if record is None or lost is None:
            return None
        old = record.placed
        alone = len(record.version.siblings) == 1
        sequence = index.next_sequence()
        entry, live, placed, unplaced = lost.entry, False, old, not alone or old is None
        best = _best(testimonies, policy) if alone and (old is None or old.remains) else None
        if best is not None and not all(covers(index.knowledge, s.dot) for t in testimonies for s in t.siblings):
            return None
        if best is not None:
            # Work: when it is placed, what the cut left gets into the vault.
            entry, live, unplaced = best.entry, True, True
        elif alone and old is not None and old.entry is not None:
            entry, live = old.entry, True
        change = supersede(make_version([lost], {}), index.origin, sequence, entry, live=live, content=live)
        if best is None and old is not None and (alone or old.shown == dot):
            placed = Placed(change, old.entry, old.stamp, (index.origin, sequence))
        version = merge(record.version, change)
        index.put(Record(path, version, placed, unplaced, earlier=record.earlier if unplaced else ()), record)
        index.claim_one(index.origin, sequence)
        index.recheck_ancestors(path)
        return Announcement(WireRecord(path, version), index.origin, sequence, None)


def _best(testimonies: Several[Version], policy: ConflictPolicy) -> Sibling | None:
    """What all nodes would show who had heard what these show; None: nothing."""
    if not testimonies:
        return None
    best = ranking(reduce(merge, testimonies), policy)[0]
    return best if best.live else None
