"""Verify: prove that the trees of all members are equal, or name each path that differs, and in what.

Every member hashes the same ranges of paths, a few thousand rows each. Ranges that differ are taken apart into small
ones, and of those the entries are compared one by one. So two large trees with one difference exchange some kilobytes
for a million files. Nothing is believed that is under way: what differs because somebody has not heard or placed
something yet is compared again, and in the end said to be still syncing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from blake3 import blake3

from everynode.group.ground import Ground
from everynode.group.requests import Requests
from everynode.group.scrub import Scrubber
from everynode.group.testify import hash_parts
from everynode.group.tree_hash import Parts, hash_of_knowledge, list_entries
from everynode.limits import (
    TREE_DIFFERENCES_MAX,
    TREE_ENTRIES,
    TREE_PART_ROWS,
    TREE_PARTS_MAX,
    VERIFY_AGAIN,
    VERIFY_PATIENCE,
)
from everynode.model.entry import FILE, SYMLINK, Entry
from everynode.model.ids import NodeId
from everynode.model.message import Entries, EntriesRequest, ReadRequest, ReadState, TreeEntry, TreeParts, TreeRequest
from everynode.model.path import RelPath
from everynode.report.status import ReadProgress, VerifyDifference, VerifyNode, VerifyResult, path_fields

Range = tuple[bytes, bytes]
"""low <= path < high; an empty `high` is the end."""


class Silent(Exception):
    """A peer did not answer."""


@dataclass(slots=True)
class Compared:
    """What is known of one peer's tree."""

    ranges: list[Range] = field(default_factory=list)
    """Small ranges that differ."""
    differences: dict[RelPath, tuple[TreeEntry | None, TreeEntry | None, bool]] = field(default_factory=dict)
    """Path -> mine, theirs, whether that may only be under way."""
    cut: bool = False
    """More ranges differ than are looked into."""
    more: bool = False
    """There are more differences than are named."""
    settled: bool = False
    """Both know and have placed the same."""
    silent: bool = False


