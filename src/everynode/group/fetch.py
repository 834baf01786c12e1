"""Fetch: get contents that did not come with their records, from any peer that has them, in the background.

Small files by one request; large ones block by block from several peers, taking what local files have first; what was
fetched survives a restart. A peer that does not have a content, or sends another one, is passed over for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from everynode.content.assemble import Assembly
from everynode.content.blocks import BlockLists
from everynode.content.source import open_local
from everynode.core.vectors import covers
from everynode.errors import LinkError, PathError
from everynode.group.ground import Ground
from everynode.group.requests import Answer, Requests
from everynode.limits import (
    FETCH_BYTES_MAX,
    FETCH_FILES,
    FETCH_PENDING_MAX,
    FETCH_SMALL_FILES,
    FETCH_WINDOW,
    RETRY_MAX,
    RETRY_MIN,
    SPACE_LOOK,
)
from everynode.model.entry import Entry
from everynode.model.ids import Digest, Dot, NodeId, node_of
from everynode.model.message import Blocks, BlocksRequest, FetchPart, FetchRequest, Gone
from everynode.model.path import RelPath
from everynode.model.problem import Trouble
from everynode.model.record import Version
from everynode.tree.digest import digest_bytes
from everynode.tree.outcome import Staged
from everynode.tree.vault import remove, spare_bytes

TRIED_MAX = 64
"""Paths that may each ask for one content before it is waited: of a lost one there may be a thousand copies."""
NOBODY = "no linked node has its content (any more); it comes when one that has it is linked"


@dataclass(slots=True)
class _Failed:
    """A content that nobody had: when it is asked for again, after which pause, and at which paths it was."""

    due: float
    pause: float
    tried: set[RelPath]

    def waits(self, path: RelPath, now: float) -> bool:
        """Who was asked for it at one path may have it at another: there it was moved, say, when it was asked for."""
        return now < self.due and (path in self.tried or len(self.tried) >= TRIED_MAX)


class Fetcher:
    def __init__(self, ground: Ground, requests: Requests, lists: BlockLists) -> None:
        self._ground = ground
        self._requests = requests
        self._lists = lists
        self._tasks: dict[Digest, asyncio.Task[None]] = {}
        self._done: dict[Digest, bytes | Staged] = {}
        self._failed: dict[Digest, _Failed] = {}
        self._denied: dict[Digest, dict[RelPath, dict[NodeId, Version | None]]] = {}
        """Peers that, asked for a content at a path, said that they do not have it, and what they show there."""
        self._small = asyncio.Semaphore(FETCH_SMALL_FILES)
        self._large = asyncio.Semaphore(FETCH_FILES)
        self._group: asyncio.TaskGroup | None = None
        self._spare = -1
        """Bytes that the disk can take, as far as is known..."""
        self._spare_until = 0.0
        """...until then."""

    async def run(self) -> None:
        """The tasks of all fetches live in here."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    def ready(self, path: RelPath, entry: Entry, dot: Dot) -> bytes | Staged | None:
        """The content if it has been fetched; None: it is on its way, or is tried again later."""
        digest = Digest(entry.digest)
        done = self._done.get(digest)
        if done is not None:
            return done
        failed = self._failed.get(digest)
        wait = failed is not None and failed.waits(path, self._ground.clock.monotonic())
        room = len(self._tasks) < FETCH_PENDING_MAX
        if self._group is not None and digest not in self._tasks and room and not wait:
            self._tasks[digest] = self._group.create_task(self._fetch(path, entry, dot))
        return None

    def has_failed(self, digest: Digest) -> bool:
        """It was asked for in vain and is not being asked for now."""
        return digest in self._failed and digest not in self._tasks

    def denied_by(self, digest: Digest, path: RelPath) -> Mapping[NodeId, Version | None]:
        """Who, asked for it there since the last hope, does not have it, and what he shows; silence is no answer."""
        return self._denied.get(digest, {}).get(path, {})

    def underway(self) -> int:
        return len(self._tasks)

    def hope(self) -> None:
        """A peer was linked or has placed more: what failed may be had now."""
        self._denied.clear()
        if self._failed:
            self._failed.clear()
            self._ground.work.set()

    def next_try(self) -> float | None:
        """When the next failed fetch may be tried again (monotonic)."""
        return min((failed.due for failed in self._failed.values()), default=None)

    def holds_any(self) -> bool:
        return bool(self._done)

    def used(self, source: object) -> None:
        """A staged content was placed, or removed: there is no second one."""
        for digest, done in list(self._done.items()):
            if done is source:
                del self._done[digest]

    async def keep_only(self, wanted: set[Digest]) -> None:
        """Drop what was fetched, or failed to be, and no record wants any more."""
        for digest in [digest for digest in self._failed.keys() | self._denied.keys() if digest not in wanted]:
            self._failed.pop(digest, None)
            self._denied.pop(digest, None)
        unused = [digest for digest in self._done if digest not in wanted]
        names = [done.name for digest in unused if isinstance(done := self._done.pop(digest), Staged)]
        if names:
            await self._ground.clock.offload(remove, self._ground.setup.root, names)

    async def _fetch(self, path: RelPath, entry: Entry, dot: Dot) -> None:
        digest = Digest(entry.digest)
        problems = self._ground.problems
        try:
            found = await self._get(path, entry, dot)
        except PathError as error:
            problems.placing(path, Trouble.PLACING, str(error))
            found = None
        finally:
            self._tasks.pop(digest, None)
        if found is None:
            self._note_failed(path, digest)
        else:
            self._done[digest] = found
            self._failed.pop(digest, None)
            self._denied.pop(digest, None)
        self._ground.work.set()

    def _note_failed(self, path: RelPath, digest: Digest) -> None:
        now = self._ground.clock.monotonic()
        failed = self._failed.get(digest)
        if failed is None:
            self._failed[digest] = _Failed(now + RETRY_MIN, RETRY_MIN, {path})
        elif path in failed.tried or now >= failed.due:
            failed.pause = min(RETRY_MAX, 2 * failed.pause)
            failed.due = now + failed.pause
        failed = self._failed[digest]
        if len(failed.tried) < TRIED_MAX:
            failed.tried.add(path)

    async def _get(self, path: RelPath, entry: Entry, dot: Dot) -> bytes | Staged | None:
        ground = self._ground
        if not await self._has_space(entry.size):
            detail = f"{entry.size} bytes would leave less than the reserve free on this disk; free space on it"
            ground.problems.placing(path, Trouble.NO_SPACE, detail)
            return None
        if entry.size <= FETCH_BYTES_MAX:
            async with self._small:
                found: bytes | Staged | None = await self._whole(path, entry, dot)
        else:
            async with self._large:
                found = await self._in_blocks(path, entry, dot)
        if found is None:
            ground.problems.placing(path, Trouble.NO_CONTENT, NOBODY)
        return found

    async def _has_space(self, size: int) -> bool:
        """Asked of the disk now and then only: a hop to a thread costs more than to fetch a small file."""
        ground = self._ground
        now = ground.clock.monotonic()
        if now >= self._spare_until or self._spare < size:
            self._spare = await ground.clock.offload(spare_bytes, ground.setup.root)
            self._spare_until = now + SPACE_LOOK
        if self._spare < size:
            return False
        self._spare -= size
        return True

    def _candidates(self, dot: Dot) -> list[NodeId]:
        """Linked peers, the author first, then who says it has placed the change, then the others."""
        heads = self._ground.heads

        def order(peer: NodeId) -> tuple[bool, bool, NodeId]:
            told = heads.get(peer)
            return (peer != node_of(dot[0]), told is None or not covers(told.placed, dot), peer)

        return sorted(self._ground.links.peers(), key=order)

    async def _whole(self, path: RelPath, entry: Entry, dot: Dot) -> bytes | None:
        for peer in self._candidates(dot):
            data = await self._range(peer, path, entry, 0, entry.size)
            if data is not None and len(data) == entry.size and digest_bytes(data) == entry.digest:
                return data
        return None

    async def _range(self, peer: NodeId, path: RelPath, entry: Entry, offset: int, length: int) -> bytes | None:
        def request(number: int) -> FetchRequest:
            return FetchRequest(self._ground.setup.group, number, path, Digest(entry.digest), offset, length)

        answer = await self._ask(peer, path, Digest(entry.digest), request)
        return answer.data if isinstance(answer, FetchPart) else None

    async def _ask(
        self, peer: NodeId, path: RelPath, digest: Digest, request: Callable[[int], BlocksRequest | FetchRequest]
    ) -> Answer | None:
        answer = await self._requests.ask(peer, request)
        if isinstance(answer, Gone):
            self._denied.setdefault(digest, {}).setdefault(path, {})[peer] = answer.shown
        return answer

    async def _in_blocks(self, path: RelPath, entry: Entry, dot: Dot) -> Staged | None:
        clock = self._ground.clock
        candidates = self._candidates(dot)
        assembly = await self._open(path, entry, candidates)
        if assembly is None:
            return None
        try:
            await clock.offload(self._take_local, assembly, path)
            while not assembly.is_complete and candidates:
                candidates = await self._round(assembly, path, entry, candidates)
            return await clock.offload(assembly.finish) if assembly.is_complete else None
        finally:
            assembly.suspend()

    async def _open(self, path: RelPath, entry: Entry, candidates: list[NodeId]) -> Assembly | None:
        """Begin with a block list from any candidate; the digest proves it."""
        digest = Digest(entry.digest)
        clock = self._ground.clock
        root = self._ground.setup.root
        known = self._lists.get(digest)
        if known is not None:
            return await clock.offload(Assembly.open, root, path, entry, known)

        def request(number: int) -> BlocksRequest:
            return BlocksRequest(self._ground.setup.group, number, path, digest)

        for peer in candidates:
            answer = await self._ask(peer, path, digest, request)
            if not isinstance(answer, Blocks):
                continue
            try:
                assembly = await clock.offload(Assembly.open, root, path, entry, answer.blocks)
            except LinkError:
                continue  # not the list of that content; the next one is asked
            self._lists.add(digest, answer.blocks)
            return assembly
        return None

    def _take_local(self, assembly: Assembly, path: RelPath) -> None:
        """Blocks that an earlier try, or the file that stands at the path, has already. Runs on a thread."""
        root = self._ground.setup.root
        assembly.resume()
        source = open_local(root, path)
        if source >= 0:
            try:
                assembly.reuse_local(source)
            finally:
                root.kernel.close(source)

    async def _round(self, assembly: Assembly, path: RelPath, entry: Entry, candidates: list[NodeId]) -> list[NodeId]:
        """Fetch what is missing from all candidates side by side; those that proved to have it remain."""
        ranges = assembly.missing()
        ranges.reverse()
        lock = asyncio.Lock()
        good: set[NodeId] = set()
        bad: set[NodeId] = set()

        refused: list[PathError] = []

        async def work(peer: NodeId) -> None:
            while ranges and peer not in bad and not refused:
                offset, length = ranges.pop()
                data = await self._range(peer, path, entry, offset, length)
                try:
                    added = data is not None and await self._add(assembly, lock, offset, data, length)
                except PathError as error:
                    refused.append(error)  # this disk, not the peer: carried out of the task group by hand
                    return
                if not added:
                    bad.add(peer)
                    ranges.append((offset, length))
                else:
                    good.add(peer)

        workers = max(1, FETCH_WINDOW // len(candidates))
        async with asyncio.TaskGroup() as group:
            for peer in candidates:
                for _ in range(workers):
                    group.create_task(work(peer))
        if refused:
            raise refused[0]
        return [peer for peer in candidates if peer in good and peer not in bad]

    async def _add(self, assembly: Assembly, lock: asyncio.Lock, offset: int, data: bytes, length: int) -> bool:
        if len(data) != length:
            return False
        async with lock:
            try:
                await self._ground.clock.offload(assembly.add, offset, data)
            except LinkError:
                return False
        return True
