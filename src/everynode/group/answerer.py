"""Answering what peers ask: one question of each peer after another, and so many waiting at the most."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import ClassVar, Generic, TypeVar

from everynode.errors import LinkError
from everynode.group.ground import Ground
from everynode.model.ids import NodeId
from everynode.model.message import GroupMessage

Q = TypeVar("Q")


class Answerer(ABC, Generic[Q]):
    """Who asks more than it may is not answered: its requests time out."""

    pending_max: ClassVar[int]
    """Questions of one peer that wait for their turn."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._queues: dict[NodeId, deque[Q]] = {}
        self._wake: dict[NodeId, asyncio.Event] = {}

    @abstractmethod
    async def answer(self, question: Q) -> GroupMessage:
        """What the peer gets for it."""

    def request(self, peer: NodeId, question: Q) -> None:
        queue = self._queues.setdefault(peer, deque())
        if len(queue) < self.pending_max:
            queue.append(question)
            self._wake.setdefault(peer, asyncio.Event()).set()

    def close(self, peer: NodeId) -> None:
        self._queues.pop(peer, None)

    async def run_peer(self, peer: NodeId) -> None:
        """Answer one peer until its link closes."""
        wake = self._wake.setdefault(peer, asyncio.Event())
        while True:
            queue = self._queues.get(peer)
            if not queue:
                wake.clear()
                await wake.wait()
                continue
            try:
                await self._ground.links.send(peer, await self.answer(queue.popleft()))
            except LinkError:
                return
