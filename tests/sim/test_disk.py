"""The in-memory disk: what survives a power cut or a crash, and what notices tell."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable

import pytest

from everynode.kernel.protocol import RenameFlag
from everynode.model.notice import Notice, What
from everynode.model.path import RelPath
from tests.sim.disk import Disk
from tests.sim.fake_kernel import Crash, FakeKernel
from tests.sim.loop import SimLoop, simulate
from tests.sim.notices import SimNotices
from tests.sim.power import power_cut, sync_all
from tests.sim.user import Tree, User, read_tree
from tests.sim.workload import Workload

ROOT = b"/"


def new_disk(**options: int) -> Disk:
    return Disk(lambda: 1_700_000_000_000_000_000, **options)


def outcomes(prepare: Callable[[User], None], seeds: int = 200) -> list[Tree]:
    """What may be found after a power cut that follows `prepare`."""
    found = []
    for seed in range(seeds):
        disk = new_disk()
        prepare(User(disk, ROOT))
        power_cut(disk, random.Random(seed))
        found.append(read_tree(disk, ROOT))
    return found


def contents(trees: list[Tree], path: bytes) -> set[bytes | None]:
    return {tree[path].content if path in tree else None for tree in trees}


def sync_directory(user: User, path: bytes) -> None:
    fd = user.kernel.open_beneath(user.kernel.open_root(ROOT), path, os.O_RDONLY | os.O_DIRECTORY)
    user.kernel.sync_file(fd)
    user.kernel.close(fd)


def test_what_was_synced_with_its_name_survives_whole() -> None:
    def prepare(user: User) -> None:
        user.open_for_write(b"f").write(b"content").sync()
        sync_directory(user, b".")

    assert contents(outcomes(prepare), b"f") == {b"content"}


def test_syncing_a_file_does_not_keep_its_name() -> None:
    def prepare(user: User) -> None:
        user.open_for_write(b"f").write(b"content").sync()

    assert contents(outcomes(prepare), b"f") == {b"content", None}


def test_syncing_a_directory_does_not_keep_contents() -> None:
    def prepare(user: User) -> None:
        user.write_file(b"f", b"content")
        sync_directory(user, b".")

    found = contents(outcomes(prepare), b"f")
    assert {b"", b"content"} < found
    assert None not in found
    assert all(b"content".startswith(content or b"") for content in found)


def test_what_was_not_synced_may_be_absent_empty_partial_or_whole() -> None:
    found = contents(outcomes(lambda user: user.write_file(b"f", b"content")), b"f")
    assert {None, b"", b"content"} < found
    assert any(content and content != b"content" for content in found)


def test_an_overwritten_file_may_be_old_or_new_or_mixed() -> None:
    def prepare(user: User) -> None:
        user.write_file(b"f", b"old old old")
        user.sync()
        handle = user.open_for_write(b"f", truncate=False)
        user.kernel.pwrite(user.kernel.open_beneath(user.kernel.open_root(ROOT), b"f", os.O_RDWR), b"new new new", 0)
        handle.close()

    # O_RDWR without O_APPEND above: written in place.
    found = contents(outcomes(prepare), b"f")
    assert {b"old old old", b"new new new"} < found
    assert b"" not in found


def test_a_rename_over_a_synced_file_leaves_one_of_the_two_whole() -> None:
    def prepare(user: User) -> None:
        user.write_file(b"f", b"old")
        user.sync()
        user.replace_file(b"f", b"new", sync=True)

    assert contents(outcomes(prepare), b"f") == {b"old", b"new"}


def test_an_exchange_is_kept_for_both_names_or_for_none() -> None:
    def prepare(user: User) -> None:
        user.mkdir(b"d")
        user.write_file(b"f", b"one")
        user.write_file(b"d/f", b"two")
        user.sync()
        user.rename(b"f", b"d/f", RenameFlag.EXCHANGE)

    trees = outcomes(prepare)
    assert {(t[b"f"].content, t[b"d/f"].content) for t in trees} == {(b"one", b"two"), (b"two", b"one")}


def test_unsynced_names_survive_as_a_prefix_in_order() -> None:
    def prepare(user: User) -> None:
        for name in (b"1", b"2", b"3", b"4"):
            user.mkdir(name)

    found = {tuple(tree) for tree in outcomes(prepare)}
    assert found == {tuple([b"1", b"2", b"3", b"4"][:n]) for n in range(5)}


def test_syncing_the_target_of_a_rename_removes_the_source_too() -> None:
    def prepare(user: User) -> None:
        user.mkdir(b"a")
        user.mkdir(b"b")
        user.sync()
        user.write_file(b"a/f", b"")
        user.rename(b"a/f", b"b/f")
        sync_directory(user, b"b")

    assert {tuple(tree) for tree in outcomes(prepare)} == {(b"a", b"b", b"b/f")}


def test_a_removed_directory_does_not_take_along_what_was_moved_out_of_it() -> None:
    def prepare(user: User) -> None:
        user.mkdir(b"a")
        user.mkdir(b"b")
        user.write_file(b"a/f", b"content")
        user.sync()
        user.rename(b"a/f", b"b/f")
        user.rmdir(b"a")
        sync_directory(user, b".")

    assert {tuple(tree) for tree in outcomes(prepare)} == {(b"b", b"b/f")}


def test_a_synced_name_survives_without_an_older_one_elsewhere_that_was_not_synced() -> None:
    def prepare(user: User) -> None:
        user.mkdir(b"a")
        user.mkdir(b"b")
        user.sync()
        user.mkdir(b"a/older")
        user.mkdir(b"b/synced")
        sync_directory(user, b"b")

    found = {tuple(tree) for tree in outcomes(prepare)}
    assert found == {(b"a", b"b", b"b/synced"), (b"a", b"a/older", b"b", b"b/synced")}


@pytest.mark.parametrize("seed", range(30))
def test_after_any_work_a_power_cut_keeps_all_that_was_synced_and_not_touched_since(seed: int) -> None:
    loop = SimLoop(seed)
    workload = Workload(loop)
    disk = new_disk()
    touched: set[bytes] = set()
    user = User(disk, ROOT, lambda path, *states: touched.add(path))
    for _ in range(100):
        workload.act(user)
    workload.finish()
    sync_all(disk)
    synced = user.tree()
    touched.clear()
    for _ in range(60):
        workload.act(user)
    touched.update(w.path for w in workload.unfinished)
    power_cut(disk, loop.rng)
    after = read_tree(disk, ROOT)
    for path, what in synced.items():
        if path not in touched:
            assert after[path] == what
    assert disk.used == sum(len(i.data) for i in disk.inodes.values())
    power_cut(disk, loop.rng)
    assert read_tree(disk, ROOT) == after, "what a boot found is durable"
    loop.close()


def test_a_killed_process_loses_its_files_and_not_the_disk() -> None:
    disk = new_disk()
    user = User(disk, ROOT)
    user.open_for_write(b"f").write(b"half")
    other = FakeKernel(disk)
    fd = other.open_beneath(other.open_root(ROOT), b"f", os.O_RDONLY)
    assert other.has_writer(fd)
    user.kernel.kill()
    assert not other.has_writer(fd)
    assert other.pread(fd, 100, 0) == b"half"
    with pytest.raises(Crash):
        user.kernel.open_root(ROOT)


def test_a_full_disk_refuses_and_frees_what_is_deleted() -> None:
    disk = new_disk(capacity=10)
    user = User(disk, ROOT)
    with pytest.raises(OSError) as full:
        user.write_file(b"f", b"0123456789abc")
    assert full.value.errno == errno.ENOSPC
    assert user.tree()[b"f"].content == b"0123456789"
    user.kernel.kill()
    user = User(disk, ROOT)
    user.unlink(b"f")
    assert disk.space().bytes_free == 10


def test_another_filesystem_is_not_entered() -> None:
    disk = new_disk()
    user = User(disk, ROOT)
    user.mkdir(b"d")
    disk.mount(disk.root.children[b"d"].inode)
    kernel = FakeKernel(disk)
    root = kernel.open_root(ROOT)
    with pytest.raises(OSError) as refused:
        kernel.open_beneath(root, b"d", os.O_RDONLY)
    assert refused.value.errno == errno.EXDEV
    assert kernel.stat_at(root, b"d").st_dev != kernel.stat_fd(root).st_dev
    assert kernel.stat_fd(kernel.open_root(b"/d")).st_dev != kernel.stat_fd(root).st_dev


def test_stamps_differ_by_change_or_by_tick() -> None:
    for tick_ns, equal in ((0, False), (4_000_000, True)):
        user = User(new_disk(tick_ns=tick_ns), ROOT)
        user.write_file(b"f", b"one")
        first = user.tree()[b"f"].mtime_ns
        user.write_file(b"f", b"two")
        assert (user.tree()[b"f"].mtime_ns == first) is equal


def test_the_gate_sees_every_call_and_can_end_the_process_after_it() -> None:
    disk = new_disk()
    calls: list[str] = []

    def gate(call: str, about: bytes, when: str) -> None:
        calls.append(f"{when} {call}")
        if calls[-1] == "after mkdir_at":
            raise Crash

    kernel = FakeKernel(disk, gate)
    with pytest.raises(Crash):
        kernel.mkdir_at(kernel.open_root(ROOT), b"d", 0o755)
    assert list(read_tree(disk, ROOT)) == [b"d"]
    assert calls == ["before open_root", "before mkdir_at", "after mkdir_at"]


class TestNotices:
    def notices(self, work: Callable[[User, Disk], None]) -> list[Notice]:
        async def scenario(loop: SimLoop) -> list[Notice]:
            disk = new_disk()
            setup = User(disk, ROOT)
            for path in (b"r", b"r/.everynode", b"r/.everynode/vault", b"r/d"):
                setup.mkdir(path)
            setup.write_file(b"r/.everynode/vault/kept", b"old")
            setup.write_file(b"r/f", b"content")
            daemon = FakeKernel(disk)
            notices = SimNotices(disk, b"/r", daemon.pid)
            notices.start()
            daemon.mkdir_at(daemon.open_root(b"/r"), b"own", 0o755)
            work(User(disk, ROOT), disk)
            loop.call_soon(notices._filled.set)
            return [Notice(n.what, n.path, n.source) for n in await notices.next()]

        return simulate(1, scenario)

    def test_own_changes_are_silent_and_foreign_ones_are_told(self) -> None:
        def work(user: User, disk: Disk) -> None:
            user.write_file(b"outside", b"x")
            user.rename(b"outside", b"r/in")
            user.unlink(b"r/in")
            user.rename(b"r/f", b"r/d/g")
            user.rename(b"r/d", b"r/e")
            user.rename(b"r/e", b"out")

        assert self.notices(work) == [
            Notice(What.WRITTEN, RelPath(b"in")),
            Notice(What.GONE, RelPath(b"in")),
            Notice(What.RENAMED, RelPath(b"d/g"), RelPath(b"f")),
            Notice(What.RENAMED | What.DIRECTORY, RelPath(b"e"), RelPath(b"d")),
            Notice(What.GONE | What.DIRECTORY, RelPath(b"e")),
        ]

    def test_a_write_is_told_under_the_name_that_the_file_has_now(self) -> None:
        def work(user: User, disk: Disk) -> None:
            handle = user.open_for_write(b"r/f", truncate=False)
            user.rename(b"r/f", b"r/g")
            handle.write(b"x").close()

        assert self.notices(work)[1:] == [
            Notice(What.TOUCHED, RelPath(b"g")),
            Notice(What.WRITTEN, RelPath(b"g")),
        ]

    def test_foreign_writes_to_the_vault_are_told_as_such(self) -> None:
        def work(user: User, disk: Disk) -> None:
            user.write_file(b"r/.everynode/vault/kept", b"new")
            user.write_file(b"r/.everynode/marker", b"")

        told = self.notices(work)
        assert {n.path for n in told} == {b"kept"}
        assert all(n.what & What.VAULT for n in told)
        assert told[-1].what == What.VAULT | What.WRITTEN

    def test_an_overflow_drops_what_was_queued(self) -> None:
        def work(user: User, disk: Disk) -> None:
            user.mkdir(b"r/x")
            watcher = disk.watchers[-1]
            watcher.__self__.overflow()  # type: ignore[attr-defined]  # the notices above

        assert self.notices(work) == [Notice(What.OVERFLOW, RelPath(b""))]
