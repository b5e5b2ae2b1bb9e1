"""Our words for what is wrong with one field: a code, a message and a hint for each finding of pydantic's.

No text and no class name of pydantic's comes through, and a value under `auth_data` is never repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic_core import ErrorDetails

from policies.nearest import did_you_mean
from policies.positions import Kind, Style, path_text
from policies.spots import Spot, fields_of

_QUOTED = re.compile(r"'([^']*)'")
_WANTS = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "mapping_type": "a mapping",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "date_type": "a date",
    "datetime_type": "an instant",
}
_HINTS = {
    "date_type": "write a date as `2026-12-31`",
    "datetime_type": "write an instant with its time zone, as `2026-12-31T00:00:00Z`",
    "tuple_type": "write `[one, two]`, or one `- ` line for each",
    "bool_type": "write `true` or `false`",
}
_NAME_HINT = "letters, digits, `.`, `_` and `-`, at most 64, the first a letter or digit"


def explain(detail: ErrorDetails, spot: Spot, hidden: Iterable[str] = ()) -> tuple[str, str, str]:
    """The code, message and hint of one finding, in our own words."""
    kind = detail["type"]
    path = path_text(spot.path) or "the document"
    context = detail.get("ctx", {})
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    if kind == "missing" or kind == "union_tag_not_found":
        name = f"{path}.type" if kind != "missing" else path
        return "missing_field", f"`{name}` is missing", ""
    if kind == "extra_forbidden":
        return _extra(last, path, spot, frozenset(hidden))
    if kind in ("literal_error", "union_tag_invalid"):
        expected = str(context.get("expected") or context.get("expected_tags") or "")
        choices = _QUOTED.findall(expected)
        where = path if kind == "literal_error" else f"{path}.type"
        given = _given(spot)
        if kind != "literal_error" and "auth_data" not in spot.path:
            given = str(context.get("tag", ""))[:80]
        shown = (
            f"`{given}` is not a value of `{where}`" if given else f"`{where}` has a wrong value"
        )
        near = did_you_mean(given, choices)
        return "wrong_value", shown, near or "one of: " + ", ".join(f"`{c}`" for c in choices)
    if kind in _WANTS:
        return _wrong_kind(kind, path, spot, detail)
    if kind == "string_pattern_mismatch":
        given = _given(spot)
        what = f"`{given}` is not a name" if given else f"`{path}` is not a name"
        return "bad_name", f"{what} that `{path}` can have", _NAME_HINT
    if kind in ("string_too_long", "string_too_short"):
        bound = context.get("max_length", context.get("min_length"))
        word = "longer" if kind.endswith("long") else "shorter"
        return "wrong_value", f"`{path}` is {word} than {bound} characters", ""
    if kind in ("too_short", "too_long"):
        bound = context.get("max_length", context.get("min_length"))
        word = "more" if kind == "too_long" else "fewer"
        return "wrong_value", f"`{path}` has {word} than {bound} entries", ""
    if kind in ("greater_than_equal", "less_than_equal"):
        word, bound = (
            ("less", context.get("ge")) if "ge" in context else ("more", context.get("le"))
        )
        return "wrong_value", f"`{path}` is {word} than {bound}", ""
    return "wrong_value", f"`{path}` has a value that it cannot have", ""


def _extra(name: str, path: str, spot: Spot, hidden: frozenset[str]) -> tuple[str, str, str]:
    if any(name in fields_of(model) for model in spot.owners):
        return "field_twice", f"`{path}` is given under two names", "keep one of them"
    known = {
        info.alias or plain
        for model in spot.owners
        for plain, info in model.model_fields.items()
        if plain not in hidden
    }
    hint = did_you_mean(name, known - set(spot.parent.entries))
    if not hint and known:
        hint = "known here: " + ", ".join(sorted(known))
    return "unknown_field", f"`{path}` is not a known field", hint


def _wrong_kind(kind: str, path: str, spot: Spot, detail: ErrorDetails) -> tuple[str, str, str]:
    wants, hint = _WANTS[kind], _HINTS.get(kind, "")
    branches = len(detail["loc"]) > len(spot.path) and "auth_data" not in spot.path
    got = spot.node.words() if spot.node else "nothing"
    if branches:
        return (
            "wrong_type",
            f"`{path}` cannot be {got}",
            "text, a whole number, true, false or a list",
        )
    if got == wants or (got == "text" and kind in ("date_type", "datetime_type")):
        return "wrong_value", f"`{path}` is not {wants}", hint
    if kind == "string_type" and spot.node is not None and spot.node.style is Style.TYPED:
        hint = "put it in double quotes"
    if kind == "int_type" and got == "a number":
        return "wrong_value", f"`{path}` wants a whole number", hint
    return "wrong_type", f"`{path}` wants {wants}, not {got}", hint


def _given(spot: Spot) -> str:
    """The value to repeat in a message, or '' for what may be secret or is no scalar."""
    if "auth_data" in spot.path or spot.node is None or spot.node.kind is not Kind.SCALAR:
        return ""
    return spot.node.text[:80]
