"""What a home must be before its node may begin a cluster or join one."""

from __future__ import annotations

from everynode.cluster.home import Home
from everynode.errors import ConfigError
from everynode.trust import identity
from everynode.trust.identity import Identity


def refuse_second_cluster(home: Home) -> None:
    """Make `home` ready. Raises ConfigError if it is in a cluster; one whose node left or was removed is put aside."""
    home.create()
    if not home.has_cluster:
        return
    # Without key and certificate it was being put aside when we died, or is of no use any more either way.
    lost = not home.certificate_path.exists() and not home.key_path.exists()
    if not lost and Identity.load(home.path).node not in home.read_statements().meaning.removed:
        raise ConfigError(f"the home {home.path} is in a cluster already: use everynode leave first, or another --home")
    home.retire()
    home.create()


def own_identity(home: Home, name: str) -> Identity:
    """The key of this home, made if there is none yet (an earlier attempt may have left one)."""
    return Identity.load(home.path) if identity.exists(home.path) else Identity.create(home.path, name)
