"""The checks of a schema agree with a validator of general use, and stay within their budget."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from proxy.mcp.json_schema import Run, Spent, compiled

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0, -2.0]),
    st.sampled_from(["", "a", "ab", "b", "é"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
TYPES = st.sampled_from(["array", "boolean", "integer", "null", "number", "object", "string"])
COUNT = st.integers(0, 2)


PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=3, unique=True)),
    "enum": st.lists(VALUES, min_size=1, max_size=3),
    "const": SCALARS,
    "minimum": st.integers(-2, 2),
    "maximum": st.integers(-2, 2),
    "exclusiveMinimum": st.integers(-2, 2),
    "exclusiveMaximum": st.integers(-2, 2),
    "multipleOf": st.integers(1, 2),
    "minLength": COUNT,
    "maxLength": COUNT,
    "pattern": st.sampled_from(["a", "^b", "^a+$"]),
    "minItems": COUNT,
    "maxItems": COUNT,
    "uniqueItems": st.booleans(),
    "minProperties": COUNT,
    "maxProperties": COUNT,
    "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
    "$ref": st.sampled_from(["#/$defs/A", "#/$defs/B"]),
}


def keywords(strategies: dict[str, st.SearchStrategy[Any]], most: int) -> st.SearchStrategy[Any]:
    """Some of the keywords, each at most once."""
    return st.lists(
        st.sampled_from(sorted(strategies)).flatmap(
            lambda name: strategies[name].map(lambda value: (name, value))
        ),
        max_size=most,
    ).map(dict)


def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    nested = {
        "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
        "additionalProperties": st.one_of(st.booleans(), inner),
        "items": inner,
        "prefixItems": several,
        "contains": inner,
        "propertyNames": inner,
        "allOf": several,
        "anyOf": several,
        "oneOf": several,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
    }
    return st.builds(lambda a, b: {**a, **b}, keywords(PLAIN, 2), keywords(nested, 3))


SCHEMAS = st.recursive(keywords(PLAIN, 2), larger, max_leaves=6)


@settings(max_examples=120, deadline=None)
@given(SCHEMAS, SCHEMAS, VALUES)
def test_it_agrees_with_the_reference(schema: Any, other: Any, value: Any) -> None:
    a = {"type": ["object", "string"], "properties": {"a": {"$ref": "#/$defs/A"}}}
    # What B refers to it may refer to in a circle, where neither has an answer.
    whole = {**schema, "$defs": {"A": a, "B": _without_references(other)}}
    fault = compiled(whole)(value, Run(100_000))
    assert (fault is None) == Draft202012Validator(whole).is_valid(value), fault


def _without_references(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {k: _without_references(v) for k, v in schema.items() if k != "$ref"}
    return [_without_references(item) for item in schema] if isinstance(schema, list) else schema


def test_a_schema_that_multiplies_itself_runs_out_of_budget() -> None:
    steps = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    check = compiled({"$ref": "#/$defs/d0", "$defs": {**steps, "d40": {}}})
    with pytest.raises(Spent):
        check({}, Run(10_000))


def test_a_tenth_is_a_divisor_as_written() -> None:
    check = compiled({"multipleOf": 0.1})
    assert check(0.3, Run(10)) is None
    assert check(0.35, Run(10)) is not None
    assert check(10**400, Run(10)) is None
