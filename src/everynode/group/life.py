"""The life of a group on this node: start, run, stop; and what the API asks of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from everynode.config.exclude import Excluder
from everynode.content.blocks import BlockLists
from everynode.core.brake import without
from everynode.errors import EverynodeError, GroupHalted, PathError
from everynode.group.announce import Announcer
from everynode.group.apply import Applier
from everynode.group.brake import Brake
from everynode.group.capture import Capture
from everynode.group.catchup import CatchUp
from everynode.group.discard import Discarded, Discarder
from everynode.group.fetch import Fetcher
from everynode.group.follow import Follower
from everynode.group.ground import Ground, GroupSetup, NoLinks
from everynode.group.heads import HeadsKeeper
from everynode.group.history import History
from everynode.group.keeper import Keeper
from everynode.group.notify import Notifier
from everynode.group.peers import Peers
from everynode.group.provide import Provider
from everynode.group.receive import Receiver
from everynode.group.requests import Requests
from everynode.group.resume import resume
from everynode.group.rules import adapt_to_rules
from everynode.group.scan import Scanner
from everynode.group.scrub import Scrubber
from everynode.group.seams import Links
from everynode.group.serve import RunServer
from everynode.group.testify import Testifier
from everynode.group.tidy import tidy
from everynode.group.verify import Verifier
from everynode.group.waiting import Waiter
from everynode.group.written import Written
from everynode.limits import DAMAGED_SHOWN_MAX, START_GRACE
from everynode.model.hold import Held
from everynode.model.ids import NodeId, Origin, node_of
from everynode.model.message import GroupMessage
from everynode.model.path import ROOT, RelPath
from everynode.report.audit import Happening
from everynode.report.status import (
    ConflictView,
    Decision,
    GenerationView,
    GroupStatus,
    VerifyResult,
    WaitResult,
)
from everynode.tree.walk import is_empty


class Group:
    """Made, then `run` once, then `stop`. All methods belong to the event loop's thread. Implements `LinkEvents`."""

    def __init__(self, setup: GroupSetup) -> None:
        ground = self.ground = Ground(setup, NoLinks(), Excluder(setup.policy.exclude))
        lists = BlockLists()
        self._announcer = Announcer(ground)
        self.capture = Capture(ground, self._announcer)
        self._follower = Follower(ground, self.capture)
        self._notifier = Notifier(ground, self.capture)
        self._scanner = Scanner(ground, self.capture, self._announcer)
        self._scrubber = Scrubber(ground, self.capture)
        self._catch_up = CatchUp(ground)
        self._receiver = Receiver(ground, self._catch_up, self._announcer)
        self._heads = HeadsKeeper(ground)
        requests = Requests(ground)
        self._fetcher = Fetcher(ground, requests, lists)
        self._brake = Brake(ground)
        self._discarder = Discarder(ground, self._announcer)
        self._applier = Applier(ground, self.capture, self._announcer, self._fetcher, self._heads, self._brake)
        self._keeper = Keeper(ground, self._brake)
        self._written = Written(ground, self._announcer)
        self._history = History(ground, self._announcer)
        self._waiter = Waiter(ground, self.capture, self._scanner, self._keeper, self._heads)
        provider = Provider(ground, lists, lambda path: self.capture.look_soon(path, forced=True))
        server = RunServer(ground, self._announcer)
        self._peers = Peers(
            ground,
            self._announcer,
            self._receiver,
            self._catch_up,
            self._heads,
            self._fetcher,
            requests,
            provider,
            server,
            self._applier,
            self._brake,
            Testifier(ground, self._scrubber),
        )
        self._verifier = Verifier(ground, requests, self._scrubber)

    async def run(self, links: Links) -> None:
        """Live until cancelled. Raises GroupHalted for a root, StoreError for an index that cannot be trusted."""
        self.ground.links = links
        try:
            await self._start()
            async with asyncio.TaskGroup() as group:
                for task in (
                    self._notifier.run(),
                    self.capture.run(),
                    self._follower.run(),
                    self._scanner.run(),
                    self._scanner.run_again(),
                    self._receiver.run(),
                    self._catch_up.run(),
                    self._applier.run(),
                    self._brake.run(),
                    self._heads.run(),
                    self._fetcher.run(),
                    self._keeper.run_sync(),
                    self._keeper.run_forget(),
                    self._keeper.run_prune(),
                    self._written.run(self.capture.vault_notices),
                    self._peers.run(),
                    self._begin_changes(),
                    self._scrubber.run(),
                    self._scrubber.run_doubts(),
                    self._scrubber.run_repairs(),
                    self._scrubber.run_passes(),
                ):
                    group.create_task(task)
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors
        finally:
            self.ground.setup.notices.close()

    async def _start(self) -> None:
        """Notices first, so that nothing slips between the scan and them."""
        ground = self.ground
        setup = ground.setup
        setup.notices.start()
        await ground.clock.offload(setup.root.check)
        ground.root_was_empty = await ground.clock.offload(is_empty, setup.root)
        await ground.clock.offload_index(self._open_index)
        await self._brake.begin()
        await tidy(ground)
        await resume(ground)

    async def _begin_changes(self) -> None:
        """An index that was restored from a backup must not number changes anew before anybody can object."""
        ground = self.ground
        setup = ground.setup
        if not (setup.founder or setup.members() <= {setup.node}):
            try:
                async with asyncio.timeout(START_GRACE):
                    await ground.met.wait()
            except TimeoutError:
                pass  # nobody is there; what users change meanwhile must not be lost
        if ground.index.state.may_change:
            ground.may_change.set()

    def _open_index(self) -> None:
        """What the index says of its last life. Runs on the index thread."""
        ground = self.ground
        index = ground.index
        setup = ground.setup
        alone = setup.members() <= {setup.node}
        with index.transaction():
            state = index.change_state()
            if state.boot and state.boot != setup.boot and not alone:
                suspect = state.suspect_above
                state.suspect_above = state.synced if suspect < 0 else min(suspect, state.synced)
            ground.suspect_above = state.suspect_above if state.suspect_above >= 0 else None
            state.boot = setup.boot
            if index.fresh and (setup.founder or alone):
                state.may_change = True
            adapt_to_rules(index, ground.excluder)
        ground.damaged_before = index.damaged(0, DAMAGED_SHOWN_MAX)

    async def stop(self) -> None:
        """After `run` has ended: note that nothing was lost."""
        ground = self.ground
        index = ground.index
        try:
            await self._keeper.sync()
        except OSError:
            return  # then the next start must treat it as a power cut

        def note() -> None:
            with index.transaction():
                index.change_state().boot = ""

        await ground.clock.offload_index(note)

    # What the links say.

    async def opened(self, peer: NodeId) -> None:
        await self._peers.opened(peer)

    async def received(self, peer: NodeId, message: GroupMessage) -> None:
        await self._peers.received(peer, message)

    async def closed(self, peer: NodeId) -> None:
        await self._peers.closed(peer)

    # What the API asks.

    def status(self) -> GroupStatus:
        return self._waiter.status(self._catch_up, self._peers)

    async def wait(self, path: RelPath | None, nodes: int | None, timeout: float) -> WaitResult:
        return await self._waiter.wait(path, nodes, timeout)

    async def hint(self, paths: Sequence[RelPath], renames: Sequence[tuple[RelPath, RelPath]]) -> None:
        """Applications say what they changed: paths, and (old, new) pairs. Looked at once, believed never."""
        for path in paths:
            self.capture.look_soon(path, forced=True)
            self.capture.scan_wanted.put_nowait(path)
        for old, new in renames:
            await self._notifier.hint_rename(old, new)

    async def rescan(self) -> None:
        self.capture.scan_wanted.put_nowait(ROOT)
        self._applier.retry_all()

    async def release(self, by: str | None) -> Decision:
        """Removals that are held, here or on a peer, may be placed on all nodes. `by`: only those of this node."""
        held = self._held(by)
        spans = {one.span for one in held}
        await self._brake.release(spans, "somebody released it here")
        return self._decision(held)

    async def discard(self, by: str | None) -> Decision:
        """What they removed comes back everywhere. Raises PathError while this node may not make changes."""
        ground = self.ground
        if not ground.may_change.is_set():
            raise PathError("this node has met no member since the group began here; wait until it has")
        held = self._held(by)
        discarded = await asyncio.shield(self._discarder.discard({one.span for one in held}))
        if held:
            detail = f"{discarded.files:,} files that peers had removed or emptied are brought back, everywhere"
            setup = ground.setup
            setup.journal.add(setup.name, ROOT, Happening.DISCARDED, node=setup.node, detail=detail)
        return self._decision(held, discarded)

    def _held(self, by: str | None) -> list[Held]:
        """What is held here, and what peers say that they hold. Raises EverynodeError for a node nobody knows."""
        ground = self.ground
        told = [Held(hold.span, hold.files) for hold in ground.holds]
        told += [held for heads in ground.heads.values() for held in heads.holds]
        released = ground.index.state.released
        left = [(without(held.span, released), held.files) for held in told]
        open_still = [Held(span, files) for span, files in left if span is not None]
        name = ground.setup.node_name
        found = [held for held in open_still if by in (None, name(node_of(held.span.origin)))]
        members = sorted(map(name, ground.setup.members()))
        if not found and by is not None and by not in members:
            raise EverynodeError(f"there is no node {by!r}, and nothing is held of it; there are {', '.join(members)}")
        return found

    def _decision(self, held: list[Held], discarded: Discarded | None = None) -> Decision:
        name = self.ground.setup.node_name
        most: dict[Origin, int] = {}
        for one in held:
            most[one.span.origin] = max(most.get(one.span.origin, 0), one.files)
        files = sum(most.values()) if discarded is None else discarded.files
        return Decision(files=files, by=tuple(sorted({name(node_of(origin)) for origin in most})))

    async def verify(self, pass_number: int | None, timeout: float) -> VerifyResult:
        return await self._verifier.verify(pass_number, timeout)

    async def conflicts(self) -> list[ConflictView]:
        return await self._history.conflicts()

    async def conflict_content(self, path: RelPath, dot: str) -> int:
        return await self._history.conflict_content(path, dot)

    async def resolve(self, path: RelPath, keep: str) -> None:
        await self._history.resolve(path, keep)

    async def generations(self, path: RelPath) -> list[GenerationView]:
        return await self._history.generations(path)

    async def generation_content(self, path: RelPath, name: str) -> int:
        return await self._history.generation_content(path, name)

    async def restore(self, path: RelPath, name: str | None) -> None:
        await self._history.restore(path, name)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to report: a halt before all others, else the first."""
    flat: list[BaseException] = []

    def collect(error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                collect(inner)
        else:
            flat.append(error)

    collect(errors)
    return next((error for error in flat if isinstance(error, GroupHalted)), flat[0])
