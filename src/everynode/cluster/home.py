"""The directory that holds all of one node's state: what lies where, read and written whole or not at all.

key.pem, certificate.pem   the node itself (`trust.identity`)
cluster.msgpack            the cluster file: signed statements
invites.msgpack            invites this node gave out
node.toml                  this node's own settings
index/GROUP.db             one index per group
api.sock, lock             while the daemon runs
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from everynode import limits
from everynode.config.node_file import NodeSettings, edit_node, read_node, write_node
from everynode.errors import ConfigError, StoreError, TrustError
from everynode.model.message import GroupId
from everynode.trust.durable import sync_directory, write_durably
from everynode.trust.identity import CERTIFICATE_NAME, KEY_NAME
from everynode.trust.statement_set import StatementSet

T = TypeVar("T", "_ClusterStore", "_InviteStore")

FORMAT: Final = 1
SOCKET_PATH_BYTES_MAX: Final = 107  # sockaddr_un of unix(7), less the NUL at the end
STORE_BYTES_MAX: Final = 2 * limits.STATEMENTS_BYTES_MAX


class Invite(msgspec.Struct, frozen=True, array_like=True):
    """An invite as its inviter keeps it."""

    id: bytes
    """`trust.token.invite_id_of` the secret."""
    proof_key: bytes
    expires: int
    """Unix seconds."""
    used_by: bytes = b""
    """Fingerprint of the node that was let in; empty: nobody yet."""


class _ClusterStore(msgspec.Struct, frozen=True, array_like=True):
    format: int
    cluster: bytes
    statements: tuple[bytes, ...]


class _InviteStore(msgspec.Struct, frozen=True, array_like=True):
    format: int
    invites: tuple[Invite, ...]


def default_home() -> Path:
    """$EVERYNODE_HOME; else /var/lib/everynode for root, ~/.local/share/everynode for others."""
    named = os.environ.get("EVERYNODE_HOME")
    if named:
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/everynode")
    return Path.home() / ".local/share/everynode"


class Home:
    """Raises StoreError for what is damaged or cannot be read or written, TrustError for what is open to others."""

    def __init__(self, path: Path) -> None:
        """Looks at nothing yet. `path` is made absolute."""
        self.path = path.absolute()
        self.key_path = self.path / KEY_NAME
        self.certificate_path = self.path / CERTIFICATE_NAME
        self.cluster_path = self.path / "cluster.msgpack"
        self.invites_path = self.path / "invites.msgpack"
        self.settings_path = self.path / "node.toml"
        self.index_folder = self.path / "index"
        self.lock_path = self.path / "lock"

    def create(self) -> None:
        """Make the directory with its index folder, 0700; idempotent. What exists must be ours and closed to others."""
        try:
            self.path.mkdir(parents=True, mode=0o700, exist_ok=True)
            self.check()
            self.index_folder.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.path)
            sync_directory(self.path.parent)
        except OSError as error:
            raise StoreError(f"the home {self.path} cannot be made: {error.strerror}") from error

    def check(self) -> None:
        """Raises unless the directory is there and only its owner can enter it."""
        try:
            status = self.path.stat()
        except FileNotFoundError as error:
            raise StoreError(
                f"there is no home {self.path}: run everynode init or everynode join first, or say --home"
            ) from error
        except OSError as error:
            raise StoreError(f"the home {self.path} cannot be reached: {error.strerror}") from error
        if not stat.S_ISDIR(status.st_mode):
            raise StoreError(f"the home {self.path} is no directory")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise TrustError(f"others can enter the home {self.path}: run chmod 700 {self.path}")
        if status.st_uid != os.geteuid():
            raise TrustError(f"the home {self.path} belongs to another user (uid {status.st_uid}): run as that user")

    @property
    def has_cluster(self) -> bool:
        return self.cluster_path.exists()

    def retire(self) -> None:
        """Put key, cluster file, invites and indexes of a node that left aside, so that this home can join anew.

        The indexes too: what they call their own belongs to the old key; the trees will be news.
        """
        aside = next(p for n in count(1) if not (p := self.path / f"retired-{n}").exists())
        try:
            aside.mkdir(mode=0o700)
            # The cluster file goes last: should we die here, it shows that this is to be done again.
            for path in (self.index_folder, self.invites_path, self.key_path, self.certificate_path, self.cluster_path):
                if path.exists():
                    path.rename(aside / path.name)
            sync_directory(aside)
            sync_directory(self.path)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be put aside to {aside}: {error.strerror}") from error

    def index_path(self, group: GroupId) -> Path:
        return self.index_folder / f"{group.hex()}.db"

    def api_path(self, settings: NodeSettings) -> Path:
        """Raises ConfigError if the kernel would not take the path for a socket."""
        path = Path(settings.api) if settings.api else self.path / "api.sock"
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
            raise ConfigError(
                f"{path} is too long for a socket (over {SOCKET_PATH_BYTES_MAX} bytes): set `api` to a shorter path",
                file=str(self.settings_path),
            )
        return path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process from this home until the end; the kernel gives it back if we die."""
        self.check()
        try:
            fd = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreError(f"{self.lock_path} cannot be opened: {error.strerror}") from error
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(fd, 20).decode("ascii", "replace").strip()
                raise StoreError(
                    f"another everynode (process {holder or 'unknown'}) is using the home {self.path}: "
                    "stop it with everynode down, or give this one its own --home"
                ) from error
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)

    def read_statements(self) -> StatementSet:
        """The cluster file, every signature checked again."""
        store = self._read(self.cluster_path, _ClusterStore)
        held = StatementSet(store.cluster)
        changes = held.apply(store.statements)
        if changes.rejected or not held.meaning.standing:
            raise StoreError(_damaged(self.cluster_path, "; ".join(changes.rejected[:3]) or "its genesis is missing"))
        return held

    def write_statements(self, held: StatementSet) -> None:
        """Durable on return."""
        self._write(self.cluster_path, _ClusterStore(FORMAT, held.cluster, held.raw()))

    def read_invites(self) -> tuple[Invite, ...]:
        if not self.invites_path.exists():
            return ()
        return self._read(self.invites_path, _InviteStore).invites

    def write_invites(self, invites: tuple[Invite, ...]) -> None:
        """Durable on return."""
        self._write(self.invites_path, _InviteStore(FORMAT, invites))

    def read_settings(self) -> NodeSettings:
        """Defaults where there is no node.toml. Raises ConfigErrors."""
        text = self._settings_text()
        return read_node(text, str(self.settings_path)) if text is not None else NodeSettings()

    def write_settings(self, settings: NodeSettings) -> None:
        self._write_bytes(self.settings_path, write_node(settings).encode())

    def set_root(self, group: str, root: str | None) -> None:
        """Change one root in node.toml and leave the rest, comments too, as it is. Raises ConfigErrors."""
        text = self._settings_text()
        edited = edit_node(text if text is not None else write_node(NodeSettings()), group, root)
        read_node(edited, str(self.settings_path))
        self._write_bytes(self.settings_path, edited.encode())

    def _settings_text(self) -> str | None:
        try:
            return self.settings_path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise ConfigError("this is not UTF-8 text", file=str(self.settings_path)) from error
        except OSError as error:
            raise StoreError(f"{self.settings_path} cannot be read: {error.strerror}") from error

    def _read(self, path: Path, kind: type[T]) -> T:
        try:
            with path.open("rb") as file:
                data = file.read(STORE_BYTES_MAX + 1)
        except FileNotFoundError as error:
            raise StoreError(
                f"{path} does not exist: this node is in no cluster; run everynode init or everynode join"
            ) from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error
        try:
            # A flipped bit must not bring a used invite back: the file begins with the digest of the rest.
            if data[:32] != hashlib.sha256(data[32:]).digest():
                raise StoreError(_damaged(path, "its checksum is wrong"))
            store = msgspec.msgpack.decode(data[32:], type=kind)
        except msgspec.MsgspecError as error:
            raise StoreError(_damaged(path, str(error))) from error
        if store.format != FORMAT:
            raise StoreError(f"{path} has format {store.format}, this everynode knows {FORMAT}: install the newer one")
        return store

    def _write(self, path: Path, value: object) -> None:
        data = msgspec.msgpack.encode(value)
        self._write_bytes(path, hashlib.sha256(data).digest() + data)

    def _write_bytes(self, path: Path, data: bytes) -> None:
        try:
            write_durably(path, data)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}; nothing was changed") from error


def _damaged(path: Path, why: str) -> str:
    return f"{path} is damaged ({why}): restore it from a backup, or give this node a new home and let it join again"


def is_inside(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies below it; both absolute, links resolved as far as they exist."""
    inner, outer = os.path.realpath(path), os.path.realpath(directory)
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")
