from __future__ import annotations

from pathlib import Path

import pytest

from everynode.trust.identity import Identity


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> list[Identity]:
    def make(number: int) -> Identity:
        home: Path = tmp_path_factory.mktemp(f"node{number}")
        return Identity.create(home, f"node{number}")

    return [make(number) for number in range(5)]
