from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.body import Scan, scan, shown, splice
from proxy.errors import InvalidBody

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text("abcxyz_", min_size=1, max_size=6).filter(
    lambda name: name not in ("model", "stream", "models")
)


@given(
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.sampled_from(["acme/mini", "größe/😀", 'a"b\\c', ""]),
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
    st.integers(0, 4),
)
def test_the_splice_changes_the_model_and_nothing_else(
    fields: dict[str, Any], model: str, ascii_: bool, indent: Any, place: int
) -> None:
    items = list(fields.items())
    items.insert(place, ("model", model))
    body = json.dumps(dict(items), ensure_ascii=ascii_, indent=indent).encode()
    found = scan(body)
    assert found.model == model
    assert json.loads(body[found.start : found.end]) == model
    made = splice(body, found, "provider-model")
    assert made[: found.start] == body[: found.start]
    assert made.endswith(body[found.end :])
    assert json.loads(made) == {**json.loads(body), "model": "provider-model"}


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_and_never_crash(body: bytes) -> None:
    try:
        found = scan(body)
    except InvalidBody as error:
        assert error.message.isprintable()
    else:
        assert isinstance(found, Scan)


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_what_is_read_is_what_a_strict_reader_reads(before: bytes, after: bytes) -> None:
    body = b'{"model":"acme/mini","x":' + before + b"," + after + b"}"
    try:
        found = scan(body)
    except InvalidBody:
        return
    assert found.fields == json.loads(body)


def test_keys_below_the_top_may_repeat_the_names_of_the_top() -> None:
    found = scan(b'{"metadata":{"model":"x"},"model":"acme/mini","messages":[{"model":"y"}]}')
    assert (found.model, found.start, found.end) == ("acme/mini", 34, 45)


def test_a_double_key_is_named() -> None:
    with pytest.raises(InvalidBody, match="`role` occurs twice") as raised:
        scan(b'{"model":"a","messages":[{"role":1,"role":2}]}')
    assert raised.value.param == "role"


def test_objects_that_refer_to_something_are_kept_at_any_depth() -> None:
    found = scan(b'{"model":"a","x":[{"y":{"file_id":"f"}}],"file_id":"top"}')
    assert found.watched == ({"file_id": "f"},)
    assert scan(b'{"model":"a"}').watched == ()


def test_what_was_watched_in_a_broken_body_is_forgotten() -> None:
    with pytest.raises(InvalidBody):
        scan(b'{"model":"a","x":{"file_id":"f"},')
    assert scan(b'{"model":"a","y":{}}').watched == ()


@pytest.mark.parametrize("text", ["`x`", "a\nb", "\x00", "\u202e", "\ud800", "x" * 500])
def test_shown_text_is_short_printable_and_without_backticks(text: str) -> None:
    made = shown(text)
    assert made.isprintable()
    assert "`" not in made
    assert len(made) <= 90
    made.encode()
