"""The journal: numbers, bounds, following, exact paths."""

from __future__ import annotations

import asyncio
import json

import msgspec

from everynode.model.ids import NodeId
from everynode.model.path import RelPath
from everynode.report.audit import NOBODY, Change, Happening, Journal
from everynode.report.status import AtPath, path_fields

NODE = NodeId(b"n" * 16)


def changes(first: int, count: int) -> list[Change]:
    return [(RelPath(b"f%d" % n), Happening.CREATED, NODE, 0, "") for n in range(first, first + count)]


def test_events_are_numbered_from_one_without_holes() -> None:
    journal = Journal()
    journal.add("www", RelPath(b"a"), Happening.CREATED)
    journal.add_many("www", changes(0, 3))
    journal.add("log", RelPath(b"b"), Happening.DELETED)
    assert [(e.number, e.group, e.path) for e in journal.since(0)] == [
        (1, "www", "a"),
        (2, "www", "f0"),
        (3, "www", "f1"),
        (4, "www", "f2"),
        (5, "log", "b"),
    ]
    assert journal.last == 5


def test_since_starts_inside_a_batch_and_honours_its_bound() -> None:
    journal = Journal()
    journal.add_many("www", changes(0, 5))
    journal.add_many("www", changes(5, 5))
    assert [event.number for event in journal.since(3, most=4)] == [4, 5, 6, 7]
    assert [event.path for event in journal.newest(2)] == ["f8", "f9"]
    assert journal.since(10) == []


def test_only_the_newest_events_are_kept() -> None:
    journal = Journal(kept=10)
    for start in range(0, 100, 4):
        journal.add_many("www", changes(start, 4))
    events = journal.since(0)
    assert [event.number for event in events] == list(range(91, 101))
    assert events[-1].path == "f99"
    assert sum(len(chunk.changes) for chunk in journal._chunks) < 10 + 4


def test_one_batch_larger_than_the_ring_keeps_its_end() -> None:
    journal = Journal(kept=10)
    journal.add_many("www", changes(0, 25))
    assert next((event.number, event.path) for event in journal.since(0)) == (16, "f15")
    assert journal.last == 25


def test_names_of_nodes_and_processes_are_shown() -> None:
    asked: list[int] = []

    def process_name(pid: int) -> str:
        asked.append(pid)
        return f"rsync[{pid}]"

    journal = Journal(node_name=lambda node: "alpha", process_name=process_name)
    journal.add_many("www", [(RelPath(b"a"), Happening.CREATED, NODE, 7, "")] * 3)
    journal.add("www", RelPath(b"b"), Happening.PLACED, node=NOBODY)
    first, *_, last = journal.since(0)
    assert (first.node, first.process) == ("alpha", "rsync[7]")
    assert (last.node, last.process) == ("", "")
    assert asked == [7], "a process is asked for once in a batch, at once"


async def _follow_while_adding() -> list[int]:
    journal = Journal()
    journal.add_many("www", changes(0, 2))
    seen: list[int] = []

    async def follow() -> None:
        async for events in journal.follow(1):
            seen.extend(event.number for event in events)
            if len(seen) == 4:
                return

    task = asyncio.ensure_future(follow())
    await asyncio.sleep(0)
    journal.add_many("www", changes(2, 2))
    await asyncio.sleep(0)
    journal.add_many("www", changes(4, 1))
    await asyncio.wait_for(task, 5)
    return seen


def test_a_follower_gets_old_and_new_events_once_each() -> None:
    assert asyncio.run(_follow_while_adding()) == [2, 3, 4, 5]


def test_json_carries_exact_bytes_of_a_path_that_is_not_utf8() -> None:
    journal = Journal()
    journal.add("www", RelPath(b"caf\xe9\n"), Happening.CREATED)
    line = msgspec.json.encode(journal.since(0)[0])
    event = json.loads(line)
    assert event["path"] == "caf\\xe9\\n"
    assert event["path_b64"] == "Y2Fm6Qo="
    assert msgspec.json.decode(line, type=AtPath).raw() == b"caf\xe9\n"


def test_json_of_an_ordinary_path_has_no_second_form() -> None:
    fields = path_fields("é/ü".encode())
    assert json.loads(msgspec.json.encode(AtPath(**fields))) == {"path": "é/ü"}
    assert AtPath(**fields).raw() == "é/ü".encode()


def test_an_escaped_path_is_told_from_one_with_a_real_backslash() -> None:
    real, escaped = AtPath(**path_fields(b"a\\xff")), AtPath(**path_fields(b"a\xff"))
    assert real.path == escaped.path
    assert (real.raw(), escaped.raw()) == (b"a\\xff", b"a\xff")
