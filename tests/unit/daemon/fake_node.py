"""A node and a group behind the API that remember what they were asked; and the real API server in a thread."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from everynode.daemon.api import make_app
from everynode.daemon.facade import HeldGroup
from everynode.daemon.server import LocalServer, bound_socket
from everynode.errors import ConfigError, PathError
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
    PeerStatus,
    ReadProgress,
    SiblingView,
    VerifyDifference,
    VerifyNode,
    VerifyResult,
    WaitResult,
    path_fields,
)
from everynode.report.verdict import verdict

PATH = RelPath(b"caf\xe9.html")
"""The conflict of the fake group, at a path that is not UTF-8."""
CONTENT = b"theirs\n" * 300_000


class FakeGroup:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[object] = []
        self.wait_result = WaitResult(done=True, reached=3, wanted=3)
        self.conflict_count = 0
        self.in_sync = True

    def status(self) -> GroupStatus:
        return GroupStatus(
            name="www",
            id="01" * 16,
            root=str(self.root),
            state="live",
            watch="fanotify",
            files=3,
            conflicts=self.conflict_count,
            in_sync=self.in_sync,
            backlog=0 if self.in_sync else 5,
        )

    async def wait(self, path: RelPath | None, nodes: int | None, timeout: float) -> WaitResult:
        self.asked.append(("wait", path, nodes, timeout))
        return self.wait_result

    async def hint(self, paths: Sequence[RelPath], renames: Sequence[tuple[RelPath, RelPath]]) -> None:
        self.asked.append(("hint", list(paths), list(renames)))

    async def conflicts(self) -> list[ConflictView]:
        siblings = (
            SiblingView(dot="aaaaaaaa.0:1", node="a", shown=True, kind="file", size=5),
            SiblingView(dot="bbbbbbbb.0:9", node="b", kind="file", size=len(CONTENT), vault="v1"),
        )
        return [ConflictView(**path_fields(PATH), siblings=siblings)]

    async def conflict_content(self, path: RelPath, dot: str) -> int:
        if dot != "bbbbbbbb.0:9":
            raise PathError(f"no version {dot} of this path is held", path=path)
        return self._content()

    async def resolve(self, path: RelPath, keep: str) -> None:
        self.asked.append(("resolve", path, keep))

    async def generations(self, path: RelPath) -> list[GenerationView]:
        return [GenerationView(**path_fields(path), name="g2", size=7), GenerationView(**path_fields(path), name="g1")]

    async def generation_content(self, path: RelPath, name: str) -> int:
        self.asked.append(("generation", path, name))
        return self._content()

    async def restore(self, path: RelPath, name: str | None) -> None:
        self.asked.append(("restore", path, name))

    async def verify(self, pass_number: int | None, timeout: float) -> VerifyResult:
        self.asked.append(("verify", pass_number is not None))
        differing = VerifyDifference(
            **path_fields(PATH), what=("mode",), nodes={"a": "file 0644", "b": "file 0600"}, pending=False
        )
        reading = {"a": ReadProgress(3, 3, 0, True)} if pass_number is not None else {}
        return VerifyResult(
            group="www",
            node="a",
            entries=3,
            hash="ab" * 32,
            nodes=(VerifyNode(name="b", state="equal" if self.in_sync else "differs"),),
            differences=() if self.in_sync else (differing,),
            reading=reading,
        )

    async def rescan(self) -> None:
        self.asked.append("rescan")

    async def release(self, by: str | None) -> Decision:
        self.asked.append(("release", by))
        return Decision(files=2000, by=("b",)) if by in (None, "b") else Decision(files=0)

    async def discard(self, by: str | None) -> Decision:
        self.asked.append(("discard", by))
        return Decision(files=2000 if by is None else 0, by=("b",))

    def _content(self) -> int:
        (self.root / "content").write_bytes(CONTENT)
        return os.open(self.root / "content", os.O_RDONLY)


class FakeNode:
    def __init__(self, root: Path) -> None:
        self.journal = Journal()
        self.group = FakeGroup(root)
        self.held = {"www": HeldGroup(str(root), self.group)}
        self.peers = (PeerStatus(node="b" * 26, name="b", linked=True),)
        self.asked: list[object] = []
        self.server: LocalServer | None = None

    def status(self) -> NodeStatus:
        node = NodeStatus(
            name="a",
            node="k" * 26,
            version="1",
            pid=os.getpid(),
            uptime=5.0,
            groups=(self.group.status(),),
            peers=self.peers,
        )
        line, code = verdict(node)
        return NodeStatus(
            verdict=line,
            exit_code=code,
            name="a",
            node="k" * 26,
            version="1",
            pid=os.getpid(),
            uptime=5.0,
            groups=node.groups,
            peers=node.peers,
        )

    def held_groups(self) -> Mapping[str, HeldGroup]:
        return self.held

    def members(self) -> list[MemberView]:
        return [MemberView(node="k" * 26, name="a", addresses=("127.0.0.1:1",), this=True)]

    def groups(self) -> list[GroupView]:
        return [GroupView(name=name, id="01" * 16, root=held.root, path=held.root) for name, held in self.held.items()]

    def config_text(self) -> str:
        return "[group.www]\n"

    async def invite(self, valid_seconds: float, advertise: Sequence[str]) -> Invitation:
        if advertise:
            self.asked.append(("advertise", list(advertise)))
        return Invitation(token="en1.secret", expires=1000.0 + valid_seconds)

    async def remove_member(self, node: str) -> None:
        self.asked.append(("remove", node))

    async def leave(self) -> None:
        self.asked.append("leave")

    async def add_group(self, name: str, path: str, exclude: Sequence[str], conflict: str) -> None:
        self.asked.append(("add_group", name, path, list(exclude), conflict))

    async def remove_group(self, name: str) -> None:
        self.asked.append(("remove_group", name))

    async def set_root(self, name: str, path: str | None) -> None:
        self.asked.append(("set_root", name, path))

    async def check_config(self, text: str, file: str) -> list[str]:
        return await self.apply_config(text, file)

    async def apply_config(self, text: str, file: str) -> list[str]:
        if "colour" in text:
            raise ConfigError("unknown key 'colour'", file=file, line=1, column=1)
        return ["group www: exclude is now *.tmp"]

    def stop(self) -> None:
        assert self.server is not None
        self.journal.close()
        self.server.stop()


class RunningApi:
    def __init__(self, home: str, node: FakeNode, loop: asyncio.AbstractEventLoop) -> None:
        self.home = home
        self.node = node
        self.loop = loop

    def log(self, *paths: bytes) -> None:
        """Add events in the loop's own thread."""
        from everynode.report.audit import Happening

        for path in paths:
            self.loop.call_soon_threadsafe(self.node.journal.add, "www", RelPath(path), Happening.CREATED)


@contextmanager
def running_api(home: Path, root: Path) -> Iterator[RunningApi]:
    """The real API over a fake node, answering on home/api.sock until the block ends."""
    home.mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    ready: threading.Event = threading.Event()
    made: list[RunningApi] = []

    async def answer_until_stopped() -> None:
        node = FakeNode(root)
        node.server = server = LocalServer(make_app(node))
        made.append(RunningApi(str(home), node, asyncio.get_running_loop()))
        with bound_socket(str(home), str(home / "api.sock")) as listener:
            serving = asyncio.ensure_future(server.serve([listener]))
            while not server.started and not serving.done():
                await asyncio.sleep(0.001)
            ready.set()
            await serving

    thread = threading.Thread(target=lambda: asyncio.run(answer_until_stopped()))
    thread.start()
    assert ready.wait(10)
    try:
        yield made[0]
    finally:
        if thread.is_alive():
            made[0].loop.call_soon_threadsafe(made[0].node.stop)
        thread.join(10)
        assert not thread.is_alive()
