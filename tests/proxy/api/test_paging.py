"""Cursors: opaque, bound to their list, and without any right of their own."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.api.paging import decode_cursor, encode_cursor
from proxy.api.problem import BadQuery


@given(st.text())
def test_a_cursor_comes_back_as_it_was(after: str) -> None:
    try:
        after.encode()
    except UnicodeEncodeError:
        return
    assert decode_cursor("teams", encode_cursor("teams", after)) == after


def test_no_cursor_is_the_first_page() -> None:
    assert decode_cursor("teams", "") == ""


@pytest.mark.parametrize(
    "cursor",
    [
        encode_cursor("users", "ann"),
        "not base64!",
        base64.urlsafe_b64encode(b'["teams"]').decode(),
        base64.urlsafe_b64encode(b'["teams", {"$gt": ""}]').decode(),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
        "é",
    ],
)
def test_a_foreign_or_forged_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadQuery, match="not a cursor of this list"):
        decode_cursor("teams", cursor)
