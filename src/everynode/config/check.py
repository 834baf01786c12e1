"""A settings text against a struct type: every error found in one run, each with its place and a suggestion."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from everynode.config.places import NOWHERE, Keys, Places
from everynode.errors import ConfigError, ConfigErrors

S = TypeVar("S", bound=msgspec.Struct)

_SYNTAX_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_ARRAY_PLACE = re.compile(r" - at `\$\[(\d+)\]")


class Checker:
    """One settings text being read. Errors are collected; `finish` raises them together."""

    def __init__(self, text: str, file: str) -> None:
        """Raises ConfigErrors at once if `text` is no TOML: nothing after a syntax error means anything."""
        self._file = file
        self._text = text
        self._places: Places | None = None
        self._errors: list[ConfigError] = []
        try:
            self.data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line, column, words = _syntax_place(str(error), text)
            raise ConfigErrors(
                [ConfigError(f"this is no TOML: {words}", file=file, line=line, column=column)]
            ) from None

    def refuse(self, keys: Keys, words: str) -> None:
        """Note an error about the setting at `keys`."""
        if self._places is None:
            self._places = Places(self._text)
        line, column = self._places.of(keys) if keys else NOWHERE
        self._errors.append(ConfigError(f"{show_keys(keys)}: {words}", file=self._file, line=line, column=column))

    def check(self, keys: Keys, function: Callable[..., object], *arguments: object) -> None:
        """Call a check that raises ConfigError, and note what it says about the setting at `keys`."""
        try:
            function(*arguments)
        except ConfigError as error:
            self.refuse(keys, str(error))

    def finish(self) -> None:
        """Raises ConfigErrors, ordered by place, if anything was refused."""
        if self._errors:
            raise ConfigErrors(sorted(self._errors, key=lambda error: (error.line, error.column)))

    def struct(self, data: object, keys: Keys, kind: type[S]) -> S | None:
        """`data` (at `keys`) as a `kind`; None if anything in it was refused."""
        if not isinstance(data, dict):
            self.refuse(keys, f"this must be a table, not {_show_kind(data)}")
            return None
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        before = len(self._errors)
        values: dict[str, Any] = {}
        for key, value in data.items():
            field = fields.get(key)
            if field is None:
                self.refuse((*keys, key), unknown_key(key, fields))
            else:
                values[field.name] = self._value(value, (*keys, key), field.type)
        for name, field in fields.items():
            if field.required and name not in data:
                self.refuse(keys, f"{name} is missing")
        return kind(**values) if len(self._errors) == before else None

    def _value(self, value: object, keys: Keys, kind: Any) -> Any:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.struct(value, keys, kind)
        element = _mapping_element(kind)
        if element is not None and isinstance(value, dict):
            return {key: self._value(one, (*keys, key), element) for key, one in value.items()}
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            words, _, _ = str(error).partition(" - at `")
            inside = _ARRAY_PLACE.search(str(error))
            if inside and isinstance(value, list):
                keys, value = (*keys, int(inside[1])), value[int(inside[1])]
            self.refuse(keys, _explain(words, value, kind))
        return None


def show_keys(keys: Keys) -> str:
    """`groups.www.exclude[2]`, quoted where TOML needs it."""
    shown = ""
    for key in keys:
        if isinstance(key, int):
            shown += f"[{key}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", key)
            shown += ("." if shown else "") + (key if bare else '"' + key.replace('"', '\\"') + '"')
    return shown or "the settings"


def unknown_key(key: str, known: dict[str, Any]) -> str:
    close = get_close_matches(key, known, n=1)
    return "there is no such setting; " + (
        f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known)) or 'none here'}"
    )


def _mapping_element(kind: Any) -> Any:
    """The value type of `dict[str, X]`; None for everything else."""
    return get_args(kind)[1] if get_origin(kind) is dict else None


def _syntax_place(message: str, text: str) -> tuple[int, int, str]:
    found = _SYNTAX_PLACE.search(message)
    words = message[: found.start()] if found else message
    if found and found[1]:
        return int(found[1]), int(found[2]), words
    lines = text.split("\n")
    return len(lines), len(lines[-1]) + 1, words


def _explain(words: str, value: object, kind: Any) -> str:
    """msgspec's words ("Expected `int` >= 0") in those of a TOML file, with a suggestion for a misspelt choice."""
    if get_origin(kind) is Literal and isinstance(value, str):
        choices = get_args(kind)
        close = get_close_matches(value, choices, n=1)
        words = f"did you mean {close[0]}?" if close else f"there are {', '.join(choices)}"
        return f"{value!r} is not allowed; {words}"
    for ours, theirs in _TYPES.items():
        words = words.replace(f"`{ours}`", theirs)
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    return f"{words[:1].lower()}{words[1:]}: {shown}"


_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "an array",
    "object": "a table",
    "datetime": "a date",
}


def _show_kind(value: object) -> str:
    names = {str: "a string", int: "a number", float: "a number", bool: "true or false", list: "an array"}
    return names.get(type(value), "a date or time")
