"""An empty index in memory."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from everynode.index.store import Index
from tests.unit.core.samples import NODE_A


@pytest.fixture
def index() -> Iterator[Index]:
    opened = Index(":memory:", NODE_A, random.Random(1).randbytes)
    yield opened
    opened.close()
