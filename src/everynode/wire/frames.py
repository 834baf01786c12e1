"""A stream of bytes to frames and back: four bytes of length, then the body of one message."""

from __future__ import annotations

from collections.abc import Iterator

from everynode import limits
from everynode.errors import LinkError
from everynode.model.message import AnyMessage
from everynode.wire.codec import encode_into

LENGTH_BYTES = 4
# What one read from TLS can bring at most (asyncio and uvloop both cap it there); a smaller buffer means more calls.
_BUFFER_BYTES = 256 * limits.KiB
# A buffer that grew for one large frame is given back when it is empty and larger than a full bulk message needs.
_BUFFER_KEPT_BYTES = 2 * limits.MiB


def frame_of(message: AnyMessage) -> bytearray:
    """One message, encoded behind its length in one buffer: a megabyte of content is copied once."""
    frame = bytearray(LENGTH_BYTES)
    encode_into(message, frame, LENGTH_BYTES)
    return _with_length(frame)


def frame_of_bytes(body: bytes) -> bytearray:
    """The same for a body that is not a message (the exchange of joining)."""
    return _with_length(bytearray(LENGTH_BYTES) + body)


def _with_length(frame: bytearray) -> bytearray:
    length = len(frame) - LENGTH_BYTES
    assert length <= limits.FRAME_BYTES_MAX, f"a message of {length} bytes: senders must split earlier"
    frame[:LENGTH_BYTES] = length.to_bytes(LENGTH_BYTES, "big")
    return frame


class FrameSplitter:
    """Cuts a stream into frames, in place.

    The transport reads into `free()`; `received(n)` then yields the body of each complete frame. A body is a view
    into the buffer, valid only until the next step of the iterator. A frame is moved at most once, to the front of
    the buffer when it would not fit behind its place, so the cost is linear whatever the sizes and cuts.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._buffer = bytearray(self._usual_bytes())
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0

    def free(self) -> memoryview:
        """Where the next bytes of the stream belong; never empty."""
        return self._view[self._end :]

    def received(self, count: int) -> Iterator[memoryview]:
        """`count` bytes were written to `free()`. Raises LinkError for a length above `frame_bytes_max`."""
        self._end += count
        while self._end - self._start >= LENGTH_BYTES:
            body = self._start + LENGTH_BYTES
            length = int.from_bytes(self._view[self._start : body], "big")
            if length > self.frame_bytes_max:
                raise LinkError(
                    f"the peer announces a message of {length} bytes, more than {self.frame_bytes_max}; "
                    "the link is closed (another program, or a damaged stream)"
                )
            if self._end < body + length:
                self._make_room(LENGTH_BYTES + length)
                return
            self._start = body + length
            yield self._view[body : body + length]
        if self._start == self._end:
            self._start = self._end = 0
            if not self._usual_bytes() <= len(self._buffer) <= _BUFFER_KEPT_BYTES:
                self._replace(bytearray(self._usual_bytes()))
        else:
            self._make_room(LENGTH_BYTES)

    def _usual_bytes(self) -> int:
        """Who may send little, like anybody before it is known, costs little."""
        return min(_BUFFER_BYTES, LENGTH_BYTES + self.frame_bytes_max)

    def _make_room(self, frame_bytes: int) -> None:
        """Let a frame of `frame_bytes` that begins at `_start` fit as a whole."""
        if self._start + frame_bytes <= len(self._buffer):
            return
        held = self._view[self._start : self._end]
        if frame_bytes <= len(self._buffer):
            self._view[: len(held)] = held
        else:
            larger = bytearray(max(frame_bytes, min(2 * len(self._buffer), _BUFFER_KEPT_BYTES)))
            larger[: len(held)] = held
            self._replace(larger)
        self._start, self._end = 0, len(held)

    def _replace(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._view = memoryview(buffer)
