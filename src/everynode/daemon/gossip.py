"""How the cluster file travels: on each link both say what they have, send what differs, and pass on what is new."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from everynode.cluster.membership import Membership
from everynode.errors import LinkError
from everynode.limits import HANDSHAKE_TIMEOUT, STATEMENTS_REFUSED_MAX
from everynode.model.ids import NodeId
from everynode.model.message import Statements
from everynode.trust.statement_set import Changes

logger = logging.getLogger("everynode.cluster")

REJECTIONS_SHOWN = 3
"""Of the refused statements of one message, in the log."""


class Links(Protocol):
    """What is needed of the mesh."""

    async def send(self, peer: NodeId, message: Statements) -> None: ...
    def peers(self) -> list[NodeId]: ...
    def disconnect(self, peer: NodeId, reason: str) -> None: ...


class Gossip:
    """`Membership.answer_to` bounds every conversation to three messages."""

    def __init__(self, membership: Membership, links: Links) -> None:
        self._membership = membership
        self._links = links

    async def linked(self, peer: NodeId) -> None:
        await self._tell(peer, self._membership.announcement())

    async def heard(self, peer: NodeId, message: Statements) -> None:
        """Join with what a peer said and answer it. What is new comes back through the membership's listener."""
        changes = self._membership.apply_statements(message.statements)
        for why in changes.rejected[:REJECTIONS_SHOWN]:
            logger.warning("refused a statement from a peer: %s", why)
        if len(changes.rejected) > STATEMENTS_REFUSED_MAX:
            # A node of another version may send a few that are not understood here; nobody honest sends thousands.
            raise LinkError(f"it sent {len(changes.rejected)} statements that were refused here")
        for tie in changes.ties:
            logger.warning("%s", tie)
        answer = self._membership.answer_to(message)
        if answer is not None:
            await self._tell(peer, answer)

    async def spread(self, changes: Changes) -> None:
        """Pass on what is new to all linked peers. Who is not linked hears it when it links."""
        if changes.accepted:
            news = self._membership.news(changes)
            await asyncio.gather(*(self._tell(peer, news) for peer in self._links.peers()))

    async def _tell(self, peer: NodeId, message: Statements) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                await self._links.send(peer, message)
        except LinkError:
            pass  # gone: both say again what they have when they link again
        except TimeoutError:
            self._links.disconnect(peer, "it takes nothing: it is told again on a new link")
