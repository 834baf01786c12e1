"""Notices of a whole tree from one fanotify mark on its filesystem: no work per directory, no limit on them.

What the reader of the notices must know:
- They are hints. The kernel merges equal events that wait, so neither the order inside one mask nor that between
  notices is a history: RENAMED asks for a look at both `source` and `path`. Nothing is moved across a rename or an
  overflow by us.
- GONE with DIRECTORY speaks for everything below too: the notices of what was deleted inside a directory that is
  itself gone by now cannot be resolved any more and are left out.
- WRITTEN with DIRECTORY (moved in from outside) and RENAMED with DIRECTORY ask for a scan of `path`.
- Own changes are left out by pid. What another process does to a file that was swapped into the vault under its hands
  comes as VAULT, because the kernel names a file by where its directory entry is at that moment.
"""

from __future__ import annotations

import errno
import os
from functools import lru_cache

from everynode.kernel import fanotify as kernel
from everynode.kernel.handles import handle_of, path_of_fd, path_of_handle
from everynode.limits import NOTICES_PER_CALL, OWN_NOTICES_PAUSE, READS_PER_CALL, RESERVED_NAME
from everynode.model.notice import Notice, What
from everynode.model.path import RelPath, show_path
from everynode.watch.batch import Batch
from everynode.watch.places import OUTSIDE, RESERVED, VAULT, Place, Places
from everynode.watch.readable import ReadableWaiter
from everynode.watch.unavailable import MethodUnavailable

_WHY = {
    errno.EPERM: "the right CAP_SYS_ADMIN is missing (run as root)",
    errno.EOPNOTSUPP: "this filesystem (overlayfs, some network filesystems) does not support it",
    errno.EXDEV: "the root is a btrfs subvolume",
    errno.ENODEV: "this filesystem has no id of its own",
    errno.EINVAL: "the kernel is older than 5.17",
    errno.ENOSYS: "the kernel was built without it",
    errno.EMFILE: "too many fanotify groups (fs.fanotify.max_user_groups) or open files",
}


_STAGE_FOLDER = RESERVED_NAME + b"/stage"


