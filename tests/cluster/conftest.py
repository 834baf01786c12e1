"""Every test of this folder needs root and namespaces, and says so when it cannot have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.namespaces import why_not_possible

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = why_not_possible()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))
