"""Capture: from paths that may have changed to this node's changes: settle, then look, then judge, then announce."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from everynode.group.announce import Announcer
from everynode.group.first import first_of
from everynode.group.ground import Ground
from everynode.group.judge import Judgement, Looked, is_suspect, judge
from everynode.group.looks import SCANNED, Look, Looks
from everynode.limits import (
    BUSY_LOOK_INTERVAL_MS,
    BUSY_LOOKS_MAX,
    NAMES_SCAN_INTERVAL,
    NEW_NAMES_SCAN_INTERVAL,
    RETRY_MAX,
    RETRY_MIN,
    SCAN_BATCH,
)
from everynode.model.entry import Kind, Stamp
from everynode.model.path import ROOT, RelPath, parent_of
from everynode.model.problem import Trouble
from everynode.model.record import Record, Version
from everynode.tree.observe import observe
from everynode.tree.outcome import Absent, Busy, Observation, Present, Unlookable

NOTICES_LOOK = 0.001
"""Seconds between looks whether all notices were read."""

Read = tuple[list[tuple[Record | None, Record | None]], int, int]
"""For each path its record and that of its donor; and the index's counts of placings and changes then."""


class Capture:
    """Every path that may have changed is looked at until the look is sure; nothing is dropped on the way."""

    def __init__(self, ground: Ground, announcer: Announcer) -> None:
        self._ground = ground
        self._announcer = announcer
        self._looks = Looks(ground.clock)
        self._in_hand = 0
        self._names_due: float | None = None
        """When all is to be scanned because a file with several names was written to."""
        self._new_names_due: float | None = None
        """When all is to be scanned because a file got another name: a change through it came too soon to be told."""
        self._names_scanned = float("-inf")
        self.scan_wanted: asyncio.Queue[RelPath] = asyncio.Queue()
        """Directories whose whole content must be looked at."""
        self.vault_notices: asyncio.Queue[tuple[bytes, Version | None]] = asyncio.Queue()
        """Names in the vault that somebody wrote to, and what was placed at the path when he had it, if it is known."""
        self.busy: dict[RelPath, Busy] = {}
        """What the last looks found in a writer's hands; taken out by who follows such files."""
        self.busy_news = asyncio.Event()
        self.being_told = False
        """Notices that were read are being turned into looks."""
        self.followed: set[RelPath] = set()
        """Of those that are still in a writer's hands, the ones of which something was announced all the same."""

    async def hear_out(self) -> None:
        """Wait until everything that was noticed before the call has been asked to be looked at.

        However busy the loop is: a while that is long enough on one machine is not on another.
        """
        notices = self._ground.setup.notices
        before = notices.emptied
        while self.being_told or (notices.waiting() and notices.emptied == before):
            await self._ground.clock.sleep(NOTICES_LOOK)
        if notices.method == "none":
            self.scan_wanted.put_nowait(ROOT)

    # What wants looking at.

    def look_soon(
        self,
        path: RelPath,
        *,
        delay: float = 0.0,
        forced: bool = False,
        pid: int = 0,
        donor: RelPath | None = None,
        noticed: bool = False,
        renamed: bool = False,
        deep: bool = False,
        scan_after: RelPath | None = None,
    ) -> None:
        """Queue a path. Asking again makes it sooner and more thorough, never later or less.

        The root itself is never looked at: its attributes are each machine's own, and no peer takes a record of it.
        """
        if path == ROOT:
            return
        self._looks.ask(
            path,
            delay=delay,
            forced=forced,
            pid=pid,
            donor=donor,
            noticed=noticed,
            renamed=renamed,
            deep=deep,
            scan_after=scan_after,
        )

    def pending(self) -> int:
        """How many looks are to come. That a followed file will be looked at when it is closed does not count."""
        followed = sum(path in self._looks for path in self.followed)
        return len(self._looks) - followed + self._in_hand + (self._names_due is not None)

    def is_busy(self, path: RelPath) -> bool:
        """Whether the last look found it in a writer's hands, or changing, or could not be made."""
        look = self._looks.get(path)
        return look is not None and look.attempts > 0

    # Looking.

    async def run(self) -> None:
        """Look at what is due, for ever."""
        await self._ground.may_change.wait()
        while True:
            batch, next_due = self._looks.take_due(self._ground.claims, SCAN_BATCH)
            names_due = min(filter(None, (self._names_due, self._new_names_due)), default=None)
            if names_due is not None:
                now = self._ground.clock.monotonic()
                if names_due <= now:
                    self._names_due, self._new_names_due, self._names_scanned = None, None, now
                    self.scan_wanted.put_nowait(ROOT)
                else:
                    next_due = min(names_due, next_due or names_due)
            if batch:
                await self.look(batch)
                continue
            self._ground.progressed()
            self._looks.wake.clear()
            if next_due is None:
                await self._looks.wake.wait()
            else:
                pause = max(0.0, next_due - self._ground.clock.monotonic())
                await first_of(self._looks.wake.wait(), self._ground.clock.sleep(pause))

    async def look(
        self, looks: dict[RelPath, Look], walked: Mapping[RelPath, Stamp] | None = None, known: Read | None = None
    ) -> None:
        """Look at paths that nobody has claimed, judge and announce.

        `walked`: stamps of regular files as a walk has just seen them; `known`: the records of all paths, just read.
        """
        ground = self._ground
        await ground.may_change.wait()
        self._in_hand += len(looks)
        wanted = looks
        if ground.excluder:
            wanted = {path: look for path, look in looks.items() if not ground.excluder.excluded(path, False)}
            self._look_around(looks.keys() - wanted.keys(), looks)
        ground.claims.update(wanted)
        try:
            looked = await self._see(wanted, walked or {}, known if wanted is looks else None)
            if ground.excluder:
                left_out = {look.path for look in looked if self._excluded_directory(look)}
                looked = [look for look in looked if look.path not in left_out]
                self._look_around(left_out, looks)
            judgement = await ground.clock.offload_index(judge, ground.index, looked, ground.suspect_above)
        finally:
            ground.claims.difference_update(wanted)
            self._in_hand -= len(looks)
            if ground.missed:
                ground.missed = False
                ground.work.set()
        self._announcer.announce(judgement.announcements)
        self._follow(wanted, looked, judgement)

    def _excluded_directory(self, look: Looked) -> bool:
        """Some patterns speak of directories alone, and that it is one shows only when it is seen."""
        is_directory = type(look.seen) is Present and look.seen.entry.kind == Kind.DIRECTORY
        return is_directory and self._ground.excluder.excluded(look.path, True)

    def _look_around(self, left_out: Iterable[RelPath], looks: Mapping[RelPath, Look]) -> None:
        """What is excluded comes and goes as well, and moves the time of its directory."""
        settle = self._ground.setup.policy.settle_ms / 1000
        for path in sorted(left_out):
            parent = parent_of(path)
            if looks[path] is not SCANNED and parent != ROOT and not self._ground.excluder.excluded(parent, True):
                self.look_soon(parent, delay=settle)

    async def _see(
        self, looks: dict[RelPath, Look], walked: Mapping[RelPath, Stamp], known: Read | None
    ) -> list[Looked]:
        ground = self._ground
        if known is None:
            known = await ground.clock.offload_index(self._read, looks)
        records, placings, changes = known
        items: list[tuple[RelPath, Stamp | None]] = []
        for (path, look), (record, donor) in zip(looks.items(), records, strict=True):
            if record is None and donor is None:
                items.append((path, None))
                continue
            placed = donor.placed if donor is not None else record.placed if record is not None else None
            unread = look.forced or is_suspect(ground.index, record, ground.suspect_above)
            items.append((path, None if placed is None or unread else placed.stamp))
        seen = await ground.clock.offload(self._observe, items, walked)
        return [
            Looked(path, record, observation, donor, placings, changes, looks[path].noticed)
            for path, (record, donor), observation in zip(looks, records, seen, strict=True)
        ]

    def _read(self, looks: dict[RelPath, Look]) -> Read:
        """Records of the paths and of their donors. Runs on the index thread."""
        get = self._ground.index.get
        records = [(get(path), get(look.donor) if look.donor is not None else None) for path, look in looks.items()]
        index = self._ground.index
        return records, index.placings, index.changes

    def _observe(
        self, items: Sequence[tuple[RelPath, Stamp | None]], walked: Mapping[RelPath, Stamp]
    ) -> list[Observation]:
        """Runs on a thread. Raises GroupHalted: absence in a root that is gone is no deletion."""
        setup = self._ground.setup
        seen = observe(setup.root, items, contents=True, now_ns=setup.clock.now_ns(), walked=walked)
        if any(type(observation) is Absent for observation in seen):
            setup.root.check()
        return seen

    def read_record(self, path: RelPath) -> Read:
        """For `take`. Runs on the index thread."""
        return self._read({path: SCANNED})

    async def take(self, path: RelPath, known: Read, seen: Present) -> bool:
        """Judge what was read of a file that is open for writing, its record having been read before that.

        False: somebody has the path in hand, or had it since.
        """
        ground = self._ground
        if path in ground.claims:
            return False
        ground.claims.add(path)
        self._in_hand += 1
        try:
            ((record, _),), placings, changes = known
            looked = [Looked(path, record, seen, None, placings, changes, held_open=True)]
            judgement = await ground.clock.offload_index(judge, ground.index, looked, ground.suspect_above)
        finally:
            ground.claims.discard(path)
            self._in_hand -= 1
            if ground.missed:
                ground.missed = False
                ground.work.set()
        self._announcer.announce(judgement.announcements)
        if judgement.again:
            return False
        pending = self._looks.get(path) or SCANNED
        self._follow({path: Look(0.0, pid=pending.pid, noticed=True)}, looked, judgement)
        return True

    # What follows from a look.

    def _follow(self, looks: dict[RelPath, Look], looked: list[Looked], judgement: Judgement) -> None:
        ground = self._ground
        for path in judgement.again:
            self._looks.at_once_again(path, looks[path])
        for path in judgement.doubtful:
            ground.doubts.put_nowait(path)
        touched: set[RelPath] = set()
        several: list[Looked] = []
        troubled = ground.problems.any_looking
        for seen in looked:
            look = looks[seen.path]
            if look is SCANNED and type(seen.seen) is Present and not troubled:
                continue  # nearly all of a scan
            if look.scan_after is not None:
                self.scan_wanted.put_nowait(look.scan_after)
            if _touched_its_directory(look, seen):
                touched.add(parent_of(seen.path))
            match seen.seen:
                case Present(entry=entry):
                    if seen.seen.links > 1:
                        several.append(seen)
                    if look.deep and entry.kind == Kind.DIRECTORY:
                        self.scan_wanted.put_nowait(seen.path)
                    ground.problems.looked(seen.path)
                case Busy() as busy:
                    self._busy(seen.path, look, busy)
                case Unlookable(trouble, detail):
                    self._unlookable(seen.path, look, trouble, detail)
                case _:
                    ground.problems.looked(seen.path)
        settle = ground.setup.policy.settle_ms / 1000
        for parent in sorted((judgement.parents | touched) - {ROOT}):
            self.look_soon(parent, delay=settle)
        if several:
            happened = {path for path, _ in judgement.happened}
            changed = [seen for seen in several if seen.path in happened]
            if any(looks[seen.path].forced or _changed_in_place(seen) for seen in changed):
                self._scan_for_names()
            elif changed and self._new_names_due is None:
                self._new_names_due = ground.clock.monotonic() + NEW_NAMES_SCAN_INTERVAL
                self._looks.wake.set()
        for directory in judgement.directories_gone:
            self.scan_wanted.put_nowait(directory)
        if ground.setup.notices.method != "fanotify":
            for directory in judgement.directories_new:
                self.scan_wanted.put_nowait(directory)
        if judgement.happened:
            setup = ground.setup
            node = setup.node
            ground.note_change(judgement.happened[-1][0], node)
            setup.journal.add_many(
                setup.name, [(path, what, node, _pid_of(looks, path), "") for path, what in judgement.happened]
            )
        if judgement.work or judgement.announcements:
            # Nothing may be left to place; but that a change of ours stands here is claimed by a pass of apply.
            ground.work.set()

    def _scan_for_names(self) -> None:
        """Who changes a file changes it under all its names, and the kernel tells of one: a scan finds the others.

        A log with two names must not cause scan on scan.
        """
        if self._names_due is None:
            now = self._ground.clock.monotonic()
            self._names_due = max(now, self._names_scanned + NAMES_SCAN_INTERVAL)
            self._looks.wake.set()

    def _busy(self, path: RelPath, look: Look, busy: Busy) -> None:
        """A writer has it open: its close gives a notice; until then it is looked at now and then, and followed."""
        attempts = look.attempts + 1
        delay = BUSY_LOOK_INTERVAL_MS / 1000
        if attempts >= BUSY_LOOKS_MAX:
            delay = min(RETRY_MAX, delay * 2 ** min(12, attempts - BUSY_LOOKS_MAX))
        self._looks.later_again(path, look, delay)
        self.busy[path] = busy
        self.busy_news.set()

    def _unlookable(self, path: RelPath, look: Look, trouble: Trouble, detail: str) -> None:
        self._ground.problems.looking(path, trouble, detail, blocks=trouble is not Trouble.UNSUPPORTED)
        if trouble is not Trouble.UNSUPPORTED:
            attempts = look.attempts + 1
            self._looks.later_again(path, look, min(RETRY_MAX, RETRY_MIN * 2 ** min(12, attempts)))

    def waiting_for(self, below: RelPath) -> RelPath | None:
        """A path at or below `below` that is not captured yet."""
        return next((path for path, _ in self._looks.below(below)), None)

    async def flush(self, below: RelPath, *, busy: bool) -> None:
        """Wait until everything that was noticed at or below a path before the call has been judged.

        Paths that cannot be looked at (a writer has them, they are unreadable) are waited for only with `busy`; each
        is tried once more all the same: who had it at the last look may have closed it before the call. (The kernel
        tells that it was closed a moment before the writer counts as gone: a look on that notice may come too soon.)
        """
        for _ in range(2):  # a scan finds looks, and a look may want a scan
            await self.scan_wanted.join()
            await self._judged(below, busy=busy)
        self._looks.once_more(below)
        await self._judged(below, busy=busy)

    async def settle(self) -> None:
        """Wait until every look is done that can be; for the scanner, which must not wait for itself."""
        await self._judged(ROOT, busy=False)

    async def _judged(self, below: RelPath, *, busy: bool) -> None:
        while (
            self._in_hand
            or (below == ROOT and self._names_due is not None)
            or any(busy or look.waited_for or not look.attempts for _, look in self._looks.below(below))
        ):
            await self._ground.wait_progress()