class FanotifyNotices:
    """`group.seams.Notices` over fanotify. One task may wait in `next`; all methods belong to one thread."""

    method = "fanotify"

    def __init__(self, root: bytes, *, unlimited_queue: bool = True) -> None:
        """`root` is absolute; links in it are followed. `unlimited_queue` is for tests of the overflow."""
        self.detail = ""
        self._root_path = root
        self._unlimited = unlimited_queue
        self._pid = os.getpid()
        self._root = -1
        self._group = -1
        self._waiter = ReadableWaiter()
        self._places = Places(-1)
        self._tried = False
        self.emptied = 0

    def try_out(self) -> None:
        """Raises what `start` would raise.

        What it opened stays open for `start`: to close a fanotify group takes the kernel some 20 ms.
        """
        self.start()
        self._tried = True

    def start(self) -> None:
        """Raises MethodUnavailable where fanotify does not work, OSError where the root cannot be opened."""
        if self._tried:
            self._tried = False
            return
        assert self._group < 0, "started twice"
        self._root = os.open(self._root_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._check_proc()
            self._group = kernel.open_group(unlimited_queue=self._unlimited)
            kernel.mark_filesystem(self._group, self._root)
            self._check_handles()
            self._ignore_stage()
        except OSError as error:
            self.close()
            raise self._unavailable(_WHY.get(error.errno or 0, str(error))) from error
        except MethodUnavailable:
            self.close()
            raise
        self._places = Places(self._root)

    def close(self) -> None:
        """May be called twice. Whoever waits in `next` is cancelled."""
        self._waiter.cancel()
        self._tried = False
        for fd in (self._group, self._root):
            if fd >= 0:
                os.close(fd)
        self._group = self._root = -1

    async def next(self) -> list[Notice]:
        while True:
            notices, in_vain = self._drain()
            if notices:
                return notices
            if in_vain:
                # More of our own are on their way: a wake-up for each costs more than all else of placing a file.
                await self._waiter.pause(OWN_NOTICES_PAUSE)
            else:
                await self._waiter.wait(self._group)

    def waiting(self) -> bool:
        return self._group >= 0 and kernel.has_events(self._group)

    def ignore(self, directory: int, wanted: bool) -> None:
        kernel.ignore_in(self._group, directory, wanted)

    def _unavailable(self, why: str) -> MethodUnavailable:
        return MethodUnavailable(f"fanotify does not work for {show_path(self._root_path)}: {why}")

    def _check_proc(self) -> None:
        try:
            path_of_fd(self._root)
        except FileNotFoundError:
            raise self._unavailable("/proc is not mounted; mount it") from None

    def _ignore_stage(self) -> None:
        """Nobody but us has anything in the folder for new files."""
        try:
            stage = os.open(_STAGE_FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root)
        except OSError:
            return  # no group keeps this root (yet)
        try:
            kernel.ignore_in(self._group, stage, True)
        except OSError:
            pass  # an older kernel: our own notices are read and left out, as everywhere
        finally:
            os.close(stage)

    def _check_handles(self) -> None:
        """The mark alone is no use: handles must lead to paths."""
        try:
            found = path_of_handle(self._root, handle_of(self._root))
        except PermissionError:
            raise self._unavailable("the right CAP_DAC_READ_SEARCH is missing (run as root)") from None
        if found != path_of_fd(self._root):
            raise self._unavailable("file handles do not lead back to the root")

    def _drain(self) -> tuple[list[Notice], bool]:
        """What waits, and whether there was something, all of no concern (our own doing, or outside of the root)."""
        batch = Batch(_what)
        read = False
        for _ in range(READS_PER_CALL):
            events = kernel.read_events(self._group, self._pid)
            if events is None:
                self.emptied += 1
                break
            read = True
            self._take(events, batch)
            if len(batch) >= NOTICES_PER_CALL:
                break
        notices = batch.closed()
        return notices, read and not notices

    def _take(self, events: list[kernel.Event], batch: Batch) -> None:
        place_of = self._places.of
        masks, pids = batch.masks, batch.pids
        for mask, pid, handle, name, new_handle, new_name in events:
            if mask & kernel.OVERFLOW:
                self._lost(batch)
                continue
            try:
                if mask & kernel.RENAME:
                    self._renamed(batch, mask, pid, place_of(handle), name, place_of(new_handle), new_name)
                    continue
                place = place_of(handle)
            except OSError:
                # Not knowing where something changed is not the same as nothing having changed.
                self._lost(batch)
                continue
            if place is None or place is RESERVED or (not place and name == RESERVED_NAME):
                continue
            key = place + name
            masks[key] = masks.get(key, 0) | mask
            pids[key] = pid

    def _lost(self, batch: Batch) -> None:
        self._places.forget()
        batch.overflow()

    def _renamed(
        self, batch: Batch, mask: int, pid: int, old: Place, old_name: bytes, new: Place, new_name: bytes
    ) -> None:
        directory = bool(mask & kernel.ONDIR)
        if directory and not (old is OUTSIDE and new is OUTSIDE):
            # Inside to inside: places below it have moved. From or to outside: negative answers are wrong too.
            self._places.forget()
        if pid == self._pid:
            return
        source, path = _inside(old, old_name), _inside(new, new_name)
        if path is not None and source is not None:
            batch.add(What.RENAMED, path, directory=directory, source=source, pid=pid)
        elif path is not None:
            batch.add(What.WRITTEN, path, directory=directory, pid=pid)
        elif source is not None:
            batch.add(What.GONE, source, directory=directory, pid=pid)


def _inside(place: Place, name: bytes) -> RelPath | None:
    if place is None or place is VAULT or place is RESERVED or (not place and name == RESERVED_NAME):
        return None
    return RelPath(place + name)


@lru_cache(maxsize=1024)
def _what(mask: int) -> What:
    """IntFlag arithmetic costs more than all the rest of an event: once per combination is enough."""
    what = What(0)
    if mask & kernel.CLOSE_WRITE:
        what |= What.WRITTEN
    if mask & (kernel.CREATE | kernel.MODIFY | kernel.ATTRIB):
        what |= What.TOUCHED
    if mask & kernel.DELETE:
        what |= What.GONE
    if mask & kernel.ONDIR:
        what |= What.DIRECTORY
    return what
