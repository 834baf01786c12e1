"""A root on a real filesystem, and what stands in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from everynode.kernel.linux import LinuxKernel, ignore_lease_breaks
from everynode.tree.root import Root
from tests.unit.group.fakes import GROUP


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path / "tree"


@pytest.fixture
def root(tree: Path) -> Iterator[Root]:
    ignore_lease_breaks()
    opened = Root.open(LinuxKernel(), bytes(tree), GROUP, create=True)
    yield opened
    opened.close()
