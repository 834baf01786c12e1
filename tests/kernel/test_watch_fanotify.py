"""Notices of a real tree through fanotify: where, what and by whom."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from everynode.kernel.linux import LinuxKernel
from everynode.kernel.protocol import RenameFlag
from everynode.model.notice import Notice, What
from everynode.model.path import ROOT, RelPath
from everynode.watch.choose import open_notices
from everynode.watch.fanotify import FanotifyNotices
from everynode.watch.unavailable import MethodUnavailable
from tests.kernel.foreign import Writer, foreign, make, mounted

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

W = What


@pytest.fixture(scope="module", params=["tmpfs", "ext4"])
def filesystem(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounted(request.param, tmp_path_factory.mktemp("fs")) as place:
        yield place


@pytest.fixture
def base(filesystem: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The parent of the root, and the working directory; the root is `root` in it."""
    folder = filesystem / request.node.name.replace("/", "_")
    (folder / "root" / ".everynode" / "vault").mkdir(parents=True)
    (folder / "outside").mkdir()
    os.chdir(folder)
    yield folder
    os.chdir("/")


@pytest.fixture
def notices(base: Path) -> Iterator[FanotifyNotices]:
    notices = FanotifyNotices(os.fsencode(base / "root"))
    notices.start()
    yield notices
    notices.close()


def take(notices: FanotifyNotices) -> list[Notice]:
    return asyncio.run(asyncio.wait_for(notices.next(), 10))


def seen(notices: FanotifyNotices) -> list[tuple[What, bytes, bytes | None]]:
    return [(notice.what, notice.path, notice.source) for notice in take(notices)]


def test_a_new_file_is_noticed_with_the_process_that_wrote_it(base: Path, notices: FanotifyNotices) -> None:
    pid = foreign(lambda: make(b"root/f"))
    assert take(notices) == [Notice(W.TOUCHED | W.WRITTEN, RelPath(b"f"), None, pid)]


def test_it_is_known_whether_everything_was_read(base: Path, notices: FanotifyNotices) -> None:
    assert not notices.waiting()
    before = notices.emptied
    foreign(lambda: make(b"root/f"))
    assert notices.waiting()
    take(notices)
    assert not notices.waiting() and notices.emptied > before


def test_a_waiting_reader_is_woken(base: Path, notices: FanotifyNotices) -> None:
    async def scene() -> list[Notice]:
        waiting = asyncio.create_task(notices.next())
        await asyncio.sleep(0)
        foreign(lambda: make(b"root/f"))
        return await asyncio.wait_for(waiting, 10)

    assert [notice.path for notice in asyncio.run(scene())] == [b"f"]


def test_a_waiting_reader_is_woken_by_uvloop_too(base: Path, notices: FanotifyNotices) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def scene() -> list[Notice]:
        waiting = asyncio.create_task(notices.next())
        await asyncio.sleep(0)
        foreign(lambda: make(b"root/f"))
        return await asyncio.wait_for(waiting, 10)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert [notice.path for notice in runner.run(scene())] == [b"f"]


def test_own_writes_are_left_out_and_foreign_ones_on_the_same_file_seen(base: Path, notices: FanotifyNotices) -> None:
    make(b"root/f")
    pid = foreign(lambda: make(b"root/f", b"theirs"))
    make(b"root/f", b"ours again")
    os.mkdir("root/own")
    assert take(notices) == [Notice(W.TOUCHED | W.WRITTEN, RelPath(b"f"), None, pid)]


def test_what_happens_beside_the_root_is_left_out(base: Path, notices: FanotifyNotices) -> None:
    def act() -> None:
        make(b"outside/f")
        make(b"root2")
        os.mkdir("root3")
        make(b"root3/f")
        make(b"root/last")

    foreign(act)
    assert seen(notices) == [(W.TOUCHED | W.WRITTEN, b"last", None)]


def test_renaming_a_file_and_writing_beside_it_keeps_the_order(base: Path, notices: FanotifyNotices) -> None:
    make(b"root/a")

    def act() -> None:
        make(b"root/a", b"1")
        os.rename("root/a", "root/b")
        make(b"root/a", b"2")
        os.unlink("root/b")

    foreign(act)
    found = seen(notices)
    assert found[:2] == [(W.TOUCHED | W.WRITTEN, b"a", None), (W.RENAMED, b"b", b"a")]
    assert found[-1] == (W.GONE, b"b", None)


def test_after_a_directory_is_renamed_what_is_written_below_has_the_new_path(
    base: Path, notices: FanotifyNotices
) -> None:
    os.makedirs("root/d/deep/er")
    foreign(lambda: make(b"root/d/deep/er/f"))
    assert seen(notices) == [(W.TOUCHED | W.WRITTEN, b"d/deep/er/f", None)]
    foreign(lambda: os.rename("root/d/deep", "root/moved"))
    assert seen(notices) == [(W.RENAMED | W.DIRECTORY, b"moved", b"d/deep")]
    foreign(lambda: make(b"root/moved/er/f"))
    assert seen(notices) == [(W.TOUCHED | W.WRITTEN, b"moved/er/f", None)]


