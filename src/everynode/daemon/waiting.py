"""Waiting over several groups and paths, also while a group is opened, closed or opened again meanwhile."""

from __future__ import annotations

import asyncio

from everynode.daemon import requests as ask
from everynode.daemon.facade import NodeFacade
from everynode.limits import API_WAIT_LOOK
from everynode.model.path import RelPath
from everynode.report.status import EXIT_NOT_IN_SYNC, EXIT_OK, EXIT_UNREACHABLE, WaitReply, WaitResult

Target = tuple[str, RelPath]
"""(group, path; ROOT: everything)"""


async def wait_for_targets(node: NodeFacade, targets: list[Target], nodes: ask.Nodes, timeout: float) -> WaitReply:
    """One result per group: of several paths in one group the worst."""
    deadline = asyncio.get_running_loop().time() + ask.wait_seconds(timeout)
    results: dict[str, WaitResult] = {}
    for name, path in targets:  # one after the other: what came with the first is mostly there for the next
        result = await _wait_in_group(node, name, path, ask.node_count(nodes), deadline)
        if name not in results or (results[name].done and not result.done):
            results[name] = result
    done = all(result.done for result in results.values())
    missing = {name for result in results.values() if not result.done for name in result.missing}
    # This node itself may be what is missing; it is trouble enough, but no link.
    status = node.status() if missing else None
    there = {status.name, *(peer.name for peer in status.peers if peer.linked)} if status else set()
    unreachable = tuple(sorted(missing - there))
    code = EXIT_OK if done else EXIT_UNREACHABLE if unreachable else EXIT_NOT_IN_SYNC
    return WaitReply(done=done, exit_code=code, unreachable=unreachable, groups=results)


async def _wait_in_group(node: NodeFacade, name: str, path: RelPath, nodes: int | None, deadline: float) -> WaitResult:
    loop = asyncio.get_running_loop()
    while True:
        held = node.held_groups().get(name)
        left = max(0.0, deadline - loop.time())
        if held is not None and held.running is not None:
            group = held.running
            waiting = asyncio.ensure_future(group.wait(path or None, nodes, left))
            try:
                # One that is closed meanwhile never answers: it is looked at now and then, and asked anew.
                while not waiting.done() and _runs(node, name, group):
                    await asyncio.wait([waiting], timeout=API_WAIT_LOOK)
                if waiting.done():
                    return waiting.result()
            finally:
                waiting.cancel()
        elif held is None or not held.opening or left <= 0:
            reason = held.reason if held is not None else "the group is not held on this node any more"
            return WaitResult(done=False, reached=0, wanted=0, reason=reason)
        else:
            await asyncio.sleep(min(left, API_WAIT_LOOK))


def _runs(node: NodeFacade, name: str, group: object) -> bool:
    held = node.held_groups().get(name)
    return held is not None and held.running is group
