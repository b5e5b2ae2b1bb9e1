"""YAML text to nodes with line and column, one for each document of the stream.

ruamel.yaml only parses the text into events; what the events make is decided here, within bounds: no tags,
no merge keys, no key twice, aliases only as far as `positions.MAX_EXPANSION`, depth `MAX_DEPTH`. A node is
complete before an alias can name it, so nothing can contain itself. Next: `shape` reads the nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from policies.errors import Problem
from policies.positions import (
    MAX_DEPTH,
    MAX_EXPANSION,
    MAX_NODES,
    START,
    Entry,
    Kind,
    Node,
    Place,
    Stop,
    Style,
    bad_character,
    bad_character_at,
    without_bad,
)

_TEXT_TAGS = frozenset({"tag:yaml.org,2002:str", "!"})
_PLAIN_TAGS = frozenset({None, *_TEXT_TAGS})
_SWALLOW = "\0"  # stands for a key that was refused; its value is read and dropped


def documents(text: str, file: str, problems: list[Problem]) -> Iterator[Node]:
    """Yields the root node of each document; adds what is wrong to `problems`.

    What follows a syntax error in the same file is not read.
    """
    found, offset = bad_character_at(text)
    if found:
        # Refused before parsing, in comments too: some of these are line breaks to the parser only.
        place = _place_of_offset(text, offset)
        message = f"the text holds the character {found}"
        problems.append(Problem(file, *place, "bad_character", message, "remove it"))
        return
    reader = _Reader(file, problems)
    try:
        yield from reader.read(text)
    except Stop as stop:
        problems.append(stop.problem)
    except ReaderError as error:
        place = _place_of_offset(text, error.position)
        problems.append(
            Problem(file, *place, "bad_character", "a character that YAML does not allow")
        )
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else reader.last
        what = " ".join(str(error.problem or error.context or "").split()) or "cannot be read"
        problems.append(
            Problem(
                file,
                *place,
                "yaml_syntax",
                f"not valid YAML: {what[:200]}",
                "check the indentation and the quotes at this place",
            )
        )
    except (YAMLError, RecursionError, ValueError, TypeError, LookupError, AttributeError) as _:
        # The parser has faults of its own on hostile text; it must not take the caller down.
        problems.append(
            Problem(file, *reader.last, "yaml_syntax", "not valid YAML after this place")
        )
    except AssertionError:
        problems.append(
            Problem(file, *reader.last, "yaml_syntax", "not valid YAML after this place")
        )


def _place_of_offset(text: str, offset: int) -> Place:
    before = text[: max(0, offset)]
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    node: Node
    anchor: str | None
    key: str | None = None
    key_place: Place = START


@dataclass(slots=True)
class _Reader:
    file: str
    problems: list[Problem]
    last: Place = START
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    count: int = 0
    expanded: int = 0

    def read(self, text: str) -> Iterator[Node]:
        for event in YAML(typ="safe", pure=True).parse(text):
            mark = event.start_mark
            if mark is not None:
                self.last = Place(mark.line + 1, mark.column + 1)
            match type(event).__name__:
                case "DocumentStartEvent":
                    self.open, self.anchors, self.count, self.expanded = [], {}, 0, 0
                case "ScalarEvent":
                    root = self._complete(self._scalar(event), event.anchor)
                    if root is not None:
                        yield root
                case "SequenceStartEvent" | "MappingStartEvent" as name:
                    self._start(event, Kind.LIST if name[0] == "S" else Kind.MAPPING)
                case "SequenceEndEvent" | "MappingEndEvent":
                    ended = self.open.pop()
                    root = self._complete(ended.node, ended.anchor)
                    if root is not None:
                        yield root
                case "AliasEvent":
                    root = self._complete(self._alias(event.anchor), None)
                    if root is not None:
                        yield root
                case _:
                    pass

    def _problem(self, code: str, message: str, hint: str = "") -> Problem:
        return Problem(self.file, *self.last, code, message, hint)

    def _scalar(self, event: Any) -> Node:
        text: str = event.value
        if event.tag not in _PLAIN_TAGS:
            self._refuse_tag(str(event.tag))
        plain = event.style is None and event.tag is None
        found = bad_character(text)
        if found:
            self.problems.append(
                self._problem("bad_character", f"the text holds the character {found}", "remove it")
            )
            text = without_bad(text)
        return Node(self.last, Kind.SCALAR, Style.PLAIN if plain else Style.TEXT, text)

    def _start(self, event: Any, kind: Kind) -> None:
        own = "tag:yaml.org,2002:" + ("seq" if kind is Kind.LIST else "map")
        if event.tag not in (None, own):
            self._refuse_tag(str(event.tag))
        if len(self.open) >= MAX_DEPTH:
            raise Stop(self._problem("too_deep", f"nested deeper than {MAX_DEPTH} levels"))
        self.open.append(_Open(Node(self.last, kind), event.anchor))

    def _alias(self, anchor: str) -> Node:
        node = self.anchors.get(anchor)
        if node is None:
            inside = any(item.anchor == anchor for item in self.open)
            self.problems.append(
                self._problem(
                    "bad_alias",
                    f"the alias `*{anchor[:80]}` "
                    + ("stands inside what it names" if inside else "has no anchor before it"),
                )
            )
            return Node(self.last, Kind.SCALAR)
        self.expanded += node.size
        if self.expanded > MAX_EXPANSION:
            raise Stop(
                self._problem(
                    "too_large",
                    f"the aliases of this document stand for more than {MAX_EXPANSION} values",
                    "write the values out, or split the document",
                )
            )
        return node

    def _refuse_tag(self, tag: str) -> None:
        self.problems.append(
            self._problem("tag", f"the tag `{tag[:80]}` is not supported", "remove the tag")
        )

    def _complete(self, node: Node, anchor: str | None) -> Node | None:
        """Put a complete node where it belongs; the node itself when it is a document's root."""
        if anchor is not None:
            self.anchors[anchor] = node
        self.count += 1
        if self.count + self.expanded > MAX_NODES:
            raise Stop(self._problem("too_large", f"a document of more than {MAX_NODES} values"))
        if not self.open:
            return node
        parent = self.open[-1]
        parent.node.size += node.size
        if parent.node.kind is Kind.LIST:
            parent.node.items.append(node)
        elif parent.key is None:
            parent.key, parent.key_place = self._key(parent.node, node), node.place
        else:
            if parent.key != _SWALLOW:
                parent.node.entries[parent.key] = Entry(parent.key_place, node)
            parent.key = None
        return None

    def _key(self, mapping: Node, node: Node) -> str:
        """The text of a key, or `_SWALLOW` when it is refused (and reported)."""
        at = (self.file, *node.place)
        if node.kind is not Kind.SCALAR:
            self.problems.append(Problem(*at, "bad_key", "a key must be text"))
            return _SWALLOW
        key = node.text
        if key == "<<" and node.style is Style.PLAIN:
            self.problems.append(
                Problem(
                    *at, "bad_key", "merge keys (`<<`) are not supported", "write the fields out"
                )
            )
            return _SWALLOW
        if key in mapping.entries:
            first = mapping.entries[key].place
            self.problems.append(
                Problem(
                    *at,
                    "duplicate_key",
                    f"the key `{key[:80]}` stands twice",
                    f"the first is at line {first.line}; keep one of them",
                )
            )
            return _SWALLOW
        return key
