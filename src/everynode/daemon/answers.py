"""How the API answers: JSON by msgspec, errors with what to do, contents in blocks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from everynode.daemon.requests import NoSuchGroup
from everynode.errors import (
    ConfigError,
    EverynodeError,
    GroupHalted,
    LinkError,
    PathError,
    StoreError,
    TrustError,
)

logger = logging.getLogger("everynode.api")

_BLOCK_BYTES = 1 << 20
_encoder = msgspec.json.Encoder()

# (kind of error, HTTP status, what to do); the first that fits.
_ERRORS: list[tuple[type[EverynodeError], int, str]] = [
    (NoSuchGroup, 404, "`everynode group list` shows the groups"),
    (PathError, 404, ""),  # its message says what to do
    (ConfigError, 400, "mend the settings and try again; nothing was changed"),
    (TrustError, 403, "nothing was changed"),
    (GroupHalted, 409, "`everynode status` says why; the group starts again by itself when the cause is gone"),
    (LinkError, 502, "`everynode status` shows the links"),
    (StoreError, 500, "the daemon's log says more"),
    (EverynodeError, 400, ""),
]


def answer(value: object, status: int = 200) -> Response:
    return Response(_encoder.encode(value) + b"\n", status, media_type="application/json")


def answer_error(request: HttpRequest, error: Exception) -> Response:
    """The answer to what an endpoint raised."""
    if isinstance(error, HTTPException):
        what_to_do = "see the list of requests in docs/reference/api.md"
        text = f"{request.method} {request.url.path}: {error.detail.lower()}"
        return answer({"error": text, "what_to_do": what_to_do}, error.status_code)
    for kind, status, what_to_do in _ERRORS:
        if isinstance(error, kind):
            return answer({"error": str(error), "what_to_do": what_to_do}, status)
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    text = f"everynode failed at {request.method} {request.url.path}: {type(error).__name__}: {error}"
    return answer({"error": text, "what_to_do": "the daemon's log says more; this is a defect"}, 500)


async def read_blocks(descriptor: int, size: int) -> AsyncIterator[bytes]:
    """The first `size` bytes of the file; closes the descriptor, always."""
    loop = asyncio.get_running_loop()
    try:
        offset = 0
        while offset < size:
            block = await loop.run_in_executor(None, os.pread, descriptor, min(_BLOCK_BYTES, size - offset), offset)
            if not block:
                raise OSError(f"the file became shorter while it was read: {offset} of {size} bytes")
            offset += len(block)
            yield block
    finally:
        os.close(descriptor)
