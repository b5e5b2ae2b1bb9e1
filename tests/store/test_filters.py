"""How a key is written in an index. What a filter finds: `tests/contract/test_records.py`."""

from __future__ import annotations

import pytest

from authz.filters import all_of, either, has, lacks
from store.filters import Numbers, match_text, mongo_query, numbered, tokens

ONE, OTHER = Numbers(b"1" * 32), Numbers(b"2" * 32)


def test_a_number_depends_on_the_key_of_the_store_and_fits_63_bits() -> None:
    assert ONE.of(["a", "b"]) == ONE.of(["b", "a"]) != OTHER.of(["a", "b"])
    assert all(0 <= number < 1 << 63 for number in ONE.of(map(str, range(200))))
    assert "1" not in repr(ONE)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Numbers(b"short")


def test_no_text_of_a_caller_reaches_a_query() -> None:
    filter = either(all_of(has('x" OR all'), lacks("$ne")), all_of(lacks("{}")))
    assert not set(match_text(numbered(filter, ONE))) - set("0123456789abcdefl ()ORANDNT")
    assert set(tokens(ONE.of(["$ne", "NOT"]))) <= set("0123456789abcdefl ")
    assert "$ne" not in str(mongo_query(numbered(filter, ONE)))
