"""Where other members may put roots on this node, and where they may not unless somebody here says so."""

from __future__ import annotations

import os
import pwd

from everynode.cluster.home import Home, is_inside
from everynode.config.node_file import NodeSettings

# Where a system keeps itself, and what it runs: who writes there is root.
_SYSTEM = (
    *("/bin", "/boot", "/dev", "/efi", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/run"),
    *("/sbin", "/sys", "/usr", "/var/lib", "/var/run", "/var/spool"),
)
_NO_SYSTEM = ("/dev/shm",)
_HOMES = "/home"


def objection(name: str, root: str, home: Home, settings: NodeSettings) -> str:
    """Why this node keeps no group at a root that any member may have chosen; empty: it does.

    A root under [roots] was chosen on this node, and so was `roots_within`, where it names anything.
    """
    if name in settings.roots:
        return ""
    advice = (
        f"if it is to be kept there, say so on this node: everynode group root {name} {root}, "
        f"or roots_within in {home.settings_path}"
    )
    within = settings.roots_within
    if within:
        if any(is_inside(root, directory) for directory in within):
            return ""
        allowed = f"and this node allows that only below {', '.join(within)}"
        return f"the cluster file puts its root at {root}, {allowed}; {advice}"
    why = _why_not(root)
    return (
        f"the cluster file puts its root at {root}, {why}, where no other member may put one; {advice}" if why else ""
    )


def _why_not(root: str) -> str:
    """Of a directory that nobody here named. Links are resolved as far as they exist."""
    real = os.path.realpath(root)
    if any(_below(real, place) for place in _NO_SYSTEM):
        return ""
    for place in _SYSTEM:
        if _below(real, place):
            return f"which belongs to the system ({place})"
        if _below(place, real):
            return f"which holds {place}"
    if real == _HOMES or os.path.dirname(real) == _HOMES or _below(_own_home(), real):
        return "which is a home directory as a whole"
    hidden = next((part for part in real.split("/") if part.startswith(".")), "")
    return f"which is in a hidden directory ({hidden})" if hidden else ""


def _own_home() -> str:
    """Of the user who runs this."""
    try:
        return os.path.realpath(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return "/root"  # a user without a name has none; this one is refused in any case


def _below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
