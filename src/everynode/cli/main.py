"""The `everynode` command: the table of its commands, each imported when it is called."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from everynode.cli.session import Session, common_options, fail

# name -> (module below everynode.cli, one line of help)
COMMANDS = {
    "init": ("cluster", "make this machine the first node of a new cluster"),
    "up": ("process", "run the daemon in the foreground"),
    "down": ("process", "stop the daemon"),
    "invite": ("cluster", "print a token with which one node may join"),
    "join": ("cluster", "make this machine a node of the cluster that invited it"),
    "members": ("cluster", "list the nodes of the cluster"),
    "remove": ("cluster", "remove a node from the cluster"),
    "leave": ("cluster", "leave the cluster with this node"),
    "group": ("groups", "add, remove and list groups"),
    "config": ("settings", "show, check and apply the cluster's settings"),
    "status": ("status", "say whether everything is in sync, and if not, why"),
    "problems": ("status", "list the paths that are in trouble"),
    "wait": ("work", "wait until changes are on stable storage on other nodes"),
    "hint": ("work", "say that paths have changed"),
    "rescan": ("work", "look at a whole tree again"),
    "verify": ("verify", "prove that all nodes are equal, or name each difference"),
    "log": ("work", "show what changed, where and by which process"),
    "conflicts": ("versions", "list, show and resolve conflicts"),
    "release": ("holds", "let removals go that are held"),
    "discard": ("holds", "bring back everywhere what held removals removed"),
    "restore": ("versions", "bring back an old version of a file"),
    "torture": ("torture", "try it hard on this machine: daemons of its own, killed again and again"),
}


class Table(click.Group):
    """A group of commands that knows names and help without importing anything."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"everynode.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(  # type: ignore[override]  # never returns, in every mode
        self, args: Any = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run one command and exit with its code: 2 for wrong use, see `everynode status --help` for the others."""
        session = Session()
        try:
            code = super().main(args, prog_name or "everynode", standalone_mode=False, obj=session, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            # `everynode log | head`: who reads has had enough. Nothing may be flushed to it at exit, either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)
        except Exception as error:  # noqa: BLE001  # outermost: every error becomes a message and an exit code
            sys.exit(fail(session, error))
        sys.exit(code if isinstance(code, int) else 0)


@click.command(
    cls=Table,
    epilog="Exit codes, the first that applies: 5 daemon not running, 2 wrong use or settings, 3 conflicts, "
    "4 partly unreachable, 1 not in sync, 0 otherwise.",
)
@common_options
@click.version_option(package_name="everynode")
def everynode() -> None:
    """One directory tree, complete and plain, on every node of a cluster.

    \b
    On the first machine:   everynode init && everynode group add www /srv/www && everynode up
                            everynode invite
    On each other:          everynode join TOKEN && everynode up
    """


def main() -> NoReturn:
    everynode.main()
