"""What two readers could read in two ways is seen, and everything else is read as JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mcp.strict_json import NotJson, TooDeep, is_text, read, write

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_what_is_written_is_read_back_and_as_anybody_reads_it(value: object) -> None:
    raw = write(value)
    assert read(raw, 64).value == json.loads(raw) == value
    assert read(json.dumps(value).encode(), 64).value == value


def test_keys_that_occur_twice_are_told_with_the_outermost_pairs() -> None:
    reading = read(b'{"a":{"b":1,"\\u0062":2},"c":1,"c":2}', 64)
    assert list(reading.twice) == ["b", "c"]
    assert [key for key, _ in reading.top] == ["a", "c", "c"]
    assert read(b'[{"a":1}]', 64).top == ()


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from(["[", '{"a":']))
def test_depth_is_counted_exactly(levels: int, depth: int, opening: str) -> None:
    raw = (opening * levels + "1" + ("]" if opening == "[" else "}") * levels).encode()
    if levels > depth:
        with pytest.raises(TooDeep):
            read(raw, depth)
    else:
        read(raw, depth)


def test_brackets_in_texts_are_no_depth() -> None:
    assert read(b'["[[[[[[{{{{{{"]', 1).value == ["[[[[[[{{{{{{"]


@pytest.mark.parametrize(
    "raw", [b"NaN", b"-Infinity", b"1e400", b'"\\ud800"', b"\xff", b"1 2", b""]
)
def test_what_is_no_json_is_told_in_words(raw: bytes) -> None:
    with pytest.raises(NotJson) as caught:
        read(raw, 64)
    assert str(caught.value)


def test_half_a_pair_is_no_text() -> None:
    assert is_text("😀")
    assert not is_text("\ud83d")
