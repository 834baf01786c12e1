"""Writers of every habit, on both sides, while changes arrive: nobody's bytes vanish, nothing half-done is shown."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType

import pytest

from lab.trees import wait_until
from tests.cluster.harness import Cluster

AGE = 2
"""Seconds after which open files are followed here."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    settings = tmp_path_factory.mktemp("settings") / "cluster.toml"
    with Cluster(2) as cluster:
        text = cluster[0].cli("config", "show")
        assert "follow_seconds = 30" in text
        settings.write_text(text.replace("follow_seconds = 30", f"follow_seconds = {AGE}"))
        cluster[0].cli("config", "apply", str(settings))
        cluster.wait_said(1, "config", "show", text=f"follow_seconds = {AGE}")
        yield cluster


class Witness:
    """Sees every content that a file has on a node, as far as a reader without pause can."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.saw: dict[bytes, None] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.002):
            try:
                self.saw[self.path.read_bytes()] = None
            except FileNotFoundError:
                continue

    def saw_only(self, states: Iterable[bytes]) -> None:
        allowed = set(states)
        odd = [content for content in self.saw if content not in allowed]
        assert not odd, f"{self.path}: {len(odd)} of {len(self.saw)} contents were nobody's, like {odd[0][:60]!r}"

    def saw_only_beginnings(self, states: Iterable[bytes]) -> None:
        allowed = list(states)
        odd = [content for content in self.saw if not any(state.startswith(content) for state in allowed)]
        assert not odd, f"{self.path}: {len(odd)} of {len(self.saw)} contents were nobody's, like {odd[0][:60]!r}"


def rename_over(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    os.rename(fresh, path)


def truncate_and_write(path: Path, content: bytes) -> None:
    with open(path, "wb") as opened:
        for at in range(0, len(content), 4096):
            opened.write(content[at : at + 4096])
            opened.flush()


def backup_and_write(path: Path, content: bytes) -> None:
    """Copy aside, write in place, drop the copy."""
    backup = path.with_name(path.name + "~")
    shutil.copy2(path, backup)
    truncate_and_write(path, content)
    backup.unlink()


def backup_and_rename(path: Path, content: bytes) -> None:
    """Rename aside, write anew, drop the old one."""
    backup = path.with_name(path.name + "~")
    os.rename(path, backup)
    truncate_and_write(path, content)
    backup.unlink()


def write_in_the_middle(path: Path, content: bytes) -> None:
    with open(path, "r+b") as opened:
        old = opened.read()
        for at in range(0, len(content), 4096):
            if old[at : at + 4096] != content[at : at + 4096]:
                opened.seek(at)
                opened.write(content[at : at + 4096])
        opened.truncate(len(content))


def rsync_in_place(path: Path, content: bytes) -> None:
    source = path.parent.parent.with_name("rsync-source")
    source.write_bytes(content)
    subprocess.run(["rsync", "--inplace", "--no-whole-file", "--ignore-times", source, path], check=True)
    source.unlink()


HABITS = [rename_over, truncate_and_write, backup_and_write, backup_and_rename, write_in_the_middle, rsync_in_place]


@pytest.mark.parametrize("habit", HABITS, ids=[habit.__name__ for habit in HABITS])
def test_an_editor_shows_elsewhere_what_it_saved_and_nothing_else(
    cluster: Cluster, habit: Callable[[Path, bytes], None]
) -> None:
    if habit is rsync_in_place and shutil.which("rsync") is None:
        pytest.skip("no rsync here")
    name = f"edited-{habit.__name__}"
    rng = random.Random(name)
    base = bytearray(rng.randbytes(300_000))
    states = [bytes(base)]
    for _ in range(8):
        at = rng.randrange(len(base) - 10)
        base[at : at + 5] = rng.randbytes(5)
        states.append(bytes(base[: rng.randrange(250_000, 300_000)]))
    for number in (0, 1):  # both sides edit at the same time, each a file of his own
        (cluster[number].root / name).mkdir(exist_ok=True)
        (cluster[number].root / name / f"by-{number}").write_bytes(states[0])
    for number in (0, 1):
        cluster.wait_everywhere(f"{name}/by-{number}", states[0])

    def edit(number: int) -> None:
        for state in states[1:]:
            habit(cluster[number].root / name / f"by-{number}", state)
            time.sleep(0.03)  # an editor's user; more saves than are looked at are no test of the looks

    with Witness(cluster[1].root / name / "by-0") as there, Witness(cluster[0].root / name / "by-1") as here:
        editors = [threading.Thread(target=edit, args=(number,)) for number in (0, 1)]
        for editor in editors:
            editor.start()
        for editor in editors:
            editor.join()
        for number in (0, 1):
            cluster.wait_everywhere(f"{name}/by-{number}", states[-1])
        cluster.wait_equal()
    there.saw_only(states)
    here.saw_only(states)


def test_a_log_that_is_never_closed_arrives_line_by_line(cluster: Cluster) -> None:
    log = cluster[0].root / "log"
    written = b""
    with Witness(cluster[1].root / "log") as there, open(log, "ab", buffering=0) as writer:
        for number in range(600):
            line = b"%06d a line of a log that somebody writes all the time\n" % number
            written += line
            writer.write(line)
            time.sleep(0.01)
        cluster.wait_there(1, "log", written)  # and it is open still
        assert "log" not in cluster[0].cli("problems")
        writer.write(b"the last\n")
    cluster.wait_there(1, "log", written + b"the last\n")
    there.saw_only_beginnings([written + b"the last\n"])
    assert len(there.saw) > 3, "it came in several pieces"


def test_a_database_that_stays_open_shows_only_states_that_it_had(cluster: Cluster) -> None:
    root = cluster[0].root
    states: dict[str, list[bytes]] = {"x.db": [b""], "x.db-wal": [b""]}

    def note() -> None:
        for name, seen in states.items():
            if (root / name).exists():
                seen.append((root / name).read_bytes())

    connection = sqlite3.connect(root / "x.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("CREATE TABLE t(number INTEGER, filling BLOB)")
    note()
    with Witness(cluster[1].root / "x.db") as database, Witness(cluster[1].root / "x.db-wal") as wal:
        for number in range(60):
            connection.execute("INSERT INTO t VALUES(?, randomblob(3000))", (number,))
            note()
            if number in (20, 40):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                note()
            time.sleep(0.1)
        cluster.wait_there(1, "x.db", (root / "x.db").read_bytes())  # open, and at rest since the last checkpoint
        connection.close()
        final = (root / "x.db").read_bytes()
        cluster.wait_there(1, "x.db", final)
        cluster.wait_there(1, "x.db-wal", None)
        cluster.wait_equal()
    database.saw_only_beginnings([*states["x.db"], final])
    wal.saw_only_beginnings(states["x.db-wal"])
    copy = root.parent / "copy.db"
    shutil.copyfile(cluster[1].root / "x.db", copy)
    opened = sqlite3.connect(copy)
    assert opened.execute("SELECT count(*), max(number) FROM t").fetchall() == [(60, 59)]
    assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    opened.close()


def test_what_is_written_through_a_mapping_arrives_while_it_rests_and_at_the_end(cluster: Cluster) -> None:
    path = cluster[0].root / "mapped"
    size = 300_000
    states = [bytes(size)]
    with Witness(cluster[1].root / "mapped") as there:
        with open(path, "w+b", buffering=0) as opened:
            opened.write(states[0])
            with mmap.mmap(opened.fileno(), size) as mapping:
                for number in range(1, 6):
                    mapping[number * 50_000] = number  # one byte: what is seen is the old state or the new
                    states.append(mapping[:])
                    mapping.flush()
                    time.sleep(0.05)
                cluster.wait_there(1, "mapped", states[-1])
                mapping[7] = 7
                states.append(mapping[:])
        cluster.wait_there(1, "mapped", states[-1])
    there.saw_only(states)


def test_a_writer_on_the_other_side_is_waited_for_and_both_versions_are_kept(cluster: Cluster) -> None:
    theirs = cluster[1].root / "contended"
    (cluster[0].root / "contended").write_bytes(b"of both\n")
    cluster.wait_there(1, "contended", b"of both\n")
    with open(theirs, "r+b", buffering=0) as writer:
        inode = os.fstat(writer.fileno()).st_ino
        writer.write(b"by b")
        rename_over(cluster[0].root / "contended", b"by a, who was quicker\n")
        end = time.monotonic() + 1.5 * AGE
        while time.monotonic() < end:
            assert theirs.stat().st_ino == inode and theirs.read_bytes() == b"by both\n"
            time.sleep(0.05)
        os.ftruncate(writer.fileno(), 4)
        writer.write(b", who took his time\n")
    _wait_for_both(cluster, "contended", b"by a, who was quicker\n", b"by b, who took his time\n")


def test_an_open_log_is_not_replaced_by_what_somebody_made_of_its_beginning(cluster: Cluster) -> None:
    log, copy = cluster[0].root / "shared-log", cluster[1].root / "shared-log"
    with open(log, "ab", buffering=0) as writer:
        inode = os.fstat(writer.fileno()).st_ino
        writer.write(b"one\n")
        cluster.wait_there(1, "shared-log", b"one\n")
        with open(copy, "ab") as other:
            other.write(b"a remark\n")
        end = time.monotonic() + 1.5 * AGE
        while time.monotonic() < end:
            assert log.stat().st_ino == inode
            writer.write(b"line\n")
            time.sleep(0.1)
        written = log.read_bytes()
        assert written.startswith(b"one\nline\nline\n")
    _wait_for_both(cluster, "shared-log", written, b"one\na remark\n")


def _wait_for_both(cluster: Cluster, name: str, *contents: bytes) -> None:
    """One of them is shown on both nodes, the other is in both vaults."""

    def kept(number: int) -> bool:
        root = cluster[number].root
        shown = (root / name).read_bytes()
        vault = [path.read_bytes() for path in (root / ".everynode").rglob("*") if path.is_file()]
        return shown in contents and all(content == shown or content in vault for content in contents)

    def agreed() -> bool:
        shown = {(cluster[number].root / name).read_bytes() for number in (0, 1)}
        return len(shown) == 1 and kept(0) and kept(1)

    assert wait_until(agreed, timeout=40, every=0.1), [
        (cluster[number].root / name).read_bytes()[:60] for number in (0, 1)
    ]
    assert all(name in cluster[number].ask("conflicts").stdout for number in (0, 1))
