"""Notices of a real tree through inotify: nothing is missed while directories come, move and go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everynode.kernel import inotify
from everynode.kernel.linux import LinuxKernel
from everynode.kernel.protocol import RenameFlag
from everynode.model.notice import Notice, What
from everynode.model.path import ROOT
from everynode.watch.choose import open_notices
from everynode.watch.inotify import InotifyNotices
from tests.kernel.foreign import make

W = What


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "root" / ".everynode" / "vault").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir("/")


def take(notices: InotifyNotices) -> list[Notice]:
    return asyncio.run(asyncio.wait_for(notices.next(), 10))


def take_until(notices: InotifyNotices, enough: Callable[[Notice], bool]) -> list[Notice]:
    found: list[Notice] = []
    while not any(enough(notice) for notice in found):
        found += take(notices)
    return found


def seen(notices: InotifyNotices) -> list[tuple[What, bytes, bytes | None]]:
    return [(notice.what, notice.path, notice.source) for notice in take(notices)]


def everything(notices: InotifyNotices) -> set[bytes]:
    """The paths of all notices up to that of a file made last."""
    make(b"root/~last")
    found = {notice.path for notice in take_until(notices, lambda notice: notice.path == b"~last")}
    os.unlink("root/~last")
    take_until(notices, lambda notice: W.GONE in notice.what and notice.path == b"~last")
    return found - {b"~last"}


@pytest.fixture
def notices(base: Path) -> Iterator[InotifyNotices]:
    os.makedirs("root/d/deep/er")
    notices = InotifyNotices(os.fsencode(base / "root"))
    notices.start()
    yield notices
    notices.close()


def test_it_is_known_whether_everything_was_read(base: Path, notices: InotifyNotices) -> None:
    assert not notices.waiting()
    before = notices.emptied
    make(b"root/f")
    assert notices.waiting() and notices.emptied == before
    take(notices)
    assert not notices.waiting() and notices.emptied > before


def test_while_the_second_half_of_a_move_is_waited_for_not_everything_was_read(
    base: Path, notices: InotifyNotices
) -> None:
    async def scene() -> None:
        before = notices.emptied
        os.rename("root/d", "outside/d")
        reading = asyncio.create_task(notices.next())
        await asyncio.sleep(0)
        assert not reading.done()
        assert notices.waiting() and notices.emptied == before
        assert [notice.path for notice in await asyncio.wait_for(reading, 10)] == [b"d"]
        assert notices.emptied > before

    asyncio.run(scene())


def test_files_in_all_directories_are_noticed(base: Path, notices: InotifyNotices) -> None:
    make(b"root/f")
    make(b"root/d/deep/er/\xff")
    os.symlink("x", "root/d/l")
    assert seen(notices) == [
        (W.TOUCHED | W.WRITTEN, b"f", None),
        (W.TOUCHED | W.WRITTEN, b"d/deep/er/\xff", None),
        (W.TOUCHED, b"d/l", None),
    ]
    os.unlink("root/f")
    os.chmod("root/d", 0o700)
    os.chmod("root", 0o700)
    assert seen(notices) == [
        (W.GONE, b"f", None),
        (W.TOUCHED | W.DIRECTORY, b"d", None),
        (W.TOUCHED | W.DIRECTORY, ROOT, None),
    ]


def test_what_was_made_in_a_new_directory_before_it_was_watched_is_found(base: Path, notices: InotifyNotices) -> None:
    os.makedirs("root/new/inner")
    make(b"root/new/f")
    make(b"root/new/inner/g")
    assert everything(notices) == {b"new", b"new/f", b"new/inner", b"new/inner/g"}
    make(b"root/new/inner/h")
    assert seen(notices) == [(W.TOUCHED | W.WRITTEN, b"new/inner/h", None)]


def test_a_moved_directory_keeps_its_watches_under_the_new_path(base: Path, notices: InotifyNotices) -> None:
    make(b"root/f")
    everything(notices)
    os.rename("root/f", "root/g")
    os.rename("root/d/deep", "root/moved")
    make(b"root/moved/er/f")
    assert seen(notices) == [
        (W.RENAMED, b"g", b"f"),
        (W.RENAMED | W.DIRECTORY, b"moved", b"d/deep"),
        (W.TOUCHED | W.WRITTEN, b"moved/er/f", None),
    ]


def test_moving_in_and_out(base: Path, notices: InotifyNotices) -> None:
    os.makedirs("outside/tree/inner")
    make(b"outside/tree/inner/f")
    os.rename("root/d", "outside/d")
    assert seen(notices) == [(W.GONE | W.DIRECTORY, b"d", None)]
    make(b"outside/d/deep/er/f")
    os.rename("outside/tree", "root/tree")
    assert everything(notices) == {b"tree", b"tree/inner", b"tree/inner/f"}
    make(b"root/tree/inner/g")
    assert seen(notices) == [(W.TOUCHED | W.WRITTEN, b"tree/inner/g", None)]


def test_exchanged_directories_are_told_apart_afterwards(base: Path, notices: InotifyNotices) -> None:
    os.makedirs("root/a/1")
    os.makedirs("root/b/2")
    everything(notices)
    kernel = LinuxKernel()
    root = kernel.open_root(b"root")
    kernel.rename_at(root, b"a", root, b"b", RenameFlag.EXCHANGE)
    os.close(root)
    assert {b"a", b"b"} <= everything(notices)
    make(b"root/a/2/f")
    make(b"root/b/1/f")
    assert {notice.path for notice in take(notices)} == {b"a/2/f", b"b/1/f"}


def test_a_directory_that_is_deleted_and_made_again_is_watched(base: Path, notices: InotifyNotices) -> None:
    os.removedirs("root/d/deep/er")
    os.makedirs("root/d/deep/er")
    everything(notices)
    make(b"root/d/deep/er/f")
    assert seen(notices) == [(W.TOUCHED | W.WRITTEN, b"d/deep/er/f", None)]


def test_writes_in_the_vault_and_nothing_else_of_our_folder(base: Path, notices: InotifyNotices) -> None:
    make(b"root/.everynode/marker")
    make(b"root/.everynode/vault/x")
    assert seen(notices) == [(W.VAULT | W.TOUCHED | W.WRITTEN, b"x", None)]


def test_a_vault_that_comes_later_is_watched(base: Path) -> None:
    os.removedirs("root/.everynode/vault")
    os.makedirs("root", exist_ok=True)
    notices = InotifyNotices(os.fsencode(base / "root"))
    notices.start()
    os.makedirs("root/.everynode/vault")
    everything(notices)
    make(b"root/.everynode/vault/x")
    assert seen(notices) == [(W.VAULT | W.TOUCHED | W.WRITTEN, b"x", None)]
    notices.close()


def test_links_to_directories_are_not_followed(base: Path, notices: InotifyNotices) -> None:
    os.symlink("../outside", "root/link")
    everything(notices)
    make(b"outside/f")
    assert everything(notices) == set()


def test_an_overflow_watches_all_anew_and_then_asks_for_a_scan(base: Path, notices: InotifyNotices) -> None:
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        length = int(file.read())
    if length > 100_000:
        pytest.skip("the queue is too long here")
    os.rename("root/d/deep", "root/first")
    for number in range(length // 2 + 1):
        os.mkdir("root/t")
        os.rmdir("root/t")
    os.rename("root/first", "root/second")  # lost, as is the next
    os.rmdir("root/d")
    found = take_until(notices, lambda notice: W.OVERFLOW in notice.what)
    assert found[-1] == Notice(W.OVERFLOW, ROOT)
    assert len(notices._tree) == 3  # the root, second, second/er: nothing is kept of what is gone
    make(b"root/second/er/f")
    assert seen(notices) == [(W.TOUCHED | W.WRITTEN, b"second/er/f", None)]


def test_directories_beyond_the_limit_of_watches_are_scanned_at_intervals(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real limit belongs to all processes of a user; another test's watches must not suffer.
    real = inotify.add_watch
    left = 3

    def limited(queue: int, directory: int, mask: int = inotify.TREE_MASK) -> int:
        nonlocal left
        if mask == inotify.TREE_MASK:
            left -= 1
            if left < 0:
                raise OSError(28, "No space left on device")
        return real(queue, directory, mask)

    monkeypatch.setattr(inotify, "add_watch", limited)
    for number in range(5):
        os.makedirs(f"root/{number}/inner")
    notices = InotifyNotices(os.fsencode(base / "root"), why="no fanotify", scan_interval=0.01)
    notices.start()
    assert notices.detail.startswith("no fanotify; 5 directories are not watched and scanned every 0.01 s instead; ")
    assert "fs.inotify.max_user_watches" in notices.detail
    found = take(notices)
    assert {notice.what for notice in found} == {W.OVERFLOW} and len(found) == 5
    unwatched = {notice.path for notice in found}
    watched = {os.fsencode(str(number)) for number in range(5)} - unwatched
    assert len(watched) == 2 and unwatched == ({b"0", b"1", b"2", b"3", b"4"} - watched) | {
        w + b"/inner" for w in watched
    }
    make(b"root/f")
    take_until(notices, lambda notice: notice.path == b"f")
    notices.close()


def test_far_too_many_unwatched_directories_become_a_scan_of_everything(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(queue: int, directory: int, mask: int = inotify.TREE_MASK) -> int:
        if mask == inotify.TREE_MASK and os.readlink(f"/proc/self/fd/{directory}") != str(base / "root"):
            raise OSError(28, "No space left on device")
        return real(queue, directory, mask)

    real = inotify.add_watch
    monkeypatch.setattr(inotify, "add_watch", none)
    for number in range(300):
        os.mkdir(f"root/{number}")
    notices = InotifyNotices(os.fsencode(base / "root"), scan_interval=0.01)
    notices.start()
    assert notices.detail.startswith("the tree is not watched whole")
    assert take(notices) == [Notice(W.OVERFLOW, ROOT)]
    notices.close()


def test_inotify_can_be_asked_for_and_scans_too(base: Path) -> None:
    notices = open_notices(os.fsencode(base / "root"), force="inotify")
    assert notices.method == "inotify"
    none = open_notices(os.fsencode(base / "root"), force="none")
    assert none.method == "none" and "scanned" in none.detail
    with pytest.raises(ValueError, match="'dnotify'"):
        open_notices(os.fsencode(base / "root"), force="dnotify")


def test_unwatched_directories_are_scanned_in_time_however_busy_the_others_are(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = inotify.add_watch
    watched: list[int] = []

    def only_the_root(queue: int, directory: int, mask: int = inotify.TREE_MASK) -> int:
        if watched:
            raise OSError(28, "No space left on device")
        watched.append(directory)
        return real(queue, directory, mask)

    monkeypatch.setattr(inotify, "add_watch", only_the_root)
    os.removedirs("root/.everynode/vault")
    os.makedirs("root/d")
    notices = InotifyNotices(os.fsencode(base / "root"), scan_interval=0.0)
    notices.start()
    make(b"root/f")
    assert seen(notices) == [(W.TOUCHED | W.WRITTEN, b"f", None), (W.OVERFLOW, b"d", None)]
    notices.close()
