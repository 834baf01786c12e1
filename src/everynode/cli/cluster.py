"""`init`, `invite`, `join`, `members`, `remove`, `leave`: who belongs to the cluster."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from everynode.cli.offline import administer
from everynode.cli.session import Session, common_options, pass_session
from everynode.cli.show import columns, show_duration
from everynode.limits import PORT_DEFAULT, TOKEN_VALID_SECONDS
from everynode.model.names import check_address, split_address

if TYPE_CHECKING:
    from everynode.cluster.home import Home
    from everynode.cluster.membership import Membership
    from everynode.daemon.admin import Admin

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}

name_option = click.option("--name", default=None, help="What this node is called; without: the host's name.")
listen_option = click.option(
    "--listen", multiple=True, metavar="HOST:PORT", help=f"Where to listen; without: 0.0.0.0:{PORT_DEFAULT}."
)
advertise_option = click.option(
    "--advertise", multiple=True, metavar="HOST:PORT", help="Where the others reach this node; without: guessed."
)


@click.command(name="init", epilog="Example: everynode init --name alpha --advertise 192.0.2.7:7391")
@name_option
@listen_option
@advertise_option
@common_options
@pass_session
def init(session: Session, name: str | None, listen: tuple[str, ...], advertise: tuple[str, ...]) -> None:
    """Make this machine the first node of a new cluster: its key, its home and the cluster file."""
    from everynode.cluster.membership import Membership
    from everynode.model.ids import show_node

    name = name or host_name()
    listen = listen or (f"0.0.0.0:{PORT_DEFAULT}",)
    advertise = advertise or guess_addresses(listen)
    with new_home(session.home) as home:
        membership = Membership.create(home, name, listen, advertise)
    result = {
        "name": name,
        "node": show_node(membership.node),
        "cluster": membership.cluster.hex(),
        "home": session.home,
        "advertise": list(advertise),
    }
    where = ", ".join(advertise) or "no address yet, see everynode invite --advertise"
    session.result(
        result,
        f"node {name} begins a new cluster; the others reach it at {where}\n"
        "next: everynode group add NAME DIR; everynode up; everynode invite",
    )


class Duration(click.ParamType[float]):
    """Seconds, or a number with s, m, h or d."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value).strip().lower())
        if not found or (found[2] or "s") not in _UNITS:
            raise click.BadParameter(f"{value!r} is no time: write 90s, 10m, 1h or 2d", ctx=ctx, param=param)
        return float(found[1]) * _UNITS[found[2] or "s"]


@click.command(name="invite", epilog="Example: everynode invite --valid 10m")
@click.option("--valid", type=Duration(), default=TOKEN_VALID_SECONDS, help="How long; without: 1h.")
@click.option("--advertise", multiple=True, metavar="HOST:PORT", help="From now on the others reach this node there.")
@common_options
@pass_session
def invite(session: Session, valid: float, advertise: tuple[str, ...]) -> None:
    """Print a token with which one node may join, once. It is a secret until then.

    The daemon of this node must run when the token is used.
    """
    body = {"valid_seconds": valid, "advertise": list(advertise)}
    made = administer(session, "/v1/invite", body, lambda admin: admin.invite(valid, advertise))
    if session.json:
        session.result(made, "")
        return
    left = show_duration(made["expires"] - time.time())
    click.echo(f"On the new node, within {left}, once: everynode join TOKEN && everynode up", err=True)
    click.echo(made["token"])


