"""`release` and `discard`: decide about removals that the brake holds."""

from __future__ import annotations

import click
import msgspec

from everynode.cli.paths import GroupName
from everynode.cli.session import Session, common_options, pass_session
from everynode.report.status import EXIT_NOT_IN_SYNC, Decision

DECISION_TIMEOUT = 3600.0
"""A large tree takes its time; who interrupts it and asks again goes on where it was."""


@click.command(name="release", epilog="Example: everynode release www")
@click.argument("group", type=GroupName())
@click.option("--by", metavar="NODE", default=None, help="Only what this node removed.")
@common_options
@pass_session
def release(session: Session, group: str, by: str | None) -> int:
    """Let removals in GROUP go that are held: the files are removed on all nodes.

    Any node may say so, also one that holds nothing itself. `everynode status` and `problems` show what is held.
    Exit code 0, also when nothing is held.
    """
    decision = _decide(session, group, "release", by)
    if decision.by:
        session.say(f"released {decision.files:,} files removed or emptied by {', '.join(decision.by)}")
    return 0


@click.command(name="discard", epilog="Example: everynode discard www --by web2")
@click.argument("group", type=GroupName())
@click.option("--by", metavar="NODE", default=None, help="Only what this node removed.")
@common_options
@pass_session
def discard(session: Session, group: str, by: str | None) -> int:
    """Bring back on all nodes what held removals in GROUP removed or emptied: on the node that removed it, too.

    Any node may say so; emptied files come back only from a node that holds them. Exit code 1 when nothing could be
    brought back from here, else 0, also when nothing is held.
    """
    decision = _decide(session, group, "discard", by)
    if not decision.by:
        return 0
    if decision.files:
        session.say(f"{decision.files:,} files come back that were removed or emptied by {', '.join(decision.by)}")
        return 0
    session.say("nothing could be brought back from here: say it on a node that holds it")
    return EXIT_NOT_IN_SYNC


def _decide(session: Session, group: str, what: str, by: str | None) -> Decision:
    """The decision, said already as JSON, or where nothing is held."""
    raw = session.client.post_raw(f"/v1/groups/{group}/{what}", {"by": by}, timeout=DECISION_TIMEOUT)
    decision = msgspec.json.decode(raw, type=Decision)
    if session.json:
        session.show_json(raw)
    if not decision.by:
        session.say(f"nothing is held in {group}" + (f" of what {by} removed" if by else ""))
    return decision
