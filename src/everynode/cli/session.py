"""What every command shares: the home, --json, the client, how errors end the process."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import click

from everynode.client.connection import ApiError, Client, NotRunning
from everynode.client.place import default_home
from everynode.errors import EverynodeError

F = TypeVar("F", bound=Callable[..., Any])

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 5
EXIT_INTERRUPTED = 130


class Session:
    """Of one run of the command; options may stand before or after the command's name."""

    def __init__(self) -> None:
        self.home = default_home()
        self.json = False

    @property
    def client(self) -> Client:
        return Client(self.home)

    def say(self, text: str) -> None:
        """For a person only; with --json nothing but JSON is printed."""
        if not self.json:
            click.echo(text)

    def show_json(self, raw: bytes) -> None:
        click.echo(raw.removesuffix(b"\n"))

    def result(self, value: object, text: str) -> None:
        """One answer: as JSON, or as text for a person."""
        click.echo(json.dumps(value) if self.json else text)


pass_session = click.make_pass_decorator(Session, ensure=True)


def _set_home(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        ctx.ensure_object(Session).home = value


def _set_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).json = True


def common_options(function: F) -> F:
    """--home and --json, on the program and on each command alike."""
    function = click.option(
        "--json", is_flag=True, expose_value=False, callback=_set_json, is_eager=True, help="Print JSON."
    )(function)
    return click.option(
        "--home",
        type=click.Path(file_okay=False, resolve_path=True),
        expose_value=False,
        callback=_set_home,
        is_eager=True,
        help="Where this node keeps its state (EVERYNODE_HOME).",
    )(function)


def fail(session: Session, error: Exception) -> int:
    """Say what went wrong; the exit code for it."""
    what_to_do = ""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.UsageError():
            if not session.json:
                error.show()
                return EXIT_USAGE
            text, code = error.format_message(), EXIT_USAGE
        case click.ClickException():
            text, code = error.format_message(), EXIT_USAGE
        case click.Abort():
            text, code = "interrupted", EXIT_INTERRUPTED
        case NotRunning():
            text, code = str(error), EXIT_NOT_RUNNING
        case ApiError():
            # 409: asked rightly, but the group cannot now; 5xx: the daemon's own trouble.
            text, what_to_do = str(error), error.what_to_do
            code = EXIT_USAGE if error.status < 500 and error.status != 409 else EXIT_FAILED
        case EverynodeError():
            text, code = str(error), EXIT_USAGE
        case OSError():
            text, code = f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), EXIT_USAGE
        case _:
            traceback.print_exception(error)
            text, code = f"everynode failed: {type(error).__name__}: {error}", EXIT_FAILED
    if session.json:
        click.echo(json.dumps({"error": text, "what_to_do": what_to_do, "exit_code": code}))
    else:
        click.echo(f"everynode: {text}", err=True)
        if what_to_do:
            click.echo(f"           {what_to_do}", err=True)
    return code
