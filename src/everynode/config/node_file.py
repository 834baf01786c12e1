"""node.toml: what one node says for itself alone."""

from __future__ import annotations

import msgspec

from everynode.config.check import Checker
from everynode.limits import PORT_DEFAULT
from everynode.model.names import check_address, check_root

DEFAULT_PORT = PORT_DEFAULT

HEAD = """\
# What this node says for itself alone; the others never see it. Restart the daemon after a change.
#   listen      addresses to listen at
#   api         path of the local API's socket; empty: api.sock in the node's home
#   roots_within  directories below which other members may put roots here; [] anywhere but in the system's own
#                 and hidden ones and whole home directories; ["/"] anywhere. [roots] may be elsewhere
#   confine     false: the kernel does not confine the threads of each group to its root
#   [roots]     group = directory, where this node keeps a group elsewhere than the cluster file says
"""


class NodeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: tuple[str, ...] = (f"0.0.0.0:{DEFAULT_PORT}",)
    """`host:port`; empty: this node dials the others and cannot be dialled."""
    api: str = ""
    roots: dict[str, str] = {}
    """Group name -> absolute directory."""
    roots_within: tuple[str, ...] = ()
    """Absolute directories; where the cluster file may put roots on this node. Empty: see `cluster.places`."""
    confine: bool = True
    """Whether the kernel, where it can, confines the threads of a group to its root."""


def read_node(text: str, file: str) -> NodeSettings:
    """Raises ConfigErrors with every error found."""
    checker = Checker(text, file)
    settings = checker.struct(checker.data, (), NodeSettings)
    listen, roots, api, within = (checker.data.get(key) for key in ("listen", "roots", "api", "roots_within"))
    for number, address in enumerate(listen if isinstance(listen, list) else ()):
        if isinstance(address, str):
            checker.check(("listen", number), check_address, address)
    for number, directory in enumerate(within if isinstance(within, list) else ()):
        if isinstance(directory, str) and directory != "/":
            checker.check(("roots_within", number), check_root, directory)
    for group, root in (roots if isinstance(roots, dict) else {}).items():
        if isinstance(root, str):
            checker.check(("roots", group), check_root, root)
    if isinstance(api, str) and api and not api.startswith("/"):
        checker.refuse(("api",), f"{api!r} is no absolute path")
    checker.finish()
    assert settings is not None
    return settings


def write_node(settings: NodeSettings) -> str:
    """The inverse of `read_node`."""
    import tomlkit

    document = tomlkit.parse(HEAD)
    # Tables last: what follows one belongs to it.
    for key, value in sorted(msgspec.to_builtins(settings).items(), key=lambda item: isinstance(item[1], dict)):
        document.add(key, tomlkit.item(value))
    return tomlkit.dumps(document)


def edit_node(text: str, group: str, root: str | None) -> str:
    """`text` with the root of `group` set, or taken back (None); comments and all else stay."""
    import tomlkit

    document = tomlkit.parse(text)
    roots = document.setdefault("roots", tomlkit.table())
    if root is None:
        roots.pop(group, None)
    else:
        roots[group] = root
    return tomlkit.dumps(document)
