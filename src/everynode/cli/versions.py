"""`conflicts` and `restore`: the versions of a path beside the one that is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import quote

import click
import msgspec

from everynode.cli.paths import inside, query, show_argument
from everynode.cli.session import EXIT_FAILED, Session, common_options, pass_session
from everynode.cli.show import columns, show_bytes, show_time
from everynode.client.connection import ApiError
from everynode.client.place import path_json
from everynode.report.status import EXIT_CONFLICTS, ConflictView, GenerationView, SiblingView


class _Conflicts(msgspec.Struct):
    conflicts: list[ConflictView]


class _Generations(msgspec.Struct):
    generations: list[GenerationView]


@click.group(name="conflicts", invoke_without_command=True, epilog="Example: everynode conflicts show a.html")
@common_options
@click.pass_context
def conflicts(context: click.Context) -> int:
    """List, show and resolve conflicts: paths that were changed on two nodes at once.

    Every version is kept on every node until a person chooses. Exit code 3 when there are conflicts, else 0.
    """
    return 0 if context.invoked_subcommand else _list(context.ensure_object(Session))


@conflicts.command(name="list", epilog="Example: everynode conflicts list --json")
@common_options
@pass_session
def list_conflicts(session: Session) -> int:
    """List the conflicts of all groups. Exit code 3 when there are any."""
    return _list(session)


def _list(session: Session) -> int:
    groups = [group for group in session.client.get("/v1/groups")["groups"] if group["root"]]
    found: dict[str, list[ConflictView]] = {}
    not_running = []
    for name in (group["name"] for group in groups):
        try:
            raw = session.client.get_raw(f"/v1/groups/{name}/conflicts")
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            not_running.append(str(error))
            continue
        found[name] = msgspec.json.decode(raw, type=_Conflicts).conflicts
    if session.json:
        session.show_json(msgspec.json.encode({"conflicts": found}))
    else:
        roots = {group["name"]: group["root"] for group in groups}
        for name, views in found.items():
            for view in views:
                _show(f"{roots[name].rstrip('/')}/{view.path}", view)
        if not any(found.values()) and not not_running:
            click.echo("no conflicts")
    for reason in not_running:  # the others are listed all the same
        click.echo(f"everynode: {reason}", err=True)
    return EXIT_CONFLICTS if any(found.values()) else EXIT_FAILED if not_running else 0


@conflicts.command(name="show", epilog="Example: everynode conflicts show /srv/www/a.html")
@click.argument("path", type=click.Path())
@common_options
@pass_session
def show(session: Session, path: str) -> int:
    """Show the versions of PATH: what they are and who made them."""
    group, relative = inside(session, path)
    raw = session.client.get_raw(f"/v1/groups/{group}/conflicts?{query(relative)}")
    if session.json:
        session.show_json(raw)
    else:
        for view in msgspec.json.decode(raw, type=_Conflicts).conflicts:
            _show(show_argument(path), view)
    return EXIT_CONFLICTS


def _show(title: str, view: ConflictView) -> None:
    click.echo(title)
    for line in columns([_cells(sibling) for sibling in view.siblings], "  "):
        click.echo(line)


def _cells(sibling: SiblingView) -> list[str]:
    place = "shown" if sibling.shown else "vault" if sibling.vault else ""
    if sibling.deleted:
        return [sibling.dot, f"by {sibling.node}", "deleted", "", place, ""]
    return [
        sibling.dot,
        f"by {sibling.node}",
        sibling.kind,
        show_bytes(sibling.size) if sibling.kind == "file" else "",
        place,
        show_time(sibling.mtime_ns / 1e9),
    ]


@conflicts.command(name="get", epilog="Example: everynode conflicts get a.html k3m5qa7x.0:17 > theirs.html")
@click.argument("path", type=click.Path())
@click.argument("dot")
@common_options
@pass_session
def get(session: Session, path: str, dot: str) -> None:
    """Print the content of the version DOT of PATH."""
    group, relative = inside(session, path)
    _print(session.client.blocks(f"/v1/groups/{group}/content?{query(relative)}&dot={quote(dot, safe='')}"))


def _print(blocks: Iterator[bytes]) -> None:
    for block in blocks:
        click.echo(block, nl=False)


@conflicts.command(name="resolve", epilog="Example: everynode conflicts resolve a.html --keep k3m5qa7x.0:17")
@click.argument("path", type=click.Path())
@click.option("--keep", required=True, metavar="DOT", help="The version to keep, as `conflicts show` names it.")
@common_options
@pass_session
def resolve(session: Session, path: str, keep: str) -> None:
    """Keep one version of PATH, on all nodes. The others stay as generations for a while, see `restore`."""
    group, relative = inside(session, path)
    session.client.post(f"/v1/groups/{group}/resolve", {"path": path_json(relative), "keep": keep})
    session.result({"resolved": True}, f"{show_argument(path)}: {keep} is kept")


@click.command(name="restore", epilog="Example: everynode restore a.html --list; everynode restore a.html")
@click.argument("path", type=click.Path())
@click.option("--list", "listing", is_flag=True, help="Only list what is kept.")
@click.option("--generation", metavar="NAME", default=None, help="Which one; without: the newest.")
@click.option("--to", "target", type=click.Path(dir_okay=False), default=None, help="Write it to this file instead.")
@common_options
@pass_session
def restore(session: Session, path: str, listing: bool, generation: str | None, target: str | None) -> None:
    """Bring back an old version of PATH as a new change, on all nodes; what it replaces is kept in turn."""
    group, relative = inside(session, path)
    if not listing and target is None:
        body = {"path": path_json(relative), "generation": generation}
        session.client.post(f"/v1/groups/{group}/restore", body)
        session.result({"restored": True}, f"{show_argument(path)} is restored")
        return
    raw = session.client.get_raw(f"/v1/groups/{group}/generations?{query(relative)}")
    kept = msgspec.json.decode(raw, type=_Generations).generations
    if listing:
        if session.json:
            session.show_json(raw)
        else:
            click.echo("\n".join(columns([_generation(one) for one in kept])) if kept else "nothing is kept")
        return
    if not kept:
        raise click.ClickException(f"nothing is kept of {show_argument(path)}")
    name = generation or kept[0].name
    blocks = session.client.blocks(f"/v1/groups/{group}/content?{query(relative)}&generation={quote(name, safe='')}")
    assert target is not None
    _write(blocks, target)
    if target != "-":  # there nothing but the content may come out
        session.result(
            {"written": show_argument(target), "generation": name}, f"{name} is written to {show_argument(target)}"
        )


def _write(blocks: Iterator[bytes], target: str) -> None:
    if target == "-":
        _print(blocks)
        sys.stdout.flush()
        return
    first = next(blocks, b"")  # a generation that is not there must not empty a file that is
    with open(target, "wb") as file:
        file.write(first)
        for block in blocks:
            file.write(block)


def _generation(one: GenerationView) -> list[str]:
    by = f" by {one.by}" if one.by else ""
    replaced = f"replaced {show_time(one.replaced)}{by}" if one.replaced else ""
    return [one.name, one.kind, show_bytes(one.size), f"of {show_time(one.mtime_ns / 1e9)}", replaced]
