"""Power cuts: crash images of a recording are mounted, the daemons started on them, and what comes of it is judged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from lab.namespaces import Namespace
from lab.trees import difference, snapshot
from tests.crash.captured import written_since
from tests.crash.disk import read_log
from tests.crash.history import wrong_in_the_end, wrong_on_disk
from tests.crash.images import Replay
from tests.crash.mounts import mounted
from tests.crash.recording import CUT, PEER, Recording, daemons, mount_points
from tests.crash.warm import Trouble, wait_in_sync

NO_UUID = {"ext4": (), "xfs": ("nouuid",)}
"""xfs refuses a second filesystem of one id, also while the first is only being put away."""
AFTER = "boot after the power cut"


@dataclass(frozen=True, order=True)
class Cut:
    """After so many entries of the log; `seed` 0: everything that was written is there, else a part by the dice."""

    entries: int
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.entries}.{self.seed}"

    @staticmethod
    def read(text: str) -> Cut:
        entries, _, seed = text.partition(".")
        return Cut(int(entries), int(seed or 0))


def possible_cuts(recording: Recording) -> list[int]:
    """After each entry of a disk that the cut hits, from the moment on at which the node was a member."""
    losing = recording.kind.losing
    return [
        number
        for number, entry in enumerate(read_log(recording.log), 1)
        if entry.disk in losing and entry.end >= recording.story.first
    ]


def spread(recording: Recording, images: int) -> list[Cut]:
    """So many cuts, evenly over the log: every second one keeps all that was written, the others a part of it.

    More than there are entries: each entry is taken several times, with other dice.
    """
    possible = possible_cuts(recording)
    chosen = [(position * len(possible) // images, position) for position in range(images)]
    return sorted({Cut(possible[entry], position % 2 * (1 + position)) for entry, position in chosen})


class Laboratory:
    """Tries cuts of one recording. A context manager; everything but the recording is gone afterwards."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    def __enter__(self) -> Laboratory:
        folder = self.recording.folder
        self._network = Namespace()
        self._replay = Replay(self.recording.log, [self.recording.base(disk) for disk in (CUT, PEER)], folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._replay.close()
        self._network.close()

    def tried(self, cuts: list[Cut]) -> Iterator[tuple[Cut, list[str]]]:
        """Each cut with what is wrong after it. In the order of the log: it is walked through once."""
        assert cuts == sorted(cuts)
        for cut in cuts:
            self._replay.go_to(cut.entries)
            yield cut, self._try(cut)

    def _try(self, cut: Cut) -> list[str]:
        recording = self.recording
        folder = recording.folder
        images = [folder / f"crashed-{disk}" for disk in (CUT, PEER)]
        for number, disk in enumerate(self._replay.disks):
            loses = number in recording.kind.losing and cut.seed
            disk.image(images[number], random.Random(f"{cut} {number}") if loses else None)
        try:
            first, second = mount_points(folder)
            options = [
                (*recording.kind.options[disk], *NO_UUID[recording.kind.filesystems[disk]]) for disk in (CUT, PEER)
            ]
            with mounted(images[CUT], first, *options[CUT]), mounted(images[PEER], second, *options[PEER]):
                return self._judge()
        finally:
            for image in images:
                image.unlink()

    def _judge(self) -> list[str]:
        kind, story = self.recording.kind, self.recording.story
        position = self._replay.position
        boots = (AFTER, AFTER if kind.both else story.boot)
        both = daemons(self.recording.folder, self._network.pid, boots)
        left = [snapshot(daemon.root) if daemon.root.exists() else {} for daemon in both]
        found = []
        for number in kind.losing:
            writer = kind.author if number == kind.author else None
            found += [
                f"{both[number].name}: {line}" for line in wrong_on_disk(story.history, position, left[number], writer)
            ]
        author = both[kind.author]
        since = written_since(author.home, left[kind.author]) if kind.author in kind.losing else set()
        for daemon in both:
            daemon.log.unlink(missing_ok=True)
        try:
            both[PEER].start()
            both[CUT].start()
            wait_in_sync(both)
            final = [snapshot(daemon.root) for daemon in both]
        except Trouble as trouble:
            return [*found, str(trouble)]
        finally:
            for daemon in both:
                daemon.kill()
        found += [f"the nodes differ: {line}" for line in difference(*final)]
        living = None if kind.author in kind.losing else left[kind.author]
        author_first = [left[kind.author], left[1 - kind.author]]
        found += wrong_in_the_end(
            story.history, position, final[CUT], left=author_first, living=living, written_since=since
        )
        if found:
            found += [f"--- {daemon.name}:\n{daemon.last_words()}" for daemon in both]
        return found
