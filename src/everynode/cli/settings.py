"""`config`: the cluster's settings as one TOML text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from everynode.cli.offline import administer
from everynode.cli.paths import show_argument
from everynode.cli.session import Session, common_options, pass_session


@click.group(
    name="config", epilog="Example: everynode config show > cluster.toml; edit; everynode config apply cluster.toml"
)
@common_options
def config() -> None:
    """Show, check and apply the cluster's settings."""


@config.command(name="show", epilog="Example: everynode config show > cluster.toml")
@common_options
@pass_session
def show(session: Session) -> None:
    """Print the cluster's settings as TOML: nodes, groups and their policies."""
    found = administer(session, "/v1/config", None, lambda admin: {"toml": admin.config_text()})
    session.result(found, found["toml"].rstrip("\n"))


@config.command(name="check", epilog="Example: everynode config check cluster.toml")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), required=False)
@common_options
@pass_session
def check(session: Session, file: str | None) -> None:
    """Check FILE and say what applying it would change; without FILE check this node's own settings.

    All errors are said in one run, each with file, line and what was probably meant. Exit code 2 when there are any.
    """
    from everynode.cluster.home import Home

    home = Home(Path(session.home))
    if file is None:
        home.check()
        home.read_settings()
        session.result({"correct": True, "changes": []}, f"{home.settings_path} is correct")
        return
    text = _read(file)
    if not home.has_cluster:
        # Nothing to compare with: what can be told from the text alone.
        from everynode.config.cluster_file import read_cluster

        read_cluster(text, file)
        session.result({"correct": True, "changes": []}, f"{file} is correct; this home is in no cluster yet")
        return
    changes = _apply(session, text, file, check=True)
    _say(session, {"correct": True, "changes": changes}, changes, f"{file} is correct and says what is already so")


@config.command(name="apply", epilog="Example: everynode config apply cluster.toml")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@common_options
@pass_session
def apply(session: Session, file: str) -> None:
    """Make the cluster what FILE says, on all nodes, or refuse it whole."""
    changes = _apply(session, _read(file), file, check=False)
    _say(session, {"applied": True, "changes": changes}, changes, "nothing to change")


def _read(file: str) -> str:
    with click.open_file(file, "rb") as stream:
        data: bytes = stream.read()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file} is not UTF-8 text: byte {error.start} is {data[error.start]:#04x}") from error


def _apply(session: Session, text: str, file: str, *, check: bool) -> list[str]:
    file = show_argument(file)
    body = {"toml": text, "file": file, "check": check}
    answer = administer(
        session,
        "/v1/config",
        body,
        lambda admin: {"changes": admin.check_config(text, file) if check else admin.apply_config(text, file)},
    )
    changes: list[str] = answer["changes"]
    return changes


def _say(session: Session, value: Any, changes: list[str], otherwise: str) -> None:
    session.result(value, "\n".join(changes) or otherwise)
