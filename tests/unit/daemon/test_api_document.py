"""The API's page names every request that there is, and none that is not."""

from __future__ import annotations

import re
from pathlib import Path

from everynode.daemon.api import ROUTES
from everynode.report.audit import Happening

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "api.md").read_text()


def test_the_page_and_the_table_of_routes_agree() -> None:
    documented = set(re.findall(r"^\| `(GET|POST) (/v1/\S+)` \|", PAGE, re.MULTILINE))
    there = {
        (method, route.path.replace("{group}", "NAME"))
        for route in ROUTES
        for method in (route.methods or ())
        if method != "HEAD"
    }
    assert documented == there


def test_the_page_names_every_kind_of_event() -> None:
    section = PAGE.partition("## Events")[2]
    assert [kind for kind in Happening if f"`{kind.value}`" not in section] == []
