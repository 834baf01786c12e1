"""Reading many small placed files at once, for sending along with their records."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from everynode.model.entry import Stamp
from everynode.model.ids import Digest
from everynode.model.path import RelPath
from everynode.tree.leaf import OPEN_FILE, same_object
from everynode.tree.root import Root


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """A placed file by the stamp under which it had the content `digest`."""

    path: RelPath
    stamp: Stamp
    digest: Digest
    size: int


def read_small(root: Root, items: Sequence[Wanted]) -> dict[Digest, bytes]:
    """Contents by digest, without those that are not what they were; who needs these asks for them.

    Nothing is verified here: the receiver compares the bytes with their digest before it places them.
    """
    kernel = root.kernel
    found: dict[Digest, bytes] = {}
    with root.batch() as reach:
        for item in items:
            parent, _, name = item.path.rpartition(b"/")
            try:
                fd = kernel.open_beneath(reach.directory(RelPath(parent)), name, OPEN_FILE)
            except OSError:
                continue
            try:
                content = kernel.read(fd, item.size + 1)
                if len(content) == item.size and same_object(item.stamp, kernel.stat_fd(fd)):
                    found[item.digest] = content
            except OSError:
                continue
            finally:
                kernel.close(fd)
    return found
