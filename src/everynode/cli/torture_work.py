"""Random work on a tree from one seed: files, renames, deletions and bursts, bounded in number and bytes."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# Few names on few levels, so that writers on different nodes meet; all together are some 1,900 paths.
NAMES = "abcdefghijkl"
DEPTHS = (1, 2, 2, 3, 3, 3)
# Sizes in bytes: what rides along with its record, what is fetched, what has several blocks.
SIZES = (0, 10, 200, 200, 2_000, 2_000, 20_000, 50_000, 400_000)
# In these a burst leaves its files, all small; the next burst of the same writer takes them away again.
BURST_FOLDER_FILES = 500
BURST_FILE_BYTES = 40


@dataclass
class Writer:
    """Somebody who works in `root`. Two with the same seed want the same; what they find decides what they do."""

    root: Path
    name: str
    seed: int
    rate: float
    """Changes a second, while it is not in a burst."""
    burst: int = 0
    """Files in a burst; 0: there are none."""
    burst_seconds: float = 0.0
    """From one burst to the next."""
    burst_delay: float | None = None
    """Until the first; None: half of that."""
    changes: int = 0
    bursts: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed}/{self.name}")
        self._verbs: list[tuple[Callable[[], None], int]] = [
            (self._write, 30),
            (self._replace, 25),
            (self._append, 8),
            (self._delete, 14),
            (self._mkdir, 5),
            (self._rename, 9),
            (self._rmtree, 1),
            (self._symlink, 3),
            (self._chmod, 5),
        ]

    def work(self, stopped: Callable[[float], bool]) -> None:
        """Until `stopped`, which waits so many seconds and says whether it is over; never faster than `rate`."""
        began = time.monotonic()
        next_burst = began + (self.burst_seconds / 2 if self.burst_delay is None else self.burst_delay)
        acts = 0
        while not stopped(max(0.0, began + acts / self.rate - time.monotonic())):
            acts += 1
            self.act()
            if self.burst and time.monotonic() >= next_burst:
                next_burst += self.burst_seconds
                self._burst(stopped)
                acts = round((time.monotonic() - began) * self.rate)  # what was missed meanwhile is not caught up

    def act(self) -> None:
        """One change, or none: names may be taken, or missing, or taken by somebody at this moment."""
        [verb] = self._random.choices([one for one, _ in self._verbs], [weight for _, weight in self._verbs])
        try:
            verb()
            self.changes += 1
        except (OSError, shutil.Error):
            pass

    def _path(self, depth_max: int = max(DEPTHS)) -> Path:
        depth = min(depth_max, self._random.choice(DEPTHS))
        return self.root.joinpath(*(self._random.choice(NAMES) for _ in range(depth)))

    def _content(self) -> bytes:
        mark = f"{self.name} {self.changes};".encode()
        return mark + self._random.randbytes(self._random.choice(SIZES))

    def _write(self) -> None:
        path = self._path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._content())

    def _replace(self) -> None:
        path = self._path()
        beside = path.with_name(f".{path.name}.{self.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(self._content())
        try:
            os.replace(beside, path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise

    def _append(self) -> None:
        with open(self._path(), "r+b") as file:
            if file.seek(0, os.SEEK_END) > max(SIZES):
                file.truncate(0)
            file.write(f"{self.name} {self.changes};".encode())

    def _delete(self) -> None:
        self._path().unlink()

    def _mkdir(self) -> None:
        self._path().mkdir()

    def _rename(self) -> None:
        old = self._path()
        # Never further down: directories that are moved into each other all the time are another load, without bound.
        os.rename(old, self._path(len(old.relative_to(self.root).parts)))

    def _rmtree(self) -> None:
        shutil.rmtree(self._path())

    def _symlink(self) -> None:
        self._path().symlink_to(f"target {self.changes}")

    def _chmod(self) -> None:
        path = self._path()
        if not path.is_symlink():
            path.chmod(self._random.choice((0o600, 0o644, 0o700, 0o755)) if path.is_file() else 0o755)

    def _burst(self, stopped: Callable[[float], bool]) -> None:
        """Many small files as fast as can be, or the last ones away again."""
        top = self.root / f"burst-{self.name}"
        self.bursts += 1
        if top.exists():
            shutil.rmtree(top, ignore_errors=True)
            self.changes += self.burst
            return
        content = os.urandom(BURST_FILE_BYTES)
        for number in range(self.burst):
            folder = top / str(number // BURST_FOLDER_FILES)
            try:
                if number % BURST_FOLDER_FILES == 0:
                    if stopped(0.0):
                        return
                    folder.mkdir(parents=True)
                (folder / str(number)).write_bytes(content)
                self.changes += 1
            except OSError:
                continue
