"""New directories become visible whole, or what was staged in them is placed one by one; nothing is left aside."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from everynode.kernel.linux import LinuxKernel
from everynode.model.entry import Entry, Kind
from everynode.model.path import RelPath
from everynode.tree.digest import digest_bytes
from everynode.tree.leaf import stamp_of
from everynode.tree.outcome import NotPut, PlaceOutcome, Put, Staged
from everynode.tree.place import PlaceItem, place
from everynode.tree.root import Root
from everynode.tree.stage import StageItem, stage
from everynode.tree.whole import NewDirectories

TOP, SUB = RelPath(b"top"), RelPath(b"top/sub")
FILE, DEEP, LINK = RelPath(b"top/file"), RelPath(b"top/sub/deep"), RelPath(b"top/link")


def directory(mode: int = 0o755) -> Entry:
    return Entry(Kind.DIRECTORY, mode, os.geteuid(), os.getegid(), 10**18)


def file(content: bytes) -> Entry:
    return Entry(Kind.FILE, 0o640, os.geteuid(), os.getegid(), 10**18, len(content), digest_bytes(content))


def link(target: bytes) -> Entry:
    return Entry(Kind.SYMLINK, 0o777, os.geteuid(), os.getegid(), 10**18, 0, target)


class Ignored:
    """Which directories are ignored at the moment, by inode."""

    def __init__(self) -> None:
        self.now: set[int] = set()
        self.ever: set[int] = set()
        self.refuses = 0

    def __call__(self, fd: int, wanted: bool) -> None:
        inode = os.fstat(fd).st_ino
        if wanted:
            self.now.add(inode)
            self.ever.add(inode)
        elif self.refuses:
            raise OSError(self.refuses, os.strerror(self.refuses))
        else:
            self.now.remove(inode)


@pytest.fixture
def ignored() -> Ignored:
    return Ignored()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    opened = Root.open(LinuxKernel(), os.fsencode(tmp_path / "root"), b"g" * 16, create=True)
    yield opened
    opened.close()


def staged_items(root: Root, directories: NewDirectories) -> list[PlaceItem]:
    """`top` with a file, a symlink and `top/sub`, which has a file: all staged."""
    items = [PlaceItem(path, directory(), staged=directories.make(path, directory())) for path in (TOP, SUB)]
    contents = {FILE: (file(b"one"), b"one"), DEEP: (file(b"two"), b"two"), LINK: (link(b"there"), None)}
    wanted = [StageItem(p, e, c, True, directories.folder_for(p)) for p, (e, c) in contents.items()]
    for item, result in zip(wanted, stage(root, wanted), strict=True):
        assert isinstance(result, Staged)
        items.append(PlaceItem(item.path, item.entry, staged=result))
    return items


def placed(root: Root, ignored: Ignored) -> list[PlaceOutcome]:
    with NewDirectories(root, ignored) as directories:
        items = staged_items(root, directories)
        directories.finish()
        assert not (Path(os.fsdecode(root.path)) / "top/link").is_symlink(), "nothing is visible before it is placed"
        return place(root, items)


def tree_of(root: Root) -> dict[str, bytes]:
    top = Path(os.fsdecode(root.path))
    found = {}
    for above, names, files in os.walk(top):
        if Path(above) == top:
            names.remove(".everynode")
        for name in [*names, *files]:
            path = Path(above) / name
            relative = str(path.relative_to(top))
            found[relative] = (
                os.readlink(path).encode() if path.is_symlink() else b"/" if path.is_dir() else path.read_bytes()
            )
    return found


WHOLE = {"top": b"/", "top/sub": b"/", "top/file": b"one", "top/sub/deep": b"two", "top/link": b"there"}


def nothing_is_left(root: Root) -> bool:
    own = Path(os.fsdecode(root.path)) / ".everynode"
    return os.listdir(own / "stage") == os.listdir(own / "vault") == []


def test_a_new_directory_comes_with_all_that_is_new_in_it(root: Root, ignored: Ignored) -> None:
    outcomes = placed(root, ignored)
    assert tree_of(root) == WHOLE
    assert nothing_is_left(root)
    top = Path(os.fsdecode(root.path))
    for outcome in outcomes:
        assert isinstance(outcome, Put)
        stat = os.lstat(top / os.fsdecode(outcome.path))
        if outcome.path in (FILE, DEEP, LINK):
            assert outcome.stamp == stamp_of(stat), "its stamp is what a later look will find"
        assert outcome.stamp is not None and outcome.stamp.inode == stat.st_ino


def test_it_is_renamed_once(root: Root, ignored: Ignored, monkeypatch: pytest.MonkeyPatch) -> None:
    renames = []
    rename = LinuxKernel.rename_at
    monkeypatch.setattr(LinuxKernel, "rename_at", lambda *call: (renames.append(call[2]), rename(*call))[1])
    placed(root, ignored)
    assert len(renames) == 1 and tree_of(root) == WHOLE


def test_what_happens_in_it_is_ignored_while_it_is_filled_and_never_after(root: Root, ignored: Ignored) -> None:
    with NewDirectories(root, ignored) as directories:
        items = staged_items(root, directories)
        assert len(ignored.now) == 2
        directories.finish()
        assert ignored.now == set() and len(ignored.ever) == 2
        place(root, items)


def test_a_directory_that_might_still_be_ignored_is_not_placed(root: Root, ignored: Ignored) -> None:
    ignored.refuses = errno.EIO
    outcomes = placed(root, ignored)
    assert all(isinstance(outcome, Put) for outcome in outcomes)
    assert tree_of(root) == WHOLE and nothing_is_left(root)
    top = Path(os.fsdecode(root.path)) / "top"
    assert not {top.stat().st_ino, (top / "sub").stat().st_ino} & ignored.ever, "others were made in their place"


@pytest.mark.parametrize("gone", [errno.ENOENT, errno.EBADF])
def test_where_nothing_is_ignored_any_more_it_is_placed_whole(root: Root, ignored: Ignored, gone: int) -> None:
    ignored.refuses = gone
    placed(root, ignored)
    assert (Path(os.fsdecode(root.path)) / "top").stat().st_ino in ignored.ever
    assert tree_of(root) == WHOLE and nothing_is_left(root)


def test_where_somebody_made_the_same_directory_the_rest_joins_what_is_in_there(root: Root, ignored: Ignored) -> None:
    top = Path(os.fsdecode(root.path)) / "top"
    top.mkdir(0o755)
    (top / "theirs").write_bytes(b"theirs")
    outcomes = placed(root, ignored)
    assert all(isinstance(outcome, Put) for outcome in outcomes)
    assert tree_of(root) == {**WHOLE, "top/theirs": b"theirs"}
    assert nothing_is_left(root)


def test_what_somebody_wrote_in_a_directory_of_that_name_stays(root: Root, ignored: Ignored) -> None:
    top = Path(os.fsdecode(root.path)) / "top"
    top.mkdir(0o755)
    (top / "file").write_bytes(b"theirs")
    outcomes = {outcome.path: outcome for outcome in placed(root, ignored)}
    assert isinstance(outcomes[FILE], NotPut)
    assert isinstance(outcomes[DEEP], Put)
    assert tree_of(root) == {**WHOLE, "top/file": b"theirs"}
    assert nothing_is_left(root)


def test_where_a_file_has_its_name_nothing_of_it_comes(root: Root, ignored: Ignored) -> None:
    (Path(os.fsdecode(root.path)) / "top").write_bytes(b"theirs")
    outcomes = placed(root, ignored)
    assert all(isinstance(outcome, NotPut) for outcome in outcomes)
    assert tree_of(root) == {"top": b"theirs"}
    assert nothing_is_left(root)


def test_what_was_not_placed_is_removed(root: Root, ignored: Ignored) -> None:
    with NewDirectories(root, ignored) as directories:
        staged_items(root, directories)
    assert tree_of(root) == {} and nothing_is_left(root)


def test_what_a_crash_left_half_filled_goes_at_the_next_start(root: Root, ignored: Ignored) -> None:
    directories = NewDirectories(root, ignored)
    staged_items(root, directories)
    root.clear_stage()
    assert nothing_is_left(root)
