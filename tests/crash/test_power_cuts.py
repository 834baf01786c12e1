"""A share of the power cuts, and the machinery for all of them: what is written, what is lost, what is noticed."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.trees import Seen, snapshot
from tests.crash.disk import FLUSH, HEADER, WRITE
from tests.crash.history import History, wrong_in_the_end, wrong_on_disk
from tests.crash.images import Replay
from tests.crash.mounts import logged_disks, make_filesystem, mounted, why_not_possible
from tests.crash.powercut import Laboratory, spread
from tests.crash.progress import Progress
from tests.crash.recording import Kind, record

kernel = pytest.mark.kernel
mounts = pytest.mark.skipif(bool(why_not_possible()), reason=why_not_possible())

IMAGES = 5


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory, with a short name; gone afterwards."""
    made = Path(tempfile.mkdtemp(prefix="en-", dir="/dev/shm"))
    yield made
    shutil.rmtree(made)


@kernel
@mounts
@pytest.mark.parametrize("kind", [Kind("ext4", "author"), Kind("xfs", "receiver")], ids=str)
def test_after_a_power_cut_all_that_was_acknowledged_is_there_and_the_nodes_find_together(
    folder: Path, kind: Kind
) -> None:
    recording = record(kind, folder)
    with Laboratory(recording) as laboratory:
        tried = list(laboratory.tried(spread(recording, IMAGES)))
    assert len(tried) == IMAGES
    assert [(str(cut), found) for cut, found in tried if found] == []


# The machinery.


@kernel
@mounts
def test_without_a_sync_before_the_rename_some_images_have_an_empty_file_and_with_it_none(folder: Path) -> None:
    """What the recorder is for: it shows the fault that everybody knows, and only where it is."""
    image = folder / "image"
    make_filesystem("ext4", image)
    (folder / "base").write_bytes(image.read_bytes())
    with logged_disks(folder / "fuse", folder / "log", [image]) as [disk], mounted(disk, folder / "a") as top:
        for number in range(8):
            for name, safe in ((f"safe{number}", True), (f"unsafe{number}", False)):
                with open(top / "new", "wb") as file:
                    file.write(b"x" * 9_000)
                    if safe:
                        os.fsync(file.fileno())
                os.rename(top / "new", top / name)
            fd = os.open(top / f"safe{number}", os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
    replay = Replay(folder / "log", [folder / "base"], folder)
    entries = sum(1 for _ in _entries(folder / "log"))
    found: set[bytes] = set()
    for number in range(20, entries, max(1, entries // 25)):
        replay.go_to(number)
        replay.disks[0].image(folder / "crashed", random.Random(number))
        with mounted(folder / "crashed", folder / "a") as top:
            tree = snapshot(top)
        found |= {path for path, seen in tree.items() if seen.kind == "file" and path != b"new" and seen.size != 9_000}
    replay.close()
    assert any(path.startswith(b"unsafe") for path in found)
    assert not any(path.startswith(b"safe") for path in found)


def _entries(log: Path) -> Iterator[object]:
    from tests.crash.disk import read_log

    return read_log(log)


def test_an_image_has_what_was_flushed_and_of_the_rest_what_the_dice_say(tmp_path: Path) -> None:
    base = tmp_path / "base"
    with open(base, "wb") as file:
        file.truncate(1 << 20)
    blocks = [bytes([number]) * 4096 for number in range(1, 5)]
    with open(tmp_path / "log", "wb") as log:
        for number, block in enumerate(blocks):
            log.write(HEADER.pack(WRITE, 0, 4096 * number, 4096) + block)
            if number == 1:
                log.write(HEADER.pack(FLUSH, 0, 0, 0))
    replay = Replay(tmp_path / "log", [base], tmp_path)
    replay.go_to(5)
    seen = set()
    for seed in range(60):
        replay.disks[0].image(tmp_path / "image", random.Random(seed) if seed else None)
        image = (tmp_path / "image").read_bytes()
        assert len(image) == 1 << 20
        assert image[:8192] == blocks[0] + blocks[1], "flushed"
        kept = tuple(image[4096 * n : 4096 * (n + 1)] == blocks[n] for n in (2, 3))
        assert seed or kept == (True, True)
        seen.add(kept)
    replay.close()
    assert len(seen) == 4


def file(digest: str) -> Seen:
    return Seen("file", 1, digest, b"", 0o644, 0, 0, 1)


def history(tmp_path: Path) -> History:
    """`f` was written twice by node 0, at 10 and at 30; the first was acknowledged at 20."""
    told = History()
    for position, text in ((10, "one"), (30, "two")):

        def write(root: Path, text: str = text) -> Iterator[None]:
            (root / "f").write_text(text)
            yield

        told.act(0, tmp_path, lambda position=position: position, write)  # type: ignore[misc]
        if position == 10:
            told.acknowledge(20)
    return told


def test_what_was_acknowledged_must_be_on_the_disk_and_what_was_not_need_not(tmp_path: Path) -> None:
    told = history(tmp_path)
    one, two = (state.seen for _, state in told.states[b"f"])
    assert one is not None and two is not None
    assert wrong_on_disk(told, 15, {}, author=1) == []
    assert wrong_on_disk(told, 25, {}, author=1) != []
    assert wrong_on_disk(told, 25, {b"f": one}, author=1) == []
    assert wrong_on_disk(told, 35, {b"f": two}, author=1) == []
    assert wrong_on_disk(told, 25, {b"f": two}, author=1) != [], "nobody had written that yet"
    assert wrong_on_disk(told, 35, {b"f": file("torn")}, author=1) != []
    assert wrong_on_disk(told, 35, {b"f": file("torn")}, author=0) == [], "its author had not synced it"
    assert wrong_on_disk(told, 25, {b"f": file("torn")}, author=0) != [], "he had, when it was acknowledged"
    assert wrong_on_disk(told, 25, {b"f": one, b"g": one}, author=1) != [], "invented"


def test_what_another_node_has_is_not_taken_back_and_a_torn_file_is_spread_only_where_nobody_has_it(
    tmp_path: Path,
) -> None:
    told = history(tmp_path)
    one, two = (state.seen for _, state in told.states[b"f"])
    assert one is not None and two is not None
    torn = {b"f": file("torn")}
    assert wrong_in_the_end(told, 35, {b"f": one}, left=[torn, {b"f": one}], living=None) == []
    assert wrong_in_the_end(told, 35, {b"f": one}, left=[torn, {b"f": two}], living=None) != []
    assert wrong_in_the_end(told, 35, torn, left=[torn, {}], living=None) == []
    assert wrong_in_the_end(told, 35, torn, left=[torn, {b"f": one}], living=None) != []
    assert wrong_in_the_end(told, 35, torn, left=[torn, {b"f": one}], living=None, written_since={b"f"}) == []
    assert wrong_in_the_end(told, 35, torn, left=[torn, {b"f": two}], living=None) != []
    assert wrong_in_the_end(told, 25, torn, left=[torn, {b"f": one}], living=None) != []
    assert wrong_in_the_end(told, 35, {b"f": one}, left=[{}, {b"f": two}], living={b"f": two}) != []


def test_a_run_that_is_continued_knows_what_was_done(tmp_path: Path) -> None:
    first = Progress(tmp_path / "progress")
    first.note("3.0", "a cut", False)
    first.note("4.1", "a cut", True)
    second = Progress(tmp_path / "progress")
    assert second.done == {"3.0": ("a cut", False), "4.1": ("a cut", True)}
    assert second.failed == 1 and not second.complete
    second.end()
    assert Progress(tmp_path / "progress").complete
