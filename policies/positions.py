"""What a file says and where it says it: nodes with line and column.

A `Node` is a scalar, a list or a mapping as it was written; its text is kept, so that `1.10` can stand for
the text "1.10" where text is wanted. `yaml_nodes` and `json_nodes` make nodes from files, `node_of` from a
decoded request body; `shape` reads them. All limits on size and depth are here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from policies.errors import PolicyError, Problem

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 24  # no document of ours needs more than eight
MAX_NODES = 1_000_000  # in one document; an alias counts as all that it stands for
MAX_EXPANSION = 20_000  # what the aliases of one document may add

Path = tuple[str | int, ...]


class Place(NamedTuple):
    """A position in a file, both numbers from 1."""

    line: int
    column: int


START = Place(1, 1)


class Kind(StrEnum):
    SCALAR = "scalar"
    LIST = "list"
    MAPPING = "mapping"


class Style(StrEnum):
    """How a scalar was written: what may be read into it depends on that."""

    PLAIN = "plain"  # YAML without quotes: may be a number, true, false or nothing
    TEXT = "text"  # in quotes, or a block: text and nothing else
    TYPED = "typed"  # JSON: a number, true, false or null, and not text


class Entry(NamedTuple):
    """A value of a mapping and the place of its key."""

    place: Place
    node: Node


@dataclass(slots=True, eq=False)
class Node:
    """One value as written. Of `text`, `items` and `entries` only the one of its kind is filled."""

    place: Place
    kind: Kind
    style: Style = Style.TEXT
    text: str = field(default="", repr=False)  # may be a secret
    items: list[Node] = field(default_factory=list, repr=False)
    entries: dict[str, Entry] = field(default_factory=dict, repr=False)
    size: int = 1

    def scalar(self) -> str | int | float | bool | None:
        """The value of a scalar by the core schema of YAML 1.2 (`no` and `yes` are text)."""
        return self.text if self.style is Style.TEXT else resolve(self.text)

    def words(self) -> str:
        """What this is, in words: for "`x` wants a list, not text"."""
        if self.kind is Kind.LIST:
            return "a list"
        if self.kind is Kind.MAPPING:
            return "a mapping"
        value = self.scalar()
        if value is None:
            return "nothing"
        if isinstance(value, bool):
            return "true or false"
        return "a number" if isinstance(value, int | float) else "text"


_INT = re.compile(r"[-+]?[0-9]{1,18}\Z")
_BASED = re.compile(r"0(?:o[0-7]{1,20}|x[0-9a-fA-F]{1,15})\Z")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"
    r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
)
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def resolve(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means. Whatever is no number, truth or nothing is text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        try:
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:  # pragma: no cover - the pattern admits only what float() reads
            return text
    return text


# Characters that no document needs and that can make a reviewer read something else than we do:
# controls (but tab and line breaks), the line breaks that only some readers take for such, halves of
# surrogate pairs, and the overrides of writing direction.
_BAD = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069\ufffe\uffff]"
)


def bad_character(text: str) -> str:
    """The first character of `text` that is refused, as `U+XXXX`, or ''."""
    return bad_character_at(text)[0]


def bad_character_at(text: str) -> tuple[str, int]:
    """The first refused character of `text` and its offset, or ('', -1)."""
    found = _BAD.search(text)
    return (f"U+{ord(found[0]):04X}", found.start()) if found else ("", -1)


def without_bad(text: str) -> str:
    """`text` with the refused characters replaced, so that one fault gives one problem."""
    return _BAD.sub("_", text)


class Stop(PolicyError):
    """A file cannot be read any further; `problem` says where and why."""

    code = "unreadable"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message, hint=problem.hint)
        self.problem = problem


def node_of(value: object, depth: int = 0, *, ours: bool = False) -> Node:
    """The node of a decoded request body, or of a document of `ours`; every place is the start.

    Raises:
        PolicyError: nested deeper than `MAX_DEPTH`, a value that JSON does not have, or, unless it is
            ours, a character that no file may hold.
    """
    if depth > MAX_DEPTH:
        raise PolicyError(f"nested deeper than {MAX_DEPTH} levels", code="too_deep")
    if isinstance(value, Mapping):
        node = Node(START, Kind.MAPPING)
        for key, inner in value.items():
            child = node_of(inner, depth + 1, ours=ours)
            node.entries[str(key) if ours else _clean(str(key))] = Entry(START, child)
            node.size += child.size
        return node
    if isinstance(value, list | tuple):
        items = [node_of(inner, depth + 1, ours=ours) for inner in value]
        return Node(START, Kind.LIST, items=items, size=1 + sum(item.size for item in items))
    if isinstance(value, str):
        return Node(START, Kind.SCALAR, Style.TEXT, value if ours else _clean(value))
    if value is None or isinstance(value, bool):
        return Node(START, Kind.SCALAR, Style.TYPED, "null" if value is None else str(value))
    if isinstance(value, int | float):
        return Node(START, Kind.SCALAR, Style.TYPED, _number_text(value))
    raise PolicyError("a value is neither text, a number, true, false, null, a list nor a mapping")


def _clean(text: str) -> str:
    found = bad_character(text)
    if found:
        message = f"the text holds the character {found}"
        raise PolicyError(message, hint="remove it", code="bad_character")
    return text


def _number_text(value: int | float) -> str:
    if isinstance(value, int):
        return str(value) if -(10**18) < value < 10**18 else "1e999"
    return repr(value).replace("inf", ".inf").replace("nan", ".nan")


def path_text(path: Path) -> str:
    """`rules[0].effect` of `("rules", 0, "effect")`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
