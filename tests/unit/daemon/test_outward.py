"""What the daemon says to systemd and to its log."""

from __future__ import annotations

import json
import logging
import os
import socket
from pathlib import Path

import pytest

from everynode.daemon.logs import LineFormatter
from everynode.daemon.notify import notify, watchdog_seconds
from everynode.daemon.processes import ProcessNames


def test_systemd_hears_all_fields_in_one_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify(READY="1", STATUS="in sync")
        assert receiver.recv(1000) == b"READY=1\nSTATUS=in sync"


def test_without_systemd_and_with_a_dead_one_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify(READY="1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify(READY="1")


@pytest.mark.parametrize(
    ("micros", "pid", "seconds"),
    [
        ("60000000", None, 30.0),
        ("60000000", "own", 30.0),
        ("60000000", "1", None),
        ("0", None, None),
        ("x", None, None),
    ],
)
def test_a_sign_of_life_is_due_twice_in_the_watchdogs_time(
    monkeypatch: pytest.MonkeyPatch, micros: str, pid: str | None, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", micros)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert watchdog_seconds() == seconds


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("everynode.net", logging.WARNING, "", 0, message, None, None)


def test_a_message_stays_one_line_whatever_is_in_it() -> None:
    line = LineFormatter(journal=False).format(record('a "path"\nlevel=error \x1b[31m'))
    assert "\n" not in line
    assert "\x1b" not in line
    assert " level=warning from=net msg=" in line
    assert json.loads(line.partition("msg=")[2]) == 'a "path"\nlevel=error \x1b[31m'


def test_journald_gets_the_level_in_front_and_no_time() -> None:
    assert LineFormatter(journal=True).format(record("x")) == '<4>level=warning from=net msg="x"'


def test_a_process_is_named_and_one_that_is_gone_keeps_its_number() -> None:
    names = ProcessNames()
    own = Path("/proc/self/comm").read_text().strip()
    assert names(os.getpid()) == f"{own}[{os.getpid()}]"
    assert names(2**22 + 1) == f"[{2**22 + 1}]"
