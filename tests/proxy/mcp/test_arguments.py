"""Arguments that do not fit are refused with their place and without their value."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.mcp.arguments import Arguments
from proxy.mcp.local import InvalidArguments

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "size": {"type": "integer", "minimum": 1},
        "colour": {"enum": ["red", "green"]},
        "list": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
        "either": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Node"}]},
        "code": {"type": "string", "pattern": "^[A-Z]+$"},
    },
    "required": ["size"],
    "additionalProperties": False,
    "$defs": {
        "Node": {"type": "object", "properties": {"x": {"type": ["number", "null"]}}},
        "Loop": {"$ref": "#/$defs/Loop"},
    },
}


def refusal(arguments: dict[str, Any], schema: dict[str, Any] = SCHEMA) -> str:
    with pytest.raises(InvalidArguments) as caught:
        Arguments(schema).check(arguments)
    return caught.value.message


def test_what_fits_passes() -> None:
    Arguments(SCHEMA).check({"size": 2.0, "colour": "red", "list": [{"x": None}], "either": "a"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "the object of arguments lacks `size`"),
        ({"size": 1, "z": 1, "`q": 2}, "the object of arguments must not hold `'q`, `z`"),
        ({"size": True}, "`size` must be of type integer"),
        ({"size": 0}, "`size` must be at least 1"),
        ({"size": 1, "colour": "blue"}, '`colour` must be one of "red", "green"'),
        ({"size": 1, "list": [{}, {"x": "s"}]}, "`list[1].x` must be of type number or null"),
        ({"size": 1, "either": {"x": "s"}}, "`either.x` must be of type number or null"),
        ({"size": 1, "either": 5}, "`either` has none of its forms"),
        ({"size": 1, "code": "secret-9"}, "`code` must have the form `^[A-Z]+$`"),
    ],
)
def test_a_refusal_names_the_place(arguments: dict[str, Any], message: str) -> None:
    assert refusal(arguments) == message


def test_nesting_without_end_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"a": deep}
    assert "deeper" in refusal(deep, {})
    assert "within bounds" in refusal({}, {"$ref": "#/$defs/Loop", "$defs": SCHEMA["$defs"]})
