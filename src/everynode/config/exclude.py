"""Which paths a group leaves alone: gitignore semantics over byte paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from everynode import limits
from everynode.config.gitignore import Rule, parse_rule
from everynode.errors import ConfigError


class Excluder:
    """Patterns as in the `.gitignore` of the root. Of the matching patterns the last decides, `!` takes back; what lies
    below an excluded directory is excluded and cannot be taken back (gitignore(5)).

    Paths need not be UTF-8: patterns and paths are matched as bytes (to RE2: Latin-1), as git does; `?` is one byte.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises ConfigError for a pattern that cannot be meant."""
        self.patterns = tuple(patterns)
        self._rules = [rule for rule in map(parse_rule, self.patterns) if rule]
        self._set = _compile(self._rules) if self._rules else None
        # Walks come directory by directory; the verdict on a directory is asked for by everything below it.
        self._directories: dict[bytes, bool] = {b"": False}

    def __bool__(self) -> bool:
        """Whether there is any pattern: without one nothing is excluded, and asking may be skipped."""
        return self._set is not None

    def excluded(self, path: bytes, is_directory: bool) -> bool:
        """Whether `path` (inside the root, without leading slash) is left alone. The root itself never is."""
        if self._set is None:
            return False
        if is_directory:
            return self._directory_excluded(path)
        return self._directory_excluded(path.rpartition(b"/")[0]) or self._matches(path, False)

    def _directory_excluded(self, path: bytes) -> bool:
        known = self._directories.get(path)
        if known is not None:
            return known
        if len(self._directories) >= limits.EXCLUDE_CACHE_DIRECTORIES:
            self._directories = {b"": False}
        # From the top down, by a loop: hostile depth must not meet the recursion limit.
        verdict, end = False, 0
        while not verdict and end < len(path):
            end = path.find(b"/", end + 1)
            end = len(path) if end < 0 else end
            part = path[:end]
            found = self._directories.get(part)
            verdict = self._matches(part, True) if found is None else found
            self._directories[part] = verdict
        self._directories[path] = verdict
        return verdict

    def _matches(self, path: bytes, is_directory: bool) -> bool:
        assert self._set is not None
        last = -1
        for number in self._set.Match(path) or ():
            if number > last and (is_directory or not self._rules[number].directories_only):
                last = number
        return last >= 0 and self._rules[last].excludes


def check_patterns(patterns: Sequence[str]) -> None:
    """Raises ConfigError for what cannot be a group's `exclude`, before it is put into a statement."""
    if len(patterns) > limits.PATTERNS_MAX:
        raise ConfigError(f"{len(patterns):,} patterns for exclude are more than {limits.PATTERNS_MAX:,}: use fewer")
    for pattern in patterns:
        if not 1 <= len(pattern) <= limits.PATTERN_CHARACTERS_MAX:
            raise ConfigError(
                f"a pattern for exclude has 1 to {limits.PATTERN_CHARACTERS_MAX:,} characters, this one "
                f"{len(pattern):,}: {pattern[:50]!r}"
            )
        if any("\ud800" <= character <= "\udfff" for character in pattern):
            raise ConfigError(f"{pattern[:50]!r} is no pattern for exclude: it is not UTF-8; write `?` for such a byte")
    Excluder(patterns)


class _Set(Protocol):
    def Add(self, pattern: bytes) -> int: ...  # noqa: N802 (RE2's names)
    def Compile(self) -> None: ...  # noqa: N802
    def Match(self, text: bytes) -> list[int] | None: ...  # noqa: N802


def _compile(rules: list[Rule]) -> _Set:
    # Imported here: most groups exclude nothing.
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.dot_nl = True
    options.log_errors = False
    # When an automaton does not fit, a match in it silently finds nothing: leave room for PATTERNS_MAX.
    options.max_mem = limits.EXCLUDE_MEMORY_BYTES_MAX
    compiled: _Set = re2.Set.FullMatchSet(options)
    try:
        for rule in rules:
            compiled.Add(rule.regex)
        compiled.Compile()
    except re2.error as error:
        raise ConfigError("the patterns for exclude are too many or too long for one group: use fewer") from error
    return compiled
