"""Paths as people type them, turned into a group and a path inside its root."""

from __future__ import annotations

import os
from urllib.parse import quote

from everynode.cli.session import Session
from everynode.client.place import absolute, path_json
from everynode.client.roots import locate, roots_of
from everynode.model.path import RelPath, show_path


def inside(session: Session, path: str) -> tuple[str, RelPath]:
    """The group that holds a path of the filesystem, and the path inside its root. Raises PathError."""
    groups = session.client.get("/v1/groups")["groups"]
    return locate(absolute(path), roots_of((group["name"], group["root"]) for group in groups if group["root"]))


def show_argument(path: str) -> str:
    """A path as typed, printable whatever its bytes."""
    return show_path(os.fsencode(path))


def query(path: bytes) -> str:
    """`path=...` or `path_b64=...` for a URL."""
    match path_json(path):
        case str(text):
            return f"path={quote(text, safe='')}"
        case raw:
            return f"path_b64={quote(raw['path_b64'], safe='')}"
