"""What only the real kernel can show: other filesystems, writers in other processes, races, signals."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from everynode.kernel import libc, linux
from everynode.kernel.linux import LinuxKernel, ignore_lease_breaks
from tests.kernel.foreign import Writer, foreign, make, mounted

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def kernel() -> LinuxKernel:
    return LinuxKernel()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    os.chdir(tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)
    os.chdir("/")


@pytest.mark.kernel
@needs_root
def test_another_filesystem_below_the_root_is_unreachable(kernel: LinuxKernel, root: int, tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path) as place:
        make(os.fsencode(place / "f"))
        for path in (b"mounted", b"mounted/f"):
            with pytest.raises(OSError) as raised:
                kernel.open_beneath(root, path, os.O_RDONLY)
            assert raised.value.errno == errno.EXDEV


def test_a_name_with_a_nul_is_refused_and_not_cut(kernel: LinuxKernel, root: int) -> None:
    make(b"f")
    calls = (
        lambda: kernel.open_beneath(root, b"f\0g", os.O_RDONLY),
        lambda: kernel.rename_at(root, b"f\0g", root, b"h"),
        lambda: kernel.rename_at(root, b"f", root, b"h\0g"),
        lambda: kernel.set_mtime_at(root, b"f\0g", 1),
    )
    for call in calls:
        with pytest.raises(OSError) as raised:
            call()
        assert raised.value.errno == errno.EINVAL
    assert os.listdir() == ["f"]


def test_errors_carry_the_name(kernel: LinuxKernel, root: int) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        kernel.open_beneath(root, b"missing", os.O_RDONLY)
    assert raised.value.filename == b"missing"
    with pytest.raises(FileNotFoundError) as raised:
        kernel.rename_at(root, b"old", root, b"new")
    assert (raised.value.filename, raised.value.filename2) == (b"old", b"new")


def test_many_threads_open_different_files_at_once(kernel: LinuxKernel, root: int) -> None:
    wrong: list[str] = []

    def opens(number: int) -> None:
        for turn in range(300):
            name = b"%d" % number
            mode = 0o600 | (turn % 8)
            fd = kernel.open_beneath(root, name, os.O_CREAT | os.O_RDWR, mode)
            if turn == 0:
                os.write(fd, name)
            elif os.pread(fd, 9, 0) != name:
                wrong.append(f"{number} at {turn}")
            os.close(fd)
            try:
                kernel.open_beneath(root, b"missing%d" % number, os.O_RDONLY)
            except FileNotFoundError as error:
                if error.filename != b"missing%d" % number:
                    wrong.append(str(error))

    threads = [threading.Thread(target=opens, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(("refusals", "works"), [(1, True), (100, True), (1000, False)])
def test_a_race_with_a_rename_is_tried_again_but_not_for_ever(
    kernel: LinuxKernel, root: int, monkeypatch: pytest.MonkeyPatch, refusals: int, works: bool
) -> None:
    make(b"f")
    real = linux._openat2
    left = refusals
    answer = errno.EAGAIN

    def racing(*arguments: object) -> int:
        nonlocal left
        left -= 1
        return -1 if left >= 0 else real(*arguments)

    monkeypatch.setattr(linux, "_openat2", racing)
    monkeypatch.setattr(libc, "last_errno", lambda: answer)
    monkeypatch.setattr(libc, "failure", lambda *names: OSError(answer, "", *names))
    if works:
        os.close(kernel.open_beneath(root, b"f", os.O_RDONLY))
    else:
        with pytest.raises(BlockingIOError):
            kernel.open_beneath(root, b"f", os.O_RDONLY)


def test_a_writer_in_another_process_is_seen_and_a_reader_is_none(kernel: LinuxKernel, root: int) -> None:
    make(b"f")
    fd = kernel.open_beneath(root, b"f", os.O_RDONLY)
    reading = os.open(b"f", os.O_RDONLY)
    assert not kernel.has_writer(fd)
    writer = Writer(b"f")
    assert kernel.has_writer(fd)
    writer.close()
    assert not kernel.has_writer(fd)
    os.close(reading)
    os.close(fd)


@needs_root
def test_where_leases_are_not_allowed_no_writer_is_known(kernel: LinuxKernel, root: int, tmp_path: Path) -> None:
    make(b"f")
    fd = os.open(b"f", os.O_RDONLY)
    writer = Writer(b"f")

    def without_rights() -> None:
        os.setuid(65534)
        assert not kernel.has_writer(fd)  # EACCES

    foreign(without_rights)
    writer.close()
    directory = os.open(".", os.O_RDONLY)
    assert not kernel.has_writer(directory)  # EINVAL
    os.close(directory)
    os.close(fd)
    with pytest.raises(OSError):
        kernel.has_writer(fd)


def test_probing_for_writers_survives_those_who_open_meanwhile(root: int) -> None:
    make(b"f")

    def probe() -> None:
        """Opening for writing while the lease is held sends SIGIO, which would kill."""
        import fcntl

        ignore_lease_breaks()
        fd = os.open(b"f", os.O_RDONLY)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        pid = os.fork()
        if pid == 0:
            try:
                os.open(b"f", os.O_WRONLY | os.O_NONBLOCK)
            except BlockingIOError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0, "the lease was not broken"
        assert signal.getsignal(signal.SIGIO) is signal.SIG_IGN

    foreign(probe)


def test_names_that_are_no_utf_8_are_listed_as_they_are(kernel: LinuxKernel, root: int) -> None:
    names = {b"\xff\xfe", "é".encode(), b"new\nline", b"a" * 255}
    for name in names:
        make(name)
    assert set(kernel.list_directory(root)) == names


def test_times_before_1970_and_of_links_are_set_and_access_times_kept(kernel: LinuxKernel, root: int) -> None:
    make(b"f")
    os.symlink("f", "l")
    os.utime("f", ns=(5, 6))
    fd = os.open("f", os.O_RDONLY)
    kernel.set_mtime_fd(fd, -1)
    os.close(fd)
    assert (os.stat("f").st_atime_ns, os.stat("f").st_mtime_ns) == (5, -1)
    kernel.set_mtime_at(root, b"l", 1_500_000_000_123_456_789)
    assert os.lstat("l").st_mtime_ns == 1_500_000_000_123_456_789
    assert os.stat("f").st_mtime_ns == -1