@click.command(name="join", epilog="Example: everynode join everynode1-... --name beta --root /srv/www")
@click.argument("token")
@name_option
@listen_option
@advertise_option
@click.option(
    "--root", "roots", multiple=True, metavar="DIR | GROUP=DIR", help="Where to keep the one group, or GROUP, here."
)
@common_options
@pass_session
def join(
    session: Session,
    token: str,
    name: str | None,
    listen: tuple[str, ...],
    advertise: tuple[str, ...],
    roots: tuple[str, ...],
) -> None:
    """Make this machine a node of the cluster that made TOKEN.

    Roots are created if absent; what stands there already is news to the others and is never deleted.
    """
    import asyncio

    from everynode.cluster import joining
    from everynode.daemon.admin import Admin
    from everynode.model.ids import show_node
    from everynode.net.dial import ask_join

    async def ask(addresses: tuple[str, ...], fingerprint: bytes, request: bytes) -> bytes:
        return await ask_join(addresses, fingerprint, lambda certificate: request)

    name = name or host_name()
    listen = listen or (f"0.0.0.0:{PORT_DEFAULT}",)
    wanted = [_root(text) for text in roots]
    with new_home(session.home) as home:
        prepared = joining.prepare_join(home, token, name, listen, advertise or guess_addresses(listen))
        if prepared.warning:
            click.echo(f"note: {prepared.warning}", err=True)
        unclear: list[str] = []

        def settle(membership: Membership) -> None:
            admin = Admin(membership)
            unclear.extend(root for group, root in wanted if not _keep_at(admin, group, root))

        membership = asyncio.run(joining.join(prepared, ask, settle))
        groups = Admin(membership).groups()
        members = len(membership.members())
        if unclear:
            names = ", ".join(group.name for group in groups)
            raise click.UsageError(
                f"the node has joined, but --root {unclear[0]} does not say which of the groups {names} it is for: "
                "everynode group root NAME DIR"
            )
    result = {
        "name": name,
        "node": show_node(membership.node),
        "cluster": membership.cluster.hex(),
        "members": members,
        "groups": {group.name: group.root for group in groups},
    }
    lines = [f"node {name} is in the cluster of {members} nodes", *(f"  {g.name} will be at {g.root}" for g in groups)]
    session.result(result, "\n".join([*lines, "next: everynode up"]))


def _root(text: str) -> tuple[str, str]:
    """(group or nothing, absolute directory)"""
    group, equals, directory = text.partition("=")
    if not equals or "/" in group:
        group, directory = "", text
    return group, os.path.abspath(directory)


def _keep_at(admin: Admin, group: str, root: str) -> bool:
    """False: it is not clear for which group."""
    known = [one.name for one in admin.groups()]
    if group in known:
        admin.set_root(group, root)
    elif group:
        # The cluster may get a group of this name later; then it is kept there.
        admin.membership.home.set_root(group, root)
        admin.membership.settings = admin.membership.home.read_settings()
    elif len(known) > 1:
        return False
    else:
        admin.want_first_root(root)
    return True


@click.command(name="members", epilog="Example: everynode members --json")
@common_options
@pass_session
def members(session: Session) -> None:
    """List the nodes of the cluster. Which of them are linked is said by `status`."""
    found = administer(session, "/v1/members", None, lambda admin: {"members": admin.members()})
    rows = [
        [one["name"], one["node"], ", ".join(one["addresses"]) + (" (this node)" if one["this"] else "")]
        for one in found["members"]
    ]
    session.result(found, "\n".join(columns(rows)))


@click.command(name="remove", epilog="Example: everynode remove beta")
@click.argument("node")
@common_options
@pass_session
def remove(session: Session, node: str) -> None:
    """Remove NODE (name or id) from the cluster, for good. Each node refuses it as soon as it has heard.

    Its files stay where they are; only its key is worth nothing any more.
    """
    administer(session, "/v1/members/remove", {"node": node}, lambda admin: admin.remove_member(node))
    session.result({"removed": node}, f"{node} is removed")


@click.command(name="leave", epilog="Example: everynode leave")
@common_options
@pass_session
def leave(session: Session) -> None:
    """Leave the cluster with this node; the daemon tells the others and stops. The files stay where they are."""
    session.client.post("/v1/leave", {})
    session.result({"left": True}, "this node has left the cluster; its files stay where they are")


def host_name() -> str:
    return socket.gethostname().partition(".")[0]


def guess_addresses(listen: tuple[str, ...]) -> tuple[str, ...]:
    """Where others probably reach who listens there: for a wildcard, what this machine sends from by default."""
    found: list[str] = []
    for address in listen:
        host, port = split_address(check_address(address))
        match host:
            case "0.0.0.0" | "::":
                found += [
                    f"[{own}]:{port}" if ":" in own else f"{own}:{port}"
                    for own in (_own_address(socket.AF_INET, "192.0.2.1"), _own_address(socket.AF_INET6, "2001:db8::1"))
                    if own and (":" not in own or host == "::")
                ]
            case _:
                found.append(address)
    return tuple(dict.fromkeys(found))


def _own_address(family: socket.AddressFamily, somewhere: str) -> str:
    """The source address of a packet to `somewhere` (a documentation address); none is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((somewhere, 9))
            return str(asking.getsockname()[0])
    except OSError:
        return ""


@contextmanager
def new_home(path: str) -> Iterator[Home]:
    """The home, made or found, locked."""
    from everynode.cluster.home import Home

    home = Home(Path(path))
    # An empty directory that somebody made for us with the usual mode holds no secret yet: close it.
    if os.path.isdir(path) and not os.listdir(path):
        os.chmod(path, 0o700)
    home.create()
    with home.lock():
        yield home
