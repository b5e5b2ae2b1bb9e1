from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.oauth.errors import InvalidTarget
from identity.oauth.resources import Resources, covers, is_audience

GATE = Resources("https://gw.example.com")
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}(~2)?", fullmatch=True).filter(
    lambda name: name != "v1"
)


@given(NAMES, NAMES)
def test_a_token_for_one_server_is_good_for_that_one_only(one: str, other: str) -> None:
    for held in (f"/mcp/{one}", f"/mcp/v1/{one}/mcp"):
        for path in (f"/mcp/{other}", f"/mcp/v1/{other}/mcp"):
            assert covers(held, path) is (one == other)
        assert not covers(held, "/mcp")
    for held in ("", "/mcp"):
        assert covers(held, f"/mcp/{one}")
        assert covers(held, f"/mcp/v1/{one}/mcp")


@given(NAMES)
def test_a_url_and_its_audience_are_one(name: str) -> None:
    for path in ("", "/mcp", f"/mcp/{name}", f"/mcp/v1/{name}/mcp"):
        assert GATE.audience(GATE.url(path)) == path
        assert GATE.audience(GATE.url(path) + "/") == path


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "gw.example.com/mcp",
        "http://gw.example.com/mcp",
        "https://gw.example.com.evil.org/mcp",
        "https://gw.example.com@evil.org/mcp",
        "https://gw.example.com:444/mcp",
        "https://gw.example.com//mcp",
        "https://gw.example.com/mcp/v1",
        "https://gw.example.com/mcp/a/b",
        "https://gw.example.com/mcp/a?x",
        "https://gw.example.com/mcp/a#x",
        "https://gw.example.com/mcp/a\n",
        "https://gw.example.com/mcp/%61",
        "https://gw.example.com/v1",
    ],
)
def test_what_is_not_ours_is_refused(resource: str) -> None:
    with pytest.raises(InvalidTarget):
        GATE.audience(resource)


def test_the_host_is_read_without_its_case() -> None:
    assert GATE.audience("HTTPS://GW.example.com/mcp/a") == "/mcp/a"
    assert not is_audience("/MCP")


def test_a_token_for_all_opens_nothing_but_mcp() -> None:
    assert not covers("", "/api/v1/whoami")
    assert not covers("/mcp", "/v1/models")
