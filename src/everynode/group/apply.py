"""Apply: bring this disk to what the index shows: choose, gather, place, commit; over and over until nothing is left.

A pass goes through all unplaced records by arrival. What it knew when it began is placed when it ends complete.
Paths that cannot be placed are tried again later, alone; they are exceptions to what is placed and hold up nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from everynode.core.plan import Target
from everynode.core.vectors import dominates, join
from everynode.core.versions import dots_of, same_content_before
from everynode.group.announce import Announcer
from everynode.group.brake import Brake
from everynode.group.capture import Capture
from everynode.group.choose import Choice, Later, choose, wanted_contents
from everynode.group.commit import Committed, commit
from everynode.group.fetch import Fetcher
from everynode.group.first import first_of
from everynode.group.gather import Gatherer, Job
from everynode.group.ground import Ground
from everynode.group.heads import HeadsKeeper
from everynode.group.lost import give_up
from everynode.group.placing import Done, place_batch
from everynode.limits import ORPHAN_WAIT, PASS_REST, PASS_REST_MAX, PLACE_WAIT, RETRY_MAX, WRITER_RETRY_MAX
from everynode.model.entry import Entry, Kind
from everynode.model.ids import Digest, Dot, NodeId, node_of
from everynode.model.path import RelPath, ancestors_of
from everynode.model.problem import Trouble
from everynode.model.record import Record, Vector
from everynode.tree.outcome import NotPut, Refusal
from everynode.tree.place import MovedFrom

FIRST_PAUSE = 0.05
"""A path that changed under our hands is looked at and tried again soon."""


@dataclass(slots=True)
class Retry:
    """A path that could not be placed."""

    due: float
    pause: float
    since: float
    dots: tuple[Dot, ...]
    """A record with other dots is tried at once."""
    waiting: bool = False
    """For a content: whoever fetches that knows when to go on."""


class Applier:
    def __init__(
        self,
        ground: Ground,
        capture: Capture,
        announcer: Announcer,
        fetcher: Fetcher,
        heads: HeadsKeeper,
        brake: Brake,
    ) -> None:
        self._ground = ground
        self._capture = capture
        self._announcer = announcer
        self._fetcher = fetcher
        self._heads = heads
        self._gatherer = Gatherer(ground, fetcher)
        self._brake = brake
        self._retries: dict[RelPath, Retry] = {}
        self._orphans: dict[RelPath, float] = {}
        self._bare: set[RelPath] = set()
        """Directories that were made without a record of them."""
        self._met: set[RelPath] = set()
        """Troubled paths that the pass under way has met as work."""
        self._wanted: set[Digest] = set()
        """Contents that it could not place yet."""
        self._lost: set[RelPath] = set()
        """Paths that are to get what peers said that they show. Once, until it is placed: their word may be false."""

    async def run(self) -> None:
        """Place, for ever. Before the first scan nothing is placed into a root that held something."""
        ground = self._ground
        if not ground.root_was_empty:
            await ground.scanned.wait()
        ground.work.set()
        while True:
            await self._wait_for_work()
            ground.work.clear()
            ground.placing_now = True
            began = ground.clock.monotonic()
            try:
                await self._pass()
            finally:
                ground.placing_now = False
            self._scan_moved()
            self._look_at_bare()
            await self._brake.decide()
            ground.progressed()
            if self._wanted:
                # Each content that arrives wants a pass, and each pass goes through all that wait for theirs: with
                # thousands of them nothing else would be done, and nothing heard that makes them needless.
                took = ground.clock.monotonic() - began
                await ground.clock.sleep(min(PASS_REST_MAX, PASS_REST * took))

    def _scan_moved(self) -> None:
        """What was placed into a directory after somebody renamed it, and after that was looked at."""
        for directory in sorted(self._ground.moved):
            self._capture.scan_wanted.put_nowait(directory)
        self._ground.moved.clear()

    def _look_at_bare(self) -> None:
        """Who knows all that others know, and still no record of a directory that he made, has forgotten its deletion.

        A member that was away too long has kept it by what is in it. It becomes a directory like any other: else each
        node would show another time of it. Where more is still to be heard, its true record may be on its way.
        """
        ground = self._ground
        told = ground.heads.values()  # nobody: who has the record may be away
        if self._bare and told and all(dominates(ground.index.heard, heads.heard) for heads in told):
            for path in sorted(self._bare):
                self._capture.look_soon(path)
            self._bare.clear()

    async def _wait_for_work(self) -> None:
        """Until something new is to be placed, or something old is due again."""
        ground = self._ground
        dues = [retry.due for retry in self._retries.values() if not retry.waiting]
        dues += [since + ORPHAN_WAIT for since in self._orphans.values()]
        dues += [due for due in (self._fetcher.next_try(), self._brake.due()) if due is not None]
        if not dues:
            await ground.work.wait()
            return
        pause = max(0.01, min(dues) - ground.clock.monotonic())
        await first_of(ground.clock.sleep(pause), ground.work.wait())

    async def _pass(self) -> None:
        ground = self._ground
        goal: Vector | None = None
        complete = True
        after = 0
        # Only of paths that are remembered for some trouble: a first copy has millions, and troubles are few.
        troubled = {*self._retries, *self._heads.stuck, *ground.problems.paths_placing()}
        self._met = set()
        self._wanted = set()
        while True:
            choice = await ground.clock.offload_index(
                choose,
                ground.index,
                ground.setup.policy.conflict,
                ground.excluder,
                after,
                frozenset(ground.claims),
                self._later(),
                self._brake.returning,
            )
            if goal is None:
                goal = choice.knowledge
            if choice.last:
                break
            after = choice.cursor
            if choice.removals:
                await self._brake.sift(choice)
            complete = await self._batch(choice) and complete
            self._scan_moved()
            if choice.in_hand:
                complete = False
                self._wake_when_free(choice.in_hand)
            retries = [(path, self._retries.get(path)) for path in choice.not_due]  # None: placed above another
            complete = complete and all(retry is None or self._is_named(path, retry.dots) for path, retry in retries)
            if troubled:
                seen = (*choice.not_due, *choice.in_hand, *(target.record.path for target in choice.targets))
                self._met.update(troubled.intersection(seen))
        self._drop_settled(self._met)
        await self._fetcher.keep_only(self._wanted)
        if complete and not self._fetcher.underway():
            self._claim_placed(goal)

    def _wake_when_free(self, paths: list[RelPath]) -> None:
        """Come back for paths that capture had: when it lets go, or now if it has let go meanwhile."""
        if all(path in self._ground.claims for path in paths):
            self._ground.missed = True
        else:
            self._ground.work.set()

    def _drop_settled(self, met: set[RelPath]) -> None:
        """What a whole pass did not meet is no work any more: capture, or a newer change, has settled it."""
        for path in [path for path in self._retries if path not in met]:
            del self._retries[path]
            self._ground.problems.placed(path)
        stuck = [path for path in self._heads.stuck if path not in met]
        for path in stuck:
            del self._heads.stuck[path]
            self._ground.problems.placed(path)
        if stuck:
            self._ground.news.set()
        self._ground.problems.settled(met)

    def _claim_placed(self, goal: Vector) -> None:
        ground = self._ground
        joined = join(ground.placed, goal)
        if joined != ground.placed:
            ground.placed = joined
            ground.news.set()
        ground.progressed()

    def _later(self) -> Later:
        now = self._ground.clock.monotonic()
        return {path: retry.dots for path, retry in self._retries.items() if retry.due > now}

    async def _batch(self, choice: Choice) -> bool:
        """Place what can be placed of a choice; False: something of it is still to be done and no problem."""
        ground = self._ground
        jobs, waiting = self._gatherer.gather(choice)
        in_vain = [target for target in waiting if self._in_vain(target)]
        pending = len(waiting) - len(in_vain)
        jobs += [job for target in in_vain if (job := self._gatherer.instead(target, choice)) is not None]
        await self._give_up_lost(waiting)
        for target in waiting:
            self._wanted.update(Digest(entry.digest) for entry in contents_of(target))
            if self._retries and (retry := self._retries.get(target.record.path)) is not None:
                retry.waiting = True
        jobs, held = self._hold_orphans(jobs, choice)
        claimed = _paths_of_all(jobs)
        taken = claimed & ground.claims
        if taken:
            self._keep_for_later(job for job in jobs if taken & set(_paths_of(job)))
            jobs = [job for job in jobs if not taken & set(_paths_of(job))]
            claimed = _paths_of_all(jobs)
        if not jobs and not choice.excluded:
            if taken:
                ground.work.set()
            return not (pending or held or taken)
        ground.claims.update(claimed)
        try:
            now_ns = ground.clock.now_ns()
            orphans = self._given_up(jobs, choice)
            done = await ground.clock.offload(
                place_batch, ground.setup.root, ground.setup.notices.ignore, jobs, orphans, choice, now_ns
            )
            committed = await ground.clock.offload_index(
                commit, ground.index, done, choice.excluded, now_ns, choice.times_set
            )
        finally:
            ground.claims.difference_update(claimed)
        self._bare.update(orphans)
        self._after(done, committed)
        if taken:
            ground.work.set()
        tried = {one.job.target.record.path: one.job.target.record for one in done} if committed.failed else {}
        failed = not all(self._is_named(outcome.path, dots_of(tried[outcome.path])) for outcome in committed.failed)
        return not (pending or held or taken or failed or committed.adopted)

    async def _give_up_lost(self, waiting: list[Target]) -> None:
        """Contents that a power cut took, or a removed member had alone: all members, asked one by one, deny them."""
        ground = self._ground
        others = ground.setup.members() - {ground.setup.node}
        for target in waiting:
            record = target.record
            if record.placed is not None and record.placed.damaged:
                continue  # what a dying disk shows is no version, even when nobody has a better one
            for lost in record.version.siblings:
                if not lost.live or not self._is_ours_to_give_up(node_of(lost.origin)):
                    continue
                answers = self._fetcher.denied_by(Digest(lost.entry.digest), record.path)
                if not others <= answers.keys():
                    continue
                shown = [v for v in answers.values() if v is not None] if record.path not in self._lost else []
                changed = await ground.clock.offload_index(
                    give_up, ground.index, record.path, lost.dot, shown, ground.setup.policy.conflict
                )
                if changed is not None:
                    if shown:
                        self._lost.add(record.path)
                    self._announcer.announce([changed])
                    self._not_stuck(record.path)
                    ground.problems.placed(record.path)
                    ground.work.set()

    def _is_ours_to_give_up(self, author: NodeId) -> bool:
        """A node says it of its own changes in all epochs, the first of the members of those who are none any more."""
        setup = self._ground.setup
        members = setup.members()
        return author == setup.node or (author not in members and setup.node == min(members))

    def _in_vain(self, target: Target) -> bool:
        """Its content was asked for and nobody has it: an exception to what is placed."""
        if not any(self._fetcher.has_failed(Digest(entry.digest)) for entry in contents_of(target)):
            return False
        self._stuck(target.record, dots_of(target.record))
        return True

    def _hold_orphans(self, jobs: list[Job], choice: Choice) -> tuple[list[Job], int]:
        """A path whose directory is not described yet waits for that, but not for ever."""
        if not choice.orphans:
            self._orphans.clear()
            return jobs, 0
        now = self._ground.clock.monotonic()
        for path in choice.orphans:
            self._orphans.setdefault(path, now)
        young = {path for path in choice.orphans if now < self._orphans[path] + ORPHAN_WAIT}
        free = [job for job in jobs if not _has_ancestor(job.target.record.path, young)]
        self._keep_for_later(job for job in jobs if _has_ancestor(job.target.record.path, young))
        return free, len(jobs) - len(free)

    def _keep_for_later(self, jobs: Iterable[Job]) -> None:
        """Not placed now, and what was fetched for them is wanted again."""
        for job in jobs:
            self._wanted.update(Digest(entry.digest) for entry in contents_of(job.target))

    def _given_up(self, jobs: list[Job], choice: Choice) -> list[RelPath]:
        if not choice.orphans:
            return []
        needed = {path for job in jobs for path in ancestors_of(job.target.record.path)}
        return sorted(needed & choice.orphans)

    # What follows from a batch.

    def _after(self, done: list[Done], committed: Committed) -> None:
        ground = self._ground
        problems = ground.problems
        self._brake.placed(done)
        if self._lost:
            self._lost.difference_update(committed.placed)
        if self._retries or self._heads.stuck or problems.paths_placing():
            for path in committed.placed:
                self._retries.pop(path, None)
                self._not_stuck(path)
                problems.placed(path)
        for path, denied in committed.denied:
            problems.placing(path, Trouble.ATTRIBUTE, f"cannot be set here: {denied}; run as root", blocks=False)
        if committed.failed:
            jobs = {one.job.target.record.path: one.job for one in done}
            for outcome in committed.failed:
                self._failed(outcome, jobs[outcome.path])
        self._announcer.announce(committed.adopted)
        if committed.adopted or committed.rechecked:
            ground.work.set()
        for written in committed.written:
            self._capture.vault_notices.put_nowait(written)
        if self._fetcher.holds_any():
            for one in done:
                for source in (one.job.source, *(loser.source for loser in one.job.losers)):
                    self._fetcher.used(source)
        ground.inline.drop(one.job.target.entry.digest for one in done if one.job.target.entry is not None)
        ground.setup.journal.add_many(ground.setup.name, committed.happened)
        ground.progressed()

    def _failed(self, outcome: NotPut, job: Job) -> None:
        record = job.target.record
        now = self._ground.clock.monotonic()
        dots = dots_of(record)
        old = self._retries.get(outcome.path)
        if old is not None and old.dots != dots:
            old = None
        most = WRITER_RETRY_MAX if outcome.refusal is Refusal.WRITER else RETRY_MAX
        pause = min(most, old.pause * 2) if old is not None else FIRST_PAUSE
        since = old.since if old is not None else now
        self._retries[outcome.path] = Retry(now + pause, pause, since, dots)
        self._met.add(outcome.path)
        if type(job.source) is MovedFrom:
            self._gatherer.immovable.add(job.source.path)
        if outcome.refusal is Refusal.CHANGED:
            self._capture.look_soon(outcome.path, forced=True)
            there = record.placed.entry if record.placed is not None else None
            if there is not None and there.kind == Kind.DIRECTORY:
                self._capture.scan_wanted.put_nowait(outcome.path)
        patience = PLACE_WAIT if outcome.refusal is not Refusal.ERROR else 0.0
        if now - since >= patience:
            self._ground.problems.placing(outcome.path, outcome.trouble, outcome.detail)
            self._stuck(record, dots)

    def _stuck(self, record: Record, dots: tuple[Dot, ...]) -> None:
        self._met.add(record.path)
        # Who waits for a content must not be told that it is here because somebody changed its mode meanwhile.
        named = (*dots, *same_content_before(record))
        if self._heads.stuck.get(record.path) != named:
            self._heads.stuck[record.path] = named
            self._ground.news.set()

    def _not_stuck(self, path: RelPath) -> None:
        """Peers must hear that it is no exception any more, also when the vector told them nothing new."""
        if self._heads.stuck.pop(path, None) is not None:
            self._ground.news.set()

    def _is_named(self, path: RelPath, dots: tuple[Dot, ...]) -> bool:
        """Whether these very changes are told as exceptions to what is placed, not only others of their path."""
        return path in self._heads.stuck and self._heads.stuck[path][: len(dots)] == dots

    def retry_all(self) -> None:
        """Something changed that may solve any problem."""
        now = self._ground.clock.monotonic()
        for retry in self._retries.values():
            retry.due = now
        self._ground.work.set()


def contents_of(target: Target) -> list[Entry]:
    """Everything whose bytes placing may need."""
    return [*wanted_contents(target), *([target.entry] if target.entry is not None else [])]


def _paths_of(job: Job) -> tuple[RelPath, ...]:
    path = job.target.record.path
    return (path, job.source.path) if type(job.source) is MovedFrom else (path,)


def _paths_of_all(jobs: list[Job]) -> set[RelPath]:
    paths = {job.target.record.path for job in jobs}
    paths.update(job.source.path for job in jobs if type(job.source) is MovedFrom)
    return paths


def _has_ancestor(path: RelPath, directories: set[RelPath]) -> bool:
    return bool(directories) and any(above in directories for above in ancestors_of(path))
