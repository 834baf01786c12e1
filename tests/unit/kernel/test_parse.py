"""Bytes of the kernel to events."""

from __future__ import annotations

import os
import struct

from everynode.kernel import fanotify, inotify
from everynode.kernel.fanotify import parse_events

HANDLE = struct.pack("=Ii8s", 8, 1, b"handle-1")
OTHER = struct.pack("=Ii12s", 12, 2, b"handle-other")


def info(kind: int, handle: bytes, name: bytes | None) -> bytes:
    body = b"fsid...." + handle + (name + b"\0" if name is not None else b"")
    body += b"\0" * (-(4 + len(body)) % 4)
    return struct.pack("=BBH", kind, 0, 4 + len(body)) + body


def event(mask: int, pid: int, *infos: bytes) -> bytes:
    body = b"".join(infos)
    return struct.pack("=IBBHQii", 24 + len(body), 3, 0, 24, mask, -1, pid) + body


def test_events_with_names_of_any_length_come_in_order() -> None:
    names = [b"a", b"\xff", b"n" * 255]
    buffer = b"".join(event(fanotify.CREATE, 7, info(2, HANDLE, name)) for name in names)
    assert parse_events(buffer) == [(fanotify.CREATE, 7, HANDLE, name, b"", b"") for name in names]


def test_a_rename_has_two_directories_in_either_order() -> None:
    old, new = info(10, HANDLE, b"old"), info(12, OTHER, b"new")
    for infos in ((old, new), (new, old)):
        assert parse_events(event(fanotify.RENAME, 7, *infos)) == [(fanotify.RENAME, 7, HANDLE, b"old", OTHER, b"new")]


def test_an_overflow_has_no_place_and_is_never_skipped() -> None:
    assert parse_events(event(fanotify.OVERFLOW, 0), 0) == [(fanotify.OVERFLOW, 0, b"", b"", b"", b"")]


def test_an_event_of_a_directory_itself_is_called_a_dot() -> None:
    assert parse_events(event(fanotify.ATTRIB, 7, info(3, HANDLE, None))) == [
        (fanotify.ATTRIB, 7, HANDLE, b".", b"", b"")
    ]


def test_an_event_without_a_name_is_left_out() -> None:
    nameless = event(fanotify.ATTRIB, 7)
    named = event(fanotify.CREATE, 7, info(2, HANDLE, b"a"))
    unknown = event(fanotify.ATTRIB, 7, info(1, HANDLE, None))
    assert [name for _, _, _, name, _, _ in parse_events(nameless + named + unknown + named + nameless)] == [b"a", b"a"]


def test_events_of_one_process_can_be_skipped() -> None:
    buffer = event(fanotify.CREATE, 7, info(2, HANDLE, b"a")) + event(fanotify.CREATE, 8, info(2, HANDLE, b"b"))
    assert [name for _, _, _, name, _, _ in parse_events(buffer, 7)] == [b"b"]


def test_inotify_names_lose_their_padding_only() -> None:
    reading, writing = os.pipe()
    os.write(writing, struct.pack("=iIII", 1, inotify.CREATE, 0, 16) + b"name\0\0\0\0\0\0\0\0\0\0\0\0")
    os.write(writing, struct.pack("=iIII", 2, inotify.IGNORED, 5, 0))
    assert inotify.read_events(reading) == [(1, inotify.CREATE, 0, b"name"), (2, inotify.IGNORED, 5, b"")]
    os.set_blocking(reading, False)
    assert inotify.read_events(reading) is None
    os.close(reading)
    os.close(writing)
