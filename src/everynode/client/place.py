"""Where a node's home and its API socket are, and how paths are put into a request."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager

SOCKET_NAME = "api.sock"
# sun_path of sockaddr_un has 108 bytes with its closing NUL (unix(7)).
SOCKET_PATH_BYTES_MAX = 107

PathArgument = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def default_home() -> str:
    """EVERYNODE_HOME; else /var/lib/everynode for root and the data directory of anybody else."""
    if home := os.environ.get("EVERYNODE_HOME"):
        return os.path.abspath(home)
    if os.geteuid() == 0:
        return "/var/lib/everynode"
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(data, "everynode")


@contextmanager
def socket_address(home: str) -> Iterator[str]:
    """An address of the API socket that fits into `sockaddr_un`, however long the name of the home is.

    Raises OSError when the home cannot be opened.
    """
    plain = os.path.join(home, SOCKET_NAME)
    if len(os.fsencode(plain)) <= SOCKET_PATH_BYTES_MAX:
        yield plain
        return
    directory = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{SOCKET_NAME}"
    finally:
        os.close(directory)


def absolute(path: PathArgument) -> bytes:
    """The path with links in its parent followed and in its last component kept: a symlink is named, not its target."""
    whole = os.path.join(os.getcwdb(), os.fsencode(path)).rstrip(b"/") or b"/"
    parent, name = os.path.split(whole)
    if name in (b"", b".", b".."):
        return os.path.realpath(whole)
    return os.path.join(os.path.realpath(parent), name)


def path_json(path: bytes) -> str | dict[str, str]:
    """A path in a request: text when it is UTF-8, otherwise `{"path_b64": ...}`."""
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        return {"path_b64": b64encode(path).decode()}
