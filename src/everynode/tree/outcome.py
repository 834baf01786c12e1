"""What looking at a path, and placing at a path, may answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import msgspec

from everynode.model.entry import Entry, Stamp
from everynode.model.path import RelPath
from everynode.model.problem import Trouble


class Unchanged(msgspec.Struct, frozen=True, gc=False):
    """The stamp is the one given: nothing happened. No content was read."""


class Present(msgspec.Struct, frozen=True, gc=False):
    """Something stands there, looked at whole and unmoved meanwhile."""

    entry: Entry
    stamp: Stamp
    content: bytes | None = None
    """The bytes of a file up to limits.INLINE_BYTES_MAX, read anyway."""
    links: int = 1
    """Names of a file's inode; more than one: a hard-link group, whose members are replicated as files of their own."""
    xattrs: bool = False
    """It has extended attributes or ACLs, which are not replicated yet."""
    blocks: bytes | None = None
    """The block list of a file above limits.BLOCK_BYTES, computed anyway; only the first few of a batch have it."""


class Absent(msgspec.Struct, frozen=True, gc=False):
    """The kernel said that nothing of that name exists in a directory that was reached (ENOENT, ENOTDIR)."""


class Busy(msgspec.Struct, frozen=True, gc=False):
    """A writer has it open, or it changed while it was read: look again later."""

    size: int
    mtime_ns: int


class Unlookable(msgspec.Struct, frozen=True):
    """It could not be looked at; this never means absence."""

    trouble: Trouble
    detail: str


Observation = Unchanged | Present | Absent | Busy | Unlookable


@dataclass(slots=True, eq=False)
class Filled:
    """A new directory that is filled aside; made by `whole.NewDirectories`."""

    fd: int
    complete: bool = False
    """It may be placed whole."""
    standing: bool = False
    """It has been, and all that was staged in it with it."""


class Staged(msgspec.Struct, frozen=True, gc=False):
    """A complete new object in a folder of ours, attributes set as far as possible, not yet visible."""

    name: bytes
    """Its single name in that folder; after an exchange, the name under which the old object is vaulted."""
    entry: Entry
    """What was really set (owner or mode may differ from what was asked, see `denied`)."""
    inode: int
    denied: str = ""
    """Attributes that could not be set, with the kernel's reason; empty: none."""
    stamp: Stamp | None = None
    """As it will stand there when it comes along with its directory; None: it is placed by itself."""
    folder: Filled | None = None
    """The new directory in which it lies; None: the stage or vault folder, as its name says."""
    filled: Filled | None = None
    """Of a directory: it is placed with what is in it."""


class Refusal(Enum):
    WRITER = "writer"
    """A local process has it open for writing. Nothing was changed; try later."""
    CHANGED = "changed"
    """What stands there is not what was expected. Nothing was changed, or what was swapped out was vaulted and the
    new content stands: look at the path, the difference is a local change."""
    ERROR = "error"


class Put(msgspec.Struct, frozen=True, gc=False):
    """Placed: visible under the final name in one step."""

    path: RelPath
    stamp: Stamp | None
    """None: absent now."""
    entry: Entry | None
    vaulted: bytes = b""
    """Name in the vault of what was replaced or removed; empty: nothing was, or it was not worth keeping."""
    swapped_other: bool = False
    """What was swapped out was not what was expected (it is `vaulted` now): adopt it as a local change."""
    denied: str = ""


class NotPut(msgspec.Struct, frozen=True):
    path: RelPath
    refusal: Refusal
    trouble: Trouble
    detail: str


PlaceOutcome = Put | NotPut
