"""`group`: which trees the cluster keeps, and where this node keeps them."""

from __future__ import annotations

import os

import click

from everynode.cli.offline import administer
from everynode.cli.paths import GroupName
from everynode.cli.session import Session, common_options, pass_session
from everynode.cli.show import columns
from everynode.model.names import check_root


@click.group(name="group", epilog="Example: everynode group add www /srv/www --exclude '*.tmp'")
@common_options
def group() -> None:
    """Add, remove and list groups: trees that are kept alike on all nodes."""


@group.command(name="add", epilog="Example: everynode group add www /srv/www --exclude '*.tmp' --exclude /cache/")
@click.argument("name", type=GroupName())
@click.argument("directory", type=click.Path(file_okay=False))
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out what matches, as in .gitignore.")
@click.option(
    "--conflict",
    type=click.Choice(["newest", "oldest", "largest", "smallest"]),
    default="newest",
    show_default=True,
    help="Which version is shown when two nodes change a path at once; all are kept.",
)
@common_options
@pass_session
def add(session: Session, name: str, directory: str, exclude: tuple[str, ...], conflict: str) -> None:
    """Keep DIRECTORY alike on all nodes, as the group NAME. Other nodes use the same path unless told otherwise."""
    root = check_root(os.path.abspath(directory))
    body = {"name": name, "path": root, "exclude": list(exclude), "conflict": conflict}
    administer(session, "/v1/groups", body, lambda admin: admin.add_group(name, root, exclude, conflict))
    session.result({"added": name, "root": root}, f"group {name} is kept at {root}")


@group.command(name="remove", epilog="Example: everynode group remove www")
@click.argument("name", type=GroupName())
@common_options
@pass_session
def remove(session: Session, name: str) -> None:
    """Give the group NAME up on all nodes. The trees stay where they are."""
    administer(session, "/v1/groups/remove", {"name": name}, lambda admin: admin.remove_group(name))
    session.result({"removed": name}, f"group {name} is given up; its files stay where they are")


@group.command(name="root", epilog="Example: everynode group root www /data/www")
@click.argument("name", type=GroupName())
@click.argument("directory", type=click.Path(file_okay=False), required=False)
@common_options
@pass_session
def root(session: Session, name: str, directory: str | None) -> None:
    """Keep the group NAME at DIRECTORY on this node alone (without: where the other nodes do).

    Nothing is moved and nothing is deleted: what stands there is news, what is missing there comes from the other
    nodes, what stood at the old place stays.
    """
    path = None if directory is None else check_root(os.path.abspath(directory))
    administer(session, f"/v1/groups/{name}/root", {"path": path}, lambda admin: admin.set_root(name, path))
    session.result({"name": name, "root": path}, f"group {name} is kept at {path or 'its default root'} here")


@group.command(name="list", epilog="Example: everynode group list --json")
@common_options
@pass_session
def list_groups(session: Session) -> None:
    """List the groups and where they are on this node."""
    found = administer(session, "/v1/groups", None, lambda admin: {"groups": admin.groups()})
    rows = []
    for one in found["groups"]:
        notes = [f"elsewhere {one['path']}"] if one["path"] != one["root"] else []
        notes += [f"without {' '.join(one['exclude'])}"] if one["exclude"] else []
        notes += [one["trouble"]] if one["trouble"] else []
        rows.append([one["name"], one["root"], "; ".join(notes)])
    session.result(found, "\n".join(columns(rows)) or "there is no group yet: everynode group add NAME DIR")
