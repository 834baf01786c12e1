"""What is written back to stable storage, and what a power cut leaves of the rest."""

from __future__ import annotations

import random
import stat

from tests.sim.disk import Disk
from tests.sim.inodes import Dentry, Inode
from tests.sim.journal import Journal, cut_data


def sync_data(inode: Inode) -> None:
    """The content of a file is durable; its attributes and names need not be."""
    if inode.dirty:
        inode.durable_data = inode.content()
    inode.shrunk = False


def sync_file(disk: Disk, inode: Inode) -> None:
    """A file: content and attributes, not its names. A directory: its names and attributes, not the contents."""
    if inode.is_directory:
        disk.journal.force_names(inode.number)
    else:
        sync_data(inode)
        disk.journal.force_attributes(inode.number)


def sync_all(disk: Disk) -> None:
    for inode in disk.inodes.values():
        sync_data(inode)
    disk.journal.force_all()
    disk.ever = dict(disk.inodes)
    disk.journal.names = {n: names for n, names in disk.journal.names.items() if n in disk.ever}
    disk.journal.attributes = {n: a for n, a in disk.journal.attributes.items() if n in disk.ever}


def rewind(disk: Disk, root: Inode) -> None:
    """All processes end, and the disk is what it was when `root` was copied: as from an image of it."""
    disk.watchers.clear()
    for end in list(disk.processes.values()):
        end()
    disk.root = root
    disk.mounts.clear()
    disk.inodes = {}
    disk.journal = Journal()
    pending = [root]
    while pending:
        inode = pending.pop()
        if inode.number in disk.inodes:
            continue
        disk.inodes[inode.number] = inode
        inode.opens = inode.writers = 0
        disk.journal.attributes[inode.number] = inode.attributes()
        if inode.is_directory:
            disk.journal.names[inode.number] = {name: d.inode.number for name, d in inode.children.items()}
            pending += [dentry.inode for dentry in inode.children.values()]
    disk.used = sum(len(inode.data) for inode in disk.inodes.values())
    sync_all(disk)


def write_back(disk: Disk, rng: random.Random) -> None:
    """What the kernel does by itself after a while: some contents, or everything."""
    if rng.random() < 0.5:
        sync_all(disk)
        return
    for inode in list(disk.inodes.values()):
        if inode.dirty and rng.random() < 0.5:
            sync_data(inode)


def power_cut(disk: Disk, rng: random.Random) -> None:
    """All processes end without a word, and the tree is one that a journalling filesystem could have left.

    What was synced is there. Of the rest a prefix of the changes of names and attributes survives, each whole;
    contents of files are new, partly new, old or empty.
    """
    disk.watchers.clear()
    for end in list(disk.processes.values()):
        end()
    disk.journal.cut(rng)
    reached: dict[int, Inode] = {}
    _reload(disk, disk.root, reached, rng)
    for number in [n for n in disk.mounts if n not in reached]:
        del disk.mounts[number]
    for root in disk.mounts.values():
        _reload(disk, root, reached, rng)
    disk.inodes = reached
    disk.number_anew()
    disk.used = sum(len(inode.data) for inode in reached.values())
    sync_all(disk)


def _reload(disk: Disk, directory: Inode, reached: dict[int, Inode], rng: random.Random) -> None:
    _restore(disk, directory, reached)
    directory.children = {}
    directory.nlink = 2
    for name, number in sorted(disk.journal.names.get(directory.number, {}).items()):
        inode = disk.ever[number]
        dentry = directory.children[name] = Dentry(directory, name, inode)
        if inode.is_directory:
            assert number not in reached, "a directory has one name"
            inode.name = dentry
            directory.nlink += 1
            _reload(disk, inode, reached, rng)
            continue
        if number not in reached:
            _restore(disk, inode, reached)
            inode.nlink = 0
            if inode.is_file:
                inode.data = bytearray(cut_data(inode, rng))
        inode.nlink += 1


def _restore(disk: Disk, inode: Inode, reached: dict[int, Inode]) -> None:
    saved = disk.journal.attributes[inode.number]
    assert stat.S_IFMT(saved.mode) == stat.S_IFMT(inode.mode)
    inode.mode, inode.uid, inode.gid, inode.mtime_ns, inode.ctime_ns = saved
    inode.opens = inode.writers = 0
    reached[inode.number] = inode
