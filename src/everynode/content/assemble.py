"""Assembling one large content in the vault folder: from blocks of local files and of peers, each one verified.

The block list is proved by the digest, every block by the list: what is complete needs no second read. The partial
file bears the digest in its name and survives restarts; what is in it is found again by hashing, nothing is recorded.
"""

from __future__ import annotations

import os

from blake3 import blake3

from everynode.errors import LinkError, PathError
from everynode.kernel.protocol import RenameFlag
from everynode.limits import BLOCK_BYTES, FETCH_BYTES_MAX, READ_BYTES
from everynode.model.entry import Entry, Kind
from everynode.model.ids import DIGEST_BYTES
from everynode.model.path import RelPath, show_path
from everynode.tree.digest import hash_blocks, read_fully, verify_list
from everynode.tree.leaf import refuse_entry
from everynode.tree.outcome import Staged
from everynode.tree.root import Root
from everynode.tree.stage import STAGED_KIND, finish_file

PARTIAL_KIND = b"p"
OPEN_PARTIAL = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW


def partial_name(digest: bytes) -> bytes:
    """Under which the parts of this content wait in the vault folder."""
    return PARTIAL_KIND + b"-" + digest.hex().encode()


class Assembly:
    """One content being put together. For one thread at a time; end it by `finish`, `abandon` or `suspend`."""

    def __init__(self, root: Root, path: RelPath, entry: Entry, blocks: bytes, fd: int, name: bytes) -> None:
        self._root = root
        self._kernel = root.kernel
        self._path = path
        self._entry = entry
        self._fd = fd
        self._name = name
        self._wanted = [blocks[at : at + DIGEST_BYTES] for at in range(0, len(blocks), DIGEST_BYTES)]
        self._have = bytearray(len(self._wanted))

    @classmethod
    def open(cls, root: Root, path: RelPath, entry: Entry, blocks: bytes) -> Assembly:
        """Begin, or take up again what an earlier run left (see `resume`).

        Raises LinkError if `blocks` is not the list of the entry's content (whoever sent it is wrong), PathError if
        the content is being assembled already, or if the partial file cannot be made.
        """
        if not verify_list(entry.digest, entry.size, blocks):
            raise LinkError(f"the block list received for {show_path(path)} is not that of its digest; asking others")
        name = partial_name(entry.digest)
        if wrong := refuse_entry(entry):
            raise PathError(f"{show_path(path)}: no file can have the {wrong} that was sent", path=path)
        if entry.kind is not Kind.FILE or name in root.assembling:
            raise PathError(f"{show_path(path)}: its content is being fetched already; wait for that", path=path)
        try:
            fd = root.kernel.open_beneath(root.vault_fd, name, OPEN_PARTIAL, 0o600)
        except OSError as error:
            raise _path_error(path, error) from error
        root.assembling.add(name)
        return cls(root, path, entry, blocks, fd, name)

    @property
    def is_complete(self) -> bool:
        return 0 not in self._have

    @property
    def bytes_missing(self) -> int:
        return sum(length for _, length in self.missing())

    def missing(self) -> list[tuple[int, int]]:
        """(offset, length) of what is still to come, in order, neighbours merged up to limits.FETCH_BYTES_MAX."""
        ranges: list[tuple[int, int]] = []
        at = self._have.find(0)
        while at >= 0:
            end = self._have.find(1, at)
            stop = min(end if end >= 0 else len(self._have), at + FETCH_BYTES_MAX // BLOCK_BYTES)
            offset = at * BLOCK_BYTES
            ranges.append((offset, min(stop * BLOCK_BYTES, self._entry.size) - offset))
            at = self._have.find(0, stop)
        return ranges

    def resume(self) -> None:
        """Find what the partial file has already. Idempotent. Raises PathError."""
        try:
            size = min(self._kernel.stat_fd(self._fd).st_size, self._entry.size)
            for offset in range(0, size, READ_BYTES):
                self._verify(offset, min(READ_BYTES, size - offset))
        except OSError as error:
            raise _path_error(self._path, error) from error

    def reuse_local(self, source: int) -> None:
        """Take the blocks that an open local file has, at the same position or elsewhere on a block's boundary.

        Extents are shared where the filesystem can. The source may change meanwhile: what was copied is verified.
        Raises PathError.
        """
        try:
            size = self._kernel.stat_fd(source).st_size
            elsewhere = self._missing_by_digest()
            for offset in range(0, size, READ_BYTES):
                content = read_fully(self._kernel, source, offset, min(READ_BYTES, size - offset))
                self._copy_matching(source, offset, hash_blocks(content), elsewhere)
        except OSError as error:
            raise _path_error(self._path, error) from error

    def add(self, offset: int, data: bytes) -> None:
        """Write fetched bytes: whole blocks from a block's boundary. Blocks that are there already do no harm.

        Raises LinkError at the first block that is not what the list says, after having kept those before it;
        PathError if it cannot be written.
        """
        shown = show_path(self._path)
        whole = offset % BLOCK_BYTES == 0 and offset + len(data) <= self._entry.size
        if not whole or (len(data) % BLOCK_BYTES and offset + len(data) != self._entry.size):
            raise LinkError(f"{shown}: received {len(data)} bytes at {offset}, which are no whole blocks of it")
        first = offset // BLOCK_BYTES
        view = memoryview(data)
        good = 0
        count = -(-len(data) // BLOCK_BYTES)
        while good < count:
            block = view[good * BLOCK_BYTES : (good + 1) * BLOCK_BYTES]
            if blake3(block).digest() != self._wanted[first + good]:
                break
            good += 1
        try:
            self._write(offset, data if good == count else data[: good * BLOCK_BYTES])
        except OSError as error:
            raise _path_error(self._path, error) from error
        self._have[first : first + good] = b"\1" * good
        if good < count:
            at = offset + good * BLOCK_BYTES
            raise LinkError(f"{shown}: the block received at {at} is not that of its digest; asking others")

    def finish(self, entry: Entry | None = None) -> Staged:
        """The complete content as a staged object, with the attributes of `entry` (by default those of the start).

        Durable only after `sync.make_durable`. Raises PathError.
        """
        entry = entry or self._entry
        assert self.is_complete and entry.same_content(self._entry)
        name = self._root.new_name(STAGED_KIND)
        try:
            self._kernel.truncate(self._fd, entry.size)
            self._kernel.rename_at(self._root.vault_fd, self._name, self._root.vault_fd, name, RenameFlag.NOREPLACE)
            return finish_file(self._kernel, self._fd, name, entry)
        except OSError as error:
            raise _path_error(self._path, error) from error
        finally:
            self.suspend()

    def suspend(self) -> None:
        """Let go; the parts stay for a later run. Idempotent."""
        if self._fd >= 0:
            self._kernel.close(self._fd)
            self._fd = -1
            self._root.assembling.discard(self._name)

    def abandon(self) -> None:
        """Let go and drop the parts. Idempotent."""
        if self._fd >= 0:
            self._kernel.unlink_at(self._root.vault_fd, self._name)
            self.suspend()

    def _missing_by_digest(self) -> dict[bytes, list[int]]:
        places: dict[bytes, list[int]] = {}
        for at, wanted in enumerate(self._wanted):
            if not self._have[at]:
                places.setdefault(wanted, []).append(at)
        return places

    def _copy_matching(self, source: int, offset: int, found: bytes, elsewhere: dict[bytes, list[int]]) -> None:
        """Copy what matches of one stretch of the source, whose blocks have the digests `found`.

        A digest leaves `elsewhere` when met: a file of equal blocks must not cost their number squared.
        """
        first = offset // BLOCK_BYTES
        count = len(found) // DIGEST_BYTES
        digests = [found[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES] for at in range(count)]
        run: list[int] = []
        for at in range(first, first + count):
            same = at < len(self._wanted) and digests[at - first] == self._wanted[at]
            if same and not self._have[at]:
                run.append(at)
            elif run:
                self._copy(source, run[0] * BLOCK_BYTES, run[0], len(run))
                run = []
        if run:
            self._copy(source, run[0] * BLOCK_BYTES, run[0], len(run))
        for at, digest in enumerate(digests, first):
            for target in elsewhere.pop(digest, ()):
                if not self._have[target]:
                    self._copy(source, at * BLOCK_BYTES, target, 1)

    def _copy(self, source: int, source_offset: int, at: int, count: int) -> None:
        offset = at * BLOCK_BYTES
        length = min(count * BLOCK_BYTES, self._entry.size - offset)
        done = 0
        while done < length:
            copied = self._kernel.copy_range(source, self._fd, length - done, source_offset + done, offset + done)
            if not copied:
                return
            done += copied
        self._verify(offset, length)

    def _verify(self, offset: int, length: int) -> None:
        """Mark those blocks of the partial file that are right; `offset` is on a block's boundary."""
        found = hash_blocks(read_fully(self._kernel, self._fd, offset, length))
        first = offset // BLOCK_BYTES
        for at in range(len(found) // DIGEST_BYTES):
            if found[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES] == self._wanted[first + at]:
                self._have[first + at] = 1

    def _write(self, offset: int, data: bytes) -> None:
        done = self._kernel.pwrite(self._fd, data, offset) if data else 0
        while done < len(data):
            done += self._kernel.pwrite(self._fd, data[done:], offset + done)


def _path_error(path: RelPath, error: OSError) -> PathError:
    return PathError(
        f"{show_path(path)} cannot be assembled: {error.strerror}; free space or mend the disk, it is tried again",
        path=path,
        errno=error.errno or 0,
    )
