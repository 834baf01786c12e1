"""Notices from inotify, one watch per directory: the fallback where fanotify does not work.

Differences to fanotify that the reader of the notices must know: the process is unknown (pid 0), so own changes come
too; `start` walks the whole tree; the kernel's limit of watches may leave directories unwatched, which then come as
OVERFLOW with their path at intervals (`detail` says so). In a new directory everything that is found once it is
watched comes as TOUCHED, so that nothing made before the watch is missed.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from functools import lru_cache

from everynode.kernel import inotify as kernel
from everynode.kernel.linux import LinuxKernel
from everynode.limits import (
    MOVE_PAIR_MS,
    NOTICES_PER_CALL,
    READS_PER_CALL,
    RESERVED_NAME,
    UNWATCHED_SCAN_INTERVAL,
    WATCHES_PER_CALL,
)
from everynode.model.notice import Notice, What
from everynode.model.path import ROOT, RelPath, join, show_path
from everynode.watch.batch import Batch
from everynode.watch.readable import ReadableWaiter
from everynode.watch.unavailable import MethodUnavailable
from everynode.watch.unwatched import Unwatched, watches_max
from everynode.watch.watched import NO_PARENT, WatchedTree

_VAULT = RESERVED_NAME + b"/vault"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK
# Not there any more, no directory any more, or another filesystem (unreachable): nothing to watch.
_NOTHING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV})


class InotifyNotices:
    """`group.seams.Notices` over inotify. One task may wait in `next`; all methods belong to one thread."""

    method = "inotify"

    def __init__(self, root: bytes, *, why: str = "", scan_interval: float = UNWATCHED_SCAN_INTERVAL) -> None:
        """`root` is absolute; links in it are followed. `why` is what to say of not using fanotify."""
        self._root_path = root
        self._why = why
        self._kernel = LinuxKernel()
        self._root = -1
        self._queue = -1
        self._waiter = ReadableWaiter()
        self._tree = WatchedTree()
        self._vault = self._reserved = -2  # watches; -1 is the kernel's for "none"
        self._pending: deque[tuple[int, bytes]] = deque()
        """Directories (parent's watch, name) still to be watched and listed."""
        self._halves: dict[int, tuple[int, bytes, RelPath, bool]] = {}
        """Cookie -> (parent's watch, name, path, directory) of moves whose second half has not come."""
        self._unwatched = Unwatched(scan_interval)
        self._rebuilding = False
        self.emptied = 0
        self._reading = False
        """`next` holds notices that it has not given out."""

    @property
    def detail(self) -> str:
        """Why not fanotify, and what is not watched; for people."""
        return "; ".join(said for said in (self._why, self._unwatched.describe()) if said)

    def start(self) -> None:
        """Takes some 20 µs per directory. Raises MethodUnavailable, or OSError where the root cannot be opened."""
        assert self._queue < 0, "started twice"
        watch = self._open()
        self._tree.put(watch, NO_PARENT, b"")
        self._list(watch, ROOT, self._root, None)
        self._watch_reserved()
        while self._pending:
            self._watch_next(None)

    def try_out(self) -> None:
        """Raises what `start` would raise, without walking the tree."""
        self._open()
        self.close()

    def close(self) -> None:
        """May be called twice. Whoever waits in `next` is cancelled."""
        self._waiter.cancel()
        for fd in (self._queue, self._root):
            if fd >= 0:
                os.close(fd)
        self._queue = self._root = -1

    def waiting(self) -> bool:
        return self._queue >= 0 and (self._reading or kernel.has_events(self._queue))

    def ignore(self, directory: int, wanted: bool) -> None:
        """Nothing to do: own doings in a folder of our own are not watched here."""

    async def next(self) -> list[Notice]:
        while True:
            batch = Batch(_what)
            self._reading = True
            empty = self._drain(batch)
            if self._halves:
                waiting = list(self._halves)
                await self._waiter.wait(self._queue, MOVE_PAIR_MS / 1000)
                empty = self._drain(batch)
                self._give_up(waiting, batch)
            self._grow(batch)
            self._unwatched.report_due(batch)
            notices = batch.closed()
            # What is in a new directory is only found when that is watched.
            self._reading = bool(self._pending)
            self.emptied += empty and not self._pending
            if notices:
                return notices
            if self._pending:
                await asyncio.sleep(0)
            else:
                await self._waiter.wait(self._queue, self._unwatched.seconds_to_scan())

    def _open(self) -> int:
        self._root = self._kernel.open_root(self._root_path)
        try:
            self._queue = kernel.open_queue()
            return kernel.add_watch(self._queue, self._root)
        except OSError as error:
            self.close()
            raise MethodUnavailable(_explain(self._root_path, error)) from error

    # Events

    def _drain(self, batch: Batch) -> bool:
        """Whether nothing was left to read."""
        for _ in range(READS_PER_CALL):
            events = kernel.read_events(self._queue)
            if events is None:
                return True
            for watch, mask, cookie, name in events:
                if mask & kernel.OVERFLOW:
                    self._rebuild()
                    return False
                self._take(watch, mask, cookie, name, batch)
            if len(batch) >= NOTICES_PER_CALL:
                return False
        return False

    def _take(self, watch: int, mask: int, cookie: int, name: bytes, batch: Batch) -> None:
        if watch == self._vault:
            if name:
                batch.masks[b"/" + name] = batch.masks.get(b"/" + name, 0) | mask
            return
        if watch == self._reserved:
            self._watch_reserved()
            return
        if mask & kernel.IGNORED:
            self._tree.remove(watch)
            return
        directory = self._tree.path_of(watch)
        if directory is None:
            return
        if not name:
            # The parent tells it too, but for the root.
            if directory == ROOT:
                batch.masks[b"."] = batch.masks.get(b".", 0) | mask
            return
        if directory == ROOT and name == RESERVED_NAME:
            self._watch_reserved()
            return
        path = join(directory, name)
        if mask & kernel.MOVED_FROM:
            self._halves[cookie] = (watch, name, path, bool(mask & kernel.ISDIR))
        elif mask & kernel.MOVED_TO:
            self._moved(watch, mask, cookie, name, path, batch)
        else:
            batch.masks[path] = batch.masks.get(path, 0) | mask
            if mask & kernel.CREATE and mask & kernel.ISDIR:
                self._pending.append((watch, name))

    def _moved(self, watch: int, mask: int, cookie: int, name: bytes, path: RelPath, batch: Batch) -> None:
        directory = bool(mask & kernel.ISDIR)
        half = self._halves.pop(cookie, None)
        if half is None:
            batch.add(What.WRITTEN, path, directory=directory)
            if directory:
                self._pending.append((watch, name))
            return
        old_parent, old_name, source, _ = half
        batch.add(What.RENAMED, path, directory=directory, source=source)
        if not directory:
            return
        child = self._tree.child(old_parent, old_name)
        if child is None:
            self._pending.append((watch, name))
        elif not self._tree.put(child, watch, name):
            # Another directory had the name: replaced, or exchanged. Events cannot tell; looking can.
            self._pending.extend([(watch, name), (old_parent, old_name)])

    def _give_up(self, cookies: list[int], batch: Batch) -> None:
        """The second half did not come: moved out of the tree. Should it come yet, it is taken as moved in."""
        for cookie in cookies:
            half = self._halves.pop(cookie, None)
            if half is None:
                continue
            parent, name, path, directory = half
            batch.add(What.GONE, path, directory=directory)
            child = self._tree.child(parent, name) if directory else None
            if child is not None:
                for watch in self._tree.remove(child):
                    self._unwatch(watch)

    # Watches

    def _grow(self, batch: Batch) -> None:
        """Watch some of the directories that are still to be watched."""
        for _ in range(WATCHES_PER_CALL):
            if not self._pending:
                break
            self._watch_next(None if self._rebuilding else batch)
        if self._rebuilding and not self._pending:
            self._rebuilding = False
            batch.overflow()

    def _watch_next(self, found: Batch | None) -> None:
        parent, name = self._pending.popleft()
        directory = self._tree.path_of(parent)
        if directory is None:
            return
        path = join(directory, name)
        if self._unwatched.full:
            self._unwatched.leave_out(path)
            return
        try:
            fd = self._kernel.open_beneath(self._root, path, _OPEN)
        except OSError as error:
            if error.errno not in _NOTHING:
                self._unwatched.leave_out(path)
            return
        try:
            watch = kernel.add_watch(self._queue, fd)
            self._tree.put(watch, parent, name)
            self._list(watch, path, fd, found)
        except OSError as error:
            self._unwatched.leave_out(path, error)
        finally:
            os.close(fd)

    def _list(self, watch: int, path: RelPath, fd: int, found: Batch | None) -> None:
        """Queue the directories in a directory that is watched by now, and report all entries to `found`."""
        with os.scandir(fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if path == ROOT and name == RESERVED_NAME:
                    continue
                mask = kernel.CREATE
                if entry.is_dir(follow_symlinks=False):
                    mask |= kernel.ISDIR
                    self._pending.append((watch, name))
                if found is not None:
                    inner = join(path, name)
                    found.masks[inner] = found.masks.get(inner, 0) | mask

    def _watch_reserved(self) -> None:
        """Writes in the vault, and its coming into being if it is not there yet. Nothing else of that folder."""
        self._reserved = self._watch_only(RESERVED_NAME, kernel.CREATE | kernel.MOVED_TO)
        self._vault = self._watch_only(_VAULT, kernel.MODIFY | kernel.CLOSE_WRITE)

    def _watch_only(self, path: bytes, mask: int) -> int:
        try:
            fd = self._kernel.open_beneath(self._root, path, _OPEN)
        except OSError:
            return -2
        try:
            return kernel.add_watch(self._queue, fd, mask)
        except OSError as error:
            self._unwatched.leave_out(ROOT, error)
            return -2
        finally:
            os.close(fd)

    def _unwatch(self, watch: int) -> None:
        try:
            kernel.remove_watch(self._queue, watch)
        except OSError:
            pass  # the directory is deleted and its watch with it

    def _rebuild(self) -> None:
        """Moves of directories may be among the lost events, so no path is certain: watch all anew, then say so."""
        os.close(self._queue)
        self._queue = kernel.open_queue()
        self._tree.clear()
        self._halves.clear()
        self._pending.clear()
        self._unwatched.clear()
        self._rebuilding = True
        watch = kernel.add_watch(self._queue, self._root)
        self._tree.put(watch, NO_PARENT, b"")
        self._list(watch, ROOT, self._root, None)
        self._watch_reserved()


@lru_cache(maxsize=1024)
def _what(mask: int) -> What:
    what = What(0)
    if mask & kernel.CLOSE_WRITE:
        what |= What.WRITTEN
    if mask & (kernel.CREATE | kernel.MODIFY | kernel.ATTRIB):
        what |= What.TOUCHED
    if mask & kernel.DELETE:
        what |= What.GONE
    if mask & kernel.ISDIR:
        what |= What.DIRECTORY
    return what


def _explain(root: bytes, error: OSError) -> str:
    why = {
        errno.EMFILE: "too many inotify instances; raise fs.inotify.max_user_instances",
        errno.ENOSPC: f"the limit fs.inotify.max_user_watches ({watches_max()}) is reached; raise it",
        errno.ENOENT: "/proc is not mounted; mount it",
    }.get(error.errno or 0, str(error))
    return f"inotify does not work for {show_path(root)}: {why}"
