"""What /proc says."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from everynode.kernel.process import boot_id, process_name


def test_a_process_has_a_name_and_a_dead_or_unknown_one_has_none() -> None:
    assert process_name(os.getpid()) == Path("/proc/self/comm").read_text().strip()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert process_name(pid) == "" == process_name(0)


def test_a_boot_has_one_id() -> None:
    assert boot_id() == boot_id()
    uuid.UUID(boot_id())