def _changed_in_place(look: Looked) -> bool:
    """Whether the inode that was placed has more names than this one: what was changed was changed there, too."""
    if type(look.seen) is not Present or look.seen.links < 2 or look.seen.entry.kind != Kind.FILE:
        return False
    placed = look.record.placed if look.record is not None else None
    return placed is not None and placed.stamp is not None and placed.stamp.inode == look.seen.stamp.inode


def _touched_its_directory(look: Look, looked: Looked) -> bool:
    """Whether a name came or went since the record was made; one that is gone may have been there in between.

    That what stands there has the inode of what was placed proves nothing: the kernel gives the number of what was
    deleted to the next that is made.
    """
    if look.renamed:
        return True
    seen = looked.seen
    if type(seen) is Present:
        placed = looked.record.placed if looked.record is not None else None
        if placed is None or placed.entry is None or placed.stamp is None:
            return True
        return placed.stamp.inode != seen.stamp.inode or placed.entry.kind != seen.entry.kind
    if type(seen) is Absent:
        return look.forced or look.noticed
    return type(seen) is Unlookable and seen.trouble is Trouble.UNSUPPORTED


def _pid_of(looks: dict[RelPath, Look], path: RelPath) -> int:
    """A path that went with its directory had no look of its own."""
    look = looks.get(path)
    return look.pid if look is not None else 0
