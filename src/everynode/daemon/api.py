"""The local HTTP+JSON API, version 1: what can be asked of the daemon over HOME/api.sock.

    curl --unix-socket HOME/api.sock http://everynode/v1/status

The table `ROUTES` is the whole of it. Errors are `{"error": ..., "what_to_do": ...}` with a 4xx or 5xx status.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from typing import TypeVar, cast

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from everynode.client.roots import Roots, locate, roots_of
from everynode.daemon import requests as ask
from everynode.daemon.answers import answer, answer_error, read_blocks
from everynode.daemon.facade import GroupFacade, HeldGroup, NodeFacade
from everynode.daemon.waiting import Target, wait_for_targets
from everynode.errors import EverynodeError, PathError
from everynode.limits import API_BODY_BYTES_MAX, LOG_EVENTS_KEPT
from everynode.model.path import ROOT, RelPath, parse_path, show_path
from everynode.report.status import EXIT_OK, ConflictView, WaitReply

R = TypeVar("R", bound=ask.Request)


def _node(request: HttpRequest) -> NodeFacade:
    return cast(NodeFacade, request.app.state.node)


def _group(request: HttpRequest) -> GroupFacade:
    return ask.running(request.path_params["group"], _node(request).held_groups())


def _roots(groups: Mapping[str, HeldGroup]) -> Roots:
    return roots_of((name, group.root) for name, group in groups.items())


async def _body(request: HttpRequest, kind: type[R]) -> R:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > API_BODY_BYTES_MAX:
            raise ask.BadRequest(f"the request is larger than {API_BODY_BYTES_MAX} bytes: send it in parts")
    try:
        return msgspec.json.decode(bytes(body) or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ask.BadRequest(f"the request body cannot be used: {error}") from error


def _query_path(request: HttpRequest) -> RelPath:
    """`?path=` in UTF-8, or `?path_b64=`."""
    query = request.query_params
    if "path_b64" in query:
        # A plus sign in a query is a space for many clients: take the URL-safe alphabet, too.
        text = query["path_b64"].replace(" ", "+").replace("-", "+").replace("_", "/")
        return parse_path(ask.raw_path(ask.RawPath(path_b64=text)))
    if "path" in query:
        return parse_path(ask.raw_path(query["path"]))
    raise ask.BadRequest("say which path: ?path=... or ?path_b64=...")


def _query_number(request: HttpRequest, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ask.BadRequest(f"?{name}= is not a number: {text[:50]!r}")
    return int(text)


async def status(request: HttpRequest) -> Response:
    """The verdict and everything known of groups and peers."""
    return answer(_node(request).status())


async def wait(request: HttpRequest) -> Response:
    """Wait until a path, a group or everything is on stable storage on so many nodes."""
    body = await _body(request, ask.WaitRequest)
    node = _node(request)
    groups = node.held_groups()
    targets: list[Target]
    if body.path is not None:
        targets = [locate(ask.raw_path(body.path), _roots(groups))]
    elif body.group is not None:
        ask.held(body.group, groups)
        targets = [(body.group, ROOT)]
    else:
        targets = [(name, ROOT) for name in groups]
    return answer(await wait_for_targets(node, targets, body.nodes, body.timeout))


async def hint(request: HttpRequest) -> Response:
    """These paths may have changed; these were renamed. With `wait`: until they are on so many nodes."""
    body = await _body(request, ask.HintRequest)
    node = _node(request)
    groups = node.held_groups()
    roots = _roots(groups)
    paths: dict[str, list[RelPath]] = {}
    renames: dict[str, list[tuple[RelPath, RelPath]]] = {}
    for raw in body.paths:
        name, path = locate(ask.raw_path(raw), roots)
        paths.setdefault(name, []).append(path)
    for raw_old, raw_new in body.renames:
        old_name, old = locate(ask.raw_path(raw_old), roots)
        new_name, new = locate(ask.raw_path(raw_new), roots)
        if old_name == new_name:
            renames.setdefault(new_name, []).append((old, new))
        else:  # between two groups it is a deletion here and something new there
            paths.setdefault(old_name, []).append(old)
            paths.setdefault(new_name, []).append(new)
    names = sorted({*paths, *renames})
    for name in names:
        await ask.running(name, groups).hint(paths.get(name, []), renames.get(name, []))
    if body.wait is None:
        return answer(WaitReply(done=True, exit_code=EXIT_OK))
    targets: list[Target] = [(name, path) for name in paths for path in paths[name]]
    targets += [(name, path) for name in renames for pair in renames[name] for path in pair]
    return answer(await wait_for_targets(node, targets, body.wait, body.timeout))


async def groups(request: HttpRequest) -> Response:
    """The groups of the cluster and where they are on this node."""
    return answer({"groups": _node(request).groups()})


async def add_group(request: HttpRequest) -> Response:
    body = await _body(request, ask.AddGroupRequest)
    await _node(request).add_group(body.name, body.path, body.exclude, body.conflict)
    return answer({"added": body.name})


async def remove_group(request: HttpRequest) -> Response:
    """The group is given up on all nodes; the files stay where they are."""
    body = await _body(request, ask.RemoveGroupRequest)
    await _node(request).remove_group(body.name)
    return answer({"removed": body.name})


async def set_root(request: HttpRequest) -> Response:
    """Keep the group elsewhere on this node alone."""
    body = await _body(request, ask.RootRequest)
    await _node(request).set_root(request.path_params["group"], body.path)
    return answer({"root": body.path})


async def conflicts(request: HttpRequest) -> Response:
    """All conflicts of a group, or with `?path=` the one of that path."""
    found = await _group(request).conflicts()
    if "path" in request.query_params or "path_b64" in request.query_params:
        path = _query_path(request)
        found = [_conflict_at(found, path)]
    return answer({"conflicts": found})


def _conflict_at(found: list[ConflictView], path: RelPath) -> ConflictView:
    for view in found:
        if view.raw() == path:
            return view
    raise PathError(f"there is no conflict at {show_path(path)} (any more); see `everynode conflicts`", path=path)


async def content(request: HttpRequest) -> Response:
    """The bytes of `?path=`: of the version `&dot=` of a conflict, or of the kept `&generation=`."""
    path = _query_path(request)
    if dot := request.query_params.get("dot"):
        descriptor = await _group(request).conflict_content(path, dot)
    elif name := request.query_params.get("generation"):
        descriptor = await _group(request).generation_content(path, name)
    else:
        raise ask.BadRequest("say which content: &dot=... or &generation=...")
    size = os.fstat(descriptor).st_size
    return StreamingResponse(
        read_blocks(descriptor, size),
        media_type="application/octet-stream",
        headers={"Content-Length": str(size)},
    )


async def resolve(request: HttpRequest) -> Response:
    """Keep one version of a conflict; the others stay as generations."""
    body = await _body(request, ask.ResolveRequest)
    await _group(request).resolve(parse_path(ask.raw_path(body.path)), body.keep)
    return answer({"resolved": True})


async def generations(request: HttpRequest) -> Response:
    """The kept old copies of `?path=`, newest first."""
    return answer({"generations": await _group(request).generations(_query_path(request))})


async def restore(request: HttpRequest) -> Response:
    """Bring back a generation (the newest when none is named), as a change of this node."""
    body = await _body(request, ask.RestoreRequest)
    await _group(request).restore(parse_path(ask.raw_path(body.path)), body.generation)
    return answer({"restored": True})


async def rescan(request: HttpRequest) -> Response:
    """Look at the whole tree again; returns when the scan has been asked for."""
    await _body(request, ask.Nothing)
    await _group(request).rescan()
    return answer({"scanning": True})


async def release(request: HttpRequest) -> Response:
    """Removals that the brake holds, here or on a peer, may be placed, on all nodes."""
    body = await _body(request, ask.DecisionRequest)
    return answer(await _group(request).release(body.by))


async def discard(request: HttpRequest) -> Response:
    """What they removed comes back, on all nodes."""
    body = await _body(request, ask.DecisionRequest)
    return answer(await _group(request).discard(body.by))


async def verify(request: HttpRequest) -> Response:
    """Whether the trees of all members are equal; with `contents` after every node has read its contents again."""
    body = await _body(request, ask.VerifyRequest)
    number = body.pass_number
    if number is None and body.contents:
        number = int.from_bytes(os.urandom(8), "big") >> 11  # exact in JSON
    result = await _group(request).verify(number, ask.wait_seconds(body.timeout))
    return answer(msgspec.structs.replace(result, pass_number=number))


async def log(request: HttpRequest) -> Response:
    """Events as JSON lines: the newest `?n=`, or those above `?since=`; with `?follow=1` for ever."""
    journal = _node(request).journal
    count = _query_number(request, "n", 100)
    since = _query_number(request, "since", max(0, journal.last - count))
    first = journal.since(since, min(count, LOG_EVENTS_KEPT) if "n" in request.query_params else LOG_EVENTS_KEPT)
    encoder = msgspec.json.Encoder()

    async def lines() -> AsyncIterator[bytes]:
        # An empty first part sends the headers at once, so that a follower knows that it is connected.
        yield encoder.encode_lines(first)
        if request.query_params.get("follow", "0") not in ("0", ""):
            async for events in journal.follow(first[-1].number if first else since):
                yield encoder.encode_lines(events)

    return StreamingResponse(lines(), media_type="application/x-ndjson")


async def members(request: HttpRequest) -> Response:
    return answer({"members": _node(request).members()})


async def invite(request: HttpRequest) -> Response:
    """A token with which one node may join, once."""
    body = await _body(request, ask.InviteRequest)
    return answer(await _node(request).invite(body.valid_seconds, body.advertise))


async def remove_member(request: HttpRequest) -> Response:
    body = await _body(request, ask.RemoveMemberRequest)
    await _node(request).remove_member(body.node)
    return answer({"removed": body.node})


async def leave(request: HttpRequest) -> Response:
    """This node gives up its membership, tells the others, and the daemon stops."""
    await _body(request, ask.Nothing)
    await _node(request).leave()
    return answer({"left": True})


async def config(request: HttpRequest) -> Response:
    """The cluster file, TOML as text."""
    return answer({"toml": _node(request).config_text()})


async def apply_config(request: HttpRequest) -> Response:
    """Make the cluster what the TOML says, or refuse it whole; with `check` only say what that would change."""
    body = await _body(request, ask.ConfigRequest)
    node = _node(request)
    changes = await (node.check_config if body.check else node.apply_config)(body.toml, body.file)
    return answer({"changes": changes, "applied": not body.check})


async def down(request: HttpRequest) -> Response:
    """Stop the daemon; it says so first."""
    await _body(request, ask.Nothing)
    node = _node(request)
    pid = node.status().pid
    node.stop()
    return answer({"stopping": True, "pid": pid})


ROUTES = [
    Route("/v1/status", status, methods=["GET"]),
    Route("/v1/wait", wait, methods=["POST"]),
    Route("/v1/hint", hint, methods=["POST"]),
    Route("/v1/log", log, methods=["GET"]),
    Route("/v1/groups", groups, methods=["GET"]),
    Route("/v1/groups", add_group, methods=["POST"]),
    Route("/v1/groups/remove", remove_group, methods=["POST"]),
    Route("/v1/groups/{group}/root", set_root, methods=["POST"]),
    Route("/v1/groups/{group}/conflicts", conflicts, methods=["GET"]),
    Route("/v1/groups/{group}/content", content, methods=["GET"]),
    Route("/v1/groups/{group}/resolve", resolve, methods=["POST"]),
    Route("/v1/groups/{group}/generations", generations, methods=["GET"]),
    Route("/v1/groups/{group}/restore", restore, methods=["POST"]),
    Route("/v1/groups/{group}/rescan", rescan, methods=["POST"]),
    Route("/v1/groups/{group}/release", release, methods=["POST"]),
    Route("/v1/groups/{group}/discard", discard, methods=["POST"]),
    Route("/v1/groups/{group}/verify", verify, methods=["POST"]),
    Route("/v1/members", members, methods=["GET"]),
    Route("/v1/members/remove", remove_member, methods=["POST"]),
    Route("/v1/invite", invite, methods=["POST"]),
    Route("/v1/leave", leave, methods=["POST"]),
    Route("/v1/config", config, methods=["GET"]),
    Route("/v1/config", apply_config, methods=["POST"]),
    Route("/v1/down", down, methods=["POST"]),
]


def make_app(node: NodeFacade) -> Starlette:
    handlers = {EverynodeError: answer_error, HTTPException: answer_error, Exception: answer_error}
    app = Starlette(routes=ROUTES, exception_handlers=handlers)
    app.state.node = node
    return app
