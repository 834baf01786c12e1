"""What applications say to everynode: these paths changed; wait until this is on k nodes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from everynode.client.connection import REQUEST_TIMEOUT, Client
from everynode.client.place import PathArgument, absolute, path_json

Nodes = int | Literal["all"]


def hint(
    paths: Iterable[PathArgument] = (),
    *,
    renames: Iterable[tuple[PathArgument, PathArgument]] = (),
    wait: Nodes | None = None,
    timeout: float = 30.0,
    home: str | None = None,
) -> dict[str, Any]:
    """Tell the daemon that `paths` may have changed and that old became new. It looks for itself.

    With `wait`, returns when they are on stable storage on so many nodes (this one counts) or after `timeout`
    seconds; look at `["done"]`. Without, returns when the paths are queued to be looked at.
    """
    body = {
        "paths": [path_json(absolute(path)) for path in paths],
        "renames": [[path_json(absolute(old)), path_json(absolute(new))] for old, new in renames],
        "wait": wait,
        "timeout": timeout,
    }
    answer: dict[str, Any] = Client(home).post("/v1/hint", body, timeout=timeout + REQUEST_TIMEOUT)
    return answer


def wait(
    path: PathArgument | None = None,
    *,
    nodes: Nodes = "all",
    timeout: float = 30.0,
    group: str | None = None,
    home: str | None = None,
) -> dict[str, Any]:
    """Wait until `path` (None: all that is known now) is on stable storage on so many nodes, this one included.

    Returns after at most `timeout` seconds; look at `["done"]`.
    """
    body = {
        "path": None if path is None else path_json(absolute(path)),
        "group": group,
        "nodes": nodes,
        "timeout": timeout,
    }
    answer: dict[str, Any] = Client(home).post("/v1/wait", body, timeout=timeout + REQUEST_TIMEOUT)
    return answer
