"""The command line starts fast because it imports little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"asyncio", "starlette", "uvicorn", "apsw", "cryptography", "rich", "tomlkit", "tree_sitter", "re2"}


@pytest.mark.parametrize("command", [["status"], ["hint", "x"], ["wait"], ["log"], ["conflicts"]])
def test_asking_the_daemon_imports_nothing_heavy(tmp_path: Path, command: list[str]) -> None:
    program = (
        "import sys\n"
        "from everynode.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert end.code == 5, end.code\n"
        "print(','.join(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--home", str(tmp_path), *command], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert HEAVY & set(done.stdout.splitlines()[-1].split(",")) == set()


def test_a_defect_is_a_message_and_exit_code_1(tmp_path: Path) -> None:
    program = (
        "import everynode.client.connection as connection\n"
        "def broken(self, target):\n    raise ZeroDivisionError('planted')\n"
        "connection.Client.get_raw = broken\n"
        "from everynode.cli.main import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--home", str(tmp_path), "status"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "ZeroDivisionError: planted" in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -c 'from everynode.cli.main import main; main()' --help | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
