"""Filesystems in files, mounted for a while."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.namespaces import LabError, run
from lab.trees import wait_until

SIZE_BYTES = {"ext4": 64 << 20, "xfs": 300 << 20}
"""The smallest that mkfs.xfs makes is 300 MiB."""


def why_not_possible() -> str:
    """Why nothing can be mounted here; empty when it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if missing := [tool for tool in ("mkfs.ext4", "mkfs.xfs", "mount", "fusermount3") if shutil.which(tool) is None]:
        return f"not installed: {', '.join(missing)}"
    missing_devices = [device for device in ("/dev/fuse", "/dev/loop-control") if not os.path.exists(device)]
    return f"not here: {', '.join(missing_devices)}" if missing_devices else ""


def make_filesystem(kind: str, image: Path) -> None:
    with open(image, "wb") as file:
        file.truncate(SIZE_BYTES[kind])
    run(f"mkfs.{kind}", "-q", *(("-F",) if kind == "ext4" else ("-f",)), image)
    _punch_zeros(image)


def _punch_zeros(image: Path) -> None:
    """mkfs.xfs writes its empty log out; copies of an image are to cost what is in it."""
    run("fallocate", "--dig-holes", image)


@contextmanager
def mounted(image: Path, at: Path, *options: str) -> Iterator[Path]:
    """A loop device and its filesystem, both gone afterwards. Whoever uses it must have ended by then."""
    at.mkdir(parents=True, exist_ok=True)
    run("mount", "-o", ",".join(("loop", *options)), image, at)
    try:
        yield at
    finally:
        unmount(at)


def unmount(at: Path) -> None:
    """Whoever else makes a mount namespace meanwhile has a copy of this mount, for as long as that lives: then it goes
    from here, and altogether later."""

    def gone() -> bool:
        return subprocess.run(["umount", at], capture_output=True).returncode == 0

    if not wait_until(gone, timeout=10.0):
        run("umount", "--lazy", at)


@contextmanager
def logged_disks(at: Path, log: Path, images: list[Path]) -> Iterator[list[Path]]:
    """The images as files under `at` of which every write and flush is logged."""
    at.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.crash.disk", str(at), str(log), *map(str, images)]
    server = subprocess.Popen(command, cwd=Path(__file__).parents[2], start_new_session=True)
    disks = [at / str(number) for number in range(len(images))]
    try:
        if not wait_until(lambda: os.path.ismount(at) or server.poll() is not None, timeout=20.0) or server.poll():
            raise LabError(f"no FUSE filesystem at {at}: is fuse3 installed, and mfusepy?")
        yield disks
    finally:
        if os.path.ismount(at):
            unmount(at)
        if not wait_until(lambda: server.poll() is not None, timeout=10.0):
            server.kill()
        server.wait()
