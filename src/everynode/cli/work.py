"""`wait`, `hint`, `rescan`, `log`: what scripts and curious people ask of a running node."""

from __future__ import annotations

import sys
import time
from typing import Any, Literal, cast

import click
import msgspec

from everynode.cli.paths import GroupName
from everynode.cli.session import Session, common_options, pass_session
from everynode.cli.show import show_time
from everynode.cli.status import fetch_status, show_progress
from everynode.client.connection import REQUEST_TIMEOUT
from everynode.client.place import absolute, path_json
from everynode.limits import API_WAIT_MAX, MEMBERS_MAX
from everynode.report.status import WaitReply

Nodes = int | Literal["all"]

# How often the line about progress is renewed on a terminal.
PROGRESS_SECONDS = 0.5


class Seconds(click.FloatRange):
    """A time that ends: `nan` passes for a number and compares with nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = super().convert(value, param, ctx)
        if not isinstance(seconds, float) or seconds != seconds:
            raise click.BadParameter(f"{value!r} is no number of seconds", ctx=ctx, param=param)
        return seconds


class NodesType(click.ParamType[Nodes]):
    """A number of nodes, or `all`."""

    name = "N|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Nodes:
        if value == "all" or (isinstance(value, int) and value > 0):
            return cast(Nodes, value)
        if isinstance(value, str) and value.isascii() and value.isdigit() and 0 < int(value) <= MEMBERS_MAX:
            return int(value)
        message = f"{value!r} is neither `all` nor a number of nodes from 1 (this node counts)"
        raise click.BadParameter(message, ctx=ctx, param=param)


@click.command(name="wait", epilog="Example: everynode wait /srv/www/index.html --nodes all --timeout 30")
@click.argument("path", required=False, type=click.Path())
@click.option("--nodes", type=NodesType(), default="all", show_default=True, help="On how many, this one included.")
@click.option("--timeout", type=Seconds(min=0), default=None, help="Seconds; without: as long as it takes.")
@click.option("--group", type=GroupName(), default=None, help="Only this group, when no PATH is given.")
@common_options
@pass_session
def wait(session: Session, path: str | None, nodes: Nodes, timeout: float | None, group: str | None) -> int:
    """Wait until PATH (without: all that has changed so far) is on stable storage on other nodes.

    Exit code 0 when it is; 4 when a node that is missing is unreachable, 1 when time is up.
    """
    if path is not None and group is not None:
        raise click.UsageError("PATH already says which group: leave --group away")
    body: dict[str, object] = {
        "path": None if path is None else path_json(absolute(path)),
        "group": group,
        "nodes": nodes,
    }
    raw, reply = _wait(session, body, timeout)
    if session.json:
        session.show_json(raw)
    elif reply.done:
        click.echo("done: on stable storage " + ("everywhere" if nodes == "all" else f"on {nodes} nodes"))
    else:
        _say_missing(reply)
    return reply.exit_code


def _wait(session: Session, body: dict[str, object], timeout: float | None) -> tuple[bytes, WaitReply]:
    """One request as long as the API allows, and the next one, until done or time is up.

    An answer that comes before its time is up is the last: waiting longer will not help.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        began = time.monotonic()
        left = API_WAIT_MAX if deadline is None else min(API_WAIT_MAX, max(0.0, deadline - began))
        asked = {**body, "timeout": left}
        if sys.stderr.isatty() and not session.json:
            raw = _with_progress(session, asked, left)
        else:
            raw = session.client.post_raw("/v1/wait", asked, timeout=left + REQUEST_TIMEOUT)
        reply = msgspec.json.decode(raw, type=WaitReply)
        now = time.monotonic()
        if reply.done or now < began + left or (deadline is not None and now >= deadline):
            return raw, reply


def _with_progress(session: Session, asked: dict[str, object], seconds: float) -> bytes:
    """The request on a thread of its own, and meanwhile a live line about what is missing, on stderr."""
    from concurrent.futures import ThreadPoolExecutor  # late, both: they cost more than the request

    from rich.console import Console

    pool = ThreadPoolExecutor(1)
    answer = pool.submit(session.client.post_raw, "/v1/wait", asked, timeout=seconds + REQUEST_TIMEOUT)
    try:
        with Console(stderr=True).status("waiting") as line:
            while True:
                try:
                    return answer.result(PROGRESS_SECONDS)
                except TimeoutError:
                    line.update(_progress(session))
    finally:
        pool.shutdown(wait=False)


