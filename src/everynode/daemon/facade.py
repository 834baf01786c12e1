"""What the API needs of a node and its groups: the narrow side on which its tests put a fake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from everynode.model.path import RelPath
from everynode.report.audit import Journal
from everynode.report.status import (
    ConflictView,
    Decision,
    GenerationView,
    GroupStatus,
    GroupView,
    Invitation,
    MemberView,
    NodeStatus,
    VerifyResult,
    WaitResult,
)


class GroupFacade(Protocol):
    """A running group (`group.life`)."""

    def status(self) -> GroupStatus:
        """Cheap: from memory."""

    async def wait(self, path: RelPath | None, nodes: int | None, timeout: float) -> WaitResult:
        """Until `path` (None: all that is known when called) is on stable storage on `nodes` nodes (None: all)."""

    async def hint(self, paths: Sequence[RelPath], renames: Sequence[tuple[RelPath, RelPath]]) -> None:
        """Queue the paths; a `wait` that follows sees what they held when this was called."""

    async def conflicts(self) -> list[ConflictView]: ...

    async def conflict_content(self, path: RelPath, dot: str) -> int:
        """A descriptor open for reading, which the caller closes. Raises PathError."""

    async def resolve(self, path: RelPath, keep: str) -> None: ...

    async def generations(self, path: RelPath) -> list[GenerationView]:
        """Newest first."""

    async def generation_content(self, path: RelPath, name: str) -> int:
        """A descriptor open for reading, which the caller closes. Raises PathError."""

    async def restore(self, path: RelPath, name: str | None) -> None:
        """Bring back a generation (None: the newest) as a local change."""

    async def rescan(self) -> None: ...
    async def verify(self, pass_number: int | None, timeout: float) -> VerifyResult:
        """Compare with all linked members; with a number (random, below 2^53) after all have read their contents again.

        `timeout` bounds the reading alone: asked again with the same number it goes on.
        """

    async def release(self, by: str | None) -> Decision:
        """Removals that the brake holds may be placed, on all nodes. `by`: only those of this node."""

    async def discard(self, by: str | None) -> Decision:
        """What they removed comes back, on all nodes. Raises PathError while this node may not make changes."""


class HeldGroup(msgspec.Struct, frozen=True):
    """A group that has a root on this node."""

    root: str
    """Absolute."""
    running: GroupFacade | None
    """None: halted or stopped, see its status."""
    reason: str = ""
    opening: bool = False
    """It does not run yet, and nothing is known to keep it from running."""


class NodeFacade(Protocol):
    """The node as the API sees it (`daemon.node`). Methods raise EverynodeError with a message for a person."""

    @property
    def journal(self) -> Journal: ...
    def status(self) -> NodeStatus: ...
    def held_groups(self) -> Mapping[str, HeldGroup]:
        """By name."""

    def members(self) -> list[MemberView]: ...
    def groups(self) -> list[GroupView]: ...
    def config_text(self) -> str:
        """The cluster file as TOML."""

    async def invite(self, valid_seconds: float, advertise: Sequence[str]) -> Invitation:
        """`advertise`: from now on the addresses at which all others reach this node; empty: as before."""

    async def remove_member(self, node: str) -> None:
        """`node` is a name, an id, or an unambiguous beginning of an id."""

    async def leave(self) -> None:
        """Tell the others, and stop soon after."""

    async def add_group(self, name: str, path: str, exclude: Sequence[str], conflict: str) -> None: ...
    async def remove_group(self, name: str) -> None: ...
    async def set_root(self, name: str, path: str | None) -> None:
        """Keep the group elsewhere on this node; None: where the cluster file says."""

    async def check_config(self, text: str, file: str) -> list[str]:
        """What `apply_config` would do."""

    async def apply_config(self, text: str, file: str) -> list[str]:
        """Make the cluster what the text says; returns one line for each change, or raises ConfigError."""

    def stop(self) -> None:
        """Begin to stop; returns at once."""
