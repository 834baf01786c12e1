"""Making durable what was staged and placed: one by one when few, by one syncfs when many."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

from everynode.limits import SYNCFS_FILES_MIN
from everynode.model.path import ROOT, RelPath
from everynode.tree.leaf import OPEN_FILE
from everynode.tree.root import Root


def make_durable(root: Root, objects: Sequence[tuple[int, bytes]]) -> None:
    """When this returns, the objects of these folders (fds) and names survive a power cut, attributes included.

    Raises OSError if anything may have been lost; nothing of the batch may be placed then.
    """
    if len(objects) >= SYNCFS_FILES_MIN:
        root.kernel.sync_filesystem(root.vault_fd)
        return
    unopened = set()
    for folder, name in objects:
        try:
            fd = root.kernel.open_beneath(folder, name, OPEN_FILE)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EACCES):
                raise
            unopened.add(folder)  # a symlink, or a mode that keeps even us out
            continue
        try:
            # Not fdatasync: a new file costs the same journal commit, and mode and mtime must survive as well.
            root.kernel.sync_file(fd)
        finally:
            root.kernel.close(fd)
    for folder in unopened:
        root.kernel.sync_file(folder)


def sync_paths(root: Root, paths: Iterable[RelPath]) -> None:
    """Make durable the names in these directories, and the attributes of these files; the vault's names as well.

    Pass the parent of every placed path, every directory made, and every file whose attributes were changed in
    place. What is gone meanwhile is passed over. Raises OSError if anything may have been lost.
    """
    wanted = set(paths)
    if len(wanted) >= SYNCFS_FILES_MIN:
        root.kernel.sync_filesystem(root.vault_fd)
        return
    with root.batch() as reach:
        for path in wanted:
            if path == ROOT:
                root.kernel.sync_file(root.fd)
                continue
            parent, _, name = path.rpartition(b"/")
            try:
                fd = root.kernel.open_beneath(reach.directory(RelPath(parent)), name, OPEN_FILE)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENXIO):
                    continue
                raise
            try:
                root.kernel.sync_file(fd)
            finally:
                root.kernel.close(fd)
    root.kernel.sync_file(root.vault_fd)
