"""Notices of one path become one, but never across a rename or an overflow."""

from __future__ import annotations

from everynode.model.notice import Notice, What
from everynode.model.path import ROOT, RelPath
from everynode.watch.batch import Batch


def batch() -> Batch:
    return Batch(What)


def note(batch: Batch, key: bytes, what: What, pid: int = 0) -> None:
    batch.masks[key] = batch.masks.get(key, 0) | what
    batch.pids[key] = pid


def test_notices_keep_the_order_of_first_occurrence() -> None:
    one = batch()
    note(one, b"b", What.TOUCHED, 1)
    note(one, b"a", What.TOUCHED, 1)
    note(one, b"b", What.WRITTEN, 2)
    assert len(one) == 2
    assert one.closed() == [
        Notice(What.TOUCHED | What.WRITTEN, RelPath(b"b"), None, 2),
        Notice(What.TOUCHED, RelPath(b"a"), None, 1),
    ]


def test_nothing_moves_across_a_rename_or_an_overflow() -> None:
    one = batch()
    note(one, b"a", What.WRITTEN)
    one.add(What.RENAMED, RelPath(b"b"), source=RelPath(b"a"), pid=3)
    note(one, b"a", What.WRITTEN)
    one.overflow()
    one.overflow()
    note(one, b"a", What.WRITTEN)
    assert one.closed() == [
        Notice(What.WRITTEN, RelPath(b"a")),
        Notice(What.RENAMED, RelPath(b"b"), RelPath(b"a"), 3),
        Notice(What.WRITTEN, RelPath(b"a")),
        Notice(What.OVERFLOW, ROOT),
        Notice(What.WRITTEN, RelPath(b"a")),
    ]


def test_a_dot_is_the_directory_itself() -> None:
    one = batch()
    note(one, b".", What.TOUCHED | What.DIRECTORY)
    note(one, b"a/.", What.TOUCHED | What.DIRECTORY)
    note(one, b"a.", What.TOUCHED)
    assert [notice.path for notice in one.closed()] == [ROOT, b"a", b"a."]


def test_a_leading_slash_is_the_vault_in_which_only_files_count() -> None:
    one = batch()
    note(one, b"/x", What.WRITTEN, 7)
    note(one, b"/d", What.TOUCHED | What.DIRECTORY)
    note(one, b"/.", What.TOUCHED | What.DIRECTORY)
    assert one.closed() == [Notice(What.VAULT | What.WRITTEN, RelPath(b"x"), None, 7)]
