"""The facts about fanotify and handles on which watching is built, seen on this kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from everynode.kernel import fanotify
from everynode.kernel.handles import handle_of, path_of_handle
from everynode.kernel.linux import LinuxKernel
from everynode.kernel.protocol import RenameFlag
from tests.kernel.foreign import foreign, make, mounted

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture(scope="module", params=["tmpfs", "ext4"])
def filesystem(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounted(request.param, tmp_path_factory.mktemp("fs")) as place:
        yield place


class Reader:
    def __init__(self, directory: bytes) -> None:
        self.fd = os.open(directory, os.O_RDONLY)
        self.group = fanotify.open_group()
        fanotify.mark_filesystem(self.group, self.fd)
        self.directory = directory

    def read(self, skip_pid: int = 0) -> list[tuple[int, int, bytes, bytes]]:
        """(mask, pid, old path, new path) with paths below the directory."""
        found = []
        for mask, pid, handle, name, new_handle, new_name in fanotify.read_events(self.group, skip_pid) or []:
            found.append((mask, pid, self._path(handle, name), self._path(new_handle, new_name)))
        return found

    def _path(self, handle: bytes, name: bytes) -> bytes:
        if not handle:
            return b""
        path = path_of_handle(self.fd, handle)
        return b"?" if path is None else os.path.relpath(path + b"/" + name, self.directory)


@pytest.fixture
def reader(filesystem: Path, request: pytest.FixtureRequest) -> Iterator[Reader]:
    folder = filesystem / request.node.name.replace("/", "_")
    folder.mkdir()
    os.chdir(folder)
    reader = Reader(os.fsencode(folder))
    yield reader
    os.chdir("/")
    os.close(reader.group)
    os.close(reader.fd)


def masks(events: list[tuple[int, int, bytes, bytes]]) -> list[tuple[int, bytes]]:
    return [(mask, path) for mask, _, path, _ in events]


def test_events_of_one_process_on_one_name_are_merged_while_they_wait(reader: Reader) -> None:
    make(b"f")
    os.unlink(b"f")
    f = fanotify
    assert masks(reader.read()) == [(f.CREATE | f.MODIFY | f.CLOSE_WRITE | f.DELETE, b"f")]


def test_events_of_two_processes_on_one_inode_stay_apart(reader: Reader) -> None:
    make(b"f")
    reader.read()
    pids = []
    for _ in range(3):
        pids.append(foreign(lambda: make(b"f", b"theirs")))
        make(b"f", b"ours")
        pids.append(os.getpid())
    assert [pid for _, pid, _, _ in reader.read()] == [*pids[:2], pids[2], pids[4]]


def test_events_of_a_skipped_process_are_left_out_but_for_renamed_directories(reader: Reader) -> None:
    make(b"f")
    os.mkdir(b"d")
    os.rename(b"f", b"g")
    os.rename(b"d", b"e")
    assert reader.read(os.getpid()) == [(fanotify.RENAME | fanotify.ONDIR, os.getpid(), b"d", b"e")]


def test_a_rename_has_both_names_in_one_event(reader: Reader) -> None:
    os.mkdir(b"d")
    make(b"f")
    reader.read()
    os.rename(b"f", b"d/g")
    assert reader.read() == [(fanotify.RENAME, os.getpid(), b"f", b"d/g")]


def test_equal_renames_are_merged_into_the_first(reader: Reader) -> None:
    make(b"a")
    reader.read()
    os.rename(b"a", b"b")
    os.rename(b"b", b"a")
    os.rename(b"a", b"b")
    assert [(old, new) for _, _, old, new in reader.read()] == [(b"a", b"b"), (b"b", b"a")]


def test_after_an_exchange_an_older_fd_is_reported_under_the_name_it_was_swapped_to(reader: Reader) -> None:
    os.mkdir(b"v")
    make(b"f")
    make(b"v/s")
    fd = os.open(b"f", os.O_WRONLY)
    reader.read()
    LinuxKernel().rename_at(reader.fd, b"f", reader.fd, b"v/s", RenameFlag.EXCHANGE)
    assert [(old, new) for _, _, old, new in reader.read()] == [(b"f", b"v/s"), (b"v/s", b"f")]
    os.write(fd, b"late")
    assert masks(reader.read()) == [(fanotify.MODIFY, b"v/s")]
    os.fchmod(fd, 0o600)
    os.close(fd)
    assert masks(reader.read()) == [(fanotify.ATTRIB | fanotify.CLOSE_WRITE, b"v/s")]


def test_a_directory_reports_its_own_attributes_with_a_dot(reader: Reader) -> None:
    os.mkdir(b"d")
    reader.read()
    os.chmod(b"d", 0o700)
    assert masks(reader.read()) == [(fanotify.ATTRIB | fanotify.ONDIR, b"d")]


def test_truncating_by_path_is_a_modification_without_a_close(reader: Reader) -> None:
    make(b"f")
    reader.read()
    os.truncate(b"f", 0)
    assert masks(reader.read()) == [(fanotify.MODIFY, b"f")]


def test_a_handle_follows_a_renamed_directory_and_is_dead_after_its_removal(reader: Reader) -> None:
    os.mkdir(b"d")
    fd = os.open(b"d", os.O_RDONLY)
    handle = handle_of(fd)
    os.close(fd)
    os.rename(b"d", b"e")
    assert path_of_handle(reader.fd, handle) == reader.directory + b"/e"
    os.rmdir(b"e")
    assert path_of_handle(reader.fd, handle) is None


def test_a_directory_that_is_called_deleted_is_not_taken_for_deleted(reader: Reader) -> None:
    os.mkdir(b"d (deleted)")
    fd = os.open(b"d (deleted)", os.O_RDONLY)
    handle = handle_of(fd)
    assert path_of_handle(reader.fd, handle) == reader.directory + b"/d (deleted)"
    os.rmdir(b"d (deleted)")  # still open
    assert path_of_handle(reader.fd, handle) is None
    os.close(fd)
