"""What `status` shows of a node, its groups and its peers; the verdict over it; the views of conflicts and generations.

Everything here is JSON-able by msgspec as it stands. Paths are text for people (`path`, escaped) with the exact bytes
beside it (`path_b64`) where the text is not the bytes.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Literal, TypedDict

import msgspec

from everynode import limits
from everynode.model.path import RelPath, show_path
from everynode.model.problem import Problem

EXIT_OK = 0
EXIT_NOT_IN_SYNC = 1
EXIT_USAGE = 2
EXIT_CONFLICTS = 3
EXIT_UNREACHABLE = 4
EXIT_NOT_RUNNING = 5

GroupState = Literal["live", "scanning", "halted", "stopped"]


class PathFields(TypedDict):
    path: str
    path_b64: str | msgspec.UnsetType


def path_fields(path: bytes) -> PathFields:
    """The two fields that name a path in JSON: `ConflictView(**path_fields(path), ...)`."""
    text = show_path(path)
    if text.encode("utf-8") == path:
        return {"path": text, "path_b64": msgspec.UNSET}
    return {"path": text, "path_b64": b64encode(path).decode()}


class AtPath(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what is said about one path."""

    path: str
    """Escaped for people; the exact bytes in UTF-8 unless `path_b64` is there."""
    path_b64: str | msgspec.UnsetType = msgspec.UNSET

    def raw(self) -> RelPath:
        """The exact bytes."""
        if isinstance(self.path_b64, str):
            return RelPath(b64decode(self.path_b64))
        return RelPath(self.path.encode("utf-8"))


class ProblemView(AtPath, frozen=True, kw_only=True):
    trouble: str
    detail: str
    since: float
    blocks: bool


def problem_view(problem: Problem) -> ProblemView:
    return ProblemView(
        **path_fields(problem.path),
        trouble=problem.trouble.value,
        detail=problem.detail,
        since=problem.since,
        blocks=problem.blocks,
    )


class HoldView(AtPath, frozen=True, kw_only=True):
    """Removals of one node that are held here. The path is the directory that has all of them."""

    node: str
    """Name of the node that made them."""
    files: int
    first: str
    """The first of its changes that is held, as shown by `show_dot`; and the last one."""
    last: str
    since: float
    """Unix seconds."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What `release` or `discard` came to."""

    files: int
    """Released, or brought back."""
    by: tuple[str, ...] = ()
    """Names of the nodes that had removed them; empty: nothing is held."""


class LastChange(AtPath, frozen=True, kw_only=True):
    """The change that this node heard of, or made, last."""

    node: str
    """Name of its author."""
    when: float
    """Unix seconds on this node's clock."""


class ScanProgress(msgspec.Struct, frozen=True):
    seen: int
    """Paths looked at so far."""
    expected: int = 0
    """Records before the scan began; 0: no guess."""


class NotCarried(msgspec.Struct, frozen=True):
    """What stands in the root and is not replicated (yet), counted and never silent."""

    hard_links: int = 0
    """Files with more than one name: each name is carried as a file of its own."""
    xattrs: int = 0
    special_files: int = 0
    """Sockets, FIFOs, devices."""


class GroupPeer(msgspec.Struct, frozen=True):
    """A peer in one group."""

    node: str
    name: str
    open: bool = False
    """The group is open on a link to it."""
    behind: int | None = None
    """Changes known here that it has not placed, as far as it has told; None: it never told."""
    backlog: int | None = None
    """Records it said it has heard and not placed."""
    evicted: bool = False
    """It was away so long that deletions are forgotten without it: it compares everything when it comes back."""
    held: int = 0
    """Removed or emptied files that it holds until somebody decides."""


class GroupStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    id: str
    """Hexadecimal."""
    root: str
    """Absolute path on this node."""
    state: GroupState
    reason: str = ""
    """Why it is halted or stopped and what to do."""
    watch: str = "none"
    """`fanotify`, `inotify` or `none`."""
    watch_detail: str = ""
    scan: ScanProgress | None = None
    records: int = 0
    files: int = 0
    directories: int = 0
    bytes: int = 0
    backlog: int = 0
    """Records heard and not placed here."""
    peers: tuple[GroupPeer, ...] = ()
    problems: tuple[ProblemView, ...] = ()
    """The first limits.PROBLEMS_SHOWN_MAX of them."""
    problems_total: int = 0
    problems_blocking: int = 0
    """Of these, those that keep a path from being in sync."""
    holds: tuple[HoldView, ...] = ()
    """What the brake holds here; the first limits.PROBLEMS_SHOWN_MAX of them."""
    conflicts: int = 0
    not_carried: NotCarried = NotCarried()
    last_change: LastChange | None = None
    vault_bytes: int = 0
    vault_files: int = 0
    in_sync: bool = False
    """Live, nothing to place, nothing captured but unannounced, no blocking problem, and no linked peer behind."""


