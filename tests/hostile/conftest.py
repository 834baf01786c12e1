"""Real daemons on the loopback network, besieged: one set of them for each module of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.siege import Siege

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and "siege" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="module")
def besieged() -> Iterator[Siege]:
    with Siege() as siege:
        yield siege


@pytest.fixture
def siege(besieged: Siege) -> Iterator[Siege]:
    """Two daemons that keep a tree alike, and a third member's key; after the test nothing may be amiss with them."""
    besieged.begin()
    yield besieged
    besieged.assert_unharmed()
