"""One line of gitignore, byte for byte as git reads it, into a regular expression for RE2.

After gitignore(5) and git's own dir.c and wildmatch.c. Why not pathspec: docs/decisions/trust-exclude.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from everynode.errors import ConfigError

_SLASH = ord("/")


class Rule(NamedTuple):
    """`regex` must match all of a path (bytes, no slash at either end)."""

    regex: bytes
    excludes: bool
    """False for `!` patterns, which take back."""
    directories_only: bool


# The ASCII classes of wildmatch.c; bytes above 127 belong to none.
_CLASSES: dict[bytes, Callable[[int], bool]] = {
    b"alnum": lambda c: chr(c).isalnum(),
    b"alpha": lambda c: chr(c).isalpha(),
    b"blank": lambda c: c in b" \t",
    b"cntrl": lambda c: c < 32 or c == 127,
    b"digit": lambda c: chr(c).isdigit(),
    b"graph": lambda c: 32 < c < 127,
    b"lower": lambda c: chr(c).islower(),
    b"print": lambda c: 32 <= c < 127,
    b"punct": lambda c: 32 < c < 127 and not chr(c).isalnum(),
    b"space": lambda c: c in b" \t\n\r\v\f",
    b"upper": lambda c: chr(c).isupper(),
    b"xdigit": lambda c: c in b"0123456789abcdefABCDEF",
}


def parse_rule(pattern: str) -> Rule | None:
    """None for a comment or an empty line. Raises ConfigError for what git would silently never match."""
    text = _without_trailing_spaces(pattern.encode("utf-8", "surrogateescape"))
    if not text or text.startswith(b"#"):
        return None
    if b"\n" in text or b"\0" in text:
        raise _refused(pattern, "it holds a line break or NUL: write one pattern per entry")
    excludes = not text.startswith(b"!")
    text = text if excludes else text[1:]
    directories_only = text.endswith(b"/")
    text = text[:-1] if directories_only else text
    if not text.strip(b"/"):
        raise _refused(pattern, "no path can match it")
    # A slash in front or inside ties the pattern to the root; without one it holds at any depth.
    anywhere = b"/" not in text
    regex = _translate(pattern, text.removeprefix(b"/"))
    return Rule(b"(?:.*/)?" + regex if anywhere else regex, excludes, directories_only)


def _without_trailing_spaces(text: bytes) -> bytes:
    """Git drops them unless a backslash stands before."""
    end = position = 0
    while position < len(text):
        position += 2 if text[position : position + 1] == b"\\" else 1
        if text[position - 1 : position] != b" " or text[position - 2 : position - 1] == b"\\":
            end = position
    return text[:end]


def _translate(pattern: str, text: bytes) -> bytes:
    regex = bytearray()
    position = 0
    while position < len(text):
        match text[position : position + 1]:
            case b"*":
                position = _translate_stars(text, position, regex)
            case b"?":
                regex += b"[^/]"
                position += 1
            case b"[":
                position = _translate_class(pattern, text, position, regex)
            case b"\\":
                if position + 1 == len(text):
                    raise _refused(pattern, "it ends in a backslash, which stands before the character it protects")
                regex += _literal(text[position + 1])
                position += 2
            case _:
                regex += _literal(text[position])
                position += 1
    return bytes(regex)


def _translate_stars(text: bytes, start: int, regex: bytearray) -> int:
    end = start
    while text[end : end + 1] == b"*":
        end += 1
    before, after = text[:start], text[end:]
    whole = (not before or before.endswith(b"/")) and (not after or after.startswith((b"/", b"\\/")))
    if end - start == 1 or not whole:
        regex += b"[^/]*"
        return end
    if after.startswith(b"/"):
        regex += b"(?:.*/)?"
        return end + 1
    regex += b".*"
    return end


def _translate_class(pattern: str, text: bytes, start: int, regex: bytearray) -> int:
    """`[...]`, never matching a slash."""
    position = start + 1
    negated = text[position : position + 1] in (b"!", b"^")
    position += negated
    first, members, previous = position, set[int](), -1
    while text[position : position + 1] != b"]" or position == first:
        if position >= len(text):
            raise _refused(pattern, "its '[' is never closed; write \\[ for the character itself")
        follower = text[position + 1 : position + 2]
        if text[position] == ord("-") and previous >= 0 and follower not in (b"", b"]"):
            position, last = _class_character(pattern, text, position + 1)
            members.update(range(previous, last + 1))
            previous = -1
        elif text.startswith(b"[:", position) and (end := text.find(b"]", position + 2)) > 0 and text[end - 1] == 58:
            members |= _named_class(pattern, text[position + 2 : end - 1])
            position, previous = end + 1, -1
        else:
            position, previous = _class_character(pattern, text, position)
            members.add(previous)
    members = set(range(256)) - members if negated else members
    regex += b"[" + b"".join(_literal(c) for c in sorted(members - {_SLASH})) + b"]" if members - {_SLASH} else _NEVER
    return position + 1


_NEVER = rb"[^\x00-\xff]"


def _class_character(pattern: str, text: bytes, position: int) -> tuple[int, int]:
    """(position after it, the character), a backslash taken off."""
    if text[position] == ord("\\"):
        position += 1
        if position == len(text):
            raise _refused(pattern, "its '[' is never closed; write \\[ for the character itself")
    return position + 1, text[position]


def _named_class(pattern: str, name: bytes) -> set[int]:
    if name not in _CLASSES:
        raise _refused(pattern, f"[:{name.decode('utf-8', 'replace')}:] is no class of characters")
    return {c for c in range(128) if _CLASSES[name](c)}


def _literal(character: int) -> bytes:
    return b"%c" % character if chr(character).isascii() and chr(character).isalnum() else b"\\x%02x" % character


def _refused(pattern: str, why: str) -> ConfigError:
    shown = pattern if len(pattern) <= 80 else pattern[:77] + "..."
    return ConfigError(f"{shown!r} is no pattern for exclude: {why}")
