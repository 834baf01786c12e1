from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from everynode.cluster.home import Home
from everynode.cluster.joining import finish_join, prepare_join
from everynode.cluster.membership import Membership


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


class Nodes:
    """Makes nodes with homes of their own; joins run without a network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()

    def home(self, name: str) -> Home:
        return Home(self.folder / name)

    def first(self, name: str = "alpha") -> Membership:
        return Membership.create(self.home(name), name, ("0.0.0.0:7420",), (f"{name}:7420",), self.clock)

    def joined(self, inviter: Membership, name: str) -> Membership:
        joining = prepare_join(self.home(name), inviter.invite(), name, (), (f"{name}:7420",), self.clock)
        return finish_join(joining, inviter.redeem(joining.request), self.clock)

    def again(self, membership: Membership) -> Membership:
        """As after a restart."""
        return Membership.load(membership.home, self.clock)


@pytest.fixture
def nodes(tmp_path: Path) -> Nodes:
    return Nodes(tmp_path)


@pytest.fixture
def gossip() -> Callable[..., None]:
    """Exchange by the rules of links until nobody has anything to say."""

    def exchange(*members: Membership) -> None:
        for one in members:
            for other in members:
                message = one.announcement()
                speaker, hearer = one, other
                turns = 0
                while message is not None:
                    hearer.apply_statements(message.statements)
                    message = hearer.answer_to(message)
                    speaker, hearer = hearer, speaker
                    turns += 1
                    assert turns <= 3

    return exchange
