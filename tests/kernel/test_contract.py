"""Runs the kernel contract against the real kernel and against the simulator's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from everynode.kernel.linux import LinuxKernel
from everynode.kernel.protocol import Kernel
from tests.kernel.contract import KernelContract, World
from tests.sim.disk import Disk
from tests.sim.fake_kernel import FakeKernel


class OpensCounted(LinuxKernel):
    """The real kernel, which remembers what was opened so that the test can close it."""

    def __init__(self) -> None:
        super().__init__()
        self.open: set[int] = set()

    def open_root(self, path: bytes) -> int:
        fd = super().open_root(path)
        self.open.add(fd)
        return fd

    def open_beneath(self, directory: int, path: bytes, flags: int, mode: int = 0) -> int:
        fd = super().open_beneath(directory, path, flags, mode)
        self.open.add(fd)
        return fd

    def close(self, fd: int) -> None:
        super().close(fd)
        self.open.discard(fd)


class TestLinuxKernel(KernelContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        path = os.fsencode(tmp_path)

        def link(existing: bytes, new: bytes) -> None:
            os.link(path + b"/" + existing, path + b"/" + new)

        kernel = OpensCounted()
        umask = os.umask(0o022)
        try:
            yield World(kernel, path, link)
        finally:
            os.umask(umask)
            for fd in kernel.open:
                os.close(fd)


class TestFakeKernel(KernelContract):
    @pytest.fixture
    def world(self) -> World:
        disk = Disk(lambda: 1_700_000_000_000_000_000)
        kernel = FakeKernel(disk)
        as_promised: Kernel = kernel
        kernel.mkdir_at(kernel.open_root(b"/"), b"here", 0o755)
        here = disk.root.children[b"here"].inode

        def link(existing: bytes, new: bytes) -> None:
            disk.link(here.children[existing].inode, here, new, kernel.pid)

        return World(as_promised, b"/here", link)
