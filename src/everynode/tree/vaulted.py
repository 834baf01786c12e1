"""What an object in the vault folder is: its entry, its content."""

from __future__ import annotations

from everynode.model.entry import Entry, Kind
from everynode.tree.digest import digest_fd
from everynode.tree.leaf import OPEN_FILE, entry_of, kind_of
from everynode.tree.root import Root


def entry_in_vault(root: Root, name: bytes) -> Entry | None:
    """Read and hash a vaulted object; None when it is gone, or written to meanwhile. Raises OSError."""
    kernel = root.kernel
    try:
        stat = kernel.stat_at(root.vault_fd, name)
    except FileNotFoundError:
        return None
    kind = kind_of(stat)
    if kind is Kind.SYMLINK:
        return entry_of(stat, kind, kernel.readlink_at(root.vault_fd, name))
    if kind is not Kind.FILE:
        return None
    fd = kernel.open_beneath(root.vault_fd, name, OPEN_FILE)
    try:
        hashed = digest_fd(kernel, fd, stat.st_size)
        after = kernel.stat_fd(fd)
    finally:
        kernel.close(fd)
    if hashed is None or (after.st_mtime_ns, after.st_size) != (stat.st_mtime_ns, stat.st_size):
        return None
    return entry_of(after, kind, hashed[0])


def open_vaulted(root: Root, name: bytes) -> int:
    """An fd open for reading; the caller closes it. Raises OSError."""
    return root.kernel.open_beneath(root.vault_fd, name, OPEN_FILE)
