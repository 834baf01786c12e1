"""What /proc says about processes and this boot."""

from __future__ import annotations


def process_name(pid: int) -> str:
    """The command name of a process, at most 15 characters; empty if it is gone or unknown (pid 0)."""
    if pid <= 0:
        return ""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().rstrip(b"\n").decode("utf-8", "backslashreplace")
    except OSError:
        return ""


def boot_id() -> str:
    """A different text after each boot of this machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
