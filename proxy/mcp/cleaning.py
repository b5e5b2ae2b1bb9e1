"""Takes out of a server's texts what a person does not see and a model reads.

Instructions have been hidden in descriptions as Unicode tags, between zero-width characters, behind overrides
of the writing direction. Only texts for display are cleaned: names, defaults and constants are values, so that
changing one would change the call. `dirty_places` finds those too, to be flagged for a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_LINES = re.compile("[\u2028\u2029]|\r\n?")  # line breaks that not everybody takes for such
_UNSEEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but tab and line feed
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5"  # soft hyphen, joiners, fillers
    "\u180b-\u180f"  # Mongolian selectors
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, direction, invisible operators
    "\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"  # fillers, byte order mark, interlinear marks
    "\ud800-\udfff"  # halves of pairs
    "\ufe00-\ufe0d"  # selectors of glyphs, but the two that choose text or emoji
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # shorthand and musical controls
    "\U000e0000-\U000e0fff"  # tags, and selectors that have carried bytes
    "]|(?<=[\ufe0e\ufe0f])[\ufe0e\ufe0f]+"  # one chooses, a row of them spells
)
_TEXTS = ("title", "description")
_SCHEMAS = ("inputSchema", "outputSchema")
_VALUES = frozenset({"const", "default", "enum", "examples", "required"})
_NAMED = frozenset(
    {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
)  # schemas by a name of the author's, which may be `title`


def is_dirty(text: str) -> bool:
    """Whether `text` holds what a reader would not see. CRLF is an honest line break."""
    if text.isascii() and text.isprintable():
        return False
    return _UNSEEN.search(text.replace("\r\n", "\n")) is not None


def cleaned(text: str) -> str:
    """`text` without what a reader would not see; tabs and line breaks stay."""
    if text.isascii() and text.isprintable():
        return text
    once = _UNSEEN.sub("", _LINES.sub("\n", text))
    return _UNSEEN.sub("", once)  # what was taken out may have stood between two selectors


def clean_definition(definition: dict[str, Any]) -> dict[str, Any]:
    """The definition of a tool, prompt, resource or template with its texts for display cleaned.

    The same object if nothing had to be changed; else a copy, in which only what changed is copied.
    """
    made = _texts(definition)
    annotations = definition.get("annotations")
    if isinstance(annotations, dict):
        made = _put(definition, made, "annotations", _texts(annotations))
    arguments = definition.get("arguments")  # of a prompt
    if isinstance(arguments, list):
        each = [_texts(item) if isinstance(item, dict) else item for item in arguments]
        if any(new is not old for new, old in zip(each, arguments, strict=True)):
            made = _put(definition, made, "arguments", each)
    for name in _SCHEMAS:
        if name in definition:
            made = _put(definition, made, name, _schema(definition[name]))
    return made


def dirty_places(value: object, at: str = "") -> tuple[str, ...]:
    """Where in a definition, keys and values alike, dirty text stands, as JSON pointers (RFC 6901)."""
    if isinstance(value, str):
        return (at,) if is_dirty(value) else ()
    found: list[str] = []
    if isinstance(value, Mapping):
        for key, held in value.items():
            name = cleaned(str(key)).replace("~", "~0").replace("/", "~1")
            if is_dirty(str(key)):
                found.append(f"{at}/{name}")
            found += dirty_places(held, f"{at}/{name}")
    elif isinstance(value, list | tuple):
        for number, held in enumerate(value):
            found += dirty_places(held, f"{at}/{number}")
    return tuple(dict.fromkeys(found))


def _texts(held: dict[str, Any]) -> dict[str, Any]:
    made = held
    for name in _TEXTS:
        text = held.get(name)
        if isinstance(text, str):
            made = _put(held, made, name, cleaned(text))
    return made


def _schema(schema: Any) -> Any:
    """A JSON Schema with its titles and descriptions cleaned, at any depth."""
    if isinstance(schema, list):
        each = [_schema(item) for item in schema]
        return each if any(a is not b for a, b in zip(each, schema, strict=True)) else schema
    if not isinstance(schema, dict):
        return schema
    made = _texts(schema)
    for key, held in schema.items():
        if key in _NAMED and isinstance(held, dict):
            inner = held
            for name, named in held.items():
                inner = _put(held, inner, name, _schema(named))
            made = _put(schema, made, key, inner)
        elif key not in _VALUES and isinstance(held, dict | list):
            made = _put(schema, made, key, _schema(held))
    return made


def _put(old: dict[str, Any], made: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """`made` with `value` under `key`; a copy of `old` the first time that something differs."""
    if value is old[key] or (isinstance(value, str) and value == old[key]):
        return made
    if made is old:
        made = dict(old)
    made[key] = value
    return made
