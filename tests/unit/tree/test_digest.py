"""A digest names one content, and proves the list of its blocks."""

import os
from pathlib import Path

import pytest
from blake3 import blake3

from everynode.kernel.linux import LinuxKernel
from everynode.limits import BLOCK_BYTES, READ_BYTES
from everynode.tree.digest import digest_bytes, digest_fd, digest_of_list, hash_blocks, verify_list

SIZES = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES, READ_BYTES, 2 * READ_BYTES + 5]


@pytest.mark.parametrize("size", SIZES)
def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "f").write_bytes(content)
    with open(tmp_path / "f", "rb") as file:
        hashed = digest_fd(LinuxKernel(), file.fileno(), size)
        assert digest_fd(LinuxKernel(), file.fileno(), size + 1) is None, "the file ends before"
    assert hashed is not None
    digest, blocks = hashed
    assert digest == digest_bytes(content)
    assert (blocks is None) == (size <= BLOCK_BYTES)
    if blocks is not None:
        assert blocks == hash_blocks(content) and verify_list(digest, size, blocks)


def test_digests_are_what_the_wire_and_the_index_were_told() -> None:
    assert digest_bytes(b"abc") == blake3(b"abc").digest()
    content = b"x" * BLOCK_BYTES + b"y"
    blocks = blake3(b"x" * BLOCK_BYTES).digest() + blake3(b"y").digest()
    assert digest_bytes(content) == blake3(blocks, derive_key_context="everynode blocks 1").digest()


def test_a_list_of_another_length_order_or_content_is_refused() -> None:
    content = os.urandom(2 * BLOCK_BYTES + 1)
    digest, blocks = digest_bytes(content), hash_blocks(content)
    assert verify_list(digest, len(content), blocks)
    wrong_bit = bytes([blocks[0] ^ 1]) + blocks[1:]
    for wrong in (blocks[:-32], blocks + bytes(32), blocks[32:64] + blocks[:32] + blocks[64:], wrong_bit, b"", b"x"):
        assert not verify_list(digest, len(content), wrong)
    assert not verify_list(digest, 3 * BLOCK_BYTES + 1, blocks)


def test_a_content_of_one_block_is_its_own_list() -> None:
    digest = digest_bytes(b"small")
    assert verify_list(digest, 5, digest)
    assert not verify_list(digest, 5, bytes(32))


def test_a_list_cannot_pass_for_a_small_content() -> None:
    blocks = hash_blocks(os.urandom(2 * BLOCK_BYTES))
    assert digest_of_list(blocks) != digest_bytes(blocks)
