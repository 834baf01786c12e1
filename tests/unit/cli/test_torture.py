"""The torture that users can run: its comparison, its writers, and the whole of it once, very short."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from everynode.cli.torture_nodes import Daemon, TortureFailed
from everynode.cli.torture_trees import differences, read_tree
from everynode.cli.torture_work import BURST_FOLDER_FILES, Writer


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "two"):
        root = tmp_path / name
        (root / "d").mkdir(parents=True)
        (root / "d" / "f").write_bytes(b"content")
        (root / "l").symlink_to("target")
        (root / ".everynode").mkdir()
        (root / ".everynode" / name).write_bytes(b"of this node alone")
        for path in ("d/f", "l", "d"):
            os.utime(root / path, ns=(0, 77), follow_symlinks=False)
    return tmp_path / "one", tmp_path / "two"


@pytest.fixture
def short() -> Iterator[Path]:
    """A place with a short name: a socket's path has 107 bytes."""
    place = Path(tempfile.mkdtemp(prefix="en-"))
    yield place
    shutil.rmtree(place)


def found(trees: tuple[Path, Path]) -> list[str]:
    return differences({root.name: read_tree(str(root)) for root in trees})


def test_equal_trees_are_equal_whatever_the_reserved_folder_holds(trees: tuple[Path, Path]) -> None:
    assert found(trees) == []
    assert set(read_tree(str(trees[0]))) == {b"d", b"d/f", b"l"}


def test_each_kind_of_difference_is_named(trees: tuple[Path, Path]) -> None:
    two = trees[1]
    (two / "d" / "f").write_bytes(b"CONTENT")
    os.utime(two / "d" / "f", ns=(0, 77))
    assert len(found(trees)) == 1 and found(trees)[0].startswith("d/f: content one ")
    (two / "d" / "f").chmod(0o600)
    os.utime(two / "d", ns=(0, 78))
    (two / "l").unlink()
    assert [line.partition(":")[0] for line in found(trees)] == ["d", "d/f", "l"]
    assert "mtime_ns one 77, two 78" in found(trees)[0]
    assert "mode" in found(trees)[1]
    assert found(trees)[2] == "l: missing on two"


def test_a_writer_does_the_same_with_the_same_seed(tmp_path: Path) -> None:
    results = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        writer = Writer(tmp_path / name, "w", 7, 1000.0)
        for _ in range(400):
            writer.act()
        tree = read_tree(str(tmp_path / name))
        results.append({path: (seen.mode, seen.size, seen.content) for path, seen in tree.items()})
    assert results[0] == results[1]
    assert len(results[0]) > 50


def test_a_burst_makes_its_files_and_the_next_takes_them_away(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w", 7, 1000.0, burst=BURST_FOLDER_FILES + 10)
    writer._burst(lambda seconds: False)
    assert sum(path.is_file() for path in (tmp_path / "burst-w").rglob("*")) == BURST_FOLDER_FILES + 10
    writer._burst(lambda seconds: False)
    assert not (tmp_path / "burst-w").exists()
    assert writer.bursts == 2


def test_a_daemon_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    daemon = Daemon("n", tmp_path, 1)
    daemon.log.write_text("one\nits last words\n")
    daemon.process = subprocess.Popen([sys.executable, "-c", ""])
    daemon.process.wait()
    with pytest.raises(TortureFailed, match="its last words"):
        daemon.check_alive()


@pytest.mark.heavy
def test_a_short_torture_ends_with_equal_trees_and_leaves_nothing_behind(short: Path) -> None:
    done = run(short, "--minutes", "0.1", "--seed", str(random.randrange(2**31)))
    said = json.loads(done.stdout)
    assert done.returncode == 0, said
    assert said["equal"] and said["changes"] > 100 and said["paths"] > 50
    assert os.listdir(short) == []


@pytest.mark.heavy
def test_an_interrupted_torture_leaves_nothing_behind(short: Path) -> None:
    process = subprocess.Popen(command(short), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(short.glob("*/n3/home/api.sock")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    [place] = short.iterdir()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert os.listdir(short) == []
    running = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    assert not [entry for entry in running if os.fsencode(place) in _command_line(entry)]


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def command(folder: Path, *options: str) -> list[str]:
    start = "from everynode.cli.main import main; main()"
    return [sys.executable, "-c", start, "torture", "--json", "--folder", str(folder), *options]


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *options), capture_output=True, text=True, timeout=300)
