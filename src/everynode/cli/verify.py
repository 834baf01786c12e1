"""`verify`: whether the trees of all nodes are equal, and what differs."""

from __future__ import annotations

import click
import msgspec

from everynode.cli.paths import GroupName
from everynode.cli.session import Session, common_options, pass_session
from everynode.cli.show import show_count
from everynode.cli.status import show_progress
from everynode.limits import API_WAIT_MAX
from everynode.report.status import EXIT_NOT_IN_SYNC, VerifyResult

READ_SECONDS = 10.0
"""How often it is said how far the reading is."""


@click.command(name="verify", epilog="Example: everynode verify www --contents")
@click.argument("group", type=GroupName(), required=False)
@click.option("--contents", is_flag=True, help="Read all contents again first, on every node: proves the disks, too.")
@common_options
@pass_session
def verify(session: Session, group: str | None, contents: bool) -> int:
    """Prove that all nodes hold the same tree of GROUP (without: of all groups), or name each difference.

    Every path is compared: kind, mode, owner, time in nanoseconds, content. Exit code 0 when all are equal; 1 when
    something differs, is damaged, or is still under way; else 4 when a node is unreachable.
    """
    held = [one["name"] for one in session.client.get("/v1/groups")["groups"] if one["root"]]
    results = [_verify(session, name, contents) for name in ([group] if group is not None else held)]
    if session.json:
        session.show_json(msgspec.json.encode({"groups": results}))
    else:
        for result in results:
            _show(result)
    codes = {result.exit_code for result in results}
    return EXIT_NOT_IN_SYNC if EXIT_NOT_IN_SYNC in codes else max(codes, default=0)


def _verify(session: Session, group: str, contents: bool) -> VerifyResult:
    body: dict[str, object] = {"contents": contents, "timeout": READ_SECONDS}
    while True:
        raw = session.client.post_raw(f"/v1/groups/{group}/verify", body, timeout=API_WAIT_MAX)
        result = msgspec.json.decode(raw, type=VerifyResult)
        if result.hash or not result.reading:
            return result
        if not session.json:
            for node, at in result.reading.items():
                done = "done" if at.done else show_progress(at.seen, at.expected, "read")
                click.echo(f"{group}: reading on {node}: {done}", err=True)
        body["pass_number"] = result.pass_number


def _show(result: VerifyResult) -> None:
    entries = show_count(result.entries, "entry", "entries")
    click.echo(f"{result.group}: {entries} on {result.node}, hash {result.hash[:32]}")
    words = {"equal": "equal", "differs": "differs", "syncing": "still syncing", "unreachable": "unreachable"}
    for node in result.nodes:
        click.echo(f"  {node.name}: {words[node.state]}")
    for name, at in result.reading.items():
        damaged = f", {show_count(at.damaged, 'file')} damaged: see `everynode problems` there" if at.damaged else ""
        click.echo(f"  {name}: all contents read again{damaged}")
    for one in result.differences:
        click.echo(f"{one.path}: {', '.join(one.what)}{' (still syncing)' if one.pending else ''}")
        for name, stands in one.nodes.items():
            click.echo(f"    {name}: {stands}")
    if result.more:
        click.echo("... and more")
