"""A large content is put together from verified blocks only, and goes on where it was cut."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from everynode.content.assemble import Assembly, partial_name
from everynode.errors import LinkError, PathError
from everynode.kernel.linux import LinuxKernel
from everynode.limits import BLOCK_BYTES, FETCH_BYTES_MAX
from everynode.model.entry import Entry, Kind
from everynode.model.path import RelPath
from everynode.tree.digest import digest_bytes, hash_blocks
from everynode.tree.outcome import Put
from everynode.tree.place import PlaceItem, place
from everynode.tree.root import Root

F = RelPath(b"f")
CONTENT = os.urandom(20 * BLOCK_BYTES + 123)


def entry_of(content: bytes, mode: int = 0o640) -> Entry:
    return Entry(Kind.FILE, mode, os.getuid(), os.getgid(), 1234567890123456789, len(content), digest_bytes(content))


def list_of(content: bytes) -> bytes:
    return hash_blocks(content) if len(content) > BLOCK_BYTES else digest_bytes(content)


def begin(root: Root, content: bytes = CONTENT) -> Assembly:
    return Assembly.open(root, F, entry_of(content), list_of(content))


def fetch_all(assembly: Assembly, content: bytes = CONTENT) -> int:
    fetched = 0
    for offset, length in assembly.missing():
        assembly.add(offset, content[offset : offset + length])
        fetched += length
    return fetched


@pytest.mark.parametrize("size", [BLOCK_BYTES - 7, BLOCK_BYTES, BLOCK_BYTES + 1, 8 * BLOCK_BYTES, len(CONTENT)])
def test_a_content_is_fetched_and_placed_whole(root: Root, tree: Path, size: int) -> None:
    content = CONTENT[:size]
    assembly = begin(root, content)
    assert not assembly.is_complete and assembly.bytes_missing == size
    assert fetch_all(assembly, content) == size
    assert assembly.is_complete and assembly.missing() == []
    new = assembly.finish()
    assert isinstance(place(root, [PlaceItem(F, new.entry, new)])[0], Put)
    there = (tree / "f").stat()
    assert (tree / "f").read_bytes() == content
    assert (stat.S_IMODE(there.st_mode), there.st_mtime_ns) == (0o640, 1234567890123456789)
    assert os.listdir(root.vault_fd) == []


def test_missing_ranges_are_merged_up_to_one_answer(root: Root) -> None:
    assembly = begin(root)
    per_answer = FETCH_BYTES_MAX // BLOCK_BYTES
    assert assembly.missing() == [
        (0, FETCH_BYTES_MAX),
        (FETCH_BYTES_MAX, FETCH_BYTES_MAX),
        (2 * FETCH_BYTES_MAX, len(CONTENT) - 2 * FETCH_BYTES_MAX),
    ]
    assembly.add(3 * BLOCK_BYTES, CONTENT[3 * BLOCK_BYTES : 4 * BLOCK_BYTES])
    assert assembly.missing()[:2] == [(0, 3 * BLOCK_BYTES), (4 * BLOCK_BYTES, per_answer * BLOCK_BYTES)]
    assembly.abandon()


def test_a_wrong_block_is_named_and_the_right_ones_before_it_are_kept(root: Root) -> None:
    assembly = begin(root)
    bad = bytearray(CONTENT[: 4 * BLOCK_BYTES])
    bad[2 * BLOCK_BYTES + 5] ^= 1
    with pytest.raises(LinkError, match=str(2 * BLOCK_BYTES)):
        assembly.add(0, bytes(bad))
    assert assembly.missing()[0][0] == 2 * BLOCK_BYTES
    fetch_all(assembly)
    assembly.finish()
    name = os.listdir(root.vault_fd)[0]
    fd = os.open(name, os.O_RDONLY, dir_fd=root.vault_fd)
    assert os.read(fd, len(CONTENT) + 1) == CONTENT
    os.close(fd)


@pytest.mark.parametrize("offset_length", [(1, BLOCK_BYTES), (0, BLOCK_BYTES - 1), (20 * BLOCK_BYTES, 124), (10**9, 9)])
def test_pieces_that_are_no_whole_blocks_are_refused(root: Root, offset_length: tuple[int, int]) -> None:
    assembly = begin(root)
    with pytest.raises(LinkError, match="no whole blocks"):
        assembly.add(offset_length[0], bytes(offset_length[1]))
    assembly.abandon()


def test_a_list_that_is_not_that_of_the_digest_is_refused(root: Root) -> None:
    for wrong in (b"", list_of(CONTENT)[:-32], bytes(len(list_of(CONTENT)))):
        with pytest.raises(LinkError, match="not that of its digest"):
            Assembly.open(root, F, entry_of(CONTENT), wrong)
    assert os.listdir(root.vault_fd) == []


def test_what_was_fetched_before_a_restart_is_not_fetched_again(root: Root, tree: Path) -> None:
    assembly = begin(root)
    assembly.add(4 * BLOCK_BYTES, CONTENT[4 * BLOCK_BYTES : 6 * BLOCK_BYTES])
    assembly.add(20 * BLOCK_BYTES, CONTENT[20 * BLOCK_BYTES :])
    assembly.suspend()
    again = Root.open(LinuxKernel(), bytes(tree), bytes(16), create=False)
    resumed = begin(again)
    assert resumed.bytes_missing == len(CONTENT), "nothing is believed before it is read"
    resumed.resume()
    assert resumed.bytes_missing == len(CONTENT) - 2 * BLOCK_BYTES - 123
    fetch_all(resumed)
    assert resumed.finish().entry == entry_of(CONTENT)
    again.close()


def test_what_a_crash_left_half_written_is_fetched_again(root: Root, tree: Path) -> None:
    partial = tree / ".everynode" / "vault" / os.fsdecode(partial_name(digest_bytes(CONTENT)))
    partial.write_bytes(CONTENT[: BLOCK_BYTES + 10] + b"garbage" * 1000000)
    assembly = begin(root)
    assembly.resume()
    assert assembly.missing()[0][0] == BLOCK_BYTES
    fetch_all(assembly)
    assert assembly.finish().entry.size == len(CONTENT)
    assert os.stat(os.listdir(root.vault_fd)[0], dir_fd=root.vault_fd).st_size == len(CONTENT)


def test_an_old_version_gives_the_blocks_that_did_not_change(root: Root, tree: Path) -> None:
    old = bytearray(CONTENT[: 18 * BLOCK_BYTES])
    old[5 * BLOCK_BYTES] ^= 1
    (tree / "old").write_bytes(old)
    assembly = begin(root)
    with open(tree / "old", "rb") as source:
        assembly.reuse_local(source.fileno())
    assert assembly.missing() == [
        (5 * BLOCK_BYTES, BLOCK_BYTES),
        (18 * BLOCK_BYTES, len(CONTENT) - 18 * BLOCK_BYTES),
    ]
    fetch_all(assembly)
    assembly.finish()


def test_blocks_that_moved_within_the_file_are_found(root: Root, tree: Path) -> None:
    (tree / "old").write_bytes(CONTENT[7 * BLOCK_BYTES : 20 * BLOCK_BYTES])
    assembly = begin(root)
    with open(tree / "old", "rb") as source:
        assembly.reuse_local(source.fileno())
    assert assembly.missing() == [(0, 7 * BLOCK_BYTES), (20 * BLOCK_BYTES, 123)]
    assembly.abandon()


def test_a_block_that_occurs_often_is_found_once_and_used_everywhere(root: Root, tree: Path) -> None:
    content = bytes(50 * BLOCK_BYTES)
    (tree / "old").write_bytes(bytes(BLOCK_BYTES))
    assembly = begin(root, content)
    with open(tree / "old", "rb") as source:
        assembly.reuse_local(source.fileno())
    assert assembly.is_complete
    assembly.finish()


def test_an_old_version_that_changes_while_it_is_copied_gives_nothing_wrong(root: Root, tree: Path) -> None:
    (tree / "old").write_bytes(CONTENT)

    class Changing:
        def __getattr__(self, name: str) -> Any:
            return getattr(root_kernel, name)

        def copy_range(self, *arguments: Any) -> int:
            with open(tree / "old", "r+b") as file:
                file.write(b"changed")
            return root_kernel.copy_range(*arguments)

    root_kernel, root.kernel = root.kernel, Changing()  # type: ignore[assignment]
    assembly = begin(root)
    with open(tree / "old", "rb") as source:
        assembly.reuse_local(source.fileno())
    assert assembly.missing() == [(0, BLOCK_BYTES)]
    assembly.abandon()


def test_one_content_is_assembled_once_at_a_time(root: Root) -> None:
    assembly = begin(root)
    with pytest.raises(PathError, match="being fetched already"):
        begin(root)
    assembly.suspend()
    begin(root).abandon()
    assert os.listdir(root.vault_fd) == []


def test_a_full_disk_is_a_problem_of_the_path(root: Root) -> None:
    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(root_kernel, name)

        def pwrite(self, *_: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    root_kernel, root.kernel = root.kernel, Full()  # type: ignore[assignment]
    assembly = begin(root)
    with pytest.raises(PathError) as caught:
        assembly.add(0, CONTENT[:BLOCK_BYTES])
    assert caught.value.errno == errno.ENOSPC and caught.value.path == F
    assert assembly.bytes_missing == len(CONTENT)
    assembly.abandon()
