"""A cluster of real daemons, each in a network namespace of its own, looked at from outside only."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from lab.namespaces import Network, mount_tmpfs, unmount
from lab.node import Node, link_nodes
from lab.trees import Seen, difference, snapshot, wait_until

NAMES = "abcdefgh"
GROUP = "tree"


class Cluster:
    """`count` nodes named a, b, c ... on one switch; `nodes[0]` made the cluster and (unless told not to) the group.

    A context manager: inside, the daemons run, are linked and keep the roots alike. Everything is gone afterwards,
    even when the test run is killed (the processes and namespaces die with it; only a folder in /tmp may stay).
    """

    def __init__(self, count: int, *, group: bool = True, powerless: bool = False) -> None:
        self._group = group
        self._powerless = powerless
        self._folder = Path(tempfile.mkdtemp(prefix="en-"))  # short: a Unix socket's path has 108 bytes
        self._folder.chmod(0o755)
        self._mounts: list[Path] = []
        self.network = Network(count)
        self.nodes = [self._node(number, powerless) for number in range(count)]

    def __getitem__(self, number: int) -> Node:
        return self.nodes[number]

    def __enter__(self) -> Cluster:
        try:
            link_nodes(self.nodes)
            if self._group:
                self.nodes[0].add_group(GROUP)
                self.wait_shared()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for node in self.nodes:
                print(f"--- the last words of {node.name}:\n{node.last_words(40)}")
        self.close()

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        self.network.close()
        for mount in reversed(self._mounts):
            unmount(mount)
        shutil.rmtree(self._folder, ignore_errors=True)

    def cut(self, one: int, other: int) -> None:
        """Nothing passes between the two any more; both still hear all others."""
        self.network.cut(one, other)

    def isolate(self, number: int) -> None:
        for other in range(len(self.nodes)):
            if other != number:
                self.cut(number, other)

    def heal(self) -> None:
        """Everybody hears everybody again."""
        self.network.heal_all()

    def new_tmpfs_root(self, number: int, *, size: str) -> Path:
        """Put an own small filesystem under the root of a node whose daemon does not run. Returns the mount point."""
        root = self.nodes[number].root
        mount_tmpfs(root, size=size, options=("mode=755",))
        self._mounts.append(root)
        return root

    def add_node(self) -> Node:
        """One more machine on the switch, on which nothing was done yet."""
        number = self.network.add_host()
        node = self._node(number, self._powerless)
        self.nodes.append(node)
        return node

    def tree(self, number: int) -> dict[bytes, Seen]:
        return snapshot(self.nodes[number].root)

    def differences(self, among: Sequence[int] | None = None) -> list[str]:
        """How the trees (of these nodes, or all) differ from the first; empty when they are equal in everything."""
        first, *others = among if among is not None else range(len(self.nodes))
        tree = self.tree(first)
        return [
            f"{self.nodes[first].name}/{self.nodes[other].name}: {line}"
            for other in others
            for line in difference(tree, self.tree(other))
        ]

    def wait_equal(self, among: Sequence[int] | None = None, *, timeout: float = 60.0) -> None:
        """Wait until the trees are equal twice in a row, a moment apart: nothing is still on its way."""

        def steady() -> bool:
            if self.differences(among):
                return False
            first = among[0] if among is not None else 0
            before = self.tree(first)
            time.sleep(0.3)
            return not self.differences(among) and self.tree(first) == before

        if not wait_until(steady, timeout=timeout, every=0.1):
            raise AssertionError(f"trees differ after {timeout:.0f} s:\n" + "\n".join(self.differences(among)))

    def wait_there(self, number: int, path: str, content: bytes | None, *, timeout: float = 30.0) -> None:
        """Wait until a file has this content on a node (None: until nothing is there)."""
        target = self.nodes[number].root / path

        def there() -> bool:
            try:
                return target.read_bytes() == content
            except (FileNotFoundError, NotADirectoryError):
                return content is None

        if not wait_until(there, timeout=timeout):
            wanted = "nothing" if content is None else f"{content[:40]!r}"
            raise AssertionError(f"{self.nodes[number].name}: {path} is not {wanted} after {timeout:.0f} s")

    def wait_everywhere(self, path: str, content: bytes | None, *, timeout: float = 30.0) -> None:
        for number in range(len(self.nodes)):
            self.wait_there(number, path, content, timeout=timeout)

    def wait_said(self, number: int, *arguments: str, text: str, timeout: float = 30.0) -> str:
        """Wait until a command's output has this text; returns the output."""

        def said() -> str:
            done = self.nodes[number].ask(*arguments)
            output = done.stdout + done.stderr
            return output if text in output else ""

        found = wait_until(said, timeout=timeout, every=0.2)
        if not found:
            raise AssertionError(
                f"{self.nodes[number].name}: `everynode {' '.join(arguments)}` does not say {text!r}:\n"
                + self.nodes[number].ask(*arguments).stdout
            )
        return found

    def wait_shared(self) -> None:
        """Wait until the group is known to every running daemon: a first file reaches all."""
        self.nodes[0].root.joinpath("first").write_bytes(b"first")
        self.wait_everywhere("first", b"first", timeout=60)

    def _node(self, number: int, powerless: bool) -> Node:
        name = NAMES[number]
        home, root = self._folder / name / "home", self._folder / name / "root"
        home.mkdir(parents=True, mode=0o700)
        root.mkdir()
        host = self.network.hosts[number]
        return Node(name, home, root, self.network.address(number), enter=host.enter, powerless=powerless)
