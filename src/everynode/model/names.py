"""What people may call nodes and groups, and how addresses and roots are written."""

from __future__ import annotations

import re

from everynode.errors import ConfigError
from everynode.limits import ADDRESS_CHARACTERS_MAX

NAME_CHARACTERS_MAX = 63
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9][A-Za-z0-9._-]*):([0-9]{1,5})")


def check_name(what: str, name: str) -> str:
    """`name` if it can name a `what` ("node", "group"): it stands in URLs and TOML keys. Raises ConfigError."""
    if not _NAME.fullmatch(name) or len(name) > NAME_CHARACTERS_MAX:
        raise ConfigError(
            f"{_short(name)} cannot name a {what}: use 1 to {NAME_CHARACTERS_MAX} letters, digits, '.', '_' or '-', "
            "the first a letter or digit"
        )
    return name


def check_address(address: str) -> str:
    """`address` if it is `host:port` (IPv6 in brackets) with a port from 1 to 65535. Raises ConfigError."""
    match = _ADDRESS.fullmatch(address)
    if len(address) > ADDRESS_CHARACTERS_MAX or not match or not 1 <= int(match[2]) <= 65535:
        raise ConfigError(f"{_short(address)} is no address: write host:port, for IPv6 [address]:port")
    return address


def split_address(address: str) -> tuple[str, int]:
    """Host (IPv6 without brackets) and port of a checked address. Raises ConfigError."""
    host, _, port = check_address(address).rpartition(":")
    return host.strip("[]"), int(port)


def check_root(root: str) -> str:
    """`root` if it is an absolute directory path in its shortest form, not `/` itself. Raises ConfigError."""
    names = root.split("/")
    if names[0] or len(names) < 2 or any(name in ("", ".", "..") for name in names[1:]):
        raise ConfigError(
            f"{_short(root)} cannot be a root: write an absolute directory other than /, without '.', '..', '//' "
            "or a slash at the end"
        )
    if "\0" in root or len(root.encode("utf-8", "surrogatepass")) >= 4096:
        raise ConfigError(f"{_short(root)} cannot be a root: it is no path that the kernel takes")
    if any("\ud800" <= character <= "\udfff" for character in root):
        raise ConfigError(f"{_short(root)} cannot be a root: the name is not UTF-8")
    return root


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
