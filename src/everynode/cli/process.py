"""`up` and `down`: the daemon's process."""

from __future__ import annotations

import os
import select

import click

from everynode.cli.session import EXIT_FAILED, Session, common_options, pass_session


@click.command(name="up", epilog="Example: everynode up    (systemd: systemctl enable --now everynode)")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What goes to stderr.",
)
@common_options
@pass_session
def up(session: Session, log_level: str) -> int:
    """Run the daemon in the foreground, until SIGTERM, Ctrl-C or `everynode down`."""
    from everynode.daemon.run import run

    return run(session.home, log_level)


@click.command(name="down", epilog="Example: everynode down")
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds to wait for its end.")
@common_options
@pass_session
def down(session: Session, timeout: float) -> int:
    """Stop the daemon and wait until it has gone."""
    pid = int(session.client.get("/v1/status")["pid"])
    # Taken before it is asked to stop: afterwards the number could belong to another process.
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        process = -1
    session.client.post("/v1/down", {})
    if process < 0:
        session.result({"stopped": True, "pid": pid}, "stopped")
        return 0
    try:
        gone, _, _ = select.select([process], [], [], timeout)
    finally:
        os.close(process)
    session.result({"stopped": bool(gone), "pid": pid}, "stopped" if gone else f"still stopping (process {pid})")
    return 0 if gone else EXIT_FAILED