class Verifier:
    def __init__(self, ground: Ground, requests: Requests, scrubber: Scrubber) -> None:
        self._ground = ground
        self._requests = requests
        self._scrubber = scrubber

    async def verify(self, pass_number: int | None, timeout: float) -> VerifyResult:
        """Compare with every member that is linked; with `pass_number` all read their contents again first.

        When the reading is not done in time the answer says how far it is; asked again with the same number it goes on.
        """
        ground = self._ground
        members = ground.setup.members() - {ground.setup.node}
        peers = {peer: Compared() for peer in members & set(ground.links.peers())}
        reading: dict[NodeId, ReadState] = {}
        if pass_number is not None:
            reading = await self._read_all(list(peers), pass_number, ground.clock.monotonic() + timeout)
            if not all(state.done for state in reading.values()):
                return self._result(peers, members, reading, b"", 0)
        total, count = await self._compare_all(peers)
        await asyncio.gather(*(self._compare(peer, compared) for peer, compared in peers.items()))
        return self._result(peers, members, reading, total, count)

    # Reading again.

    async def _read_all(self, peers: list[NodeId], number: int, deadline: float) -> dict[NodeId, ReadState]:
        ground = self._ground
        group = ground.setup.group
        while True:
            own = self._scrubber.want_pass(number)
            states = {ground.setup.node: ReadState(group, 0, own.seen, own.expected, own.damaged, own.done)}
            for peer in peers:
                answer = await self._requests.ask(peer, lambda request: ReadRequest(group, request, number))
                if isinstance(answer, ReadState):
                    states[peer] = answer
            if all(state.done for state in states.values()) or ground.clock.monotonic() >= deadline:
                return states
            await ground.clock.sleep(VERIFY_AGAIN)

    # Ranges.

    async def _compare_all(self, peers: dict[NodeId, Compared]) -> tuple[bytes, int]:
        """Large ranges over the whole tree; those that differ are taken apart. The hash of my tree, and its files."""
        total = blake3()
        low, count = b"", 0
        while True:
            mine = Parts([low, b""], rows=TREE_PART_ROWS, most=TREE_PARTS_MAX, total=total)
            await hash_parts(self._ground, mine)
            count += mine.counted
            await asyncio.gather(*(self._narrow(peer, one, mine, True) for peer, one in peers.items()))
            low = mine.bounds[-1]
            if not low:
                return total.digest(), count

    async def _narrow(self, peer: NodeId, compared: Compared, mine: Parts, large: bool) -> None:
        if compared.silent or compared.cut:
            return
        try:
            theirs = await self._ask_parts(peer, mine.bounds)
        except Silent:
            compared.silent = True
            return
        for number, (one, other) in enumerate(zip(mine.hashes, theirs.hashes, strict=True)):
            if one == other:
                continue
            if len(compared.ranges) > TREE_DIFFERENCES_MAX:
                compared.cut = True
                return
            low, high = mine.bounds[number], mine.bounds[number + 1]
            if not large:
                compared.ranges.append((low, high))
                continue
            parts = Parts([low, high], rows=max(1, TREE_PART_ROWS // TREE_PARTS_MAX), most=TREE_PARTS_MAX)
            await hash_parts(self._ground, parts)
            await self._narrow(peer, compared, parts, False)

    async def _ask_parts(self, peer: NodeId, bounds: list[bytes]) -> TreeParts:
        group = self._ground.setup.group
        answer = await self._requests.ask(peer, lambda request: TreeRequest(group, request, tuple(bounds)))
        if not isinstance(answer, TreeParts) or len(answer.hashes) != max(0, len(bounds) - 1):
            raise Silent
        return answer

    # Entries.

    async def _compare(self, peer: NodeId, compared: Compared) -> None:
        """Again and again until nothing is under way any more, or patience is over."""
        clock = self._ground.clock
        deadline = clock.monotonic() + VERIFY_PATIENCE
        try:
            while not compared.silent:
                compared.differences.clear()
                compared.more = compared.cut
                for low, high in compared.ranges:
                    await self._compare_range(peer, compared, low, high)
                state = await self._ask_parts(peer, [])
                ground = self._ground
                same = state.heard == hash_of_knowledge(ground.index.heard)
                compared.settled = same and not state.unplaced and not ground.index.state.counters.unplaced
                doubtful = any(pending for _, _, pending in compared.differences.values())
                if (compared.settled and not doubtful) or clock.monotonic() >= deadline:
                    return
                await clock.sleep(VERIFY_AGAIN)
        except Silent:
            compared.silent = True

    async def _compare_range(self, peer: NodeId, compared: Compared, low: bytes, high: bytes) -> None:
        ground = self._ground
        group = ground.setup.group
        at: bytes | None = low
        while at is not None and len(compared.differences) < TREE_DIFFERENCES_MAX:
            start = at

            def question(request: int, start: bytes = start) -> EntriesRequest:
                return EntriesRequest(group, request, start, high)

            answer = await self._requests.ask(peer, question)
            if not isinstance(answer, Entries) or (answer.then and answer.then <= start):
                raise Silent
            theirs = {entry.path: entry for entry in answer.entries}
            mine: dict[RelPath, TreeEntry] = {}
            then: bytes | None = start
            while then is not None:
                found, then = await ground.clock.offload_index(
                    list_entries, ground.index, then, answer.then or high, TREE_ENTRIES
                )
                mine.update((entry.path, entry) for entry in found)
                if len(mine) > TREE_DIFFERENCES_MAX + TREE_ENTRIES:
                    compared.more = True
                    break
            same = answer.heard == hash_of_knowledge(ground.index.heard)
            for path in sorted(mine.keys() | theirs.keys()):
                one, other = mine.get(path), theirs.get(path)
                if (one.entry if one else None) == (other.entry if other else None):
                    continue
                if len(compared.differences) == TREE_DIFFERENCES_MAX:
                    compared.more = True
                    return
                compared.differences[path] = (one, other, _is_pending(one, other, same))
            at = answer.then or None

    # The answer.

    def _result(
        self,
        peers: dict[NodeId, Compared],
        members: frozenset[NodeId],
        reading: dict[NodeId, ReadState],
        total: bytes,
        count: int,
    ) -> VerifyResult:
        ground = self._ground
        name = ground.setup.node_name
        own = name(ground.setup.node)
        differences: dict[RelPath, dict[str, TreeEntry | None]] = {}
        pending: dict[RelPath, bool] = {}
        for peer, compared in peers.items():
            for path, (one, other, doubtful) in compared.differences.items():
                differences.setdefault(path, {own: one})[name(peer)] = other
                pending[path] = doubtful and pending.get(path, True)
        named = [_view(path, nodes, pending[path]) for path, nodes in sorted(differences.items())]
        nodes = [VerifyNode(name=name(peer), state=_state(peers.get(peer))) for peer in sorted(members, key=name)]
        return VerifyResult(
            group=ground.setup.name,
            node=own,
            entries=count,
            hash=total.hex(),
            nodes=tuple(nodes),
            differences=tuple(named),
            more=any(compared.more or compared.cut for compared in peers.values()),
            reading={
                name(node): ReadProgress(state.seen, state.expected, state.damaged, state.done)
                for node, state in reading.items()
            },
        )


def _is_pending(one: TreeEntry | None, other: TreeEntry | None, same_knowledge: bool) -> bool:
    """Whether the difference may go away by itself: somebody has not placed it, or not heard of it yet."""
    if (one is not None and one.unplaced) or (other is not None and other.unplaced):
        return True
    same_version = (one.version if one else b"") == (other.version if other else b"")
    return not same_knowledge and not same_version


def _state(compared: Compared | None) -> Literal["equal", "differs", "syncing", "unreachable"]:
    if compared is None or compared.silent:
        return "unreachable"
    if compared.cut or compared.more or any(not pending for _, _, pending in compared.differences.values()):
        return "differs"
    return "equal" if compared.settled and not compared.differences else "syncing"


def _view(path: RelPath, nodes: dict[str, TreeEntry | None], pending: bool) -> VerifyDifference:
    entries = [entry.entry if entry is not None else None for entry in nodes.values()]
    shown = {node: _describe(entry) for node, entry in nodes.items()}
    return VerifyDifference(**path_fields(path), what=_what(entries), nodes=shown, pending=pending)


def _what(entries: list[Entry | None]) -> tuple[str, ...]:
    there = [entry for entry in entries if entry is not None]
    if len(there) < len(entries):
        return ("existence",)
    aspects: dict[str, set[object]] = {
        "kind": {entry.kind for entry in there},
        "content": {(entry.size, entry.digest) for entry in there},
        "mode": {entry.mode for entry in there},
        "owner": {(entry.uid, entry.gid) for entry in there},
        "time": {entry.mtime_ns for entry in there},
    }
    return tuple(aspect for aspect, values in aspects.items() if len(values) > 1)


def _describe(entry: TreeEntry | None) -> str:
    late = ", not placed yet" if entry is not None and entry.unplaced else ""
    if entry is None or entry.entry is None:
        return "nothing" + late
    it = entry.entry
    kind = it.kind.name.lower()
    attributes = f"{it.uid}:{it.gid} {it.mtime_ns / 1e9:.9f}"
    if it.kind is FILE:
        return f"{kind} {it.mode:04o} {attributes} {it.size} bytes {it.digest.hex()[:16]}{late}"
    target = f" -> {it.digest.decode('utf-8', 'backslashreplace')}" if it.kind is SYMLINK else ""
    return f"{kind} {it.mode:04o} {attributes}{target}{late}"
