"""Errors, ordered by how far the damage reaches: one path, one peer, one group, the node."""

from __future__ import annotations


class EverynodeError(Exception):
    """Anything everynode reports. The message says what happened, to what, and what to do."""


class PathError(EverynodeError):
    """Trouble with one path; it becomes a problem and the rest goes on.

    `path` is the path inside the root, `errno` the kernel's number where there was one.
    """

    def __init__(self, message: str, *, path: bytes = b"", errno: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.errno = errno


class LinkError(EverynodeError):
    """Trouble with one peer; its link is closed and dialled again."""


class GroupHalted(EverynodeError):
    """A group stopped for safety and waits for a person."""


class StoreError(EverynodeError):
    """An index cannot be read or written: damage reaches the node."""


class IndexDamaged(StoreError):
    """The index does not say what was written to it; it is set aside and rebuilt."""


class TrustError(EverynodeError):
    """A key, certificate, token or signature is not what it should be; nothing was changed."""


class ConfigError(EverynodeError):
    """Settings that cannot be used. `file`, `line` and `column` (from 1; 0 = unknown) say where."""

    def __init__(self, message: str, *, file: str = "", line: int = 0, column: int = 0) -> None:
        where = f"{file}:{line}:{column}: " if line else f"{file}: " if file else ""
        super().__init__(where + message)
        self.file = file
        self.line = line
        self.column = column


class ConfigErrors(ConfigError):
    """Several errors in one text of settings, in the order of their places; at least one."""

    def __init__(self, errors: list[ConfigError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = tuple(errors)
        self.file, self.line, self.column = errors[0].file, errors[0].line, errors[0].column
