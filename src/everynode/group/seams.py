"""The seams of a group beside the kernel: links to peers, notices, clock. The simulator fakes exactly these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from everynode.model.ids import NodeId
from everynode.model.message import GroupMessage
from everynode.model.notice import Notice

T = TypeVar("T")


class Clock(Protocol):
    def now_ns(self) -> int:
        """Wall clock, Unix nanoseconds. For stamps and reports; correctness never depends on it."""

    def monotonic(self) -> float:
        """Seconds that only rise."""

    async def sleep(self, seconds: float) -> None: ...

    async def offload(self, function: Callable[..., T], *arguments: object) -> T:
        """Run blocking work (system calls, hashing) off the event loop. Costs some 80 µs: hand over batches."""

    async def offload_index(self, function: Callable[..., T], *arguments: object) -> T:
        """The same on the one thread of this group's index; calls run one after another, in order."""


class Links(Protocol):
    def peers(self) -> list[NodeId]:
        """Peers with which this group is open on a link, authenticated, in no order."""

    async def send(self, peer: NodeId, message: GroupMessage) -> None:
        """Queue for sending; waits while the peer's queue is full. Raises LinkError when not linked (any more)."""


class LinkEvents(Protocol):
    """What a group wants to hear from its links. Calls for one peer come one after another, in order."""

    async def opened(self, peer: NodeId) -> None: ...
    async def received(self, peer: NodeId, message: GroupMessage) -> None: ...
    async def closed(self, peer: NodeId) -> None: ...


class Notices(Protocol):
    @property
    def method(self) -> str:
        """`fanotify`, `inotify`, or `none` (only scans find changes)."""

    def start(self) -> None:
        """Marks the tree. What changes after the return is noticed; call it before the first scan."""

    async def next(self) -> list[Notice]:
        """Wait for at least one notice; return all that are there, oldest first."""

    @property
    def emptied(self) -> int:
        """How often `next` has given out everything that there was to read."""

    def waiting(self) -> bool:
        """Whether something was told that `next` has not given out yet."""

    def ignore(self, directory: int, wanted: bool) -> None:
        """Whether what happens to the objects in the directory of this fd is of no concern (it is filled aside, by us).

        What methods other than fanotify do not need, they do not do. Safe from any thread. Raises OSError: it is as
        it was, or (ENOENT, EBADF) nothing is ignored.
        """

    def close(self) -> None: ...


Wake = Callable[[], Awaitable[None]]
