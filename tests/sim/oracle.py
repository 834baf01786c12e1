"""What must be true of a cluster at the end, judged by what users did and saw; it never reads versions or an index.

What stands at a path is a `Seen`: kind, bytes and attributes. Every change of a path by a user is an `Act`: what
was there before (so: what this user replaced), what is there after, and what the node's vault held at that moment
(a local change supersedes the losers of a conflict too, and those are kept there).

| rule          | violated when at the end                                                                     |
|---------------|----------------------------------------------------------------------------------------------|
| convergence   | two trees differ                                                                             |
| lost update   | a content that no act replaced is not visible, and not beaten by another user's content with  |
|               | a copy in the vault of every node                                                            |
| resurrection  | what stands at a path was replaced by an act, and nobody made it again                       |
| invention     | a content is visible, at any time, that no user had finished writing                         |
| in place      | the daemon wrote to a file in the tree instead of placing a finished one                     |
| spread damage | what a power cut left stands at a path, though all others had what users wrote there          |
| durability    | what a node acknowledged to a `wait` is not on that node, at the end or after a power cut     |

An act is `undone` when a power cut took it back before anybody else had it: it condemns nothing, nothing is owed to it.
So is what it had replaced, if that was nowhere else by then.
It is `unsure` when a crash fell between the placing of what it replaced and the record of that: it condemns nothing.
It is `early` when it came between a power cut and the first look of the daemon, which cannot tell it from damage, or
when a crash fell between its being swapped out and the record of that: it condemns nothing, and what it made may be in
the vault of that node alone.

What is written to a file that was replaced while it was open, after a user of the same node has written something in
the place of what replaced it, need only be in the vault of that node: a node has one change per path.

What a power cut left of a file, or of its absence, are its remains. Who replaces the remains of what was written on his
own node decides against that, as who replaces the file itself: a node has one change per path, and a later one covers
the earlier. What was lost need only be in the vault of somebody who had it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from everynode.model.ids import NodeId
from tests.sim.promises import Content, Promise, Promises, Vault, content_of
from tests.sim.user import Seen, Tree

# What was placed so shortly before a crash may not be in the index: seconds of virtual time.
RECORD_SECONDS = 1.0


@dataclass(eq=False)
class Act:
    number: int
    node: NodeId
    time: float
    path: bytes
    before: Seen | None
    after: Seen | None
    vault: Vault
    by_user: bool = True
    """False: a power cut left this."""
    finished: bool = True
    """False: a file that its writer still holds open; nothing is owed to it, and it must not be shown elsewhere."""
    early: bool = False
    undone: bool = False
    unsure: bool = False
    vaulted: bool = False
    """Its writer had it open when the daemon replaced it: it lay in the vault by then."""
    elsewhere: tuple[Content | None, ...] = ()
    """Of a power cut: what stood there on each of the other nodes."""
    covers: frozenset[Content] = frozenset()
    """What power cuts took from here, of which this act replaced the remains."""

    def replaces(self, content: Content) -> bool:
        """Whoever made this act had `content` before him: visible at the path, or as a loser in the vault."""
        return content_of(self.before) == content != content_of(self.after) or (
            content in self.vault and content != content_of(self.after)
        )

    def __str__(self) -> str:
        who = "user" if self.by_user else "power cut"
        doubt = " (undone)" if self.undone else " (unsure)" if self.unsure else " (early)" if self.early else ""
        return f"#{self.number} {self.time:.3f}s {who} at {self.node.hex()[:4]}: {self.before} -> {self.after}{doubt}"


@dataclass
class Oracle:
    acts: dict[bytes, list[Act]] = field(default_factory=lambda: defaultdict(list))
    """By path, in order of time."""
    violations: list[str] = field(default_factory=list)
    """Those that showed at once."""
    promises: Promises = field(default_factory=Promises)
    _known: set[Content] = field(default_factory=set)
    _placed: dict[tuple[NodeId, bytes], tuple[Content | None, float]] = field(default_factory=dict)
    _remains: dict[tuple[NodeId, bytes], tuple[Content | None, frozenset[Content]]] = field(default_factory=dict)
    """What power cuts left where, and what they left it of; until the daemon places something there, or a user does."""
    _renamed: list[tuple[NodeId, float, bytes, bytes]] = field(default_factory=list)
    """Directories that users renamed, from where to where, in this moment."""
    _number: int = 0

    # -- what happens -----------------------------------------------------------------------------

    def acted(
        self,
        node: NodeId,
        time: float,
        path: bytes,
        before: Seen | None,
        after: Seen | None,
        vault: Vault,
        *,
        finished: bool = True,
        early: bool = False,
    ) -> Act:
        """A user changed a path; a touch that leaves everything as it was is none."""
        self.promises.acted(node, path, before, after, vault)
        act = self._add(Act(0, node, time, path, before, after, vault, finished=finished, early=early))
        act.unsure = finished and self._began_unsure(act)
        left, lost = self._remains.get((node, path), (None, frozenset()))
        if finished and left == content_of(before) != content_of(after):
            act.covers = lost
            self._remains.pop((node, path), None)
        return act

    def _began_unsure(self, end: Act) -> bool:
        """Whether it is the close of a file that was opened in an unsure act, and held open until now.

        No daemon ever saw what the writer found when he opened it: at every look it was his already.
        """
        return any(
            act.unsure and not act.finished and act.node == end.node and act.before == end.before is not None
            for act in self.acts[end.path]
        )

    def placed(self, node: NodeId, time: float, path: bytes, what: Seen | None) -> None:
        """The daemon made something visible, or removed it."""
        content = content_of(what)
        self._placed[node, path] = (content, time)
        self._remains.pop((node, path), None)
        if content is not None:
            self._came_along(node, time, path, what, content)
        if content is not None and content not in self._known:
            self.violations.append(f"invention: {node.hex()[:4]} placed {what} at {path!r}, which nobody wrote")

    def renamed(self, node: NodeId, time: float, old: bytes, new: bytes) -> None:
        """A user renamed a directory; what was in it is reported path by path."""
        self._renamed = [rename for rename in self._renamed if rename[1] == time]
        self._renamed.append((node, time, old, new))

    def _came_along(self, node: NodeId, time: float, path: bytes, what: Seen | None, content: Content) -> None:
        """What is placed into a directory just when a user renames it counts as having been there and come along.

        The daemon has the directory open by then; from outside nobody can tell which of the two renames was first.
        It must be a content of the old name, and none of the new one; and nothing that came along may stand there: an
        exchange with that is undone.
        """
        stood = any((act.node, act.time) == (node, time) and act.after for act in self.acts.get(path, []))
        if stood or self._made_at(path, content):
            return
        source = path
        for who, when, old, new in reversed(self._renamed):
            if (who, when) != (node, time) or not source.startswith(new + b"/"):
                continue
            source = old + source[len(new) :]
            if self._made_at(source, content):
                self._add(Act(0, node, time, source, what, None, frozenset()))
                self._add(Act(0, node, time, path, None, what, frozenset()))
                return

    def moved_in_the_tick_of_a_write(self, node: NodeId, time: float, old: bytes, new: bytes, what: Seen) -> None:
        """The daemon moved a file, and its stamps say that it was written to in the same tick of a coarse clock.

        No stamp tells whether the write came before, to the old name, or after, to the new one: it may count as either.
        """
        if any(act.node == node and act.time == time and act.before and act.after == what for act in self.acts[old]):
            self._add(Act(0, node, time, old, what, None, frozenset()))
            self._add(Act(0, node, time, new, None, what, frozenset()))

    def _made_at(self, path: bytes, content: Content) -> bool:
        return any(act.finished and content_of(act.after) == content for act in self.acts.get(path, []))

    def gave_up(self, node: NodeId, what: Seen) -> None:
        """Something left the vault of `node` while its disk was full: old contents make room."""
        content = content_of(what)
        if content is not None:
            self.promises.given_up.add((node, content))

    def wrote_in_place(self, node: NodeId, path: bytes, what: str) -> None:
        self.violations.append(f"in place: the daemon of {node.hex()[:4]} {what} {path!r} in the tree itself")

    def crashed(self, node: NodeId, time: float) -> None:
        """The daemon ended at `time` and is about to start again, or has just started and noted what it found placed.

        A user who replaced by then what was placed just before the end may be taken for one who never saw it.
        """
        for path, acts in self.acts.items():
            content, when = self._placed.get((node, path), (None, -1.0))
            if content is not None and time - when < RECORD_SECONDS:
                for act in acts:
                    if act.node == node and act.time >= when and content_of(act.before) == content:
                        act.unsure = True
            for act in acts if time - when < RECORD_SECONDS else ():
                if act.node == node and time - RECORD_SECONDS < act.time <= when:
                    act.early = True  # it may have been swapped out, and nobody left knows of which path

    def nobody_looked(self, node: NodeId, since: float, before: Tree, now: Tree) -> None:
        """No daemon ran at `node` since then: where all is again as it was, for everybody else nothing happened."""
        for path, acts in self.acts.items():
            here = [act for act in acts if act.node == node and act.time > since]
            if here and before.get(path) == now.get(path) and all(act.by_user for act in here):
                self.acts[path] = [act for act in acts if act not in here]
                for act in self.acts[path] if any(act.finished for act in here) else ():
                    if act.node == node and content_of(act.after) == content_of(now.get(path)):
                        act.finished = True  # what was closed meanwhile is what it held before

    def acknowledged(self, node: NodeId, time: float, path: bytes, content: Content, nodes: frozenset[NodeId]) -> None:
        """A `wait` at `node` for `path`, where `content` stood when it was called, says that `nodes` have it.

        What a user replaced meanwhile, anywhere, may never have come to those nodes: nothing was promised of it then.
        """
        if not any(act.replaces(content) for act in self.acts.get(path, [])):
            self.promises.add(Promise(time, node, path, content, nodes))

    def power_cut(
        self,
        node: NodeId,
        time: float,
        before: Tree,
        after: Tree,
        vault: Vault,
        others: Collection[tuple[Tree, Vault]],
        seen_until: float = float("inf"),
        taken: Vault = frozenset(),
        alive_until: float = float("inf"),
    ) -> None:
        """What the tree of `node` was, and is now, with its vault; trees and vaults of the others as they are.

        `taken`: what was in the vault and is not any more; `alive_until`: when the daemon ended. Of nodes that lose
        power together each is told of when all have lost it.
        """
        self.violations += self.promises.broken(node, after, vault)
        self._taken_back(node, time, before, after, vault, others, seen_until, taken, alive_until)

    def restored(
        self,
        node: NodeId,
        time: float,
        before: Tree,
        after: Tree,
        vault: Vault,
        others: Collection[tuple[Tree, Vault]],
        taken: Vault = frozenset(),
    ) -> None:
        """Somebody brought the disk of `node` back to what it was once: as a power cut, but of promises to keep.

        All links were up before, and nobody changes anything until the node has met its peers again. `taken`: what was
        in its vault, and may have been nowhere else.
        """
        self.promises.forgive(node)
        for act in (act for acts in self.acts.values() for act in acts if act.node == node and act.early):
            content = content_of(act.after)
            if content in taken and not any(content in kept or _shows(tree, content) for tree, kept in others):
                act.undone = True
        self._taken_back(node, time, before, after, vault, others, float("inf"), frozenset(), float("inf"))

    def removed(self, node: NodeId, tree: Tree, vault: Vault, others: Collection[tuple[Tree, Vault]]) -> None:
        """`node` is no member any more, and never comes back: what nobody else has is gone with it."""
        gone = vault | {content for what in tree.values() if (content := content_of(what)) is not None}
        for path, acts in self.acts.items():
            for act in acts:
                content = content_of(act.after)
                before_stands = act.node == node and any(tree.get(path) == act.before for tree, _ in others)
                if before_stands and content is not None and content == content_of(act.before):
                    act.undone = True  # others have that content, and nobody has heard of its new attributes
                elif content is not None and (act.node == node or content in gone):
                    act.undone = act.undone or not any(
                        content in kept or _shows(tree, content) for tree, kept in others
                    )
                elif before_stands:
                    act.unsure = True  # nobody may have heard of it

    def _taken_back(
        self,
        node: NodeId,
        time: float,
        before: Tree,
        after: Tree,
        vault: Vault,
        others: Collection[tuple[Tree, Vault]],
        seen_until: float,
        taken: Vault,
        alive_until: float,
    ) -> None:
        for content in taken:
            # Swapped out, and the daemon ended before it could sync and record it: only its author's disk had it.
            if not any(content in kept or _shows(tree, content) for tree, kept in [(after, vault), *others]):
                for act in (act for acts_of_path in self.acts.values() for act in acts_of_path):
                    recent = alive_until - RECORD_SECONDS < act.time <= alive_until
                    if act.node == node and recent and content_of(act.after) == content:
                        act.undone = True
        for acts_of_path in self.acts.values():
            for act in acts_of_path:
                if act.node == node and act.time > seen_until:
                    # No daemon has looked: what stands there after a cut is taken for what the cut left, and goes to
                    # the vault; what is absent, for what it took.
                    act.unsure = act.unsure or act.after is None
                    act.early = True
        for path in sorted({*before, *after}):
            was, now = before.get(path), after.get(path)
            unfinished = content_of(now) is not None and content_of(now) not in self._known
            if was == now and not unfinished:
                continue
            content = content_of(was)
            if content != content_of(now):
                left, lost = self._remains.get((node, path), (None, frozenset()))
                earlier = lost if left == content else frozenset()
                self._remains[node, path] = (content_of(now), earlier | {c for c in (content,) if c is not None})
            elsewhere = tuple(content_of(tree.get(path)) for tree, _ in others)
            if any(act.node == node and act.by_user and act.time > seen_until for act in self.acts.get(path, [])):
                elsewhere = ()  # no daemon has looked since: what is left of his work is taken for his work
            if was == now:  # its writer was not done; whoever looks now cannot know that
                self._add(Act(0, node, time, path, None, now, frozenset(), by_user=False))
                continue
            spread = content is not None and any(content_of(tree.get(path)) == content for tree, _ in others)
            left = spread or content in vault or any(content in kept for _, kept in others)
            acts = self.acts.get(path, [])
            foreign = any(content_of(act.after) == content for act in acts if act.node != node)
            for act in acts:
                # What is left nowhere was taken from everybody who made it.
                if content_of(act.after) == content and (
                    (act.node == node and not spread) or not (content is None or left)
                ):
                    act.undone = True
            held = {content_of(now), *vault, *elsewhere}.union(*(kept for _, kept in others))
            _undo_what_led_there(acts, node, held)
            if (standing := content_of(now)) is not None:
                self._known.add(standing)
            if content is not None and left and (spread or foreign):
                continue  # a cut must not speak for users: this content has to come back
            self._add(Act(0, node, time, path, None, now, frozenset(), by_user=False, elsewhere=elsewhere))

    def _add(self, act: Act) -> Act:
        self._number += 1
        act.number = self._number
        self.acts[act.path].append(act)
        content = content_of(act.after)
        if content is not None and act.finished:
            self._known.add(content)
        return act

    # -- judgement --------------------------------------------------------------------------------

    def judge(self, trees: Mapping[NodeId, Tree], vaults: Mapping[NodeId, Vault]) -> list[str]:
        """All links are up and all is quiet. Empty: nothing is wrong."""
        found = list(self.violations)
        found += self._divergence(trees)
        if found:
            return found  # what follows speaks of *the* tree
        for node, vault in vaults.items():
            found += self.promises.broken(node, trees[node], vault)
        tree = next(iter(trees.values()))
        for path in sorted(self.acts):
            found += self._lost(path, tree, vaults)
            found += self._risen(path, tree)
            found += self._spread(path, tree)
        for path, what in tree.items():
            found += self._unknown(path, what)
        return found

    def _divergence(self, trees: Mapping[NodeId, Tree]) -> list[str]:
        (first, tree), *rest = trees.items()
        found = []
        for node, other in rest:
            for path in sorted({*tree, *other}):
                if tree.get(path) != other.get(path):
                    found.append(
                        f"convergence: {path!r} is {tree.get(path)} at {first.hex()[:4]}, "
                        f"{other.get(path)} at {node.hex()[:4]}" + self._story(path)
                    )
        return found

    def _lost(self, path: bytes, tree: Tree, vaults: Mapping[NodeId, Vault]) -> list[str]:
        acts = self.acts[path]
        final = tree.get(path)
        found = []
        for content, last in _made(acts, against_deletion=content_of(final) is None).items():
            later = [act for act in acts if act.number > last.number and act.before != act.after]
            # The loser of an attribute change leaves no trace on a disk: any later act may have known it.
            replaced = any(act.replaces(content) or content_of(last.before) == content for act in later)
            if any(act.node == last.node and content in act.covers for act in later):
                replaced = replaced or any(self._kept(node, content, vault) for node, vault in vaults.items())
            kept = last.early and (last.node not in vaults or self._kept(last.node, content, vaults[last.node]))
            if content == content_of(final) or replaced or kept:
                continue
            if last.vaulted and content in vaults[last.node] and _came_too_late(last, acts):
                continue
            if content_of(final) is None and not _covered_by_directory(path, tree):
                found.append(f"lost update: {_show(content)} at {path!r} was replaced by nobody and is gone")
            elif content_of(final) is not None and not any(
                act.finished and content_of(act.after) == content_of(final) for act in acts
            ):
                found.append(f"lost update: {_show(content)} at {path!r} gave way to {final}, which is no user's")
            else:
                missing = [node.hex()[:4] for node, vault in vaults.items() if content not in vault]
                if missing:
                    found.append(
                        f"lost update: {_show(content)} at {path!r} was replaced by nobody, lost to {final}, and is "
                        f"not in the vault of {', '.join(missing)}"
                    )
        return [text + self._story(path) for text in found]

    def _kept(self, node: NodeId, content: Content, vault: Vault) -> bool:
        """As a generation, which a full disk may cost."""
        return content in vault or (node, content) in self.promises.given_up

    def _risen(self, path: bytes, tree: Tree) -> list[str]:
        final = tree.get(path)
        acts = self.acts[path]
        if content_of(final) is None:
            return []
        makers = [act for act in acts if act.after == final != act.before]
        replacers = [
            act
            for act in acts
            if act.before == final != act.after
            and act.finished  # the close says what a writer replaced, if it ever came to that
            and not (act.undone or act.unsure or act.early or any(_half_placed(act, maker) for maker in makers))
        ]
        if len(makers) == 1 and replacers:
            return [f"resurrection: {final} stands at {path!r} again" + self._story(path)]
        return []

    def _spread(self, path: bytes, tree: Tree) -> list[str]:
        """Who had nothing there cannot say what it was before; and a user who comes after the cut decides."""
        final, acts = content_of(tree.get(path)), self.acts[path]
        written = {content_of(act.after) for act in acts if act.by_user and act.finished}
        if final is None or final in written:
            return []
        last = acts[-1]
        if last.by_user or not last.elsewhere or not written.issuperset(last.elsewhere) or None in last.elsewhere:
            return []
        return [f"spread damage: {_show(final)} stands at {path!r}, which a power cut left" + self._story(path)]

    def _unknown(self, path: bytes, what: Seen) -> list[str]:
        """Attributes may be of several users: each node replicates only what was changed there."""
        if what.kind == "directory":
            return []
        made = [act.after for act in self.acts.get(path, []) if act.after is not None]
        if (
            any(content_of(m) == content_of(what) for m in made)
            and any(m.mode == what.mode for m in made)
            and any((m.uid, m.gid) == (what.uid, what.gid) for m in made)
            and any(m.mtime_ns == what.mtime_ns for m in made)
        ):
            return []
        return [f"invention: {what} stands at {path!r}, nobody made that" + self._story(path)]

    def _story(self, path: bytes) -> str:
        return "".join(f"\n    {act}" for act in self.acts.get(path, []))


def _made(acts: Iterable[Act], *, against_deletion: bool) -> dict[Content, Act]:
    """The contents that users are owed, each with the last act that made it.

    A change of attributes alone keeps a content from being deleted by others, not from being replaced.
    """
    return {
        content: act
        for act in acts
        if act.by_user
        and act.finished
        and not act.undone
        and act.before != act.after
        and (content := content_of(act.after)) is not None
        and (against_deletion or content_of(act.before) != content)
    }


def _undo_what_led_there(acts: list[Act], node: NodeId, held: Collection[Content | None]) -> None:
    """What only an act of its author replaced that a cut took, and that nobody else ever had, the cut took as well.

    He renamed over it, so that his own disk has it no more: nothing can come back but what others show.
    """
    for act in reversed(acts):
        content = content_of(act.before)
        if not act.undone or act.node != node or not act.by_user or content is None or content in held:
            continue
        made = [other for other in acts if other.number < act.number and content_of(other.after) == content]
        if all(other.node == node for other in [*made, *_replacers(acts, content)]):
            for other in made:
                other.undone = True


def _replacers(acts: Iterable[Act], content: Content) -> list[Act]:
    return [act for act in acts if act.by_user and act.replaces(content)]


def _came_too_late(end: Act, acts: Iterable[Act]) -> bool:
    """Whether the last that others did there on its node, while its writer had the file open, was to write something.

    Who deleted what had replaced it is no reason: nothing of his is lost by that it stands there again.
    """
    here = [act for act in acts if act.node == end.node and act.by_user and act.number < end.number]
    opened = [act.number for act in here if not act.finished and act.before == end.before]
    others = [act for act in here if act.finished and not act.vaulted and act.number > max(opened, default=end.number)]
    return bool(others) and content_of(others[-1].after) is not None


def _half_placed(act: Act, maker: Act) -> bool:
    """Attributes are changed where the file stands: another user may see them before the daemon has noted them."""
    alone = content_of(maker.before) == content_of(maker.after)
    return alone and act.node != maker.node and 0 <= act.time - maker.time < 1.0


def _covered_by_directory(path: bytes, tree: Tree) -> bool:
    """Where a directory keeps the name, what else claims it goes to the vault."""
    standing = tree.get(path)
    return standing is not None and standing.kind == "directory"


def _shows(tree: Tree, content: Content) -> bool:
    return any(content_of(what) == content for what in tree.values())


def _show(content: Content) -> str:
    kind, data = content
    return f"{kind} {data[:40]!r}"
