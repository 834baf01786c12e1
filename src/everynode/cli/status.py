"""`status` and `problems`: the verdict first, then short lines per group and peer."""

from __future__ import annotations

import time

import click
import msgspec

from everynode.cli.session import Session, common_options, pass_session
from everynode.cli.show import columns, show_ago, show_bytes, show_count, show_duration
from everynode.client.connection import NotRunning
from everynode.report.status import (
    EXIT_NOT_IN_SYNC,
    EXIT_NOT_RUNNING,
    GroupPeer,
    GroupStatus,
    NodeStatus,
    NotCarried,
    PeerStatus,
)


def fetch_status(session: Session) -> NodeStatus:
    return msgspec.json.decode(session.client.get_raw("/v1/status"), type=NodeStatus)


@click.command(name="status", epilog="Example: everynode status --json | jq .groups[0].backlog")
@common_options
@pass_session
def status(session: Session) -> int:
    """Say whether everything is in sync, and if not, why.

    Exit code, the first that applies: 5 daemon not running, 2 settings, 3 conflicts, 4 partly unreachable,
    1 not in sync, else 0.
    """
    try:
        raw = session.client.get_raw("/v1/status")
    except NotRunning as error:
        if session.json:
            raise
        # Which home was asked is said, too: the daemon may well run for another one, or another user.
        click.echo(str(error))
        return EXIT_NOT_RUNNING
    now = msgspec.json.decode(raw, type=NodeStatus)
    if session.json:
        session.show_json(raw)
    else:
        for line in status_lines(now):
            click.echo(line)
    return now.exit_code


def status_lines(now: NodeStatus) -> list[str]:
    memory = f", {show_bytes(now.memory_bytes)} memory" if now.memory_bytes else ""
    lines = [
        now.verdict,
        f"node {now.name} ({now.node[:8]}), everynode {now.version}, up {show_duration(now.uptime)}{memory}",
    ]
    lines += [f"settings: {trouble}" for trouble in now.settings]
    if now.unconfined:
        lines.append(f"not confined to the roots by the kernel as well: {now.unconfined}")
    linked = frozenset(peer.node for peer in now.peers if peer.linked)
    for group in now.groups:
        lines += ["", *_group_lines(group, linked)]
    if now.peers:
        lines += ["", "peers", *columns([_peer_cells(peer) for peer in now.peers], "  ")]
    return lines


def _group_lines(group: GroupStatus, linked: frozenset[str]) -> list[str]:
    if group.state in ("halted", "stopped"):
        return [f"group {group.name} at {group.root}", f"  {group.state}: {group.reason}"]
    watch = f"watched by {group.watch}" if group.watch != "none" else "not watched: only scans find changes"
    detail = f" ({group.watch_detail})" if group.watch_detail else ""
    state = group.state + (f": {group.reason}" if group.reason else "")
    rows = [
        ["state", f"{state}, {watch}{detail}"],
        [
            "holds",
            f"{show_count(group.files, 'file')}, {show_count(group.directories, 'directory', 'directories')}, "
            f"{show_bytes(group.bytes)}; vault {show_count(group.vault_files, 'file')}, "
            f"{show_bytes(group.vault_bytes)}",
        ],
    ]
    if group.scan:
        rows.append(["scan", show_progress(group.scan.seen, group.scan.expected, "looked at")])
    if group.backlog:
        rows.append(["to place", f"{group.backlog:,}"])
    if group.last_change:
        change = group.last_change
        by = f" by {change.node}" if change.node else ""
        rows.append(["changed", f"{show_ago(change.when)}{by}: {change.path}"])
    for hold in group.holds:
        where = f" in {hold.path}" if hold.path else ""
        rows.append(["HELD", f"{hold.files:,} files removed or emptied by {hold.node}{where}, {show_ago(hold.since)}"])
    if group.conflicts:
        rows.append(["conflicts", f"{group.conflicts:,}: see `everynode conflicts`"])
    if group.problems_total:
        rows.append(["problems", f"{group.problems_total:,}: see `everynode problems`"])
    if missed := _not_carried(group.not_carried):
        rows.append(["not carried", missed])
    rows += [[peer.name, _peer_in_group(peer, peer.node in linked)] for peer in group.peers]
    return [f"group {group.name} at {group.root}", *columns(rows, "  ")]


def show_progress(done: int, expected: int, what: str) -> str:
    if expected <= 0:
        return f"{done:,} {what}"
    return f"{done:,} of about {max(expected, done):,} {what} ({100 * done // max(expected, done, 1)} %)"


def _not_carried(missed: NotCarried) -> str:
    parts = [
        (missed.hard_links, "hard link", "hard links"),
        (missed.xattrs, "file with extended attributes", "files with extended attributes"),
        (missed.special_files, "socket, FIFO or device", "sockets, FIFOs or devices"),
    ]
    return ", ".join(show_count(count, one, many) for count, one, many in parts if count)


def _peer_in_group(peer: GroupPeer, linked: bool) -> str:
    if linked and not peer.open:
        return "does not run there: see `everynode status` on that node"
    if not peer.open and peer.behind is None:
        return "not heard of yet"
    where = "" if peer.open else " (as last heard)"
    if peer.evicted:
        return "away for so long that deletions are not kept for it; it compares everything when it comes back"
    if peer.held:
        return f"holds {peer.held:,} removals{where}: everynode release or discard"
    if peer.behind:
        return f"behind by {peer.behind:,}{where}"
    if peer.backlog:
        return f"has {peer.backlog:,} to place{where}"
    return f"has everything{where}" if peer.behind == 0 else "linked"


def _peer_cells(peer: PeerStatus) -> list[str]:
    since = f" for {show_duration(time.time() - peer.since)}" if peer.since else ""
    if not peer.linked:
        return [peer.name, f"away{since or ' since the start'}", peer.address, peer.last_error]
    trip = f"{peer.rtt_ms:.1f} ms" if peer.rtt_ms is not None else ""
    traffic = f"in {show_bytes(peer.bytes_in)}, out {show_bytes(peer.bytes_out)}"
    return [peer.name, f"linked{since}", peer.address, f"{trip}  {traffic}".strip()]


@click.command(name="problems", epilog="Example: everynode problems")
@common_options
@pass_session
def problems(session: Session) -> int:
    """List the paths that are in trouble, with what to do about each.

    Exit code 1 when there is one that keeps a path from being in sync, or a group does not run, else 0.
    """
    now = fetch_status(session)
    blocking = sum(group.problems_blocking for group in now.groups)
    not_running = {group.name: group.reason for group in now.groups if group.state in ("halted", "stopped")}
    code = EXIT_NOT_IN_SYNC if blocking or not_running else 0
    if session.json:
        found = {group.name: group.problems for group in now.groups}
        session.show_json(msgspec.json.encode({"problems": found, "blocking": blocking, "not_running": not_running}))
        return code
    for group in now.groups:
        if group.name in not_running:
            click.echo(f"{group.root}: the whole group {group.name} is {group.state}\n    {group.reason}")
        for problem in group.problems:
            since = f", since {show_ago(problem.since)}" if problem.since else ""
            click.echo(f"{group.root.rstrip('/')}/{problem.path}: {problem.trouble}{since}\n    {problem.detail}")
        hidden = group.problems_total - len(group.problems)
        if hidden > 0:
            click.echo(f"... and {hidden:,} more in {group.name}")
    if not not_running and not any(group.problems_total for group in now.groups):
        click.echo("no problems")
    return code
