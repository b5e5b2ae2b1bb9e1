"""Schemas of a document become JSON Schema, finite and without what is broken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from proxy.mcp.openapi import schemas as module
from proxy.mcp.openapi.pointers import OpenApiError
from proxy.mcp.openapi.schemas import Schemas


def convert(schema: object, *, old: bool = False) -> dict[str, Any]:
    return Schemas({}, old).convert(schema)[0]


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        # 3.0 says otherwise what 3.1 leaves to JSON Schema
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        (
            {"type": "string", "nullable": True, "enum": ["a"]},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
        # what is no rule for an argument
        ({"type": "string", "example": "x", "xml": {}, "x-a": 1}, {"type": "string"}),
        # what is broken
        ({"type": "file", "minLength": -1, "pattern": 7, "enum": "a"}, {}),
        ({"minimum": "1", "multipleOf": 0, "required": "a", "properties": []}, {}),
        ("nonsense", {}),
    ],
)
def test_a_schema_of_3_0(schema: object, made: dict[str, Any]) -> None:
    assert convert(schema, old=True) == made


def test_a_schema_of_3_1() -> None:
    schema = {"type": ["string", "null"], "exclusiveMinimum": 3, "prefixItems": [True, False]}
    assert convert(schema) == {**schema, "prefixItems": [{}, {"not": {}}]}


def test_what_only_answers_hold_is_not_asked_for() -> None:
    schema = {
        "required": ["id", "name"],
        "properties": {"id": {"type": "integer", "readOnly": True}, "name": {}},
    }
    assert convert(schema) == {"properties": {"name": {}}, "required": ["name"]}


def test_names_by_pattern_leave_the_object_open() -> None:
    schema = {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}
    assert convert(schema) == {}


def test_a_schema_that_contains_itself_stays_finite() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    made = Schemas({"components": {"schemas": {"Node": node}}}, old=True)
    schema, names = made.convert({"$ref": "#/components/schemas/Node"})
    assert schema == {"$ref": "#/$defs/Node"}
    assert made.definitions(names) == {
        "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    }


def test_two_definitions_of_one_name_stay_apart() -> None:
    made = Schemas({"a": {"X": {"type": "string"}}, "b": {"X": {"type": "null"}}}, old=False)
    _, one = made.convert({"allOf": [{"$ref": "#/a/X"}, {"$ref": "#/b/X"}]})
    assert made.definitions(one) == {"X": {"type": "string"}, "X_2": {"type": "null"}}


def test_a_reference_out_of_the_document_is_refused() -> None:
    with pytest.raises(OpenApiError, match="out of the document"):
        convert({"items": {"$ref": "http://127.0.0.1/x.json"}})


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "enum" not in convert({"enum": list(range(100_000))})
    assert len(convert({"description": "x" * 90_000})["description"]) <= module.MAX_TEXT
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"items": deep}
    convert(deep)
    wide = {"properties": {f"p{n}": {"title": "y" * 900} for n in range(400)}}
    made = Schemas({"w": wide}, old=False)
    with pytest.raises(OpenApiError, match="KiB"):
        made.definitions(made.convert({"$ref": "#/w"})[1])
    monkeypatch.setattr(module, "MAX_CONVERTED", 100)
    with pytest.raises(OpenApiError) as caught:
        convert({"allOf": [{}] * 200})
    assert caught.value.code == "too_large"


KEYWORDS = [
    "type",
    "items",
    "properties",
    "allOf",
    "enum",
    "required",
    "minLength",
    "const",
    "additionalProperties",
    "not",
    "default",
    "nullable",
    "pattern",
    "readOnly",
]
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(KEYWORDS),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(JUNK, st.booleans())
def test_whatever_stands_there_becomes_a_valid_schema(junk: object, old: bool) -> None:
    Draft202012Validator.check_schema(convert(junk, old=old))
