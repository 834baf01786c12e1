"""The membership through the daemon where one runs, else directly on the home."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from everynode.cli.session import Session
from everynode.client.connection import NotRunning

if TYPE_CHECKING:
    from everynode.daemon.admin import Admin


def administer(session: Session, target: str, body: object | None, offline: Callable[[Admin], object]) -> Any:
    """POST `body` (None: GET) to the API; without a daemon what `offline` returns, both as plain JSON values."""
    client = session.client
    try:
        return client.get(target) if body is None else client.post(target, body)
    except NotRunning:
        import msgspec

        from everynode.daemon.admin import open_admin

        with open_admin(session.home) as admin:
            return msgspec.to_builtins(offline(admin))
