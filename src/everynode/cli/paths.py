"""Paths as people type them, turned into a group and a path inside its root."""

from __future__ import annotations

import os
from urllib.parse import quote

import click

from everynode.cli.session import Session
from everynode.client.place import absolute, path_json
from everynode.client.roots import locate, roots_of
from everynode.errors import ConfigError, PathError
from everynode.model.names import check_name
from everynode.model.path import ROOT, RelPath, show_path


class GroupName(click.ParamType[str]):
    """What can name a group: it becomes part of a URL as it is."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return check_name("group", value)
        except ConfigError as error:
            raise click.BadParameter(str(error), ctx=ctx, param=param) from error


def inside(session: Session, path: str) -> tuple[str, RelPath]:
    """The group that holds a path of the filesystem, and the path inside its root. Raises PathError."""
    groups = session.client.get("/v1/groups")["groups"]
    name, inner = locate(absolute(path), roots_of((group["name"], group["root"]) for group in groups if group["root"]))
    if inner == ROOT:
        raise PathError(f"{show_argument(path)} is the root of group {name} itself: name a path inside it")
    return name, inner


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
