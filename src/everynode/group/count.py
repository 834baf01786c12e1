"""Count: what the brake keeps back of each origin, and how much of that was only moved. On the index thread."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from everynode.index.store import Index
from everynode.limits import FORGET_BATCH
from everynode.model.entry import DIRECTORY
from everynode.model.ids import Origin
from everynode.model.path import ROOT, RelPath, ancestors_of, parent_of
from everynode.model.record import Sibling


@dataclass(slots=True)
class Count:
    """What is kept back of one origin's removals."""

    files: int = 0
    moved: int = 0
    first: int = 0
    last: int = 0
    place: RelPath | None = None
    """The directory that has all of it."""
    digests: Counter[bytes] = field(default_factory=Counter)
    """Of contents that are gone and were not found elsewhere. Some 100 bytes of memory each, while counting."""

    @property
    def net(self) -> int:
        return self.files - self.moved


def count_held(index: Index, after: int, counts: dict[Origin, Count]) -> int | None:
    """Count some of what is kept back; where to go on, or None."""
    records = index.held(after, FORGET_BATCH)
    for record in records:
        there = record.placed.entry if record.placed is not None else None
        removal = next((sibling for sibling in record.version.siblings if sibling.origin in counts), None)
        if removal is None or there is None or there.kind is DIRECTORY:
            continue
        count = counts[removal.origin]
        count.files += 1
        count.first = min(count.first or removal.sequence, removal.sequence)
        count.last = max(count.last, removal.sequence)
        count.place = _common(count.place, record.path)
        count.digests[there.digest] += 1
    return records[-1].arrival if records else None


def count_created(index: Index, after: int, counts: dict[Origin, Count]) -> int | None:
    """Find contents that their remover created again elsewhere in the same run."""
    records = index.since(after, FORGET_BATCH)
    for record in records:
        for sibling in record.version.siblings:
            count = counts.get(sibling.origin)
            if count is None or record.held or not is_creation(sibling):
                continue
            # A rename is as many creations as removals, before them or after; a copy of long ago is none.
            same_run = sibling.sequence >= count.first - 2 * count.files
            if same_run and count.digests.get(sibling.entry.digest, 0) > 0:
                count.digests[sibling.entry.digest] -= 1
                count.moved += 1
    return records[-1].arrival if records else None


def is_creation(sibling: Sibling) -> bool:
    """Whether it put a content somewhere."""
    return sibling.live and sibling.content and sibling.entry.kind is not DIRECTORY


def _common(place: RelPath | None, path: RelPath) -> RelPath:
    """The deepest directory that has both what `place` has (None: nothing yet) and `path`."""
    parent = parent_of(path)
    if place is None or place == parent:
        return parent
    above = {parent, *ancestors_of(parent), ROOT}
    while place not in above:
        place = parent_of(place)
    return place
