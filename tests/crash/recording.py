"""A recording: two nodes live a small life, the disk of the first is logged block by block; kept in a folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from everynode.kernel.process import boot_id
from lab.namespaces import Namespace
from lab.node import Node
from lab.trees import difference, snapshot, wait_until
from tests.crash.history import History
from tests.crash.images import copy_sparse
from tests.crash.mounts import logged_disks, make_filesystem, mounted
from tests.crash.warm import Daemon, Trouble
from tests.crash.workload import Then, fill, life

Role = Literal["receiver", "author"]
ROLES: tuple[Role, ...] = ("receiver", "author")
CUT, PEER = 0, 1
"""The node whose power fails, and the other one; also the numbers of their disks."""
PAUSE = 0.03
"""Between two acts: the daemon gets to work, or to a part of it."""


@dataclass(frozen=True)
class Kind:
    """`role` of the node whose power fails. `both`: it fails on both nodes at the same moment."""

    filesystem: str
    role: Role
    both: bool = False

    def __str__(self) -> str:
        return f"{self.filesystem}-{self.role}{'-both' if self.both else ''}"

    @property
    def author(self) -> int:
        return CUT if self.role == "author" else PEER

    @property
    def filesystems(self) -> tuple[str, str]:
        return (self.filesystem, self.filesystem if self.both else "xfs")

    @property
    def options(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """A living peer's disk holds at each moment what the peer shows: xfs with `sync` writes everything at once."""
        return ((), () if self.both else ("sync",))

    @property
    def losing(self) -> set[int]:
        return {CUT, PEER} if self.both else {CUT}


KINDS = [Kind(filesystem, role, both) for filesystem in ("ext4", "xfs") for both in (False, True) for role in ROLES]


@dataclass(frozen=True)
class Story:
    """What is kept beside the images and the log. `first`: the length of the log from which on a cut counts."""

    first: int
    boot: str
    history: History = field(default_factory=History)


@dataclass(frozen=True)
class Recording:
    kind: Kind
    folder: Path
    story: Story

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def base(self, disk: int) -> Path:
        return self.folder / f"base-{disk}"


def mount_points(folder: Path) -> tuple[Path, Path]:
    """Where the nodes' disks are mounted, at recording and at every replay: homes hold absolute paths."""
    return folder / "a", folder / "b"


def daemons(folder: Path, network: int, boots: tuple[str, str]) -> list[Daemon]:
    places = mount_points(folder)
    return [
        Daemon(name, at / "home", at / "root", network, boot)
        for name, at, boot in zip("ab", places, boots, strict=True)
    ]


def load(kind: Kind, folder: Path) -> Recording | None:
    """None: it was not made, or not to its end."""
    story = folder / "story"
    if not story.exists():
        return None
    return Recording(kind, folder, msgspec.msgpack.decode(story.read_bytes(), type=Story))


def record(kind: Kind, folder: Path) -> Recording:
    """Make it anew; takes some ten seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    images = [folder / f"image-{disk}" for disk in (CUT, PEER)]
    for disk, image in enumerate(images):
        make_filesystem(kind.filesystems[disk], image)
        copy_sparse(image, folder / f"base-{disk}")
    with logged_disks(folder / "fuse", folder / "log", images) as disks, _mounted(kind, folder, disks):
        story = _live(kind, folder)
    for image in images:
        image.unlink()
    (folder / "fuse").rmdir()
    (folder / "story").write_bytes(msgspec.msgpack.encode(story))
    return Recording(kind, folder, story)


@contextmanager
def _mounted(kind: Kind, folder: Path, disks: list[Path]) -> Iterator[None]:
    first, second = mount_points(folder)
    with mounted(disks[CUT], first, *kind.options[CUT]), mounted(disks[PEER], second, *kind.options[PEER]):
        yield


def _live(kind: Kind, folder: Path) -> Story:
    """By two daemons as they are started by anybody."""
    network = Namespace()
    nodes = [
        Node(name, at / "home", at / "root", "127.0.0.1", 7391 + number, enter=network.enter)
        for number, (name, at) in enumerate(zip("ab", mount_points(folder), strict=True))
    ]
    try:
        return _tell(kind, nodes, folder / "log")
    finally:
        for node in nodes:
            node.kill()
        network.close()


def _tell(kind: Kind, nodes: list[Node], log: Path) -> Story:
    acting, other = nodes[kind.author], nodes[1 - kind.author]
    history = History()

    def position() -> int:
        return log.stat().st_size

    for node in nodes:
        node.root.mkdir()
    acting.init()
    acting.start()
    other.join(acting.invite())
    other.start()
    history.act(kind.author, acting.root, position, fill)
    acting.add_group_at_once()
    story = Story(position(), boot_id(), history)
    _wait_acknowledged(nodes, acting, history, position)
    for does, then in life():
        history.act(kind.author, acting.root, position, does)
        if then is Then.ACKNOWLEDGED:
            _wait_acknowledged(nodes, acting, history, position)
        if then is Then.NOTHING:
            time.sleep(PAUSE)
        else:
            _wait_shown(nodes)
    return story


def _wait_acknowledged(nodes: list[Node], acting: Node, history: History, position: Callable[[], int]) -> None:
    answer = Daemon(acting.name, acting.home, acting.root, 0).wait(30.0)
    if not answer["done"]:
        told = "\n".join(f"{node.name}: {node.asks_json('status')['groups']}\n{node.last_words(40)}" for node in nodes)
        raise Trouble(f"while recording: {answer}\n{told}")
    history.acknowledge(position())


def _wait_shown(nodes: list[Node]) -> None:
    def differences() -> list[str]:
        return difference(*(snapshot(node.root) for node in nodes))

    if not wait_until(lambda: not differences(), timeout=30.0):
        raise Trouble(f"while recording: {differences()}")
