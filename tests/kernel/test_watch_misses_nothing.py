"""Whoever looks where the notices say, and nowhere else, ends with the true picture of a tree that others churn."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from everynode.model.notice import Notice, What
from everynode.watch.choose import WatchNotices, open_notices
from tests.kernel.foreign import foreign, make

Picture = dict[bytes, tuple[int, int, bytes]]
"""Path -> (type, inode, content)"""


def look(path: bytes) -> tuple[int, int, bytes] | None:
    try:
        found = os.lstat(b"root/" + path)
        if stat.S_ISREG(found.st_mode):
            with open(b"root/" + path, "rb") as file:
                return (stat.S_IFREG, found.st_ino, file.read())
        return (stat.S_IFMT(found.st_mode), found.st_ino, b"")
    except (FileNotFoundError, NotADirectoryError):
        return None


def scan(picture: Picture, directory: bytes) -> None:
    forget_below(picture, directory)
    base = b"root/" + directory
    for folder, folders, files in os.walk(base):
        for name in folders + files:
            path = os.path.relpath(os.path.join(folder, name), b"root")
            found = look(path)
            if found is not None:
                picture[path] = found


def forget_below(picture: Picture, directory: bytes) -> None:
    for path in [path for path in picture if path.startswith(directory + b"/") or not directory]:
        del picture[path]


def follow(picture: Picture, notice: Notice) -> None:
    if notice.what & What.OVERFLOW:
        scan(picture, notice.path)
        return
    for path in (notice.path, notice.source):
        if not path:
            continue
        found = look(path)
        if found is None or found[0] != stat.S_IFDIR:
            forget_below(picture, path)
        if found is None:
            picture.pop(path, None)
            continue
        picture[path] = found
        if found[0] == stat.S_IFDIR and notice.what & (What.WRITTEN | What.RENAMED | What.GONE):
            scan(picture, path)


def churn(seed: int, steps: int) -> None:
    dice = random.Random(seed)
    names = [b"a", b"b", b"c", b"d"]

    def anywhere() -> bytes:
        top = b"outside" if dice.random() < 0.2 else b"root"
        return b"/".join([top, *dice.choices(names, k=dice.randint(1, 3))])

    for step in range(steps):
        path = anywhere()
        try:
            # Mostly writes: a wrong idea of where a directory is shows in what is written below it afterwards.
            match dice.randrange(20):
                case 0 | 1 | 2:
                    os.makedirs(path, exist_ok=True)
                case 3 | 4:
                    inner = [os.path.join(top, name) for top, tops, _ in os.walk(b".") for name in tops]
                    moved, into = dice.choice(inner), dice.choice([*inner, b"root", b"outside"])
                    if moved not in (b"./root", b"./outside"):
                        os.rename(moved, into + b"/" + dice.choice(names))
                    os.rename(path, anywhere())
                case n if n > 6:
                    make(path + b"/" + dice.choice(names) if os.path.isdir(path) else path, b"%d" % step)
                case _:
                    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        except OSError:
            pass  # in its own way: this is a random walk


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    os.chdir(tmp_path)
    os.makedirs("root")
    os.makedirs("outside")
    yield tmp_path
    os.chdir("/")


def methods() -> list[object]:
    fanotify = pytest.param(
        "fanotify", marks=[pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
    )
    return [fanotify, "inotify"]


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("seed", range(3))
def test_the_picture_is_true_whenever_it_is_quiet(base: Path, method: str, seed: int) -> None:
    foreign(lambda: churn(seed + 100, 200))
    notices = open_notices(os.fsencode(base / "root"), force=method)
    notices.start()
    picture: Picture = {}
    scan(picture, b"")
    asyncio.run(asyncio.wait_for(watch(notices, picture, seed), 60))
    notices.close()


async def watch(notices: WatchNotices, picture: Picture, seed: int) -> None:
    pid = os.fork()
    if pid == 0:
        churn(seed, 400)
        make(b"root/~last")
        os._exit(0)
    try:
        await follow_until(notices, picture, b"~last")
    finally:
        os.waitpid(pid, 0)
    # Then in small rounds: else most is looked at when all is over, and a stale idea of a path does not show.
    for turn in range(15):
        foreign(lambda turn=turn: churn(seed * 100 + turn, 12))
        # Twice: what inotify finds in new directories comes after the first.
        for last in (b"~%d" % turn, b"~%d~" % turn):
            foreign(lambda last=last: make(b"root/" + last))
            await follow_until(notices, picture, last)
        truth: Picture = {}
        scan(truth, b"")
        assert len(truth) > 1 and picture == truth, f"after round {turn}"


async def follow_until(notices: WatchNotices, picture: Picture, last: bytes) -> None:
    """Until the file `last` is seen with its content, not only created."""
    while picture.get(last, (0, 0, b""))[2] != b"x":
        for notice in await notices.next():
            follow(picture, notice)
