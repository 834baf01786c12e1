"""Waiting: answer `wait` and `status` from what the parts of a group know."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from everynode.core.versions import dots_of
from everynode.group.capture import Capture
from everynode.group.catchup import CatchUp
from everynode.group.ground import Ground
from everynode.group.heads import HeadsKeeper
from everynode.group.keeper import Keeper
from everynode.group.scan import Scanner
from everynode.limits import PROBLEMS_SHOWN_MAX, SCAN_BATCH
from everynode.model.entry import Kind
from everynode.model.hold import Hold
from everynode.model.ids import Dot, NodeId, node_of, show_dot, show_node
from everynode.model.path import ROOT, RelPath, show_path
from everynode.model.record import Vector
from everynode.report.status import (
    GroupPeer,
    GroupStatus,
    HoldView,
    LastChange,
    NotCarried,
    ScanProgress,
    WaitResult,
    path_fields,
    problem_view,
)

if TYPE_CHECKING:
    from everynode.group.peers import Peers


class Waiter:
    def __init__(self, ground: Ground, capture: Capture, scanner: Scanner, keeper: Keeper, heads: HeadsKeeper) -> None:
        self._ground = ground
        self._capture = capture
        self._scanner = scanner
        self._keeper = keeper
        self._heads = heads

    async def wait(self, path: RelPath | None, nodes: int | None, timeout: float) -> WaitResult:
        """Until what `path` (None: everything) shows now is on stable storage on `nodes` nodes (None: all members).

        What was written here before the call is captured and synced first; while a writer has `path` open that is not
        possible, and it is not done.
        """
        ground = self._ground
        members = ground.setup.members()
        wanted = len(members) if nodes is None else nodes
        dots: set[Dot] | Vector | None = None
        try:
            async with asyncio.timeout(timeout):
                await ground.may_change.wait()
                await ground.scanned.wait()
                if path is not None:
                    self._capture.look_soon(path)
                # What was written before the call is in the kernel's queue by now.
                await self._capture.hear_out()
                # Of one path it must be sure; of everything, a log that is always open must not keep it for ever.
                await self._capture.flush(path or ROOT, busy=path is not None)
                await self._keeper.sync()
                dots = await ground.clock.offload_index(self._dots, path)
                while (
                    dots and wanted <= len(ground.setup.members()) and not await self._has_reached(path, dots, wanted)
                ):
                    await ground.wait_progress()
        except TimeoutError:
            pass
        if dots is None:
            why = "it is being written to, or was not looked at yet"
            if not ground.may_change.is_set():
                why = "no member was met yet since the group began"
            return WaitResult(done=False, reached=0, wanted=wanted, reason=why)
        if path is not None and not dots:
            why = f"nothing of {show_path(path)} is replicated: it does not exist, or is excluded"
            return WaitResult(done=False, reached=0, wanted=wanted, reason=why)
        reached = self._heads.reached(dots)
        names = tuple(sorted(ground.setup.node_name(node) for node in reached.missing))
        done = len(reached.nodes) >= wanted
        blocking = ground.problems.blocking() if path is None else 0
        if done and blocking:
            why = f"{blocking} problems keep paths from being in sync: see `everynode problems`"
            return WaitResult(done=False, reached=len(reached.nodes), wanted=wanted, missing=names, reason=why)
        reason = "" if done else self._why_not(wanted, members)
        return WaitResult(done=done, reached=len(reached.nodes), wanted=wanted, missing=names, reason=reason)

    def _why_not(self, wanted: int, members: frozenset[NodeId]) -> str:
        if wanted > len(members):
            return f"the group has only {len(members)} members"
        ground = self._ground
        if ground.holds or any(heads.holds for heads in ground.heads.values()):
            return "time is up; removals are held until somebody decides: see `everynode status`"
        if ground.problems.blocking():
            return "time is up; there are paths in trouble here: see `everynode problems`"
        return "time is up; `everynode status` says what is missing"

    def _dots(self, path: RelPath | None) -> set[Dot] | Vector:
        """What must have arrived: some changes, or all up to a vector. Runs on the index thread."""
        index = self._ground.index
        if path is None:
            return dict(index.knowledge)
        record = index.get(path)
        excluder = self._ground.excluder
        directory = record is not None and any(s.entry.kind == Kind.DIRECTORY for s in record.version.siblings)
        if excluder and excluder.excluded(path, directory):
            return set()
        dots = set(dots_of(record)) if record is not None else set()
        after = b""
        while records := index.below(path, after, SCAN_BATCH):
            dots.update(dot for record in records for dot in dots_of(record))
            after = records[-1].path
        return dots

    async def _has_reached(self, path: RelPath | None, dots: set[Dot] | Vector, wanted: int) -> bool:
        """Adds to `dots` what took the place of one of them and is to be waited for as well."""
        while len(self._heads.reached(dots).nodes) >= wanted:
            if path is None or isinstance(dots, dict):
                return True
            later = await self._ground.clock.offload_index(self._later_attributes, path, dots)
            if later <= dots:
                return True
            dots |= later
        return False

    def _later_attributes(self, path: RelPath, dots: set[Dot]) -> set[Dot]:
        """Changes of attributes alone that took the place of what is waited for: a node without them may lack its
        content, though it knows that the dot is no longer to be placed. Runs on the index thread.
        """
        record = self._ground.index.get(path)
        if record is None or dots.issuperset(dots_of(record)):
            return set()
        return {sibling.dot for sibling in record.version.siblings if sibling.live and not sibling.content}

    def status(self, catch_up: CatchUp, peers: Peers) -> GroupStatus:
        """From memory alone."""
        ground = self._ground
        setup = ground.setup
        counters = ground.index.state.counters
        progress = self._scanner.progress
        all_problems = ground.problems.all()
        blocking = ground.problems.blocking()
        views = tuple(self._peer(peer, peers) for peer in sorted(setup.members() - {setup.node}))
        reason = "" if ground.may_change.is_set() else "waits for a first contact with a member"
        if (other := catch_up.comparing()) is not None:
            reason = f"compares everything with {setup.node_name(other)}: they were apart for long"
        quiet = ground.scanned.is_set() and not self._capture.pending() and not counters.unplaced
        agreed = not catch_up.behind() and all(not view.behind for view in views if view.open)
        return GroupStatus(
            name=setup.name,
            id=setup.group.hex(),
            root=show_path(setup.root.path),
            state="live" if ground.scanned.is_set() else "scanning",
            reason=reason,
            watch=setup.notices.method,
            watch_detail=getattr(setup.notices, "detail", ""),
            scan=ScanProgress(progress.seen, progress.expected) if progress is not None else None,
            records=counters.records,
            files=counters.files,
            directories=counters.directories,
            bytes=counters.bytes,
            backlog=counters.unplaced,
            peers=views,
            problems=tuple(problem_view(problem) for problem in all_problems[:PROBLEMS_SHOWN_MAX]),
            problems_total=len(all_problems),
            problems_blocking=blocking,
            holds=tuple(self._hold(hold) for hold in ground.holds[:PROBLEMS_SHOWN_MAX]),
            conflicts=counters.conflicts,
            not_carried=NotCarried(counters.hard_links, counters.xattrs, ground.problems.unsupported()),
            last_change=self._last_change(),
            vault_bytes=self._keeper.vault_bytes,
            vault_files=self._keeper.vault_files,
            in_sync=quiet and agreed and not blocking,
        )

    def _hold(self, hold: Hold) -> HoldView:
        span = hold.span
        return HoldView(
            **path_fields(hold.place),
            node=self._ground.setup.node_name(node_of(span.origin)),
            files=hold.files,
            first=show_dot((span.origin, span.first)),
            last=show_dot((span.origin, span.last)),
            since=hold.since,
        )

    def _last_change(self) -> LastChange | None:
        last = self._ground.last_change
        if last is None:
            return None
        path, author, when = last
        return LastChange(**path_fields(path), node=self._ground.setup.node_name(author), when=when)

    def _peer(self, peer: NodeId, peers: Peers) -> GroupPeer:
        heads = self._ground.heads.get(peer)
        return GroupPeer(
            node=show_node(peer),
            name=self._ground.setup.node_name(peer),
            open=peer in peers.open_peers(),
            behind=self._heads.behind(peer),
            backlog=heads.backlog if heads is not None else None,
            evicted=peer in self._keeper.silence.evicted,
            held=sum(held.files for held in heads.holds) if heads is not None else 0,
        )
