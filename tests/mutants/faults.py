"""The planted faults: each breaks one rule of the design, as an edit of the source that must apply exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class DoesNotApply(Exception):
    """The source has moved on: the planted fault has to be written anew."""


@dataclass(frozen=True)
class Edit:
    file: str
    """Below src/everynode."""
    old: str
    new: str

    def apply(self, source: Path) -> None:
        path = source / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise DoesNotApply(f"{self.file} holds {text.count(self.old)} times, not once:\n{self.old}")
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class Mutant:
    name: str
    breaks: str
    """The rule, as DESIGN says it."""
    edits: tuple[Edit, ...]
    tests: tuple[str, ...] = ()
    """Directed tests that must fail."""
    seeds: int = 200
    """Random runs in which it should show; 0: they rarely reach it."""


PLAIN_VECTORS = Mutant(
    "plain version vectors",
    "a sibling stays unless the other side's context covers its dot and the other side does not hold it",
    (
        Edit(
            "core/versions.py",
            """    kept = [s for s in mine if s.dot in their_dots or not covers(their_context, s.dot)]
    kept += [s for s in theirs if s.dot not in my_dots and not covers(my_context, s.dot)]
""",
            """    if dominates(my_context, their_context):
        kept = list(mine)
    elif dominates(their_context, my_context):
        kept = list(theirs)
    else:
        newest = {s.origin: s for s in sorted([*mine, *theirs], key=_dot_of)}
        kept = list(newest.values())
""",
        ),
        Edit("core/versions.py", "import covers\n", "import covers, dominates\n"),
    ),
    ("tests/property/test_versions.py", "tests/unit/core/test_versions.py"),
)

TOMBSTONE_DROPPED = Mutant(
    "tombstone dropped at the merge",
    "a tombstone beside a live sibling stays a sibling",
    (
        Edit(
            "core/versions.py",
            "    context = dict(my_context)\n    for origin",
            "    kept = [s for s in kept if s.live] or kept\n    context = dict(my_context)\n    for origin",
        ),
    ),
    ("tests/property/test_versions.py", "tests/unit/core/test_versions.py"),
)

FORGOTTEN_EARLY = Mutant(
    "tombstone forgotten early",
    "tombstones are forgotten when every member has heard them",
    (
        Edit(
            "group/keeper.py",
            "least = meet([index.knowledge, *(heads.heard for heads in told)])",
            "least = meet([index.knowledge])",
        ),
        Edit("group/keeper.py", "if not others <= ground.heads.keys():", "if not others:"),
        Edit("group/keeper.py", "told = [ground.heads[peer] for peer in others]", "told: list[Heads] = []"),
    ),
    ("tests/unit/group/test_keeper.py", "tests/property/test_versions.py"),
)

CLAIMED_EARLY = Mutant(
    "knowledge claimed before the checkpoint",
    "knowledge is claimed only at the checkpoint that closes a run",
    (
        Edit(
            "group/hear.py",
            """                case RunPart():
                    _hear_records(index, message.records, heard)
""",
            """                case RunPart():
                    _hear_records(index, message.records, heard)
                    for wire in message.records:
                        for sibling in wire.version.siblings:
                            index.claim_one(sibling.origin, sibling.sequence)
""",
        ),
    ),
    ("tests/property/test_versions.py", "tests/unit/group/test_hear.py", "tests/sim/test_rules.py"),
)

VECTOR_AT_START = Mutant(
    "the vector of a run read at its start",
    "the sender reads its own vector in the transaction that finds nothing left to send",
    (
        Edit(
            "group/serve.py",
            "    above: set[RelPath] = field(default_factory=lambda: {ROOT})\n",
            "    above: set[RelPath] = field(default_factory=lambda: {ROOT})\n    first: Vector | None = None\n",
        ),
        Edit(
            "group/serve.py",
            "        records: list[WireRecord] = []\n        small: list[Wanted] = []\n",
            "        records: list[WireRecord] = []\n        small: list[Wanted] = []\n"
            "        run.first = run.first if run.first is not None else dict(index.knowledge)\n",
        ),
        Edit(
            "group/serve.py",
            "request.group, request.run, dict(index.knowledge), index.life, index.state.arrival, forgotten",
            "request.group, request.run, run.first, index.life, index.state.arrival, forgotten",
        ),
    ),
    ("tests/unit/group/test_serve.py", "tests/sim/test_rules.py"),
)

SUPERSEDES_HEARD = Mutant(
    "a local change supersedes what was only heard",
    "a local change supersedes what was placed, never what is only heard",
    (
        Edit(
            "core/detect.py",
            "    base = placed.version if placed is not None else None\n",
            "    base = record.version if record is not None else None\n",
        ),
    ),
    ("tests/property/test_versions.py", "tests/unit/core/test_detect.py"),
)

CUT_IS_A_USER = Mutant(
    "a power cut read as a user's change",
    "after an unclean boot a path whose own dot is above what was synced, and whose disk differs, is no user's change",
    (
        Edit(
            "group/judge.py",
            "    return found or (origin == index.origin and sequence > suspect_above)\n",
            "    return False\n",
        ),
    ),
    ("tests/unit/group/test_judge.py", "tests/sim/test_rules.py"),
)

NO_COMPARE = Mutant(
    "placing without the compare",
    "placing never overwrites a writer: compare before, compare after, adopt what was swapped out",
    (
        Edit(
            "tree/expected.py",
            "        return same_state(self.stat, moved) and (self.fd < 0 or not self._kernel.has_writer(self.fd))\n",
            "        return True\n",
        ),
        Edit(
            "tree/expected.py",
            "        if not S_ISREG(old.stat.st_mode) or not same_object(expected, old.stat)"
            " or not has_attributes(old.stat, entry):\n"
            '            raise changed("it was changed here")\n',
            "        return old\n",
        ),
        Edit("group/placing.py", "    return put.swapped_other or young\n", "    return False\n"),
    ),
    ("tests/unit/tree/test_place.py", "tests/crash/test_placing.py"),
)

PLACED_UNSYNCED = Mutant(
    "acknowledgement before the sync",
    "what was acknowledged is durable: stage, make durable, place, sync, commit, acknowledge",
    (
        Edit(
            "group/placing.py", "    make_durable(root, [(_folder_of(root, item), item.name) for item in staged])\n", ""
        ),
        Edit("group/placing.py", "        sync_paths(root, changed)\n", "        pass\n"),
    ),
    ("tests/sim/test_rules.py",),
)

AUTHOR_UNSYNCED = Mutant(
    "acknowledgement before the sync of the author",
    "`wait` syncs the author too, and who wrote it has it only once it is synced",
    (
        Edit("group/waiting.py", "                await self._keeper.sync()\n", ""),
        Edit("group/heads.py", "        if own in placed:\n", "        if own in placed and not placed:\n"),
    ),
    ("tests/sim/test_rules.py",),
)

MUTANTS = (
    PLAIN_VECTORS,
    TOMBSTONE_DROPPED,
    FORGOTTEN_EARLY,
    CLAIMED_EARLY,
    VECTOR_AT_START,
    SUPERSEDES_HEARD,
    CUT_IS_A_USER,
    NO_COMPARE,
    PLACED_UNSYNCED,
    AUTHOR_UNSYNCED,
)
