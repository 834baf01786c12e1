"""A root on a real filesystem, and a kernel into whose calls a test may step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from everynode.kernel.linux import LinuxKernel, ignore_lease_breaks
from everynode.tree.root import Root

GROUP = bytes(range(16))


class SteppingKernel:
    """The real kernel; `before[name]` and `after[name]` are called once around the next call of that method."""

    def __init__(self) -> None:
        self._real = LinuxKernel()
        self.before: dict[str, Callable[..., None]] = {}
        self.after: dict[str, Callable[..., None]] = {}
        self.refuse: dict[str, OSError] = {}
        self.calls: list[str] = []
        self.around: Callable[[], object] | None = None
        """Called before and after every call."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if name in self.refuse:
                raise self.refuse[name]
            if hook := self.before.pop(name, None):
                hook(*arguments)
            if self.around:
                self.around()
            result = method(*arguments)
            if self.around:
                self.around()
            if hook := self.after.pop(name, None):
                hook(*arguments)
            return result

        return call


@pytest.fixture(autouse=True)
def quiet_leases() -> None:
    ignore_lease_breaks()


@pytest.fixture
def kernel() -> SteppingKernel:
    return SteppingKernel()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path / "tree"


@pytest.fixture
def root(kernel: SteppingKernel, tree: Path) -> Iterator[Root]:
    before = len(os.listdir("/proc/self/fd"))
    opened = Root.open(kernel, bytes(tree), GROUP, create=True)  # type: ignore[arg-type]
    yield opened
    opened.close()
    assert len(os.listdir("/proc/self/fd")) == before, "a file descriptor was left open"