def test_after_our_own_rename_of_a_directory_paths_below_are_right_too(base: Path, notices: FanotifyNotices) -> None:
    os.mkdir("root/d")
    foreign(lambda: make(b"root/d/f"))
    seen(notices)
    os.rename("root/d", "root/e")
    foreign(lambda: make(b"root/e/f"))
    assert seen(notices) == [(W.TOUCHED | W.WRITTEN, b"e/f", None)]


def test_moving_in_and_out_of_the_root(base: Path, notices: FanotifyNotices) -> None:
    make(b"outside/in")
    make(b"root/out")
    os.makedirs("outside/dir/inner")

    def act() -> None:
        os.rename("outside/in", "root/in")
        os.rename("root/out", "outside/out")
        os.rename("outside/dir", "root/dir")

    foreign(act)
    assert seen(notices) == [(W.WRITTEN, b"in", None), (W.GONE, b"out", None), (W.WRITTEN | W.DIRECTORY, b"dir", None)]
    foreign(lambda: os.rename("root/dir", "outside/dir"))
    assert seen(notices) == [(W.GONE | W.DIRECTORY, b"dir", None)]


def test_a_directory_that_was_known_to_be_outside_is_found_after_it_moved_in(
    base: Path, notices: FanotifyNotices
) -> None:
    os.makedirs("outside/dir/inner")

    def act() -> None:
        make(b"outside/dir/inner/f")
        make(b"root/flush")

    foreign(act)
    assert seen(notices) == [(W.TOUCHED | W.WRITTEN, b"flush", None)]
    foreign(lambda: os.rename("outside/dir", "root/dir"))
    foreign(lambda: make(b"root/dir/inner/f"))
    assert seen(notices) == [
        (W.WRITTEN | W.DIRECTORY, b"dir", None),
        (W.TOUCHED | W.WRITTEN, b"dir/inner/f", None),
    ]
    foreign(lambda: os.rename("root/dir", "outside/dir"))
    foreign(lambda: make(b"outside/dir/inner/f"))
    foreign(lambda: make(b"root/last"))
    assert seen(notices) == [(W.GONE | W.DIRECTORY, b"dir", None), (W.TOUCHED | W.WRITTEN, b"last", None)]


def test_directories_and_links_and_attributes_are_noticed(base: Path, notices: FanotifyNotices) -> None:
    make(b"root/f")

    def act() -> None:
        os.mkdir("root/d")
        os.symlink("nowhere", "root/l")
        os.chmod("root/f", 0o600)
        os.rmdir("root/d")

    foreign(act)
    assert seen(notices) == [
        (W.TOUCHED | W.GONE | W.DIRECTORY, b"d", None),
        (W.TOUCHED, b"l", None),
        (W.TOUCHED, b"f", None),
    ]
    os.mkdir("root/e")
    foreign(lambda: os.chmod("root/e", 0o700))
    foreign(lambda: os.chmod("root", 0o700))
    assert seen(notices) == [(W.TOUCHED | W.DIRECTORY, b"e", None), (W.TOUCHED | W.DIRECTORY, ROOT, None)]


def test_a_removed_tree_ends_in_one_notice_that_its_top_is_gone(base: Path, notices: FanotifyNotices) -> None:
    os.makedirs("root/d/e/f")
    make(b"root/d/e/g")
    foreign(lambda: subprocess.run(["rm", "-r", "root/d"], check=True))
    assert seen(notices) == [(W.GONE | W.DIRECTORY, b"d", None)]


def test_a_writer_of_a_file_that_was_swapped_into_the_vault_is_noticed_as_vault(
    base: Path, notices: FanotifyNotices
) -> None:
    make(b"root/f", b"old")
    writer = Writer(b"root/f")
    root = os.open("root", os.O_RDONLY)
    vault = os.open("root/.everynode/vault", os.O_RDONLY)
    make(b"root/.everynode/vault/staged", b"new")
    LinuxKernel().rename_at(vault, b"staged", root, b"f", RenameFlag.EXCHANGE)
    os.close(root)
    os.close(vault)
    writer.write()
    assert take(notices) == [Notice(W.VAULT | W.TOUCHED, RelPath(b"staged"), None, writer.pid)]
    writer.close()
    assert take(notices) == [Notice(W.VAULT | W.WRITTEN, RelPath(b"staged"), None, writer.pid)]


