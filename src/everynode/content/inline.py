"""Small contents that came with their records, kept in memory between hearing and placing; bounded."""

from __future__ import annotations

from collections.abc import Iterable

from everynode.model.ids import Digest


class InlineContents:
    """First in, first out when full: what falls out is fetched again."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._contents: dict[Digest, bytes] = {}
        self.bytes = 0

    def add(self, contents: dict[Digest, bytes]) -> None:
        for digest, content in contents.items():
            if digest not in self._contents:
                self._contents[digest] = content
                self.bytes += len(content)
        while self.bytes > self._bytes_max:
            oldest = next(iter(self._contents))
            self.bytes -= len(self._contents.pop(oldest))

    def get(self, digest: Digest) -> bytes | None:
        return self._contents.get(digest)

    def drop(self, digests: Iterable[bytes]) -> None:
        """No longer needed. A content that is wanted again is fetched."""
        for digest in digests:
            content = self._contents.pop(Digest(digest), None)
            if content is not None:
                self.bytes -= len(content)
