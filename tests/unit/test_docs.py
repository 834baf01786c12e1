"""The documents hold together: links lead somewhere, and bounds, commands, settings and requests are the real ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from everynode import limits
from everynode.cli.main import COMMANDS, everynode
from everynode.config.cluster_file import GroupTable, NodeTable
from everynode.config.node_file import NodeSettings
from everynode.daemon.api import ROUTES
from everynode.model.policy import VaultPolicy

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
REFERENCE = REPOSITORY / "docs" / "reference"

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
CONSTANT = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
# Written like bounds of ours, but of others.
FOREIGN = re.compile(r"EVERYNODE_|NOTIFY_SOCKET|WATCHDOG_USEC|RENAME_|RESOLVE_|NO_|FAN_|CAP_|PATH_MAX")


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in LINK.findall(without_code(document.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_bound_that_is_named_exists(document: Path) -> None:
    named = {word for code in CODE.findall(document.read_text()) for word in CONSTANT.findall(code)}
    known = set(vars(limits)) | _constants_beside()
    assert {word for word in named if not FOREIGN.match(word)} <= known


def _constants_beside() -> set[str]:
    """Constants that stand with the code they belong to."""
    source = (path.read_text() for path in (REPOSITORY / "src").rglob("*.py"))
    return {word for text in source for word in re.findall(r"^([A-Z][A-Z0-9_]+)\b.* = ", text, re.MULTILINE)}


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(everynode)
    for name in COMMANDS:
        command = everynode.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", command.commands[inner]) for inner in command.commands)
        else:
            yield name, command


def test_the_page_of_commands_has_every_command_with_every_option() -> None:
    page = (REFERENCE / "commands.md").read_text()
    parts = dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", page, re.MULTILINE | re.DOTALL))
    found = dict(commands())
    assert set(parts) == set(found)
    for name, command in found.items():
        options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        written = set(re.findall(r"^\| `.*?(--[a-z-]+)", parts[name], re.MULTILINE))
        assert written == options - {"--home", "--json", "--help"}, name


def test_the_page_of_settings_has_every_key() -> None:
    page = (REFERENCE / "settings.md").read_text()
    written = set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))
    group = {f"groups.NAME.{key}" for key in _keys(GroupTable) if key != "vault"}
    vault = {f"groups.NAME.vault.{key}" for key in _keys(VaultPolicy)}
    node = {f"nodes.NAME.{key}" for key in _keys(NodeTable)}
    own = {"[roots]" if key == "roots" else key for key in _keys(NodeSettings)}
    assert group | vault | node | own <= written
    assert {key for key in written if "NAME." in key} == group | vault | node


def _keys(table: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(table)]


def test_the_page_of_the_api_has_an_example_of_every_request() -> None:
    page = (REFERENCE / "api.md").read_text()
    examples = page.split("## Examples", 1)[1]
    for route in ROUTES:
        path = re.escape(route.path).replace(r"\{group\}", r"\w+")
        posts = re.search(rf"-d '[^\n]*\$api{path}\"?$", examples, re.MULTILINE)
        gets = re.search(rf"^ask \"?\$api{path}[\"?\n]", examples, re.MULTILINE)
        assert posts if "POST" in (route.methods or ()) else gets, path
