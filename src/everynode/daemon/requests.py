"""What the API takes: the JSON bodies, and the group that a request is about."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from everynode.daemon.facade import GroupFacade, HeldGroup
from everynode.errors import EverynodeError, GroupHalted, PathError
from everynode.limits import API_WAIT_MAX, TOKEN_VALID_SECONDS


class BadRequest(EverynodeError):
    """The request itself is wrong."""


class NoSuchGroup(EverynodeError):
    """This node holds no group of that name."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all bodies: a key that is not known is refused, not ignored."""


class RawPath(Request, frozen=True, kw_only=True):
    path_b64: str


PathJson = str | RawPath
"""Text, or `{"path_b64": ...}` for bytes that are not UTF-8."""

Nodes = int | Literal["all"]


class HintRequest(Request, frozen=True, kw_only=True):
    paths: list[PathJson] = []
    """Absolute."""
    renames: list[tuple[PathJson, PathJson]] = []
    """(old, new), absolute."""
    wait: Nodes | None = None
    timeout: float = 30.0


class WaitRequest(Request, frozen=True, kw_only=True):
    path: PathJson | None = None
    """Absolute. None: everything."""
    group: str | None = None
    """Only this group; None with no path: all groups."""
    nodes: Nodes = "all"
    timeout: float = 30.0


class ResolveRequest(Request, frozen=True, kw_only=True):
    path: PathJson
    """Inside the root, as everything below /v1/groups/NAME."""
    keep: str


class RestoreRequest(Request, frozen=True, kw_only=True):
    path: PathJson
    generation: str | None = None


class DecisionRequest(Request, frozen=True, kw_only=True):
    by: str | None = None
    """Only what the node of this name removed; null: all that is held."""


class InviteRequest(Request, frozen=True, kw_only=True):
    valid_seconds: float = TOKEN_VALID_SECONDS
    advertise: list[str] = []
    """`host:port` at which all others reach this node from now on."""


class RemoveMemberRequest(Request, frozen=True, kw_only=True):
    node: str


class AddGroupRequest(Request, frozen=True, kw_only=True):
    name: str
    path: str
    exclude: list[str] = []
    conflict: Literal["newest", "oldest", "largest", "smallest"] = "newest"


class RemoveGroupRequest(Request, frozen=True, kw_only=True):
    name: str


class RootRequest(Request, frozen=True, kw_only=True):
    path: str | None
    """Absolute; null: where the cluster file says."""


class ConfigRequest(Request, frozen=True, kw_only=True):
    toml: str
    file: str = "the request"
    """What messages about errors call it."""
    check: bool = False
    """Only say what applying it would do."""


class VerifyRequest(Request, frozen=True, kw_only=True):
    contents: bool = False
    """Read all contents again first, on every node."""
    pass_number: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    """Of an answer whose reading was not done: to go on with it."""
    timeout: float = 30.0


class Nothing(Request, frozen=True, kw_only=True):
    """An empty body, or `{}`."""


def raw_path(path: PathJson) -> bytes:
    """Raises PathError when it is not base64."""
    if isinstance(path, str):
        return path.encode("utf-8", "surrogateescape")
    try:
        return b64decode(path.path_b64, validate=True)
    except (Base64Error, ValueError) as error:
        raise PathError(f"path_b64 is not base64: {path.path_b64[:100]!r}") from error


def node_count(nodes: Nodes) -> int | None:
    return None if nodes == "all" else max(1, nodes)


def wait_seconds(timeout: float) -> float:
    return min(max(timeout, 0.0), API_WAIT_MAX)


def held(name: str, groups: Mapping[str, HeldGroup]) -> HeldGroup:
    """Raises NoSuchGroup."""
    if name not in groups:
        there = ", ".join(sorted(groups)) or "none"
        raise NoSuchGroup(f"there is no group {name!r} on this node; there is {there}")
    return groups[name]


def running(name: str, groups: Mapping[str, HeldGroup]) -> GroupFacade:
    """Raises NoSuchGroup, and GroupHalted for one that does not run."""
    group = held(name, groups)
    if group.running is None:
        raise GroupHalted(f"group {name} does not run on this node: {group.reason or 'see `everynode status`'}")
    return group.running
