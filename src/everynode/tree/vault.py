"""The vault folder: its names, copies out of it, and the space that it leaves free."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from stat import S_ISREG

import msgspec

from everynode.kernel.protocol import Kernel
from everynode.limits import FREE_RESERVE_BYTES_MAX, FREE_RESERVE_PERCENT, READ_BYTES
from everynode.model.entry import Entry, Kind, Stamp
from everynode.model.path import RelPath
from everynode.model.problem import Trouble
from everynode.tree.digest import digest_fd
from everynode.tree.leaf import OPEN_FILE, kind_of, refuse_entry, stamp_of
from everynode.tree.outcome import NotPut, Refusal, Staged
from everynode.tree.refused import not_put
from everynode.tree.root import Root
from everynode.tree.stage import STAGED_KIND, finish_file, stage_symlink

CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Vaulted(msgspec.Struct, frozen=True, gc=False):
    """An object in the vault folder."""

    name: bytes
    kind: Kind | None
    stamp: Stamp
    mode: int
    uid: int
    gid: int


def list_vault(root: Root) -> list[Vaulted]:
    """Everything in the vault folder, generations, staged and partial files alike. Raises OSError."""
    kernel = root.kernel
    fd = root.open_vault()
    try:
        found = []
        for name in kernel.list_directory(fd):
            try:
                stat = kernel.stat_at(fd, name)
            except FileNotFoundError:
                continue
            found.append(Vaulted(name, kind_of(stat), stamp_of(stat), stat.st_mode & 0o7777, stat.st_uid, stat.st_gid))
        return found
    finally:
        kernel.close(fd)


def leftovers(root: Root, known: Container[bytes]) -> list[Vaulted]:
    """What a crash left in the vault folder that no catalogue knows: to be called before anything is staged.

    A file among them may be the only copy of what somebody wrote: delete it only when its digest is recorded.
    """
    return [vaulted for vaulted in list_vault(root) if vaulted.name not in known]


def partials(root: Root) -> list[Vaulted]:
    """Contents that were begun to be fetched and nobody works on now. Raises OSError."""
    found = [vaulted for vaulted in list_vault(root) if vaulted.name.startswith(b"p-")]
    return [vaulted for vaulted in found if vaulted.name not in root.assembling]


def remove(root: Root, names: Iterable[bytes]) -> None:
    """Delete objects of the vault folder. Idempotent. Raises OSError."""
    for name in names:
        try:
            root.kernel.unlink_at(root.folder_of(name), name)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):
            root.kernel.rmdir_at(root.vault_fd, name)


def restore_from(root: Root, name: bytes, path: RelPath, entry: Entry) -> Staged | NotPut:
    """A staged copy of the vaulted object `name`, to be placed at `path` as `entry`; the generation stays.

    NO_CONTENT if what is vaulted is not that content (any more).
    """
    gone = NotPut(path, Refusal.ERROR, Trouble.NO_CONTENT, f"the vault's {name.decode()} is not that content any more")
    if refuse_entry(entry):
        return gone
    try:
        if entry.kind is Kind.SYMLINK:
            return stage_symlink(root, entry)
        source = root.kernel.open_beneath(root.vault_fd, name, OPEN_FILE)
    except FileNotFoundError:
        return gone
    except OSError as error:
        return not_put(path, error)
    try:
        return staged_copy(root, source, entry) or gone
    except OSError as error:
        return not_put(path, error)
    finally:
        root.kernel.close(source)


def staged_copy(root: Root, source: int, entry: Entry) -> Staged | None:
    """Of an open file, as `entry`. None: it is not that content; nothing was left behind. Raises OSError."""
    kernel = root.kernel
    fresh = root.new_name(STAGED_KIND)
    target = kernel.open_beneath(root.vault_fd, fresh, CREATE, 0o600)
    staged = None
    try:
        copy_content(kernel, source, target, entry.size)
        # The copy is verified, not the source: that may be written to meanwhile.
        hashed = digest_fd(kernel, target, entry.size)
        if hashed is not None and hashed[0] == entry.digest and kernel.stat_fd(source).st_size == entry.size:
            staged = finish_file(kernel, target, fresh, entry)
        return staged
    finally:
        kernel.close(target)
        if staged is None:
            kernel.unlink_at(root.vault_fd, fresh)


def copy_content(kernel: Kernel, source: int, target: int, size: int) -> None:
    """The first `size` bytes, sharing extents where the filesystem can. Stops at the end of the source."""
    done = 0
    while done < size:
        copied = kernel.copy_range(source, target, min(size - done, 64 * READ_BYTES), done, done)
        if not copied:
            return
        done += copied


def detach(root: Root, name: bytes) -> bytes:
    """Give a vaulted file that has other names in the tree an inode of its own; its new name in the vault.

    Else an edit through those names would change the generation. Where it cannot be copied it stays as it is.
    """
    kernel = root.kernel
    try:
        source = kernel.open_beneath(root.vault_fd, name, OPEN_FILE)
        try:
            stat = kernel.stat_fd(source)
            hashed = digest_fd(kernel, source, stat.st_size)
            if hashed is None or not S_ISREG(stat.st_mode):
                return name
            mode = stat.st_mode & 0o7777
            entry = Entry(Kind.FILE, mode, stat.st_uid, stat.st_gid, stamp_of(stat).mtime_ns, stat.st_size, hashed[0])
            staged = staged_copy(root, source, entry)
        finally:
            kernel.close(source)
        if staged is None:
            return name
        kernel.unlink_at(root.vault_fd, name)
        return staged.name
    except OSError:
        return name


def has_space(root: Root, size: int, files: int = 1) -> bool:
    """Whether staging this much leaves the filesystem its reserve. Raises OSError."""
    return spare_bytes(root, files) >= size


def spare_bytes(root: Root, files: int = 1) -> int:
    """How much may be staged, in so many files, that the filesystem keeps its reserve; below 0: nothing at all."""
    space = root.kernel.space(root.vault_fd)
    reserve = min(space.bytes_total * FREE_RESERVE_PERCENT // 100, FREE_RESERVE_BYTES_MAX)
    return space.bytes_free - reserve if space.inodes_free >= files else -1


def bytes_short(root: Root) -> int:
    """How many bytes the filesystem lacks to its reserve. Raises OSError."""
    space = root.kernel.space(root.vault_fd)
    reserve = min(space.bytes_total * FREE_RESERVE_PERCENT // 100, FREE_RESERVE_BYTES_MAX)
    return max(0, reserve - space.bytes_free)
