"""What users do, by chance: on few names, so that they meet; with contents of which no two are equal."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.sim.loop import SimLoop
from tests.sim.user import User, Writing

_NAMES = (b"a", b"b", b"c", b"d")
DEPTHS = (1, 1, 2, 2, 3)
DEEP = (1, 1, 2, 2, 3, 6)
"""Where directories are made on the way, too."""


@dataclass
class Weights:
    """How often what is done, relative to each other."""

    write: int = 10
    replace: int = 8
    append: int = 2
    slow_write: int = 3
    unlink: int = 7
    rename: int = 4
    mkdir: int = 4
    rmtree: int = 2
    symlink: int = 2
    attributes: int = 3
    sync: int = 1
    remake: int = 3
    rename_directory: int = 0
    """Directories alone, also into themselves, and to depths where much is below."""


class Workload:
    """One for the whole cluster. `act` never raises what a user's program would just report."""

    def __init__(self, loop: SimLoop, weights: Weights | None = None, depths: Sequence[int] = DEPTHS) -> None:
        self._rng: random.Random = loop.fork("workload")
        self._depths = depths
        weights = weights or Weights()
        self._verbs = list(vars(weights))
        self._weights = list(vars(weights).values())
        self._count = 0
        self.unfinished: list[Writing] = []
        self.acts = 0

    def act(self, user: User) -> None:
        """One act of one user, or none: names may be taken, or missing."""
        try:
            if self.unfinished and self._rng.random() < 0.5:
                self._go_on()
                return
            verb = self._rng.choices(self._verbs, self._weights)[0]
            getattr(self, "_" + verb)(user)
            self.acts += 1
        except OSError:
            pass

    def write_one(self, user: User) -> bytes | None:
        """A file written and closed at once; its path, or None: something is in the way."""
        path = self._somewhere(user)
        try:
            user.write_file(path, self._content())
        except OSError:
            return None
        self.acts += 1
        return path

    def finish(self) -> None:
        """Close what is still held open."""
        while self.unfinished:
            self.unfinished.pop().close()

    def power_cut(self, user: User) -> None:
        """Before the cut: what `user` has half written counts as it stands."""
        for writing in [w for w in self.unfinished if w.user is user]:
            self.unfinished.remove(writing)
            writing.close(finished=False)

    def _go_on(self) -> None:
        writing = self._rng.choice(self.unfinished)
        if self._rng.random() < 0.5:
            writing.write(self._content())
        else:
            self.unfinished.remove(writing)
            writing.close()

    def _path(self) -> bytes:
        depth = self._rng.choice(self._depths)
        return b"/".join(self._rng.choice(_NAMES) for _ in range(depth))

    def _standing(self, user: User, *kinds: str) -> bytes:
        """Something that is there, mostly."""
        paths = [path for path, what in user.tree().items() if what.kind in kinds]
        return self._rng.choice(paths) if paths and self._rng.random() < 0.9 else self._path()

    def _content(self) -> bytes:
        self._count += 1
        mark = b"content %d;" % self._count
        size = self._rng.choice((0, 0, 0, 100, 5_000, 40_000, 200_000 if self._rng.random() < 0.3 else 0))
        return mark + self._rng.randbytes(max(0, size - len(mark)))

    def _write(self, user: User) -> None:
        user.write_file(self._somewhere(user), self._content())

    def _somewhere(self, user: User) -> bytes:
        return self._standing(user, "file") if self._rng.random() < 0.5 else self._path()

    def _replace(self, user: User) -> None:
        user.replace_file(self._somewhere(user), self._content(), sync=self._rng.random() < 0.3)

    def _append(self, user: User) -> None:
        user.append(self._standing(user, "file"), self._content())

    def _slow_write(self, user: User) -> None:
        self.unfinished.append(user.open_for_write(self._somewhere(user)))
        self.unfinished[-1].write(self._content())

    def _unlink(self, user: User) -> None:
        user.unlink(self._standing(user, "file", "link"))

    def _rename(self, user: User) -> None:
        user.rename(self._standing(user, "file", "directory", "link"), self._path())

    def _mkdir(self, user: User) -> None:
        path = self._path()
        if self._depths is not DEPTHS:  # else nothing ever gets deep
            for end in (n for n, byte in enumerate(path) if byte == ord("/")):
                if user.see(path[:end]) is None:
                    user.mkdir(path[:end])
        user.mkdir(path)

    def _rename_directory(self, user: User) -> None:
        old = self._standing(user, "directory")
        choice = self._rng.random()
        if choice < 0.2:  # the kernel says no
            new = old + b"/" + self._rng.choice(_NAMES)
        elif choice < 0.6:
            new = self._standing(user, "directory") + b"/" + self._rng.choice(_NAMES)
        else:
            new = self._path()
        user.rename(old, new)

    def _rmtree(self, user: User) -> None:
        user.rmtree(self._standing(user, "directory"))

    def _symlink(self, user: User) -> None:
        self._count += 1
        user.symlink(b"target %d" % self._count, self._path())

    def _attributes(self, user: User) -> None:
        path = self._standing(user, "file", "directory")
        match self._rng.randrange(3):
            case 0:
                user.chmod(path, self._rng.choice((0o600, 0o640, 0o755, 0o700)))
            case 1:
                user.chown(path, self._rng.choice((0, 1000)), self._rng.choice((0, 100)))
            case _:
                user.set_mtime(path, 1_600_000_000_000_000_000 + self._rng.randrange(10**15))

    def _sync(self, user: User) -> None:
        user.sync()

    def _remake(self, user: User) -> None:
        """Something else where something stood, in the same moment: its inode number may be the old one again."""
        path = self._standing(user, "file", "directory", "link")
        there = user.see(path)
        if there is not None and there.kind == "directory":
            user.rmtree(path)
        else:
            user.unlink(path)
        match self._rng.randrange(4):
            case 0:
                user.mkdir(path)
            case 1:
                self._count += 1
                user.symlink(b"target %d" % self._count, path)
            case _:
                user.write_file(path, self._content())
