"""The first line of `status`, and the exit code."""

from __future__ import annotations

from everynode.report.status import (
    EXIT_CONFLICTS,
    EXIT_NOT_IN_SYNC,
    EXIT_NOT_RUNNING,
    EXIT_OK,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    GroupStatus,
    NodeStatus,
)


def verdict(status: NodeStatus | None) -> tuple[str, int]:
    """The first line of `status` and the exit code: the first that applies of 5, 2, 3, 4, 1, 0.

    None: the daemon is not running.
    """
    if status is None:
        return "not running: start it with `everynode up`", EXIT_NOT_RUNNING
    if status.settings:
        return f"settings need attention: {status.settings[0]}", EXIT_USAGE
    troubles = [
        (EXIT_CONFLICTS, _conflicts(status)),
        (EXIT_UNREACHABLE, _unreachable(status)),
        (EXIT_NOT_IN_SYNC, _not_in_sync(status)),
    ]
    present = [(code, text) for code, text in troubles if text]
    if present:
        return "; ".join([*_held(status), *(text for _, text in present)]), present[0][0]
    if not status.groups:
        return "running, no group yet: `everynode group add NAME DIR`", EXIT_OK
    nodes = len(status.peers) + 1
    return f"in sync on {nodes} nodes" if nodes > 1 else "in sync, no other node yet: `everynode invite`", EXIT_OK


def _held(status: NodeStatus) -> list[str]:
    """Before all else: somebody has to decide. Exit code and other reasons are as for any group that is not in sync."""
    said = []
    for group in status.groups:
        for hold in group.holds:
            said.append(
                f"HELD in {group.name}: {hold.files:,} files removed or emptied by {hold.node}: "
                f"`everynode release {group.name}` or `everynode discard {group.name}`"
            )
        holding = [peer for peer in group.peers if peer.held]
        if holding and not group.holds:
            said.append(
                f"HELD in {group.name} by {', '.join(peer.name for peer in holding)}: "
                f"{max(peer.held for peer in holding):,} files removed or emptied: "
                f"`everynode release {group.name}` or `everynode discard {group.name}`"
            )
    return said


def _conflicts(status: NodeStatus) -> str:
    count = sum(group.conflicts for group in status.groups)
    return f"{count} conflict{'s' if count > 1 else ''}: `everynode conflicts`" if count else ""


def _unreachable(status: NodeStatus) -> str:
    away = [peer.name for peer in status.peers if not peer.linked]
    if not away:
        return ""
    names = ", ".join(away[:3]) + (", ..." if len(away) > 3 else "")
    return f"{len(away)} of {len(status.peers)} peers unreachable ({names})"


def _not_in_sync(status: NodeStatus) -> str:
    linked = {peer.node for peer in status.peers if peer.linked}
    reasons = []
    for group in status.groups:
        closed = [peer.name for peer in group.peers if not peer.open and peer.node in linked]
        if not group.in_sync:
            reasons.append(f"{group.name} {_why_not_in_sync(group)}")
        if closed and group.state == "live":
            reasons.append(f"{group.name} does not run on {', '.join(closed)}: see `everynode status` there")
    return "; ".join(reasons)


def _why_not_in_sync(group: GroupStatus) -> str:
    if group.state in ("halted", "stopped"):
        return f"{group.state}: {group.reason}" if group.reason else group.state
    parts = []
    if group.state == "scanning":
        parts.append("is being scanned" + (f" and {group.reason}" if group.reason else ""))
    elif group.backlog:
        parts.append(f"has {group.backlog} to place")
    if group.problems_blocking:
        # Said beside what is to be placed: mostly it is why that does not go on.
        several = "s" if group.problems_blocking > 1 else ""
        parts.append(f"has {group.problems_blocking} problem{several}: `everynode problems`")
    if parts:
        return " and ".join(parts)
    behind = [peer.name for peer in group.peers if peer.open and peer.behind]
    return f"waits for {', '.join(behind)}: see `everynode status` there" if behind else "is not in sync"
