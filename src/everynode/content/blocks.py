"""Lists of the blocks of large contents, kept for as long as somebody is likely to ask for them."""

from __future__ import annotations

from collections import OrderedDict

from everynode.limits import BLOCK_LISTS_BYTES
from everynode.model.ids import Digest


class BlockLists:
    """Recent block lists by digest, bounded in bytes; the least recently used go first. For one thread at a time."""

    def __init__(self, bytes_max: int = BLOCK_LISTS_BYTES) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._lists: OrderedDict[Digest, bytes] = OrderedDict()

    def get(self, digest: Digest) -> bytes | None:
        blocks = self._lists.get(digest)
        if blocks is not None:
            self._lists.move_to_end(digest)
        return blocks

    def add(self, digest: Digest, blocks: bytes) -> None:
        """Keep a list that was verified against its digest."""
        if digest in self._lists:
            self._lists.move_to_end(digest)
            return
        self._lists[digest] = blocks
        self._bytes += len(blocks)
        while self._bytes > self._bytes_max and len(self._lists) > 1:
            self._bytes -= len(self._lists.popitem(last=False)[1])
