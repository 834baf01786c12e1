"""Short words for tests of staging and placing."""

from __future__ import annotations

import os
import time
from pathlib import Path

from everynode.model.entry import Entry, Kind, Stamp
from everynode.model.path import RelPath
from everynode.tree.digest import digest_bytes
from everynode.tree.observe import observe
from everynode.tree.outcome import NotPut, PlaceOutcome, Present, Put, Staged
from everynode.tree.place import PlaceItem, place
from everynode.tree.root import Root
from everynode.tree.stage import StageItem, stage

MTIME_NS = 1_600_000_000_123_456_789


def file_entry(content: bytes, *, mode: int = 0o644, mtime_ns: int = MTIME_NS, uid: int = -1, gid: int = -1) -> Entry:
    uid = os.getuid() if uid < 0 else uid
    gid = os.getgid() if gid < 0 else gid
    return Entry(Kind.FILE, mode, uid, gid, mtime_ns, len(content), digest_bytes(content))


def link_entry(target: bytes, *, mtime_ns: int = MTIME_NS) -> Entry:
    return Entry(Kind.SYMLINK, 0o777, os.getuid(), os.getgid(), mtime_ns, 0, target)


def directory_entry(mode: int = 0o755) -> Entry:
    return Entry(Kind.DIRECTORY, mode, os.getuid(), os.getgid(), MTIME_NS)


def staged(root: Root, entry: Entry, content: bytes | None = None) -> Staged:
    done = stage(root, [StageItem(RelPath(b"x"), entry, content)])[0]
    assert isinstance(done, Staged), done
    return done


def seen(root: Root, path: bytes) -> Present:
    """What stands at `path`, with a stamp that is trusted."""
    looked = observe(root, [(RelPath(path), None)], contents=True, now_ns=time.time_ns() + 10**12)[0]
    assert isinstance(looked, Present), looked
    return looked


def put(root: Root, path: bytes, entry: Entry | None, content: bytes | None = None, **more: object) -> PlaceOutcome:
    """Stage if there is something to stage, and place."""
    new = None
    if entry is not None and (content is not None or (entry.kind is Kind.SYMLINK and "staged" not in more)):
        new = staged(root, entry, content)
    return place(root, [PlaceItem(RelPath(path), entry, **({"staged": new} | more))])[0]  # type: ignore[arg-type]


def replace(root: Root, path: bytes, entry: Entry | None, content: bytes | None = None, **more: object) -> PlaceOutcome:
    """`put` over what stands there now."""
    old = seen(root, path)
    return put(root, path, entry, content, **({"expected": old.stamp, "expected_entry": old.entry} | more))


def done(outcome: PlaceOutcome) -> Put:
    assert isinstance(outcome, Put), outcome
    return outcome


def refused(outcome: PlaceOutcome) -> NotPut:
    assert isinstance(outcome, NotPut), outcome
    return outcome


def vault(tree: Path) -> dict[bytes, bytes]:
    """Names and contents of the regular files in the vault folder."""
    folder = os.path.join(bytes(tree), b".everynode", b"vault")
    found = {}
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                found[name] = file.read()
    return found


def any_stamp() -> Stamp:
    return Stamp(1, 1, 1, 1)
