"""Tidy: after a start, before anything is staged: what a crash left in the vault folder is accounted for."""

from __future__ import annotations

from everynode.group.ground import Ground
from everynode.index.vault_catalogue import Kept
from everynode.limits import FORGET_BATCH
from everynode.model.entry import Entry, Kind
from everynode.model.ids import Digest
from everynode.model.path import ROOT, RelPath
from everynode.report.audit import Happening
from everynode.tree.follow import COPY_KIND
from everynode.tree.observe import observe_vaulted
from everynode.tree.outcome import Observation, Present
from everynode.tree.sync import make_durable
from everynode.tree.vault import leftovers, remove


async def tidy(ground: Ground) -> None:
    """What may be somebody's only copy is catalogued, durably; the rest is removed. Raises OSError."""
    setup = ground.setup
    await ground.clock.offload(setup.root.clear_stage)
    names = await ground.clock.offload_index(lambda: {kept.name for kept in ground.index.vault.all()})
    unknown = 0
    found: list[Kept] = []
    for left in await ground.clock.offload(leftovers, setup.root, names):
        if left.name.startswith(b"p-"):
            continue  # parts of a content that is being fetched
        if left.name.startswith(COPY_KIND):
            await ground.clock.offload(remove, setup.root, [left.name])
            continue
        if left.kind is Kind.DIRECTORY:
            await _drop_directory(ground, left.name)
            continue
        seen = await look_at(ground, left.name)
        if type(seen) is not Present:
            continue  # in somebody's hands: its last notice, or the next start, accounts for it
        entry = seen.entry
        if await _is_kept(ground, entry):
            await ground.clock.offload(remove, setup.root, [left.name])
            continue
        path = await ground.clock.offload_index(_owner, ground, Digest(entry.digest))
        unknown += path is None
        found.append(Kept(left.name, path or ROOT, entry, ground.clock.now_ns(), "found"))
    if found:
        try:
            await ground.clock.offload(_make_durable, ground, [kept.name for kept in found])
        except OSError:
            return  # what is catalogued counts as safe: the next start tries again
        await ground.clock.offload_index(_catalogue, ground, found)
    if unknown:
        # One word for all: after an index was lost they are as many as the vault is large.
        detail = f"{unknown:,} in the vault that the index knew nothing of: kept as long as old copies are"
        setup.journal.add(setup.name, ROOT, Happening.PROBLEM, detail=detail)


async def _drop_directory(ground: Ground, name: bytes) -> None:
    """One that was staged, or that a user made where a file was just being replaced: that may hold something."""
    try:
        await ground.clock.offload(remove, ground.setup.root, [name])
    except OSError:
        detail = f"a crash left the directory {name.decode()} in the vault, with what a user put into it: kept"
        ground.setup.journal.add(ground.setup.name, ROOT, Happening.PROBLEM, detail=detail)


async def _is_kept(ground: Ground, entry: Entry) -> bool:
    """Whether the vault has the same content under another name.

    Only then it is of no use. That a record knows it proves nothing: a file that is being moved lies in the vault
    for a moment, and no peer need have it any more.
    """
    of_digest = ground.index.vault.of_digest
    for other in await ground.clock.offload_index(of_digest, Digest(entry.digest)):
        seen = await look_at(ground, other.name)
        if type(seen) is Present and seen.entry.same_content(entry):
            return True
    return False


def _make_durable(ground: Ground, names: list[bytes]) -> None:
    """Runs on a thread. Raises OSError."""
    root = ground.setup.root
    make_durable(root, [(root.vault_fd, name) for name in names])
    root.kernel.sync_file(root.vault_fd)


def _owner(ground: Ground, digest: Digest) -> RelPath | None:
    """The path at which this content stood, or was to stand; None: nobody knows it.

    Only unplaced records can have left anything. Runs on the index thread.
    """
    after = 0
    wanted: RelPath | None = None
    while records := ground.index.unplaced(after, FORGET_BATCH):
        for record in records:
            there = record.placed.entry if record.placed is not None else None
            if there is not None and there.digest == digest:
                return record.path
            if wanted is None and any(sibling.entry.digest == digest for sibling in record.version.siblings):
                wanted = record.path
        after = records[-1].arrival
    return wanted


def _catalogue(ground: Ground, found: list[Kept]) -> None:
    with ground.index.transaction():
        for kept in found:
            ground.index.vault.add(kept)


async def look_at(ground: Ground, name: bytes) -> Observation:
    """At what has this name in the vault folder."""
    setup = ground.setup

    def look() -> Observation:
        return observe_vaulted(setup.root, [name], now_ns=setup.clock.now_ns())[0]

    return await setup.clock.offload(look)