def _progress(session: Session) -> str:
    parts = []
    for group in fetch_status(session).groups:
        if group.scan:
            parts.append(f"{group.name}: {show_progress(group.scan.seen, group.scan.expected, 'looked at')}")
        if group.backlog:
            parts.append(f"{group.name}: {group.backlog:,} to place here")
        parts += [f"{group.name}: {peer.name} behind by {peer.behind:,}" for peer in group.peers if peer.behind]
    return "; ".join(parts) or "waiting"


def _say_missing(reply: WaitReply) -> None:
    for name, result in reply.groups.items():
        if not result.done:
            missing = f", not yet on {', '.join(result.missing)}" if result.missing else ""
            reason = f": {result.reason}" if result.reason else ""
            there = f": on {result.reached} of {result.wanted} nodes" if result.wanted else ""
            click.echo(f"{name}{there}{missing}{reason}")
    if reply.unreachable:
        click.echo(f"unreachable: {', '.join(reply.unreachable)}")


@click.command(name="hint", epilog="Example: everynode hint upload.jpg --renamed old.html new.html --wait 2")
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--renamed", type=(click.Path(), click.Path()), multiple=True, metavar="OLD NEW", help="A rename.")
@click.option("--wait", "nodes", type=NodesType(), default=None, help="Until they are on so many nodes.")
@click.option("--timeout", type=Seconds(min=0), default=30.0, show_default=True, help="With --wait: seconds.")
@common_options
@pass_session
def hint(
    session: Session, paths: tuple[str, ...], renamed: tuple[tuple[str, str], ...], nodes: Nodes | None, timeout: float
) -> int:
    """Say that PATHS may have changed. everynode looks for itself; a wrong hint does no harm."""
    if not paths and not renamed:
        raise click.UsageError("say which paths, or --renamed OLD NEW")
    body = {
        "paths": [path_json(absolute(path)) for path in paths],
        "renames": [[path_json(absolute(old)), path_json(absolute(new))] for old, new in renamed],
        "wait": nodes,
        "timeout": timeout,
    }
    raw = session.client.post_raw("/v1/hint", body, timeout=timeout + REQUEST_TIMEOUT)
    reply = msgspec.json.decode(raw, type=WaitReply)
    if session.json:
        session.show_json(raw)
    elif not reply.done:
        _say_missing(reply)
    return reply.exit_code


@click.command(name="rescan", epilog="Example: everynode rescan www && everynode wait")
@click.argument("group", type=GroupName(), required=False)
@common_options
@pass_session
def rescan(session: Session, group: str | None) -> None:
    """Look at the whole tree of GROUP (without: of all groups) again, beside the work that goes on."""
    held = [one["name"] for one in session.client.get("/v1/groups")["groups"] if one["root"]]
    names = [group] if group is not None else held
    for name in names:
        session.client.post(f"/v1/groups/{name}/rescan", {})
    session.result({"scanning": names}, f"scanning {', '.join(names) or 'nothing: there is no group here'}")


@click.command(name="log", epilog="Example: everynode log -f")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now.")
@click.option("-n", "--number", type=click.IntRange(min=0), default=20, show_default=True, help="How many old ones.")
@common_options
@pass_session
def log(session: Session, follow: bool, number: int) -> None:
    """Show what changed, where and by which process, oldest first. With --json one object per line."""
    for line in session.client.lines(f"/v1/log?n={number}&follow={int(follow)}"):
        if not line.strip():
            continue
        if session.json:
            session.show_json(line)
        else:
            click.echo(_event_line(msgspec.json.decode(line)))


def _event_line(event: dict[str, Any]) -> str:
    who = " ".join(part for part in (event["node"], event["process"]) if part)
    detail = f"  {event['detail']}" if event["detail"] else ""
    by = f"  by {who}" if who else ""
    return f"{show_time(event['when'])}  {event['what']:<10}  {event['group']}: {event['path'] or '.'}{by}{detail}"
