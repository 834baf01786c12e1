"""The invites that this node gave out: each lets one node in, once, also across a crash."""

from __future__ import annotations

from secrets import token_bytes

import msgspec

from everynode import limits
from everynode.cluster.home import Home, Invite
from everynode.trust.token import SECRET_BYTES, invite_id_of, proof_key_of


class Invites:
    def __init__(self, home: Home) -> None:
        """Raises StoreError if the stored invites are damaged."""
        self._home = home
        self._invites = {invite.id: invite for invite in home.read_invites()}

    def make(self, expires: int) -> bytes:
        """A new secret, durable (as its hash) on return."""
        secret = token_bytes(SECRET_BYTES)
        invite = Invite(invite_id_of(secret), proof_key_of(secret), expires)
        # Old ones are kept for clear answers only; the oldest go when the bound is reached.
        kept = list(self._invites.values())[-(limits.INVITES_MAX - 1) :]
        self._store([*kept, invite])
        return secret

    def find(self, invite_id: bytes) -> Invite | None:
        return self._invites.get(invite_id)

    def use(self, invite: Invite, fingerprint: bytes) -> None:
        """Mark it used by that node, durable on return; idempotent for the same node."""
        assert invite.used_by in (b"", fingerprint)
        if not invite.used_by:
            used = msgspec.structs.replace(invite, used_by=fingerprint)
            self._store([used if one.id == used.id else one for one in self._invites.values()])

    def _store(self, invites: list[Invite]) -> None:
        # Written first: memory never knows more than the disk.
        self._home.write_invites(tuple(invites))
        self._invites = {invite.id: invite for invite in invites}
