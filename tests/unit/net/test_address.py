"""Addresses as people write them."""

from __future__ import annotations

import asyncio

import pytest

from everynode import limits
from everynode.errors import ConfigError, LinkError
from everynode.net.address import Address, parse_address, resolve


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("node1", "node1", limits.PORT_DEFAULT),
        ("node1:7000", "node1", 7000),
        ("10.0.0.1:7000", "10.0.0.1", 7000),
        ("[::1]:7000", "::1", 7000),
        ("[::1]", "::1", limits.PORT_DEFAULT),
        ("::1", "::1", limits.PORT_DEFAULT),
        (":7000", "", 7000),
        ("", "", limits.PORT_DEFAULT),
    ],
)
def test_an_address_is_host_and_port(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)
    assert parse_address(str(parse_address(text))) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    ["a:", "a:b", "a:70000", "a:" + "1" * 5000, "a:-1", "[::1", "[::1]x", "[::1]:", "a b:1", "http://a:1", "a/b"],
)
def test_what_is_no_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        parse_address(text)


def test_a_name_that_nobody_knows_is_said_to_be_so() -> None:
    with pytest.raises(LinkError, match=r"the name 'nowhere\.invalid' cannot be resolved"):
        asyncio.run(resolve(Address("nowhere.invalid", 1)))
