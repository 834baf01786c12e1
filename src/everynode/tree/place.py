"""Placing: making staged objects visible, and removing, in one step each, never over what somebody else wrote.

| stands there | is to stand | step |
|---|---|---|
| nothing | anything | rename NOREPLACE from the stage or vault folder |
| nothing | directory with what is new in it | the same, once for all of it |
| file, symlink | anything | rename EXCHANGE with the staged object: the old one has its name in the vault now |
| file, symlink | nothing | rename NOREPLACE into the vault folder |
| directory | other attributes | in place |
| directory | file, symlink, nothing | rmdir, then as for nothing |
| file | the same content, other attributes | in place; a file with other names gives way to a copy |

A file's ctime is compared before; inode, size, mtime, owner and mode after, because a rename moves the ctime. What was
swapped out against expectation is in the vault and reported, never swapped back: a third writer may be there by then.

The stamps returned have the ctime of our rename, though that is younger than a tick: any write that follows moves the
mtime from the one that we set. What hides even that (a write and a set-back mtime within the tick of our rename, before
Linux 6.13) shows as a foreign notice only, and a foreign notice always means a new look at the content.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from stat import S_ISDIR, S_ISREG

import msgspec

from everynode.kernel.protocol import RenameFlag, Stat
from everynode.model.entry import DIRECTORY, SYMLINK, Entry, Stamp
from everynode.model.path import RelPath, name_of, parent_of
from everynode.model.problem import Trouble
from everynode.tree.attributes import change_directory, change_file
from everynode.tree.expected import Old, hold
from everynode.tree.leaf import INODE_MASK, has_attributes, kind_of, stamp_of, time_of
from everynode.tree.outcome import Absent, Filled, NotPut, PlaceOutcome, Put, Refusal, Staged
from everynode.tree.reach import Reach
from everynode.tree.refused import Refused, Vanished, changed, not_put
from everynode.tree.root import Root
from everynode.tree.stage import STAGED_KIND, finish_file, stage_directory, stage_symlink
from everynode.tree.sync import make_durable
from everynode.tree.vault import detach, staged_copy

REMOVED_KIND = b"d"
"""First letter of the vault names of what was removed."""


# By then the name belongs to another path, of which nobody has said that it is to be replaced or removed.
MOVED = "its directory was moved away meanwhile"


class MovedFrom(msgspec.Struct, frozen=True, gc=False):
    """A placed file whose content is to be moved to the new path instead of being staged."""

    path: RelPath
    stamp: Stamp
    entry: Entry


class PlaceItem(msgspec.Struct, frozen=True, gc=False):
    path: RelPath
    entry: Entry | None
    """What is to stand there; None: nothing."""
    staged: Staged | None = None
    """The staged object of a file or symlink with new content; directories and changes of attributes have none."""
    expected: Stamp | None = None
    """What was placed there; None: nothing. With it goes its entry."""
    expected_entry: Entry | None = None
    keep: bool = True
    """Whether what is replaced or removed stays in the vault."""
    moved_from: MovedFrom | None = None


def place(root: Root, items: Sequence[PlaceItem]) -> list[PlaceOutcome]:
    """Place every item of a batch; answers in order. Directories come before what is in them, removals bottom-up.

    Every step is atomic; nothing is durable before `sync.sync_paths`. The staged object of a NotPut is still in the
    vault folder: place it again or remove it. A NotPut with NO_CONTENT means that `moved_from` was of no use: fetch.
    """
    done: list[PlaceOutcome] = []
    with root.batch() as reach:
        placing = _Placing(root, reach)
        for item in items:
            try:
                done.append(placing.one(item))
            except Refused as refused:
                done.append(refused.for_path(item.path))
            except OSError as error:
                done.append(not_put(item.path, error))
    return done


def _came_along(path: RelPath, staged: Staged) -> Put:
    """It stands there since its directory does."""
    if staged.filled is not None:
        staged.filled.standing = True
    return Put(path, staged.stamp, staged.entry, denied=staged.denied)


class _Placing:
    """One batch of placings. Methods raise Refused or OSError for an item that cannot be placed."""

    def __init__(self, root: Root, reach: Reach) -> None:
        self._root = root
        self._kernel = root.kernel
        self._vault = root.vault_fd
        self._reach = reach

    def one(self, item: PlaceItem) -> PlaceOutcome:
        staged = item.staged
        if staged is not None and staged.folder is not None and staged.folder.standing:
            return _came_along(item.path, staged)
        parent, _, name = item.path.rpartition(b"/")
        try:
            directory = self._reach.directory(RelPath(parent))
        except OSError as error:
            return self._no_directory(item, error)
        entry = item.entry
        if entry is None:
            return self._remove(item, directory, name)
        if staged is not None and staged.filled is not None:
            return self._put_whole(item, directory, name, staged, staged.filled)
        if staged is not None:
            return self._put(item, directory, name, staged)
        if item.moved_from is not None:
            return self._move(item, directory, name, entry, item.moved_from)
        old = item.expected_entry
        if entry.kind is DIRECTORY:
            if old is not None and old.kind is DIRECTORY:
                return change_directory(self._kernel, directory, item.path, entry, old)
            return self._make_directory(item, directory, name, entry)
        if old is None or item.expected is None or not old.same_content(entry):
            raise Refused(Refusal.ERROR, Trouble.NO_CONTENT, "its content was not staged; fetch it")
        if entry.kind is SYMLINK:
            return self._replace_link(msgspec.structs.replace(item, keep=False), directory, name, entry)
        try:
            shared = self._kernel.stat_at(directory, name).st_nlink > 1
        except FileNotFoundError as error:
            raise Vanished from error
        if shared:
            return self._copy_apart(msgspec.structs.replace(item, keep=False), directory, name, entry, old)
        return change_file(self._kernel, directory, item.path, entry, item.expected, old)

    def _no_directory(self, item: PlaceItem, error: OSError) -> PlaceOutcome:
        parent = parent_of(item.path)
        why = self._reach.why_unreachable(parent, error)
        if not isinstance(why, Absent):
            return NotPut(item.path, Refusal.ERROR, Trouble.PLACING, why.detail)
        if item.entry is None:
            return Put(item.path, None, None)
        return changed("its directory is gone here").for_path(item.path)

    # What stands there goes.

    def _remove(self, item: PlaceItem, directory: int, name: bytes) -> Put:
        old = item.expected_entry
        if old is None or item.expected is None:
            self._require_nothing(directory, name)
            return Put(item.path, None, None)
        if old.kind is DIRECTORY:
            self._remove_directory(item.path, directory, name, old)
            return Put(item.path, None, None)
        try:
            held = hold(self._kernel, directory, name, item.expected, old)
        except Vanished:
            return Put(item.path, None, None)
        vaulted = self._root.new_name(REMOVED_KIND)
        try:
            self._kernel.rename_at(directory, name, self._vault, vaulted, RenameFlag.NOREPLACE)
        except FileNotFoundError:
            held.close()
            return Put(item.path, None, None)
        except OSError:
            held.close()
            raise
        try:
            out = self._kernel.stat_at(self._vault, vaulted)
            intact = held.is_intact(out)
        except OSError:
            return Put(item.path, None, None, vaulted, True)  # it is gone from there; what it was shows a look at it
        finally:
            held.close()
        if S_ISDIR(out.st_mode):
            self._kernel.rename_at(self._vault, vaulted, directory, name, RenameFlag.NOREPLACE)
            raise changed("a directory stands there now")
        if not self._reach.still_there(parent_of(item.path)) and self._put_back(vaulted, directory, name):
            raise changed(MOVED)
        vaulted = self._vaulted(vaulted, item.keep or not intact, out.st_nlink > 1 and intact)
        return Put(item.path, None, None, vaulted, not intact)

    def _put_back(self, vaulted: bytes, directory: int, name: bytes) -> bool:
        """False: the directory was removed by now, or the name taken: what was removed stays removed."""
        try:
            self._kernel.rename_at(self._vault, vaulted, directory, name, RenameFlag.NOREPLACE)
        except OSError:
            return False
        return True

    def _require_nothing(self, directory: int, name: bytes) -> None:
        try:
            self._kernel.stat_at(directory, name)
        except FileNotFoundError:
            return
        raise changed("something stands there that was not known")

    def _remove_directory(self, path: RelPath, directory: int, name: bytes, old: Entry) -> None:
        try:
            stat = self._kernel.stat_at(directory, name)
            if kind_of(stat) is not DIRECTORY or not has_attributes(stat, old):
                raise changed("its kind, owner or mode was changed here")
            self._kernel.rmdir_at(directory, name)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise changed("the directory is not empty here") from error
            if error.errno == errno.ENOTDIR:
                raise changed("no directory stands there any more") from error
            raise
        finally:
            self._reach.forget(path)

    def _vaulted(self, name: bytes, keep: bool, shared: bool) -> bytes:
        """Keep what has `name` in the vault now, on an inode of its own, or drop it; its name then."""
        try:
            if not keep:
                self._kernel.unlink_at(self._vault, name)
                return b""
            return detach(self._root, name) if shared else name
        except OSError:
            return name  # the step itself is done: better kept as it is than lost

    # Something new comes.

    def _put(self, item: PlaceItem, directory: int, name: bytes, staged: Staged) -> Put:
        old = item.expected_entry
        if old is None or item.expected is None:
            return self._put_new(item, directory, name, staged)
        if old.kind is DIRECTORY:
            self._remove_directory(item.path, directory, name, old)
            return self._put_new(item, directory, name, staged)
        held = hold(self._kernel, directory, name, item.expected, old)
        try:
            return self._exchange(item, directory, name, self._into_vault(staged), held)
        finally:
            held.close()

    def _into_vault(self, staged: Staged) -> Staged:
        """What is exchanged must lie in the vault: the old object gets its name there."""
        folder = self._folder_of(staged)
        if folder == self._vault:
            return staged
        name = self._root.new_name(STAGED_KIND)
        self._kernel.rename_at(folder, staged.name, self._vault, name, RenameFlag.NOREPLACE)
        return msgspec.structs.replace(staged, name=name)

    def _folder_of(self, staged: Staged) -> int:
        return staged.folder.fd if staged.folder is not None else self._root.folder_of(staged.name)

    def _put_new(self, item: PlaceItem, directory: int, name: bytes, staged: Staged) -> Put:
        try:
            self._kernel.rename_at(self._folder_of(staged), staged.name, directory, name, RenameFlag.NOREPLACE)
        except FileExistsError as error:
            raise changed("something stands there that was not known") from error
        return Put(item.path, self._stamp(directory, name, staged), staged.entry, denied=staged.denied)

    def _exchange(self, item: PlaceItem, directory: int, name: bytes, staged: Staged, held: Old) -> Put:
        kernel = self._kernel
        try:
            kernel.rename_at(self._vault, staged.name, directory, name, RenameFlag.EXCHANGE)
        except FileNotFoundError as error:
            raise Vanished from error
        try:
            out = kernel.stat_at(self._vault, staged.name)
        except OSError:
            # It is done all the same, and under the staged name lies somebody's work: nobody may take it for ours.
            return Put(item.path, self._stamp(directory, name, staged), staged.entry, staged.name, True, staged.denied)
        if S_ISDIR(out.st_mode):
            # A directory took the file's place in the last microseconds; those are never vaulted.
            kernel.rename_at(self._vault, staged.name, directory, name, RenameFlag.EXCHANGE)
            raise changed("a directory stands there now")
        if not self._reach.still_there(parent_of(item.path)) and self._swap_back(directory, name, staged):
            raise changed(MOVED)
        intact = held.is_intact(out)
        stamp = self._stamp(directory, name, staged)
        shared = out.st_nlink > 1 and intact and S_ISREG(out.st_mode)
        vaulted = self._vaulted(staged.name, item.keep or not intact, shared)
        return Put(item.path, stamp, staged.entry, vaulted, not intact, staged.denied)

    def _swap_back(self, directory: int, name: bytes, staged: Staged) -> bool:
        """Undo an exchange; False: somebody has removed or changed what was placed, so it was seen, and it stands."""
        kernel = self._kernel
        try:
            kernel.rename_at(self._vault, staged.name, directory, name, RenameFlag.EXCHANGE)
        except OSError:
            return False
        try:
            if self._is_as_staged(kernel.stat_at(self._vault, staged.name), staged):
                return True
            # Under the staged name, which is about to be deleted, lies a user's work.
            kernel.rename_at(self._vault, staged.name, directory, name, RenameFlag.EXCHANGE)
        except OSError:
            pass
        return False

    def _is_as_staged(self, stat: Stat, staged: Staged) -> bool:
        stamp, entry = stamp_of(stat), staged.entry
        size = len(entry.digest) if entry.kind is SYMLINK else entry.size
        same = stamp.inode == staged.inode and stamp.mtime_ns == entry.mtime_ns and stamp.size == size
        return same and has_attributes(stat, entry)

    def _stamp(self, directory: int, name: bytes, staged: Staged) -> Stamp:
        """The stamp of what was just placed; one without ctime when somebody was there since."""
        entry = staged.entry
        size = len(entry.digest) if entry.kind is SYMLINK else entry.size
        try:
            stat = self._kernel.stat_at(directory, name)
        except OSError:  # it stands there all the same, and under the staged name may lie somebody's work by now
            return Stamp(staged.inode, 0, entry.mtime_ns, size)
        stamp = stamp_of(stat)
        if entry.kind is DIRECTORY:  # its time changes with what is in it
            same = stamp.inode == staged.inode and has_attributes(stat, entry)
            return stamp if same else Stamp(staged.inode, 0, entry.mtime_ns, size)
        return stamp if self._is_as_staged(stat, staged) else Stamp(staged.inode, 0, entry.mtime_ns, size)

    def _replace_link(self, item: PlaceItem, directory: int, name: bytes, entry: Entry) -> Put:
        """A symlink's attributes cannot be set through an fd; by name they might hit somebody else's new object."""
        staged = stage_symlink(self._root, entry)
        try:
            return self._put(item, directory, name, staged)
        except (Refused, OSError):
            self._kernel.unlink_at(self._vault, staged.name)
            raise

    def _copy_apart(self, item: PlaceItem, directory: int, name: bytes, entry: Entry, old: Entry) -> Put:
        """A file with other names gives way to a copy: what it is to get is for this name alone."""
        assert item.expected is not None
        held = hold(self._kernel, directory, name, item.expected, old)
        try:
            if held.fd < 0:
                raise Refused(Refusal.ERROR, Trouble.ATTRIBUTE, "it has other names and cannot be copied: not readable")
            staged = staged_copy(self._root, held.fd, entry)
            if staged is None:
                raise changed("it was changed here while it was copied")
            try:
                make_durable(self._root, [(self._vault, staged.name)])
                return self._exchange(item, directory, name, staged, held)
            except (Refused, OSError):
                self._kernel.unlink_at(self._vault, staged.name)
                raise
        finally:
            held.close()

    def _make_directory(self, item: PlaceItem, directory: int, name: bytes, entry: Entry) -> Put:
        staged = stage_directory(self._root, entry, self._vault, self._root.new_name(STAGED_KIND))
        try:
            return self._put(item, directory, name, staged)
        except (Refused, OSError):
            self._kernel.rmdir_at(self._vault, staged.name)
            # Whoever made the same directory here meanwhile did our work.
            if item.expected_entry is None and (there := self._same_directory(directory, name, entry)):
                return Put(item.path, there, staged.entry)
            raise

    def _put_whole(self, item: PlaceItem, directory: int, name: bytes, staged: Staged, filled: Filled) -> Put:
        """A new directory with all that was staged in it; where it cannot, what is in it is placed one by one."""
        if not filled.complete:
            return self._make_directory(item, directory, name, staged.entry)
        try:
            put = self._put(item, directory, name, staged)
        except (Refused, OSError):
            if item.expected_entry is None and (there := self._same_directory(directory, name, staged.entry)):
                return Put(item.path, there, staged.entry)
            raise
        filled.standing = True
        return put

    def _same_directory(self, directory: int, name: bytes, entry: Entry) -> Stamp | None:
        try:
            stat = self._kernel.stat_at(directory, name)
        except OSError:
            return None
        return stamp_of(stat) if kind_of(stat) is DIRECTORY and has_attributes(stat, entry) else None

    # A file moves.

    def _move(self, item: PlaceItem, directory: int, name: bytes, entry: Entry, source: MovedFrom) -> Put:
        """Old name to new name. A tombstone for the old one was heard by now: its absence is right at any moment."""
        try:
            from_directory = self._reach.directory(parent_of(source.path))
            held = hold(self._kernel, from_directory, name_of(source.path), source.stamp, source.entry)
        except OSError as error:
            raise Refused(Refusal.ERROR, Trouble.NO_CONTENT, f"its old place is out of reach: {error}") from error
        except Refused as refused:
            trouble = refused.trouble if refused.refusal is Refusal.WRITER else Trouble.NO_CONTENT
            raise Refused(refused.refusal, trouble, f"its old place: {refused.detail}") from refused
        try:
            same = has_attributes(held.stat, entry) and time_of(held.stat) == entry.mtime_ns
            if not same and held.stat.st_nlink > 1:
                raise Refused(Refusal.CHANGED, Trouble.NO_CONTENT, "its old place has other names: fetch it")
            staged = self._move_aside(entry, from_directory, source, held, same)
            try:
                return self._put(item, directory, name, staged)
            except (Refused, OSError):
                self._move_back(from_directory, source, held, staged)
                raise
        finally:
            held.close()

    def _move_aside(self, entry: Entry, from_directory: int, source: MovedFrom, held: Old, same: bool) -> Staged:
        """The old object into the vault folder, with the attributes of the new one (`same`: it has them).

        Only there, where nobody else renames, is it certain which object was taken: at the new name another one may
        have replaced it since, and would be taken for one that had replaced it before.
        """
        if held.fd < 0 and not same:
            raise Refused(Refusal.ERROR, Trouble.NO_CONTENT, "its old place cannot be opened; fetch it")
        kernel = self._kernel
        name = self._root.new_name(STAGED_KIND)
        kernel.rename_at(from_directory, name_of(source.path), self._vault, name, RenameFlag.NOREPLACE)
        there = self._reach.still_there(parent_of(source.path))
        if not there or not held.is_intact(kernel.stat_at(self._vault, name)):
            # We took what somebody wrote there, or moved away with its directory, a moment ago: it goes back.
            kernel.rename_at(self._vault, name, from_directory, name_of(source.path), RenameFlag.NOREPLACE)
            raise Refused(Refusal.CHANGED, Trouble.NO_CONTENT, "its old place was changed here" if there else MOVED)
        return Staged(name, entry, held.stat.st_ino & INODE_MASK) if same else finish_file(kernel, held.fd, name, entry)

    def _move_back(self, from_directory: int, source: MovedFrom, held: Old, staged: Staged) -> None:
        """Its new name was taken meanwhile: the next try finds it where it was; else it stays in the vault folder."""
        try:
            if staged.entry != source.entry:
                finish_file(self._kernel, held.fd, staged.name, source.entry)
            self._put_back(staged.name, from_directory, name_of(source.path))
        except OSError:
            pass
