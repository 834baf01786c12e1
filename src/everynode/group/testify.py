"""Testify: answer peers who verify that trees are equal: hashes of ranges, entries one by one, reading all again."""

from __future__ import annotations

from everynode.group.answerer import Answerer
from everynode.group.ground import Ground
from everynode.group.scrub import Scrubber
from everynode.group.tree_hash import Parts, hash_of_knowledge, list_entries
from everynode.limits import TREE_ENTRIES, TREE_PENDING_MAX
from everynode.model.message import Entries, EntriesRequest, ReadRequest, ReadState, TreeParts, TreeRequest

Question = TreeRequest | EntriesRequest | ReadRequest


class Testifier(Answerer[Question]):
    pending_max = TREE_PENDING_MAX

    def __init__(self, ground: Ground, scrubber: Scrubber) -> None:
        super().__init__(ground)
        self._scrubber = scrubber

    async def answer(self, question: Question) -> TreeParts | Entries | ReadState:
        ground = self._ground
        group, number = question.group, question.request
        match question:
            case TreeRequest(bounds=bounds):
                hashes = await hash_parts(ground, Parts(list(bounds))) if len(bounds) > 1 else []
                state = ground.index.state
                return TreeParts(
                    group, number, hash_of_knowledge(ground.index.heard), state.counters.unplaced, tuple(hashes)
                )
            case EntriesRequest(low=low, high=high):
                found, then = await ground.clock.offload_index(list_entries, ground.index, low, high, TREE_ENTRIES)
                return Entries(group, number, hash_of_knowledge(ground.index.heard), tuple(found), then or b"")
            case ReadRequest(pass_number=wanted):
                one = self._scrubber.want_pass(wanted)
                return ReadState(group, number, one.seen, one.expected, one.damaged, one.done)


async def hash_parts(ground: Ground, parts: Parts) -> list[bytes]:
    """All of them, some rows at a time: others get their turn at the index in between."""
    while not parts.done:
        await ground.clock.offload_index(parts.step, ground.index)
    return parts.hashes
