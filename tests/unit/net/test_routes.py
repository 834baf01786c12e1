"""Messages find their group; a slow, failing or missing group is its own trouble."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from everynode import limits
from everynode.errors import LinkError
from everynode.model.ids import NodeId
from everynode.model.message import FetchPart, Gone, GroupBye, GroupHello, GroupMessage
from everynode.net.routes import AttachedGroup, GroupRoutes

P, Q = NodeId(b"p" * 16), NodeId(b"q" * 16)
G, H = b"g" * 16, b"h" * 16


def hello(group: bytes) -> GroupHello:
    return GroupHello(group, b"o" * 20, b"i" * 16, {}, {})  # type: ignore[arg-type]


class Links:
    def __init__(self) -> None:
        self.sent: list[tuple[NodeId, GroupMessage]] = []
        self.cut: list[tuple[NodeId, str]] = []

    async def send(self, peer: NodeId, message: GroupMessage) -> None:
        self.sent.append((peer, message))

    def disconnect(self, peer: NodeId, reason: str) -> None:
        self.cut.append((peer, reason))


class Events:
    def __init__(self) -> None:
        self.told: list[tuple[str, NodeId] | tuple[str, NodeId, GroupMessage]] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.failure: Exception | None = None

    async def opened(self, peer: NodeId) -> None:
        self.told.append(("opened", peer))

    async def received(self, peer: NodeId, message: GroupMessage) -> None:
        await self.hold.wait()
        if self.failure:
            raise self.failure
        self.told.append(("received", peer, message))

    async def closed(self, peer: NodeId) -> None:
        self.told.append(("closed", peer))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def delivering(*groups: AttachedGroup) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        for group in groups:
            tasks.create_task(group.run())
        yield
        for group in groups:
            group.stop()


def test_each_group_hears_of_links_and_its_own_messages_in_order() -> None:
    async def main() -> None:
        links, g, h = Links(), Events(), Events()
        routes = GroupRoutes(links)
        attached = routes.attach(G, g)
        await routes.linked(P)
        async with delivering(attached, routes.attach(H, h)):  # the second one while the link is up
            for number in range(20):
                await routes.received(P, Gone(G, number))
            await routes.received(P, Gone(H, 99))
            await g.until(lambda: len(g.told) == 21 and len(h.told) == 2)
            assert g.told == [("opened", P), *(("received", P, Gone(G, number)) for number in range(20))]
            assert h.told == [("opened", P), ("received", P, Gone(H, 99))]
            assert attached.peers() == [P]
            await attached.send(P, Gone(G, 1))
            assert links.sent == [(P, Gone(G, 1))]
            await routes.unlinked(P)
            await g.until(lambda: g.told[-1] == ("closed", P) and h.told[-1] == ("closed", P))
            assert attached.peers() == []
            with pytest.raises(LinkError, match="not open"):
                await attached.send(P, Gone(G, 1))

    asyncio.run(main())


def test_a_message_for_a_group_that_is_not_here_is_answered_by_one_goodbye_per_link() -> None:
    async def main() -> None:
        links = Links()
        routes = GroupRoutes(links)
        await routes.linked(P)
        for _ in range(3):
            await routes.received(P, hello(G))
        await routes.received(P, GroupBye(H, "not here"))
        assert [message.group for _, message in links.sent] == [G]
        await routes.unlinked(P)
        await routes.linked(P)
        await routes.received(P, hello(G))
        assert len(links.sent) == 2
        with pytest.raises(LinkError, match="unknown here"):
            for number in range(limits.GROUPS_REFUSED_MAX + 1):
                await routes.received(P, Gone(number.to_bytes(16, "big"), 1))

    asyncio.run(main())


def test_a_goodbye_closes_the_group_and_a_later_hello_opens_it_again() -> None:
    async def main() -> None:
        links, g = Links(), Events()
        routes = GroupRoutes(links)
        attached = routes.attach(G, g)
        await routes.linked(P)
        async with delivering(attached):
            await routes.received(P, GroupBye(G, "no such group"))
            assert attached.peers() == []
            await routes.received(P, Gone(G, 1))  # was under way
            await routes.received(P, hello(G))
            await g.until(lambda: len(g.told) == 4)
            assert g.told == [("opened", P), ("closed", P), ("opened", P), ("received", P, hello(G))]
            await routes.unlinked(P)
            await g.until(lambda: g.told[-1] == ("closed", P))

    asyncio.run(main())


def test_a_slow_group_holds_its_own_messages_only_until_its_inbox_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GROUP_INBOX_BYTES", 10_000)

    async def main() -> None:
        g, h = Events(), Events()
        routes = GroupRoutes(Links())
        slow, quick = routes.attach(G, g), routes.attach(H, h)
        await routes.linked(P)
        await routes.linked(Q)
        g.hold.clear()
        async with delivering(slow, quick):
            await g.until(lambda: len(g.told) == 2)
            part = FetchPart(G, 1, bytes(6000))
            for _ in range(3):  # one with the handler, two in the inbox
                await routes.received(P, part)
                await asyncio.sleep(0)
            await routes.received(P, Gone(H, 1))
            await h.until(lambda: ("received", P, Gone(H, 1)) in h.told)
            full = asyncio.ensure_future(routes.received(P, part))
            await routes.received(Q, Gone(G, 2))  # another peer of the same group
            for _ in range(20):
                await asyncio.sleep(0)
            assert not full.done()
            g.hold.set()
            await full
            await g.until(lambda: len(g.told) == 2 + 5)

    asyncio.run(main())


def test_a_cut_link_drops_what_was_under_way_and_flapping_piles_up_nothing() -> None:
    async def main() -> None:
        g = Events()
        routes = GroupRoutes(Links())
        attached = routes.attach(G, g)
        g.hold.clear()
        await routes.linked(P)
        async with delivering(attached):
            await routes.received(P, Gone(G, 1))
            await routes.received(P, Gone(G, 2))
            await g.until(lambda: len(g.told) == 1)
            await asyncio.sleep(0)
            for _ in range(100):
                await routes.unlinked(P)
                await routes.linked(P)
            g.hold.set()
            await g.until(lambda: len(g.told) >= 4)
            assert g.told == [("opened", P), ("received", P, Gone(G, 1)), ("closed", P), ("opened", P)]

    asyncio.run(main())


def test_a_link_error_of_a_handler_cuts_that_link_but_not_a_newer_one() -> None:
    async def main() -> None:
        links, g = Links(), Events()
        routes = GroupRoutes(links)
        attached = routes.attach(G, g)
        await routes.linked(P)
        async with delivering(attached):
            g.failure = LinkError("nonsense")
            await routes.received(P, Gone(G, 1))
            await g.until(lambda: links.cut == [(P, "nonsense")])
            g.hold.clear()
            await routes.received(P, Gone(G, 2))
            for _ in range(5):
                await asyncio.sleep(0)
            await routes.unlinked(P)
            await routes.linked(P)
            g.hold.set()
            await g.until(lambda: g.told.count(("opened", P)) == 2)
            assert links.cut == [(P, "nonsense")]

    asyncio.run(main())


def test_any_other_error_of_a_handler_comes_out_of_the_groups_own_task() -> None:
    async def main() -> None:
        g, h = Events(), Events()
        routes = GroupRoutes(Links())
        broken, sound = routes.attach(G, g), routes.attach(H, h)
        await routes.linked(P)
        g.failure = ZeroDivisionError("a fault")
        async with delivering(sound):
            running = asyncio.ensure_future(broken.run())
            await routes.received(P, Gone(G, 1))
            with pytest.raises(ExceptionGroup) as caught:
                await running
            assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
            assert broken.peers() == []
            await routes.received(P, Gone(G, 2))  # the group is gone: answered, not kept
            await routes.received(P, Gone(H, 1))
            await h.until(lambda: len(h.told) == 2)

    asyncio.run(main())


def test_detaching_says_goodbye_and_attaching_again_opens() -> None:
    async def main() -> None:
        links, g = Links(), Events()
        routes = GroupRoutes(links)
        attached = routes.attach(G, g)
        await routes.linked(P)
        async with delivering(attached):
            await g.until(lambda: len(g.told) == 1)
            await routes.detach(G, "the group was removed")
        assert links.sent == [(P, GroupBye(G, "the group was removed"))]
        await routes.received(P, Gone(G, 1))
        assert len(links.sent) == 1
        again = routes.attach(G, g)
        async with delivering(again):
            await g.until(lambda: g.told == [("opened", P), ("opened", P)])

    asyncio.run(main())
