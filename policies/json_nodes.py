"""JSON text to nodes with line and column: one document, or a list of documents.

A reader of its own because YAML and JSON differ in what an escape means, and because the standard library
keeps neither positions nor duplicate keys. Strict: no NaN, no comments, no trailing comma.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder

from policies.errors import Problem
from policies.positions import (
    MAX_DEPTH,
    MAX_NODES,
    Entry,
    Kind,
    Node,
    Place,
    Stop,
    Style,
    bad_character,
    without_bad,
)

_DECODER = JSONDecoder()
_BLANK = re.compile(r"[ \t\n\r]*")
_LITERAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")


def documents(text: str, file: str, problems: list[Problem]) -> Iterator[Node]:
    """Yields the root node of each document; adds what is wrong to `problems`."""
    reader = _Reader(text, file, problems)
    try:
        root = reader.whole()
    except Stop as stop:
        problems.append(stop.problem)
        return
    if root.kind is Kind.LIST:
        yield from root.items
    else:
        yield root


class _Reader:
    def __init__(self, text: str, file: str, problems: list[Problem]) -> None:
        self.text, self.file, self.problems = text, file, problems
        self.lines = [0, *(found.end() for found in re.finditer("\n", text))]
        self.at = 0
        self.count = 0

    def whole(self) -> Node:
        self._blank()
        root = self._value(0)
        self._blank()
        if self.at != len(self.text):
            raise self._stop("something follows the end of the document")
        return root

    def _place(self, offset: int) -> Place:
        line = bisect_right(self.lines, offset)
        return Place(line, offset - self.lines[line - 1] + 1)

    def _stop(self, message: str, code: str = "json_syntax") -> Stop:
        text = f"not valid JSON: {message}" if code == "json_syntax" else message
        return Stop(Problem(self.file, *self._place(self.at), code, text))

    def _blank(self) -> None:
        found = _BLANK.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _take(self, character: str) -> bool:
        """Step over `character` if it stands here."""
        if not self.text.startswith(character, self.at):
            return False
        self.at += 1
        return True

    def _value(self, depth: int) -> Node:
        place = self._place(self.at)
        self.count += 1
        if self.count > MAX_NODES:
            raise self._stop(f"a document of more than {MAX_NODES} values", "too_large")
        if depth > MAX_DEPTH:
            raise self._stop(f"nested deeper than {MAX_DEPTH} levels", "too_deep")
        if self._take("{"):
            return self._mapping(place, depth)
        if self._take("["):
            return self._list(place, depth)
        if self.text.startswith('"', self.at):
            return Node(place, Kind.SCALAR, Style.TEXT, self._string())
        found = _LITERAL.match(self.text, self.at)
        if found is None:
            raise self._stop("a value is expected here")
        self.at = found.end()
        return Node(place, Kind.SCALAR, Style.TYPED, found[0])

    def _string(self) -> str:
        place = self._place(self.at)
        try:
            value, self.at = _DECODER.raw_decode(self.text, self.at)
        except JSONDecodeError as error:
            self.at = error.pos
            raise self._stop("a text is not closed or holds a bad escape") from error
        text = str(value)
        found = bad_character(text)
        if found:
            self.problems.append(
                Problem(self.file, *place, "bad_character", f"the text holds {found}", "remove it")
            )
            return without_bad(text)
        return text

    def _list(self, place: Place, depth: int) -> Node:
        node = Node(place, Kind.LIST)
        self._blank()
        if self._take("]"):
            return node
        while True:
            self._blank()
            item = self._value(depth + 1)
            node.items.append(item)
            node.size += item.size
            self._blank()
            if self._take("]"):
                return node
            if not self._take(","):
                raise self._stop("`,` or `]` is expected here")

    def _mapping(self, place: Place, depth: int) -> Node:
        node = Node(place, Kind.MAPPING)
        self._blank()
        if self._take("}"):
            return node
        while True:
            self._blank()
            at = self._place(self.at)
            if not self.text.startswith('"', self.at):
                raise self._stop("a key in double quotes is expected here")
            key = self._string()
            self._blank()
            if not self._take(":"):
                raise self._stop("`:` is expected here")
            self._blank()
            value = self._value(depth + 1)
            node.size += value.size
            if key in node.entries:
                self.problems.append(
                    Problem(
                        self.file,
                        *at,
                        "duplicate_key",
                        f"the key `{key[:80]}` stands twice",
                        f"the first is at line {node.entries[key].place.line}; keep one of them",
                    )
                )
            else:
                node.entries[key] = Entry(at, value)
            self._blank()
            if self._take("}"):
                return node
            if not self._take(","):
                raise self._stop("`,` or `}` is expected here")
