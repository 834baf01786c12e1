"""HTTP over the daemon's Unix socket: one request per connection, JSON in and out."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from everynode.client.place import default_home, socket_address
from everynode.errors import EverynodeError
from everynode.model.path import show_path

# Local answers come at once; `wait` says by itself how long it may take.
REQUEST_TIMEOUT = 60.0
STREAM_BLOCK_BYTES = 1 << 20


class NotRunning(EverynodeError):
    """Nobody answers on the socket of this home."""


class ApiError(EverynodeError):
    """The daemon refused. `status` is the HTTP status, `what_to_do` may be empty."""

    def __init__(self, message: str, *, status: int, what_to_do: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.what_to_do = what_to_do


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, home: str, timeout: float | None) -> None:
        super().__init__("localhost")
        self._home = home
        self._seconds = timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._seconds)
        with socket_address(self._home) as address:
            self.sock.connect(address)


class Client:
    """Talks to the daemon of one home. Holds no connection; may be used from several threads."""

    def __init__(self, home: str | None = None) -> None:
        self.home = os.path.abspath(home) if home else default_home()

    def get_raw(self, target: str) -> bytes:
        """The body of a successful GET. Raises NotRunning, ApiError."""
        with self._request("GET", target, None, REQUEST_TIMEOUT) as response:
            return _read(response)

    def get(self, target: str) -> Any:
        return json.loads(self.get_raw(target))

    def post_raw(self, target: str, body: object, *, timeout: float = REQUEST_TIMEOUT) -> bytes:
        try:
            encoded = json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            wrong = show_path(os.fsencode(error.object[error.start : error.end]))
            raise ApiError(f"{wrong} is not UTF-8: only paths may hold such bytes", status=400) from error
        with self._request("POST", target, encoded, timeout) as response:
            return _read(response)

    def post(self, target: str, body: object, *, timeout: float = REQUEST_TIMEOUT) -> Any:
        return json.loads(self.post_raw(target, body, timeout=timeout))

    def lines(self, target: str) -> Iterator[bytes]:
        """The lines of an endless answer, until the daemon stops."""
        with self._request("GET", target, None, None) as response:
            while line := _read_line(response):
                yield line

    def blocks(self, target: str) -> Iterator[bytes]:
        """The body of a GET in pieces, for contents of any size."""
        with self._request("GET", target, None, REQUEST_TIMEOUT) as response:
            while block := _read(response, STREAM_BLOCK_BYTES):
                yield block

    @contextmanager
    def _request(
        self, method: str, target: str, body: bytes | None, timeout: float | None
    ) -> Iterator[http.client.HTTPResponse]:
        with closing(_UnixConnection(self.home, timeout)) as connection:
            try:
                headers = {"Content-Type": "application/json"} if body is not None else {}
                connection.request(method, target, body, headers)
                response = connection.getresponse()
            except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
                raise NotRunning(
                    f"not running for {show_path(os.fsencode(self.home))}: start it with `everynode up`, "
                    "or name another home with --home or EVERYNODE_HOME"
                ) from error
            except PermissionError as error:
                raise ApiError(
                    f"no permission to speak to the daemon of {self.home}",
                    status=403,
                    what_to_do="run this as the user who runs `everynode up`",
                ) from error
            except TimeoutError as error:
                raise ApiError(
                    f"the daemon of {self.home} did not answer {target} in {timeout} s",
                    status=504,
                    what_to_do="look at its log; it may be overloaded or stuck",
                ) from error
            except (http.client.HTTPException, OSError) as error:
                raise NotRunning(f"the daemon of {self.home} went away while answering {target}: {error}") from error
            if response.status >= 400:
                raise _refusal(response.status, _read(response))
            yield response


def _read(response: http.client.HTTPResponse, most: int | None = None) -> bytes:
    try:
        return response.read(most)
    except (http.client.HTTPException, OSError) as error:
        raise NotRunning(f"the daemon went away in the middle of an answer: {error}") from error


def _read_line(response: http.client.HTTPResponse) -> bytes:
    """Empty at the end, also at one that came without a goodbye."""
    try:
        return response.readline()
    except (http.client.HTTPException, OSError):
        return b""


def _refusal(status: int, body: bytes) -> ApiError:
    try:
        answer = json.loads(body)
        return ApiError(str(answer["error"]), status=status, what_to_do=str(answer.get("what_to_do", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ApiError(f"the daemon answered {status}: {body[:200]!r}", status=status)
