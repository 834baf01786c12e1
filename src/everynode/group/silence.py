"""Silence: which members have not been linked for so long that deletions are forgotten without them."""

from __future__ import annotations

from everynode.group.ground import Ground
from everynode.limits import SEEN_STEP
from everynode.model.ids import NodeId

_DAY_NS = 86_400 * 10**9


class Silence:
    """By this node's clock, and by the links that it had itself. A wrong clock costs comparisons, nothing else."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._seen: dict[NodeId, int] = {}
        self.evicted: frozenset[NodeId] = frozenset()
        """As of the last `note`."""

    async def note(self) -> frozenset[NodeId]:
        """Note who is linked now; returns the members that are to be waited for no longer."""
        ground = self._ground
        now = ground.clock.now_ns()
        others = ground.setup.members() - {ground.setup.node}
        linked = set(ground.links.peers())
        kept = ground.index.state.seen
        # A member of whom nothing is noted yet counts from now on.
        self._seen = {peer: now if peer in linked else self._seen.get(peer, kept.get(peer, now)) for peer in others}
        seen = self._seen
        if others != kept.keys() or any(abs(when - kept[peer]) > SEEN_STEP * 10**9 for peer, when in seen.items()):
            await ground.clock.offload_index(self._keep)
        days = ground.setup.policy.evict_days
        gone = {peer for peer, when in seen.items() if days and now - when > days * _DAY_NS}
        self.evicted = frozenset(gone)
        return self.evicted

    def _keep(self) -> None:
        """Runs on the index thread."""
        with self._ground.index.transaction():
            self._ground.index.change_state().seen = {bytes(peer): when for peer, when in self._seen.items()}
