"""Places in headers: what is found is what is filled, once, whatever stands in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policies.secrets import placeholders_of
from proxy.mcp.auth.values import filled, may_set, placeholders

PIECES = st.sampled_from(
    ["{{", "}}", "A", "_b1", "{{A}}", "{{_b1}}", " ", "{", "}", "1", "-", "env:"]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@given(TEXTS, TEXTS.filter(bool))
def test_every_place_that_is_asked_for_is_filled_and_no_other(text: str, value: str) -> None:
    keys = placeholders({"x": text})
    assert set(keys) == set(placeholders_of(text)) and len(set(keys)) == len(keys)
    made = filled(text, {key: f"<{key}>" for key in keys})
    assert placeholders_of(made) == () or not keys or "<" in made
    for key in keys:
        assert f"<{key}>" in made
    # What is put in is not read again.
    assert filled(text, dict.fromkeys(keys, value)).count(value) >= len(placeholders_of(text))


def test_names_are_compared_as_lenient_servers_read_them() -> None:
    for name in (
        "MCP_SESSION_ID",
        "Mcp.Session.Id",
        "Content_Length",
        "hOST",
        "proxy-x",
        "",
        "a\n",
    ):
        assert not may_set(name), name
    for name in ("Authorization", "X-API-Key", "Cookie", "x-mcp-key"):
        assert may_set(name), name
