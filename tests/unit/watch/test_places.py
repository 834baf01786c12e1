"""Where in the root a directory handle lies."""

from __future__ import annotations

import pytest

from everynode.watch import places
from everynode.watch.places import OUTSIDE, RESERVED, VAULT, Place, Places


class Handles:
    """Stands in for the kernel: where the root and each handle are, and how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = b"/r"
        self.paths: dict[bytes, bytes | None] = {}
        self.asked: list[bytes] = []
        self.meanwhile: bytes | None = None
        """The root is renamed to this between the two questions."""
        monkeypatch.setattr(places, "path_of_fd", lambda fd: self.root)
        monkeypatch.setattr(places, "path_of_handle", self.path_of_handle)

    def path_of_handle(self, mount: int, handle: bytes) -> bytes | None:
        self.asked.append(handle)
        if self.meanwhile is not None:
            self.root, self.meanwhile = self.meanwhile, None
        return self.paths[handle]


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> Handles:
    return Handles(monkeypatch)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (b"/r", b""),
        (b"/r/a", b"a/"),
        (b"/r/a/b", b"a/b/"),
        (b"/", OUTSIDE),
        (b"/rr", OUTSIDE),
        (b"/x/r/a", OUTSIDE),
        (b"/r/.everynode", RESERVED),
        (b"/r/.everynode/vault", VAULT),
        (b"/r/.everynode/vault/d", RESERVED),
        (b"/r/.everynode2", b".everynode2/"),
        (b"/r/a/.everynode", b"a/.everynode/"),
    ],
)
def test_places_are_relative_to_the_root(handles: Handles, path: bytes, place: Place) -> None:
    handles.paths[b"h"] = path
    assert Places(3).of(b"h") == place


def test_a_root_that_is_the_whole_filesystem_has_everything_inside(handles: Handles) -> None:
    handles.root = b"/"
    handles.paths[b"h"] = b"/a"
    assert Places(3).of(b"h") == b"a/"


def test_answers_inside_and_outside_are_remembered_until_forgotten(handles: Handles) -> None:
    handles.paths = {b"in": b"/r/a", b"out": b"/o"}
    found = Places(3)
    for _ in range(2):
        assert (found.of(b"in"), found.of(b"out")) == (b"a/", OUTSIDE)
    assert handles.asked == [b"in", b"out"]
    handles.paths = {b"in": b"/o", b"out": b"/r/a"}
    found.forget()
    assert (found.of(b"in"), found.of(b"out")) == (OUTSIDE, b"a/")


def test_a_deleted_directory_is_not_remembered(handles: Handles) -> None:
    handles.paths[b"h"] = None
    found = Places(3)
    assert (found.of(b"h"), found.of(b"h")) == (OUTSIDE, OUTSIDE)
    assert len(handles.asked) == 2


def test_outside_is_asked_again_when_the_root_moved_meanwhile(handles: Handles) -> None:
    handles.paths[b"h"] = b"/new/a"
    handles.meanwhile = b"/new"
    assert Places(3).of(b"h") == b"a/"
    assert len(handles.asked) == 2


def test_the_cache_is_bounded_and_keeps_what_is_used(handles: Handles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "HANDLES_CACHED", 20)
    found = Places(3)
    for number in range(1000):
        for handle in (b"used", b"%d" % number):
            handles.paths[handle] = b"/r/" + handle
            assert found.of(handle) == handle + b"/"
    assert handles.asked.count(b"used") == 1
    assert len(found._young) + len(found._old) <= 20
