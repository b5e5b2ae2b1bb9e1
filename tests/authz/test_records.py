"""Each type of record is JSON of one form, without floats, and is read back as itself."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz import records
from authz.records import canonical

JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=st.dictionaries(st.text(), JSONISH, max_size=5))
@settings(max_examples=60, deadline=None)
def test_canonical_json_is_sorted_compact_and_one_line(value: dict[str, object]) -> None:
    raw = canonical(value)
    assert b"\n" not in raw
    # The order of keys is by UTF-8 bytes in every language; json.dumps sorts by code points: the same.
    assert json.loads(raw) == value
    assert canonical(msgspec.json.decode(raw)) == raw
    assert list(json.loads(raw)) == sorted(value)


@pytest.mark.parametrize("kind", records.Record.__subclasses__(), ids=lambda kind: kind.__name__)
def test_no_type_of_record_has_a_float(kind: type[records.Record]) -> None:
    assert "float" not in str([field.type for field in msgspec.structs.fields(kind)])


def test_the_types_of_records_have_distinct_tags() -> None:
    kinds = records.Record.__subclasses__()
    tags = {kind.__struct_config__.tag for kind in kinds}
    assert len(tags) == len(kinds)
