"""What a person is told when the kernel refuses a step of placing."""

from __future__ import annotations

import errno
import os

import pytest

from everynode.model.path import RelPath
from everynode.model.problem import Trouble
from everynode.tree.refused import not_put


@pytest.mark.parametrize(
    ("number", "trouble", "word"),
    [
        (errno.ENOSPC, Trouble.NO_SPACE, "free some space"),
        (errno.ENAMETOOLONG, Trouble.NAME, "rename it where it was made"),
        (errno.EXDEV, Trouble.PLACING, "another filesystem"),
        (errno.EACCES, Trouble.PLACING, "no read-only directories"),
        (errno.EIO, Trouble.PLACING, "dmesg"),
    ],
)
def test_each_error_of_the_kernel_names_the_path_and_what_to_do(number: int, trouble: Trouble, word: str) -> None:
    said = not_put(RelPath(b"caf\xe9"), OSError(number, os.strerror(number)))
    assert said.trouble is trouble
    assert said.detail.startswith(r"caf\xe9")
    assert word in said.detail