def test_the_rest_of_our_own_folder_is_left_out_and_counts_as_outside(base: Path, notices: FanotifyNotices) -> None:
    make(b"root/f")
    os.mkdir("root/.everynode/vault/inner")

    def act() -> None:
        make(b"root/.everynode/marker")
        make(b"root/.everynode/vault/inner/x")
        os.chmod("root/.everynode", 0o755)
        os.chmod("root/.everynode/vault", 0o755)
        os.rename("root/.everynode/marker", "root/taken")
        os.rename("root/f", "root/.everynode/given")

    foreign(act)
    assert seen(notices) == [(W.WRITTEN, b"taken", None), (W.GONE, b"f", None)]
    foreign(lambda: os.rename("root/.everynode", "root/renamed"))
    assert seen(notices) == [(W.WRITTEN | W.DIRECTORY, b"renamed", None)]
    foreign(lambda: make(b"root/renamed/vault/x"))
    assert seen(notices) == [(W.TOUCHED | W.WRITTEN, b"renamed/vault/x", None)]


def test_renaming_the_root_or_a_directory_above_it_changes_no_path(base: Path, notices: FanotifyNotices) -> None:
    os.makedirs("root/known")
    os.makedirs("root/new")
    foreign(lambda: make(b"root/known/f"))
    seen(notices)
    foreign(lambda: os.rename("root", "elsewhere"))
    foreign(lambda: make(b"elsewhere/known/f"))
    foreign(lambda: make(b"elsewhere/new/f"))
    assert seen(notices) == [
        (W.TOUCHED | W.WRITTEN, b"known/f", None),
        (W.TOUCHED | W.WRITTEN, b"new/f", None),
    ]


def test_a_root_behind_a_link_or_a_bind_mount_works(base: Path) -> None:
    os.makedirs("root/d")
    os.symlink("root", "link")
    os.mkdir("bound")
    subprocess.run(["mount", "--bind", "root", "bound"], check=True)
    try:
        for name in ("link", "bound"):
            notices = FanotifyNotices(os.fsencode(base / name))
            notices.start()
            foreign(lambda: make(b"root/d/f"))  # through another mount of the same filesystem
            foreign(lambda: make(b"outside/f"))
            assert seen(notices) == [(W.TOUCHED | W.WRITTEN, b"d/f", None)], name
            notices.close()
    finally:
        subprocess.run(["umount", "bound"], check=True)


def test_a_queue_that_overflows_says_that_everything_must_be_scanned(base: Path) -> None:
    notices = FanotifyNotices(os.fsencode(base / "root"), unlimited_queue=False)
    notices.start()
    os.makedirs("root/d/inner")
    foreign(lambda: make(b"root/d/inner/f"))
    seen(notices)

    def act() -> None:
        os.symlink("x", "root/0")
        for number in range(20_000):  # the queue holds 16,384
            os.rename(f"root/{number}", f"root/{number + 1}")
        os.rename("root/d", "root/moved")  # lost

    foreign(act)
    found: list[Notice] = []
    while not any(W.OVERFLOW in notice.what for notice in found):
        found += take(notices)
    assert [notice.path for notice in found if W.OVERFLOW in notice.what] == [ROOT]
    assert not any(notice.path == b"moved" for notice in found)
    foreign(lambda: make(b"root/moved/inner/f"))
    assert seen(notices)[-1] == (W.TOUCHED | W.WRITTEN, b"moved/inner/f", None)
    notices.close()


def test_starting_costs_nothing_per_directory(base: Path) -> None:
    for number in range(2_000):
        os.makedirs(f"root/{number % 50}/{number}")
    child = (
        "import sys\n"
        "from everynode.watch.fanotify import FanotifyNotices\n"
        "notices = FanotifyNotices(sys.argv[1].encode())\n"
        "calls = []\n"
        "sys.addaudithook(lambda event, arguments: calls.append(event))\n"
        "notices.start()\n"
        "assert len(calls) < 50, len(calls)\n"
        "assert 'os.scandir' not in calls and 'os.listdir' not in calls\n"
    )
    subprocess.run([sys.executable, "-c", child, base / "root"], check=True)


