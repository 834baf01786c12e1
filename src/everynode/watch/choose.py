"""Which way of watching works for a root: fanotify, else inotify, else scans alone."""

from __future__ import annotations

from everynode.watch.fanotify import FanotifyNotices
from everynode.watch.inotify import InotifyNotices
from everynode.watch.periodic import PeriodicNotices
from everynode.watch.unavailable import MethodUnavailable

WatchNotices = FanotifyNotices | InotifyNotices | PeriodicNotices
"""`group.seams.Notices`, and `detail`: for people, why it is not fanotify and what is not watched; may be empty."""

METHODS = ("fanotify", "inotify", "none")


def open_notices(root: bytes, *, force: str | None = None) -> WatchNotices:
    """The best way that works for the directory `root` (absolute); it was tried out, and is still to be started.

    `force` is one of METHODS; then MethodUnavailable is raised where it does not work. OSError: no such directory.
    """
    match force:
        case "fanotify":
            return _tried_fanotify(root)
        case "inotify":
            return _tried_inotify(root, "inotify was asked for")
        case "none":
            return PeriodicNotices(root, why="watching is switched off")
        case None:
            return _best(root)
        case _:
            raise ValueError(f"no way of watching: {force!r}; one of {', '.join(METHODS)}")


def _best(root: bytes) -> WatchNotices:
    try:
        return _tried_fanotify(root)
    except MethodUnavailable as error:
        why = str(error)
    try:
        return _tried_inotify(root, why)
    except MethodUnavailable as error:
        return PeriodicNotices(root, why=f"{why}; {error}")


def _tried_fanotify(root: bytes) -> FanotifyNotices:
    notices = FanotifyNotices(root)
    notices.try_out()
    return notices


def _tried_inotify(root: bytes, why: str) -> InotifyNotices:
    notices = InotifyNotices(root, why=why)
    notices.try_out()
    return notices
