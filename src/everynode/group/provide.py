"""Provide: answer peers' requests for contents and block lists, from tree or vault, one after another per peer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from everynode.content.blocks import BlockLists
from everynode.content.source import (
    beginning_block_list,
    block_list,
    read_beginning,
    read_range,
    read_vaulted,
    vaulted_block_list,
)
from everynode.group.answerer import Answerer
from everynode.group.ground import Ground
from everynode.group.lost import shown_here
from everynode.limits import BLOCK_BYTES, FETCH_PENDING_MAX
from everynode.model.entry import Stamp
from everynode.model.ids import DIGEST_BYTES, Digest
from everynode.model.message import Blocks, BlocksRequest, FetchPart, FetchRequest, Gone
from everynode.model.path import RelPath
from everynode.tree.digest import hash_blocks
from everynode.tree.leaf import stamp_of

LOCATIONS_MAX = 64
"""Contents whose place is remembered between the requests for their parts."""


class Location(msgspec.Struct, frozen=True):
    """Where a content lies: at a path of the tree, or under a name in the vault."""

    path: RelPath | None
    name: bytes
    stamp: Stamp
    size: int


Question = BlocksRequest | FetchRequest


class Provider(Answerer[Question]):
    pending_max = FETCH_PENDING_MAX

    def __init__(self, ground: Ground, lists: BlockLists, doubt: Callable[[RelPath], None]) -> None:
        """`doubt(path)`: the file there is not what the index says; it wants looking at."""
        super().__init__(ground)
        self._lists = lists
        self._doubt = doubt
        self._locations: OrderedDict[tuple[RelPath, Digest], Location] = OrderedDict()

    async def answer(self, request: Question) -> Blocks | FetchPart | Gone:
        answer: Blocks | FetchPart | None = None
        for _ in range(2):  # a remembered place may be out of date once
            location = await self._locate(request.path, request.digest)
            if location is None:
                break
            if isinstance(request, FetchRequest) and request.offset + request.length > location.size:
                break  # nobody honest asks beyond the end, and it is no reason to doubt the file
            if isinstance(request, BlocksRequest):
                answer = await self._blocks(request, location)
            else:
                data = await self._ground.clock.offload(self._read, location, request.offset, request.length)
                answer = None if data is None else FetchPart(request.group, request.request, data)
            if answer is not None:
                break
            answer = await self._beginning(request, location)
            if answer is not None:
                break
            self._locations.pop((request.path, request.digest), None)
            if location.path is not None:
                self._doubt(location.path)
        if answer is None:
            shown = await self._ground.clock.offload_index(shown_here, self._ground.index, request.path)
            return Gone(request.group, request.request, shown)
        return answer

    async def _locate(self, path: RelPath, digest: Digest) -> Location | None:
        key = (path, digest)
        location = self._locations.get(key)
        if location is None:
            location = await self._ground.clock.offload_index(self._find, path, digest)
            if location is None:
                return None
            self._locations[key] = location
            while len(self._locations) > LOCATIONS_MAX:
                self._locations.popitem(last=False)
        return location

    def _find(self, path: RelPath, digest: Digest) -> Location | None:
        """Runs on the index thread."""
        index = self._ground.index
        record = index.get(path)
        placed = record.placed if record is not None else None
        if placed is not None and placed.entry is not None and placed.stamp and placed.entry.digest == digest:
            # One without ctime may be of a file that somebody holds open, of which there may be a copy.
            copied = None if placed.stamp.ctime_ns else self._in_vault(digest)
            return copied or Location(path, b"", placed.stamp, placed.entry.size)
        return self._in_vault(digest)

    def _in_vault(self, digest: Digest) -> Location | None:
        """Runs on the index thread."""
        index = self._ground.index
        root = self._ground.setup.root
        for kept in index.vault.of_digest(digest):
            try:
                stamp = stamp_of(root.kernel.stat_at(root.vault_fd, kept.name))
            except OSError:
                continue
            return Location(None, kept.name, stamp, kept.entry.size)
        return None

    def _read(self, location: Location, offset: int, length: int) -> bytes | None:
        """Runs on a thread."""
        root = self._ground.setup.root
        if location.path is not None:
            return read_range(root, location.path, location.stamp, offset, length)
        return read_vaulted(root, location.name, location.stamp, offset, length)

    async def _blocks(self, request: BlocksRequest, location: Location) -> Blocks | None:
        blocks = self._lists.get(request.digest)
        if blocks is None:
            blocks = await self._ground.clock.offload(self._hash, location, request.digest)
            if blocks is None:
                return None
            if location.size > BLOCK_BYTES:
                self._lists.add(request.digest, blocks)
        return Blocks(request.group, request.request, blocks)

    async def _beginning(self, request: Question, location: Location) -> Blocks | FetchPart | None:
        """Of a file that was added to since: what it was then, if it begins with that still; each block is compared."""
        clock, root = self._ground.clock, self._ground.setup.root
        path, inode, digest, size = location.path, location.stamp.inode, request.digest, location.size
        if path is None:
            return None
        blocks = self._lists.get(digest)
        if blocks is None:
            blocks = await clock.offload(beginning_block_list, root, path, inode, digest, size)
            if blocks is None:
                return None
            if size > BLOCK_BYTES:
                self._lists.add(digest, blocks)
        if isinstance(request, BlocksRequest):
            return Blocks(request.group, request.request, blocks)
        offset, length = request.offset, request.length
        if offset % BLOCK_BYTES or (length % BLOCK_BYTES and offset + length != size) or offset + length > size:
            return None
        data = await clock.offload(read_beginning, root, path, inode, offset, length)
        first = offset // BLOCK_BYTES * DIGEST_BYTES
        if data is None or not blocks.startswith(hash_blocks(data), first):
            return None
        return FetchPart(request.group, request.request, data)

    def _hash(self, location: Location, digest: Digest) -> bytes | None:
        """Runs on a thread."""
        root = self._ground.setup.root
        if location.path is not None:
            return block_list(root, location.path, location.stamp, digest, location.size)
        return vaulted_block_list(root, location.name, location.stamp, digest, location.size)
