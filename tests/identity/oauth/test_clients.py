from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.oauth.clients import MAX_NAME, UNNAMED, cleaned, described, restored, stored
from identity.oauth.errors import InvalidClientMetadata, InvalidRedirectUri

CALLBACK = "http://127.0.0.1/cb"


@given(st.text(max_size=300))
def test_a_name_is_one_short_visible_line(name: str) -> None:
    shown = cleaned(name)
    assert 0 < len(shown) <= MAX_NAME
    assert all(unicodedata.category(char)[0] != "C" for char in shown)
    assert "\n" not in shown
    assert cleaned(shown) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (None, UNNAMED),
        (7, UNNAMED),
        (" \u200b\u202e ", UNNAMED),
        ("My\r\n  Client\u00a0x", "My Client x"),
        ("gw_pat_0123456789abcdef_secret", "gw_…"),
    ],
)
def test_a_name_is_cleaned(name: object, shown: str) -> None:
    assert cleaned(name) == shown


def test_a_client_is_kept_as_it_is() -> None:
    client = described("mcp-1", {"redirect_uris": [CALLBACK], "client_name": "Probe"})
    assert restored(stored(client)) == client


def test_a_client_refreshes_unless_it_says_that_it_does_not() -> None:
    for grants, refreshes in (
        (None, True),
        (["authorization_code"], False),
        (["authorization_code", "refresh_token"], True),
        (["authorization_code", "refresh_token", "urn:x"], True),
    ):
        client = described(
            "mcp-1",
            {"redirect_uris": [CALLBACK], "grant_types": grants}
            if grants
            else {"redirect_uris": [CALLBACK]},
        )
        assert client.refreshes is refreshes


def test_a_client_without_an_address_is_refused() -> None:
    with pytest.raises(InvalidRedirectUri):
        described("mcp-1", {})
    with pytest.raises(InvalidClientMetadata):
        described("mcp-1", {"redirect_uris": {"a": 1}})