def test_many_directories_are_told_apart_beyond_the_bound_of_the_cache(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everynode.watch.places.HANDLES_CACHED", 8)
    notices = FanotifyNotices(os.fsencode(base / "root"))
    notices.start()
    names = [f"root/{number}" for number in range(50)]

    def act() -> None:
        for _ in range(2):
            for name in names:
                os.makedirs(name, exist_ok=True)
                make(os.fsencode(name) + b"/f")

    foreign(act)
    found = {notice.path for notice in take(notices)}
    assert found == {os.fsencode(f"{number}{end}") for number in range(50) for end in ("", "/f")}
    notices.close()


def test_without_the_right_inotify_is_chosen_and_says_why(base: Path) -> None:
    child = (
        "import os, sys\n"
        "from everynode.watch.choose import open_notices\n"
        "os.chdir(sys.argv[1])\n"  # the way to it is closed to others
        "os.setgid(65534); os.setuid(65534)\n"
        "notices = open_notices(b'/proc/self/cwd')\n"
        "print(notices.method, notices.detail)\n"
    )
    done = subprocess.run([sys.executable, "-c", child, base / "root"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("inotify fanotify does not work for ")
    assert "CAP_SYS_ADMIN is missing" in done.stdout


def test_on_overlayfs_inotify_is_chosen_and_says_why(base: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(name)
    layers = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
    made = subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", "merged"], capture_output=True)
    if made.returncode:
        pytest.skip("no overlayfs here")
    try:
        notices = open_notices(os.fsencode(base / "merged"))
        assert (notices.method, "overlayfs" in notices.detail) == ("inotify", True)
        with pytest.raises(MethodUnavailable, match="overlayfs"):
            open_notices(os.fsencode(base / "merged"), force="fanotify")
    finally:
        subprocess.run(["umount", "merged"], check=True)


def test_without_proc_neither_works_and_scans_are_left(base: Path) -> None:
    child = (
        "import sys\n"
        "from everynode.watch.choose import open_notices\n"
        "notices = open_notices(sys.argv[1].encode())\n"
        "print(notices.method, notices.detail)\n"
    )
    hidden = 'mount -t tmpfs none /proc && exec "$@"'
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", hidden, "sh", sys.executable, "-c", child]
    done = subprocess.run([*command, base / "root"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("none fanotify does not work for ")
    assert done.stdout.count("/proc is not mounted; mount it") == 2
    assert "everything is scanned every 60 s instead" in done.stdout


def test_fanotify_is_chosen_where_it_works(base: Path) -> None:
    notices = open_notices(os.fsencode(base / "root"))
    assert (notices.method, notices.detail) == ("fanotify", "")


def test_a_root_that_is_missing_is_an_error_and_no_reason_for_another_way(base: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_notices(os.fsencode(base / "missing"))


def test_closing_ends_a_waiting_reader(base: Path, notices: FanotifyNotices) -> None:
    async def scene() -> None:
        waiting = asyncio.create_task(notices.next())
        await asyncio.sleep(0)
        notices.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scene())


def test_after_own_writes_alone_the_reader_pauses_and_then_sees_foreign_ones(
    base: Path, notices: FanotifyNotices
) -> None:
    async def scene() -> list[Notice]:
        make(b"root/own")
        waiting = asyncio.create_task(notices.next())
        await asyncio.sleep(0)  # the reader has read our own write and pauses
        foreign(lambda: make(b"root/f"))
        return await asyncio.wait_for(waiting, 10)

    assert [notice.path for notice in asyncio.run(scene())] == [b"f"]


def test_closing_ends_a_pausing_reader(base: Path, notices: FanotifyNotices) -> None:
    async def scene() -> None:
        make(b"root/own")
        waiting = asyncio.create_task(notices.next())
        await asyncio.sleep(0)
        notices.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scene())


def test_a_directory_that_is_filled_aside_is_silent_until_it_is_placed(base: Path, notices: FanotifyNotices) -> None:
    """What is ignored is ignored for everybody: only that nobody else can be in there makes it right."""
    os.mkdir("root/.everynode/stage")
    os.mkdir("root/.everynode/stage/new")
    fd = os.open("root/.everynode/stage/new", os.O_RDONLY | os.O_DIRECTORY)
    try:
        notices.ignore(fd, True)
        foreign(lambda: make(b"root/.everynode/stage/new/f"))
        notices.ignore(fd, False)
        with pytest.raises(FileNotFoundError):
            notices.ignore(fd, False)  # as a group that is stopped and started meanwhile sees it
    finally:
        os.close(fd)
    os.rename("root/.everynode/stage/new", "root/new")
    pid = foreign(lambda: make(b"root/new/g"))
    assert take(notices) == [Notice(W.TOUCHED | W.WRITTEN, RelPath(b"new/g"), None, pid)]
    pid = foreign(lambda: make(b"root/new/f"))
    assert take(notices) == [Notice(W.TOUCHED | W.WRITTEN, RelPath(b"new/f"), None, pid)]


def test_while_it_is_ignored_nothing_is_read(base: Path, notices: FanotifyNotices) -> None:
    os.mkdir("root/new")  # our own: no notice
    fd = os.open("root/new", os.O_RDONLY | os.O_DIRECTORY)
    try:
        notices.ignore(fd, True)
        foreign(lambda: make(b"root/new/silent"))
    finally:
        os.close(fd)
    pid = foreign(lambda: make(b"root/heard"))
    assert take(notices) == [Notice(W.TOUCHED | W.WRITTEN, RelPath(b"heard"), None, pid)]
