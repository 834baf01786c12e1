"""A root on a real filesystem."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from everynode.kernel.linux import LinuxKernel, ignore_lease_breaks
from everynode.tree.root import Root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path / "tree"


@pytest.fixture
def root(tree: Path) -> Iterator[Root]:
    ignore_lease_breaks()
    before = len(os.listdir("/proc/self/fd"))
    opened = Root.open(LinuxKernel(), bytes(tree), bytes(16), create=True)
    yield opened
    opened.close()
    assert len(os.listdir("/proc/self/fd")) == before, "a file descriptor was left open"
