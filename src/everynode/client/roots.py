"""Paths of this machine's filesystem as (group, path inside its root)."""

from __future__ import annotations

import os
from collections.abc import Iterable

from everynode.errors import PathError
from everynode.model.path import ROOT, RelPath, parse_path, show_path

Roots = list[tuple[bytes, str]]
"""(root, group name), the innermost first; a root that is reached through a link stands under both names."""


def roots_of(groups: Iterable[tuple[str, str]]) -> Roots:
    """From (name, root) of each group on this node."""
    both = {(path, name) for name, root in groups for path in (os.fsencode(root), os.path.realpath(os.fsencode(root)))}
    return sorted(both, key=lambda pair: len(pair[0]), reverse=True)


def locate(absolute: bytes, roots: Roots) -> tuple[str, RelPath]:
    """The group whose root holds the absolute path, and the path inside it (ROOT for the root itself).

    Raises PathError when no root holds it.
    """
    for root, name in roots:
        if absolute == root:
            return name, ROOT
        if absolute.startswith(root + b"/"):
            return name, parse_path(absolute[len(root) + 1 :])
    there = ", ".join(sorted({f"{name} at {show_path(root)}" for root, name in roots}))
    raise PathError(
        f"{show_path(absolute)} is not in any group on this node "
        + (f"(there is {there})" if there else "(there is none yet: `everynode group add NAME DIR`)"),
        path=absolute,
    )
