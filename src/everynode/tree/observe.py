"""Looking at paths: what stands there now, whole and unmoved while it was read."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence

from everynode.kernel.protocol import Kernel, Stat
from everynode.limits import BLOCK_BYTES, CHANGE_LOOKS_MAX, INLINE_BYTES_MAX, OBSERVED_LISTS_BYTES, TICK_NS
from everynode.model.entry import DIRECTORY, FILE, SYMLINK, Entry, Kind, Stamp
from everynode.model.ids import Digest
from everynode.model.path import RelPath, show_path
from everynode.model.problem import Trouble
from everynode.tree.digest import digest_bytes, digest_fd
from everynode.tree.leaf import OPEN_FILE, PERMISSIONS, entry_of, kind_of, stamp_of, time_of, without_ctime
from everynode.tree.outcome import Absent, Busy, Observation, Present, Unchanged, Unlookable
from everynode.tree.reach import OPEN_DIRECTORY, Reach, unlookable
from everynode.tree.root import Root


def observe(
    root: Root,
    items: Sequence[tuple[RelPath, Stamp | None]],
    *,
    contents: bool,
    now_ns: int,
    walked: Mapping[RelPath, Stamp] | None = None,
) -> list[Observation]:
    """Look at every path of a batch; answers in the order of `items`.

    A path whose stamp is the one given is Unchanged and not read; None: read in any case. `contents` asks for the
    bytes of small files. `now_ns` is the wall clock: stamps younger than a tick come back without a ctime.
    `walked` has stamps of regular files as a walk has just seen them: they are not asked for again.
    """
    walked = walked or {}
    with root.batch() as reach:
        look = _Look(root, reach, contents, now_ns)
        found: list[Observation] = []
        absent: dict[RelPath, list[int]] = {}
        for position, (path, known) in enumerate(items):
            before = walked.get(path)
            seen = look.walked(path, before) if before is not None and known is None else None
            if seen is None:
                seen = look.at(path, known)
            if type(seen) is Absent:
                absent.setdefault(_parent(path), []).append(position)
            found.append(seen)
        for parent, positions in absent.items():
            # A name may be missing only because its directory was replaced after we opened it.
            if not reach.still_there(parent):
                reach.forget(parent)
                for position in positions:
                    found[position] = look.at(items[position][0], None)
        return found


def observe_vaulted(root: Root, names: Sequence[bytes], *, now_ns: int) -> list[Observation]:
    """The same for objects in the vault folder, by name; all are read."""
    with root.batch() as reach:
        look = _Look(root, reach, False, now_ns)
        return [look.in_directory(RelPath(name), root.vault_fd, name, None) for name in names]


def _parent(path: RelPath) -> RelPath:
    return RelPath(path.rpartition(b"/")[0])


class _Look:
    """One batch of looks."""

    def __init__(self, root: Root, reach: Reach, contents: bool, now_ns: int) -> None:
        self._kernel: Kernel = root.kernel
        self._device = root.device
        self._reach = reach
        self._contents = contents
        self._young_ns = now_ns - TICK_NS
        self._lists_left = OBSERVED_LISTS_BYTES
        self._parent: bytes | None = None
        self._directory = -1
        """Of the last path that was walked: most of a batch have it in common."""

    def at(self, path: RelPath, known: Stamp | None) -> Observation:
        parent, _, name = path.rpartition(b"/")
        if not name:
            name = b"."  # the root itself
        self._parent = None  # its fd is valid until two more were asked for
        try:
            directory = self._reach.directory(RelPath(parent))
        except OSError as error:
            return self._reach.why_unreachable(RelPath(parent), error)
        return self.in_directory(path, directory, name, known)

    def walked(self, path: RelPath, before: Stamp) -> Observation | None:
        """A file that stood there as `before` a moment ago; None: not any more, or it cannot be read."""
        parent, _, name = path.rpartition(b"/")
        try:
            if parent != self._parent:
                self._directory = self._reach.directory(RelPath(parent))
                self._parent = parent
            return self._file(self._directory, name, before)
        except OSError:
            self._parent = None
            return None

    def in_directory(self, path: RelPath, directory: int, name: bytes, known: Stamp | None) -> Observation:
        try:
            for looks_left in reversed(range(CHANGE_LOOKS_MAX)):
                stat = self._kernel.stat_at(directory, name)
                if stat.st_dev != self._device:
                    raise OSError(errno.EXDEV, "another filesystem")
                if known is not None and known.matches(stamp_of(stat)):
                    return Unchanged()
                seen = self._object(path, directory, name, stat)
                if seen is not None:
                    return seen
                if not looks_left:
                    return Busy(stat.st_size, time_of(stat))
            raise AssertionError("the last look answers")
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return Absent()
            return unlookable(path, error)

    def _object(self, path: RelPath, directory: int, name: bytes, stat: Stat) -> Observation | None:
        """None: it changed meanwhile; look again."""
        match kind_of(stat):
            case Kind.FILE:
                return self._file(directory, name, stamp_of(stat))
            case Kind.SYMLINK:
                return self._symlink(directory, name, stat)
            case Kind.DIRECTORY:
                xattrs = self._enter(directory, name)
                return Present(entry_of(stat, DIRECTORY, b""), self._stamp(stat), xattrs=xattrs)
            case None:
                return Unlookable(
                    Trouble.UNSUPPORTED, f"{show_path(path)} is a socket, FIFO or device; these are not replicated"
                )

    def _file(self, directory: int, name: bytes, before: Stamp) -> Observation | None:
        """None: it is not as it was `before`, or changed while it was read."""
        kernel = self._kernel
        size = before.size
        try:
            fd = kernel.open_at(directory, name, OPEN_FILE)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return None  # gone, or a symlink or socket now: the next look tells
            raise
        try:
            content = blocks = None
            if size <= BLOCK_BYTES:
                content = kernel.read(fd, size + 1)
                if len(content) != size:
                    return None
                digest = digest_bytes(content)
            else:
                # Not to read a large file in vain.
                if kernel.has_writer(fd):
                    return Busy(size, before.mtime_ns)
                hashed = digest_fd(kernel, fd, size)
                if hashed is None:
                    return None
                digest, blocks = hashed
            xattrs = kernel.has_xattrs(fd)
            # After reading: who wrote through a mapping meanwhile has it open still, or moved the stamp.
            if kernel.had_writer(fd):
                return Busy(size, before.mtime_ns)
            after = kernel.stat_fd(fd)
        finally:
            kernel.close(fd)
        # A rename moves the ctime too: an equal one proves that this file had this name while it was read.
        stamp = stamp_of(after)
        if stamp != before or after.st_dev != self._device:
            return None
        return self._present(after, stamp, digest, content, blocks, xattrs)

    def _present(
        self, stat: Stat, stamp: Stamp, digest: Digest, content: bytes | None, blocks: bytes | None, xattrs: bool
    ) -> Present:
        if not self._contents or stamp.size > INLINE_BYTES_MAX:
            content = None
        if blocks is not None:
            if len(blocks) > self._lists_left:
                blocks = None
            else:
                self._lists_left -= len(blocks)
        entry = Entry(FILE, stat.st_mode & PERMISSIONS, stat.st_uid, stat.st_gid, stamp.mtime_ns, stamp.size, digest)
        if stamp.ctime_ns >= self._young_ns:
            stamp = without_ctime(stamp)
        return Present(entry, stamp, content, stat.st_nlink, xattrs, blocks)

    def _symlink(self, directory: int, name: bytes, stat: Stat) -> Observation | None:
        try:
            target = self._kernel.readlink_at(directory, name)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None  # no symlink any more
            raise
        after = self._kernel.stat_at(directory, name)
        if stamp_of(after) != stamp_of(stat):
            return None
        return Present(entry_of(stat, SYMLINK, target), self._stamp(stat))

    def _enter(self, directory: int, name: bytes) -> bool:
        """Whether a directory has extended attributes.

        Entered also because a bind mount of the same filesystem shows only then. Raises OSError for that.
        """
        try:
            fd = self._kernel.open_beneath(directory, name, OPEN_DIRECTORY)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise
            return False
        try:
            return self._kernel.has_xattrs(fd)
        finally:
            self._kernel.close(fd)

    def _stamp(self, stat: Stat) -> Stamp:
        stamp = stamp_of(stat)
        return stamp if stamp.ctime_ns < self._young_ns else without_ctime(stamp)
