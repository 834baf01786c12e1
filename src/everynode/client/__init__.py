"""The small library that applications and the command line use to talk to the local daemon.

    import everynode.client

    everynode.client.hint(["/srv/www/a.html"], renames=[("/srv/www/old", "/srv/www/new")], wait=2)
    everynode.client.wait("/srv/www/a.html", nodes="all", timeout=30)

Blocking, standard library only. Raises `NotRunning` when there is no daemon, `ApiError` for what it refuses.
"""

from everynode.client.application import hint, wait
from everynode.client.connection import ApiError, Client, NotRunning
from everynode.client.place import default_home

__all__ = ["ApiError", "Client", "NotRunning", "default_home", "hint", "wait"]
