"""Requests under way to peers, and the answers that are matched with them by number."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from everynode.errors import LinkError
from everynode.group.ground import Ground
from everynode.limits import FETCH_TIMEOUT
from everynode.model.ids import NodeId
from everynode.model.message import (
    Blocks,
    BlocksRequest,
    Entries,
    EntriesRequest,
    FetchPart,
    FetchRequest,
    Gone,
    ReadRequest,
    ReadState,
    TreeParts,
    TreeRequest,
)

Answer = Blocks | FetchPart | Gone | TreeParts | Entries | ReadState
Question = BlocksRequest | FetchRequest | TreeRequest | EntriesRequest | ReadRequest


class Requests:
    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._numbers = itertools.count(1)
        self._waiting: dict[NodeId, dict[int, asyncio.Future[Answer]]] = {}

    async def ask(self, peer: NodeId, build: Callable[[int], Question]) -> Answer | None:
        """The peer's answer; None when its link closes or it stays silent."""
        number = next(self._numbers)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(peer, {})
        waiting[number] = answer
        try:
            await self._ground.links.send(peer, build(number))
            async with asyncio.timeout(FETCH_TIMEOUT):
                return await answer
        except (LinkError, TimeoutError):
            return None
        finally:
            waiting.pop(number, None)

    def answered(self, peer: NodeId, answer: Answer) -> None:
        """An answer nobody waits for (any more) is dropped."""
        waiting = self._waiting.get(peer, {}).get(answer.request)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def closed(self, peer: NodeId) -> None:
        for waiting in self._waiting.pop(peer, {}).values():
            if not waiting.done():
                waiting.set_exception(LinkError("the link closed"))
