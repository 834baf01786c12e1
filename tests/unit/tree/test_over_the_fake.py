"""The same code over the simulator's kernel: what the simulator runs is what a node runs."""

import itertools
import os

from everynode.content.assemble import Assembly
from everynode.model.entry import Entry, Kind
from everynode.model.path import RelPath
from everynode.tree.attributes import set_directory_times
from everynode.tree.digest import digest_bytes, hash_blocks
from everynode.tree.observe import observe
from everynode.tree.outcome import Absent, Present, Unchanged
from everynode.tree.place import MovedFrom, PlaceItem, place
from everynode.tree.root import Root
from everynode.tree.stage import StageItem, stage
from everynode.tree.sync import make_durable, sync_paths
from everynode.tree.vault import list_vault
from everynode.tree.walk import walk
from tests.sim.disk import Disk
from tests.sim.fake_kernel import FakeKernel
from tests.unit.tree.placing import done, refused

F = RelPath(b"d/f")


def entry_of(content: bytes, mode: int = 0o644) -> Entry:
    return Entry(Kind.FILE, mode, 5, 5, 10**17, len(content), digest_bytes(content))


def test_a_file_is_made_replaced_changed_moved_and_removed_over_the_fake() -> None:
    time_ns = itertools.count(10**18, 1000)
    kernel = FakeKernel(Disk(lambda: next(time_ns)))
    root = Root.open(kernel, b"/srv/tree", bytes(16), create=True, life=b"1")
    root.check()
    open_before = kernel.open_count

    done(place(root, [PlaceItem(RelPath(b"d"), Entry(Kind.DIRECTORY, 0o2755, 3, 3, 7))])[0])
    new = stage(root, [StageItem(F, entry_of(b"one"), b"one")])
    make_durable(root, [(root.vault_fd, new[0].name)])  # type: ignore[union-attr]
    first = done(place(root, [PlaceItem(F, entry_of(b"one"), new[0])])[0])  # type: ignore[arg-type]
    looks = [(F, first.stamp), (F, None), (RelPath(b"d/x"), None), (RelPath(b"x/x"), None)]
    known, seen, absent, unreached = observe(root, looks, contents=True, now_ns=2 * 10**18)
    assert known == Unchanged() and absent == unreached == Absent()
    assert isinstance(seen, Present) and seen.entry == entry_of(b"one") and seen.content == b"one"

    new = stage(root, [StageItem(F, entry_of(b"two"), b"two")])
    second = done(place(root, [PlaceItem(F, entry_of(b"two"), new[0], first.stamp, first.entry)])[0])  # type: ignore[arg-type]
    assert second.vaulted and not second.swapped_other
    private = entry_of(b"two", 0o600)
    third = done(place(root, [PlaceItem(F, private, None, second.stamp, second.entry)])[0])
    assert third.stamp is not None and third.entry == private
    source = MovedFrom(F, third.stamp, private)
    moved = done(place(root, [PlaceItem(RelPath(b"g"), private, moved_from=source)])[0])
    removed = done(place(root, [PlaceItem(RelPath(b"g"), None, None, moved.stamp, moved.entry)])[0])
    assert {vaulted.name for vaulted in list_vault(root)} == {second.vaulted, removed.vaulted}

    assert done(set_directory_times(root, [(RelPath(b"d"), 5)])[0]).entry == Entry(Kind.DIRECTORY, 0o2755, 3, 3, 5)
    sync_paths(root, [RelPath(b""), RelPath(b"d")])
    assert [item.path for batch in walk(root, skip=lambda path, directory: False) for item in batch] == [b"d"]
    assert kernel.open_count == open_before


def test_a_large_content_is_assembled_over_the_fake() -> None:
    kernel = FakeKernel(Disk(lambda: 10**18))
    root = Root.open(kernel, b"/srv/tree", bytes(16), create=True, life=b"1")
    content = os.urandom(300_000)
    assembly = Assembly.open(root, F, entry_of(content), hash_blocks(content))
    assembly.resume()
    for offset, length in assembly.missing():
        assembly.add(offset, content[offset : offset + length])
    assert assembly.finish().entry == entry_of(content)


def test_a_change_of_mode_in_the_very_tick_of_its_placing_is_seen_before_the_file_is_replaced_or_removed() -> None:
    kernel = FakeKernel(Disk(lambda: 10**18, tick_ns=4_000_000))
    root = Root.open(kernel, b"/srv/tree", bytes(16), create=True, life=b"1")
    for number, path in enumerate((RelPath(b"removed"), RelPath(b"replaced"), RelPath(b"moved"))):
        content = b"%d" % number
        new = stage(root, [StageItem(path, entry_of(content), content)])
        put = done(place(root, [PlaceItem(path, entry_of(content), new[0])])[0])  # type: ignore[arg-type]
        user = kernel.open_beneath(root.fd, path, os.O_RDONLY)
        kernel.chmod_fd(user, 0o600)
        kernel.close(user)
        assert put.stamp is not None and put.entry is not None
        if path == b"removed":
            item = PlaceItem(path, None, None, put.stamp, put.entry)
        elif path == b"replaced":
            other = stage(root, [StageItem(path, entry_of(b"other"), b"other")])
            item = PlaceItem(path, entry_of(b"other"), other[0], put.stamp, put.entry)  # type: ignore[arg-type]
        else:
            item = PlaceItem(RelPath(b"new"), put.entry, moved_from=MovedFrom(path, put.stamp, put.entry))
        refused(place(root, [item])[0])
        (seen,) = observe(root, [(path, None)], contents=True, now_ns=2 * 10**18)
        assert isinstance(seen, Present) and seen.entry.mode == 0o600 and seen.content == content
