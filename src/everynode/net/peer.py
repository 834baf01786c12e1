"""What a node knows of one peer, and which of two links to it survives.

Both nodes may dial at once. Only the side that is dialled decides: a link is up when it has answered the hello. It
lets the newcomer wait while its own dial is being answered and is preferred (the smaller node id's is), or while an
own dialled link stands: the peer drops the newcomer itself as soon as it has answered that one. Who waits longer than
DUPLICATE_GRACE is taken: then the other link is dead, for a peer dials only when it has none.
"""

from __future__ import annotations

import asyncio
import time
from enum import Enum

import msgspec

from everynode import limits
from everynode.model.ids import NodeId
from everynode.model.member import Member
from everynode.net.link import Link


class Dial(Enum):
    NONE = "none"
    CONNECTING = "connecting"
    """TCP is not through: the peer does not know of it."""
    TALKING = "talking"


class PeerReport(msgspec.Struct, frozen=True):
    name: str
    node: NodeId
    linked_since: float | None
    """Unix seconds; None: not linked."""
    away_since: float
    """Unix seconds; 0: it was never linked since this node started."""
    error: str
    """Why the last link or dial ended; empty: nothing went wrong since the last link."""
    rtt_ms: float | None
    bytes_in: int
    bytes_out: int
    """Since this node started."""


class Peer:
    def __init__(self, member: Member) -> None:
        self.member = member
        self.link: Link | None = None
        """Both said hello."""
        self.open: Link | None = None
        """The same, once its events are being delivered; what `send` uses."""
        self.turn = asyncio.Lock()
        """Held from `linked` to `unlinked`, so that the events of two links do not mix."""
        self.dial = Dial.NONE
        self.dial_deadline: asyncio.Timeout | None = None
        self.listen: tuple[str, ...] = ()
        """Addresses from its last hello."""
        self.hurry = False
        """The members changed: a pause before the next dial is over."""
        self.error = ""
        self._away_since = 0.0
        self._bytes_in = 0
        self._bytes_out = 0
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def addresses(self) -> list[str]:
        """The members' list first: the newer word of the peer itself adds to it."""
        return list(dict.fromkeys([*self.member.addresses, *self.listen]))[: 2 * limits.ADDRESSES_MAX]

    def changed(self) -> None:
        """Something happened that a waiting task may want to look at."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def wait_change(self, seconds: float | None = None) -> None:
        """Until `changed` is called, or the time is over."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            async with asyncio.timeout(seconds):
                await waiting
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(waiting)

    async def wait_admission(self, link: Link, me: NodeId) -> bool:
        """Whether the peer's dialled `link`, which awaits our hello, becomes the link; see the module's text."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limits.DUPLICATE_GRACE
        link.channel.on_closed = self.changed
        if self.link is not None:
            self.link.probe()
        while not link.closed and loop.time() < deadline:
            standing = self.link is not None and self.link.dialled
            preferred = self.dial is Dial.TALKING and me < self.member.node
            if not standing and not preferred:
                break
            await self.wait_change(deadline - loop.time())
        return not link.closed

    def adopt(self, link: Link) -> None:
        """`link` is the link from now on; another one, and a dial under way, end."""
        if self.link is not None:
            self.link.abort(f"{self.member.name} opened a new link")
        if self.dial_deadline is not None and not self.dial_deadline.expired():
            self.dial_deadline.reschedule(0)
        self.link = link
        if link.listen:
            self.listen = link.listen
        link.channel.on_closed = lambda: self._lost(link)
        self.changed()
        if link.closed:
            self._lost(link)

    def report(self) -> PeerReport:
        link = self.link
        return PeerReport(
            name=self.member.name,
            node=self.member.node,
            linked_since=link.since if link else None,
            away_since=0.0 if link else self._away_since,
            error="" if link else self.error,
            rtt_ms=link.rtt_ms if link else None,
            bytes_in=self._bytes_in + (link.channel.bytes_in if link else 0),
            bytes_out=self._bytes_out + (link.channel.bytes_out if link else 0),
        )

    def _lost(self, link: Link) -> None:
        if self.link is link:
            self.link = None
            self.error = str(link.channel.reason)
            self._away_since = time.time()
        self._bytes_in += link.channel.bytes_in
        self._bytes_out += link.channel.bytes_out
        self.changed()
