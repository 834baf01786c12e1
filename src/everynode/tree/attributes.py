"""Changing owner, mode and times of what stands in the tree already, content untouched."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from everynode.kernel.protocol import Kernel, Stat
from everynode.model.entry import Entry, Kind, Stamp
from everynode.model.path import RelPath, name_of, parent_of
from everynode.model.problem import Trouble
from everynode.tree.expected import hold
from everynode.tree.leaf import (
    entry_of,
    has_attributes,
    set_owner_and_mode,
    set_time,
    stamp_of,
    time_of,
    without_ctime,
)
from everynode.tree.outcome import PlaceOutcome, Put, Refusal
from everynode.tree.reach import OPEN_DIRECTORY
from everynode.tree.refused import Refused, changed, not_put
from everynode.tree.root import Root


def change_file(
    kernel: Kernel, directory: int, path: RelPath, entry: Entry, expected: Stamp, expected_entry: Entry
) -> Put:
    """Raises Refused or OSError."""
    name = name_of(path)
    old = hold(kernel, directory, name, expected, expected_entry)
    try:
        if old.fd < 0:
            raise Refused(Refusal.ERROR, Trouble.ATTRIBUTE, "its attributes cannot be set: we may not open it")
        before = old.stat
        denied = set_owner_and_mode(kernel, old.fd, entry, before)
        timed = time_of(before) != entry.mtime_ns
        if timed and (refused := set_time(kernel.set_mtime_fd, old.fd, entry.mtime_ns)):
            denied = f"{denied}; {refused}" if denied else refused
        after = kernel.stat_fd(old.fd)
        if (
            kernel.has_writer(old.fd)
            or after.st_size != before.st_size
            or (not timed and after.st_mtime_ns != before.st_mtime_ns)
            or kernel.stat_at(directory, name).st_ino != before.st_ino
            or not (denied or has_attributes(after, entry))
        ):
            raise changed("it was changed here while its attributes were set")
    finally:
        old.close()
    stamp = stamp_of(after)
    # Setting the mtime hides a write that came between: only the content can tell, at the next look.
    really = entry_of(after, Kind.FILE, entry.digest)
    return Put(path, without_ctime(stamp) if timed else stamp, really, denied=denied)


def change_directory(kernel: Kernel, directory: int, path: RelPath, entry: Entry, expected: Entry) -> Put:
    """Owner and mode; the time comes later. Raises Refused or OSError."""
    try:
        fd = kernel.open_beneath(directory, name_of(path), OPEN_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise changed("no directory stands there any more") from error
        raise
    try:
        before = kernel.stat_fd(fd)
        denied = ""
        if not has_attributes(before, entry):
            if not has_attributes(before, expected):
                raise changed("its owner or mode was changed here")
            denied = set_owner_and_mode(kernel, fd, entry, before)
            before = kernel.stat_fd(fd)
            if not (denied or has_attributes(before, entry)):
                raise changed("its owner or mode was changed here while they were set")
        return Put(path, stamp_of(before), entry_of(before, Kind.DIRECTORY, b""), denied=denied)
    finally:
        kernel.close(fd)


def set_directory_times(root: Root, items: Sequence[tuple[RelPath, int]]) -> list[PlaceOutcome]:
    """Give directories their mtimes, after all else of a batch was placed. Answers deepest first.

    A Put bears the entry and stamp as they are then.
    """
    kernel = root.kernel
    done: list[PlaceOutcome] = []
    with root.batch() as reach:
        for path, mtime_ns in sorted(items, key=lambda item: item[0].count(b"/"), reverse=True):
            try:
                fd = kernel.open_beneath(reach.directory(parent_of(path)), name_of(path), OPEN_DIRECTORY)
                try:
                    denied, stat = _set_and_look(kernel, fd, mtime_ns)
                    if not denied and time_of(stat) != mtime_ns:
                        # This filesystem cannot keep it; or somebody made something in it just now, and who took that
                        # for all that can be had would never look at it again.
                        denied, stat = _set_and_look(kernel, fd, mtime_ns)
                finally:
                    kernel.close(fd)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    done.append(changed("no directory stands there any more").for_path(path))
                else:
                    done.append(not_put(path, error))
                continue
            if not denied and time_of(stat) != mtime_ns:
                denied = f"mtime: this filesystem keeps {time_of(stat)} ns"
            done.append(Put(path, stamp_of(stat), entry_of(stat, Kind.DIRECTORY, b""), denied=denied))
    return done


def _set_and_look(kernel: Kernel, fd: int, mtime_ns: int) -> tuple[str, Stat]:
    return set_time(kernel.set_mtime_fd, fd, mtime_ns), kernel.stat_fd(fd)