def problems_shown(problems: list[Problem]) -> tuple[ProblemView, ...]:
    return tuple(problem_view(problem) for problem in problems[: limits.PROBLEMS_SHOWN_MAX])


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    node: str
    name: str
    linked: bool
    address: str = ""
    """Where it is linked, or was tried last."""
    since: float = 0.0
    """Unix seconds since when it is linked, or is not; 0: since the start."""
    rtt_ms: float | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    last_error: str = ""


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    verdict: str = ""
    exit_code: int = 0
    name: str
    node: str
    version: str
    pid: int
    uptime: float
    """Seconds."""
    memory_bytes: int = 0
    """Resident."""
    cluster: str = ""
    """Fingerprint, hexadecimal."""
    listen: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    """What is wrong with the settings this node has: each with what to do."""
    unconfined: str = ""
    """Why the kernel does not confine each group's threads to its root; empty: it does."""
    groups: tuple[GroupStatus, ...] = ()
    peers: tuple[PeerStatus, ...] = ()


class SiblingView(msgspec.Struct, frozen=True, kw_only=True):
    """One of the versions of a path in conflict."""

    dot: str
    """As shown by `show_dot`; what `resolve --keep` takes."""
    node: str
    """Name of its author."""
    deleted: bool = False
    shown: bool = False
    """It stands under the path's own name."""
    kind: str = ""
    """`file`, `directory`, `symlink`."""
    size: int = 0
    mtime_ns: int = 0
    vault: str = ""
    """Where its bytes are below ROOT/.everynode, escaped; empty: shown, or a tombstone."""


class ConflictView(AtPath, frozen=True, kw_only=True):
    siblings: tuple[SiblingView, ...]


class GenerationView(AtPath, frozen=True, kw_only=True):
    """One kept old copy of a path."""

    name: str
    """What `restore --generation` takes."""
    kind: str = "file"
    size: int = 0
    mtime_ns: int = 0
    replaced: float = 0.0
    """Unix seconds when it was replaced or deleted here."""
    by: str = ""
    """Name of the node whose change replaced it; empty: unknown."""


class WaitResult(msgspec.Struct, frozen=True, kw_only=True):
    done: bool
    reached: int
    """Nodes (this one included) on which it is on stable storage."""
    wanted: int
    missing: tuple[str, ...] = ()
    """Names of the members that were waited for and have not (said that they have) placed it."""
    reason: str = ""
    """Why it is not done."""


class WaitReply(msgspec.Struct, frozen=True, kw_only=True):
    """What `wait` says over all groups that were waited for."""

    done: bool
    exit_code: int
    """0, or 4 when somebody who is missing is not linked, or 1."""
    unreachable: tuple[str, ...] = ()
    groups: dict[str, WaitResult] = {}


class VerifyDifference(AtPath, frozen=True, kw_only=True):
    what: tuple[str, ...]
    """In what: `existence`, or some of `kind`, `content`, `mode`, `owner`, `time`."""
    nodes: dict[str, str]
    """Name of the node -> what stands there, for a person."""
    pending: bool = False
    """Somebody has not heard of it, or not placed it yet: it may go away by itself."""


class VerifyNode(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    state: Literal["equal", "differs", "syncing", "unreachable"]
    """As compared with the node that was asked. `syncing`: nothing differs but what is under way."""


class ReadProgress(msgspec.Struct, frozen=True):
    seen: int
    expected: int
    damaged: int
    """Files whose content the disk has lost, found in this reading."""
    done: bool


class VerifyResult(msgspec.Struct, frozen=True, kw_only=True):
    group: str
    node: str
    """The one that compared itself with the others."""
    entries: int
    hash: str
    """Of the whole tree as it is placed on that node, hexadecimal; empty: contents are still being read."""
    nodes: tuple[VerifyNode, ...]
    differences: tuple[VerifyDifference, ...] = ()
    """The first limits.TREE_DIFFERENCES_MAX."""
    more: bool = False
    reading: dict[str, ReadProgress] = {}
    """By node, where contents were to be read again."""
    pass_number: int | None = None
    """To ask again with, while contents are being read."""

    @property
    def exit_code(self) -> int:
        states = {node.state for node in self.nodes}
        if states & {"differs", "syncing"} or any(progress.damaged for progress in self.reading.values()):
            return EXIT_NOT_IN_SYNC
        if "unreachable" in states:
            return EXIT_UNREACHABLE
        return EXIT_OK if self.hash else EXIT_NOT_IN_SYNC


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    node: str
    name: str
    addresses: tuple[str, ...] = ()
    this: bool = False
    """It is this node."""


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """A group as the cluster file names it."""

    name: str
    id: str
    root: str
    """On this node; empty: not held here."""
    path: str
    """Where it is by default on a node that joins."""
    exclude: tuple[str, ...] = ()
    conflict: str = "newest"
    trouble: str = ""
    """Why it must not run here."""


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    token: str
    expires: float
    """Unix seconds."""
