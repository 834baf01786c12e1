"""The digest of a content: what names it everywhere, and how the list of its blocks proves it.

Up to limits.BLOCK_BYTES it is BLAKE3 of the content. Above, it is BLAKE3 in derive-key mode over the digests of the
blocks, so that a list of blocks is verified against the digest itself, and no list can pass for a small content.
"""

from __future__ import annotations

from blake3 import blake3

from everynode.kernel.protocol import Kernel
from everynode.limits import BLOCK_BYTES, READ_BYTES
from everynode.model.ids import DIGEST_BYTES, Digest

LIST_CONTEXT = "everynode blocks 1"

assert READ_BYTES % BLOCK_BYTES == 0


def digest_bytes(content: bytes) -> Digest:
    """The digest of a content in memory."""
    if len(content) <= BLOCK_BYTES:
        return Digest(blake3(content).digest())
    return digest_of_list(hash_blocks(content))


def hash_blocks(content: bytes) -> bytes:
    """The digests of the blocks of `content`, one after another; the last block may be short."""
    view = memoryview(content)
    return b"".join([blake3(view[at : at + BLOCK_BYTES]).digest() for at in range(0, len(view), BLOCK_BYTES)])


def digest_of_list(blocks: bytes) -> Digest:
    """The digest of a content of more than one block, from the digests of its blocks."""
    return Digest(blake3(blocks, derive_key_context=LIST_CONTEXT).digest())


def verify_list(digest: bytes, size: int, blocks: bytes) -> bool:
    """Whether `blocks` is the list of the content with this digest and size. One block: the digest itself."""
    if len(blocks) != -(-size // BLOCK_BYTES) * DIGEST_BYTES:
        return False
    return digest_of_list(blocks) == digest if size > BLOCK_BYTES else blocks == digest


def digest_fd(kernel: Kernel, fd: int, size: int, known: bytes = b"") -> tuple[Digest, bytes | None] | None:
    """Digest and block list (None up to one block) of the first `size` bytes of an open file.

    `known` has the digests of its first blocks, all of them whole, if they need not be read again. None if the file
    ends before. Whether it changed meanwhile is for the caller to tell, by fstat.
    """
    if size <= BLOCK_BYTES:
        content = read_fully(kernel, fd, 0, size)
        return (digest_bytes(content), None) if len(content) == size else None
    lists = [known]
    for offset in range(len(known) // DIGEST_BYTES * BLOCK_BYTES, size, READ_BYTES):
        length = min(READ_BYTES, size - offset)
        content = read_fully(kernel, fd, offset, length)
        if len(content) != length:
            return None
        lists.append(hash_blocks(content))
    blocks = b"".join(lists)
    return digest_of_list(blocks), blocks


def read_fully(kernel: Kernel, fd: int, offset: int, length: int) -> bytes:
    """`length` bytes from `offset`, fewer only at the end of the file."""
    content = kernel.pread(fd, length, offset)
    if len(content) == length or not content:
        return content
    pieces = [content]
    done = len(content)
    while done < length and (content := kernel.pread(fd, length - done, offset + done)):
        pieces.append(content)
        done += len(content)
    return b"".join(pieces)
