"""Where in a TOML text a setting stands: tomllib gives values, but says of none which line it came from."""

from __future__ import annotations

import tomllib
from typing import NamedTuple

import tree_sitter
import tree_sitter_toml

Keys = tuple[str | int, ...]
"""The way to a value: table keys, and positions in arrays."""


class Place(NamedTuple):
    line: int
    column: int
    """Both from 1; columns count characters, as tomllib's do."""


NOWHERE = Place(0, 0)


class Places:
    """The places of all keys, tables and array elements of a text that tomllib accepts."""

    def __init__(self, text: str) -> None:
        self._lines = text.encode().split(b"\n")
        self._places: dict[Keys, Place] = {}
        self._tables_seen: dict[Keys, int] = {}
        parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language()))
        base: Keys = ()
        for node in parser.parse(text.encode()).root_node.named_children:
            match node.type:
                case "pair":
                    self._pair(node, ())
                case "table" | "table_array_element":
                    base = self._header(node)
                    for pair in node.named_children[1:]:
                        self._pair(pair, base)
                case _:
                    pass

    def of(self, keys: Keys) -> Place:
        """The place of a key, or of the nearest table around it that has one."""
        while keys:
            if keys in self._places:
                return self._places[keys]
            keys = keys[:-1]
        return NOWHERE

    def _header(self, node: tree_sitter.Node) -> Keys:
        keys = self._key(node.named_children[0], ())
        if node.type == "table_array_element":
            number = self._tables_seen.get(keys, 0)
            self._tables_seen[keys] = number + 1
            keys = (*keys, number)
            self._note(keys, node.named_children[0])
        return keys

    def _key(self, node: tree_sitter.Node, base: Keys) -> Keys:
        """The full key, each of its parts noted at its first place."""
        if node.type == "dotted_key":
            for child in node.named_children:
                base = self._key(child, base)
            return base
        raw = (node.text or b"").decode()
        keys = (*base, next(iter(tomllib.loads(raw + "=0"))))
        # Parts of a key that continue an array of tables belong to its latest element.
        if keys in self._tables_seen:
            keys = (*keys, self._tables_seen[keys] - 1)
        self._note(keys, node)
        return keys

    def _pair(self, node: tree_sitter.Node, base: Keys) -> None:
        if node.type != "pair":
            return
        key, *values = node.named_children
        keys = self._key(key, base)
        for value in values:
            self._value(value, keys)

    def _value(self, node: tree_sitter.Node, keys: Keys) -> None:
        if node.type == "inline_table":
            for pair in node.named_children:
                self._pair(pair, keys)
        elif node.type == "array":
            elements = [child for child in node.named_children if child.type != "comment"]
            for number, element in enumerate(elements):
                self._note((*keys, number), element)
                self._value(element, (*keys, number))

    def _note(self, keys: Keys, node: tree_sitter.Node) -> None:
        row, column = node.start_point
        characters = len(self._lines[row][:column].decode("utf-8", "replace"))
        self._places.setdefault(keys, Place(row + 1, characters + 1))
