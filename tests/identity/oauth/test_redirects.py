from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.oauth import redirects
from identity.oauth.errors import InvalidRedirectUri


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example.com",
        "https://app.example.com/cb",
        "https://app.example.com:8443/cb?x=1&y=%20",
        "http://127.0.0.1/cb",
        "http://127.0.0.1:1/cb",
        "http://[::1]:8080/",
        "http://localhost:3000/oauth/callback",
        "https://xn--bcher-kva.example/cb",
    ],
)
def test_https_and_the_loopback_interface_are_taken(uri: str) -> None:
    assert redirects.check(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/cb",
        "app.example.com/cb",
        "http://app.example.com/cb",
        "http://127.0.0.2/cb",
        "http://127.0.0.1.example.com/cb",
        "http://localhost.example.com/cb",
        "http://2130706433/cb",
        "https://user@app.example.com/cb",
        "https://user:pw@app.example.com/cb",
        "https://app.example.com/cb#",
        "https://app.example.com/cb#x",
        "https://app.example.com\\@evil.example.com/cb",
        "https://app.example.com/c b",
        "https://app.example.com/cb\r\nLocation: x",
        "https://app.example.com/<script>",
        'https://app.example.com/"',
        "https://app.example.com/%zz",
        "https://bücher.example/cb",
        "https:///cb",
        "https://app.example.com:/cb",
        "javascript:alert(1)",
        "data:text/html,x",
        "custom.scheme:/cb",
        "https://a.example.com/" + "x" * 1024,
    ],
)
def test_everything_else_is_refused(uri: str) -> None:
    with pytest.raises(InvalidRedirectUri):
        redirects.check(uri)


@pytest.mark.parametrize(
    ("registered", "asked", "same"),
    [
        ("https://a.example.com/cb", "https://a.example.com/cb", True),
        ("https://a.example.com/cb", "https://a.example.com:8443/cb", False),
        ("https://a.example.com/cb", "https://A.example.com/cb", False),
        ("https://a.example.com/cb", "https://a.example.com/cb/", False),
        ("https://a.example.com/cb", "https://a.example.com/cb?x", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:50000/cb", True),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", True),
        ("http://localhost:1/cb", "http://localhost:2/cb", True),
        ("http://[::1]:1/cb", "http://[::1]:2/cb", True),
        ("http://localhost:1/cb", "http://127.0.0.1:1/cb", False),
        ("http://127.0.0.1/cb", "https://127.0.0.1/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:50000/other", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:50000@evil.example.com/cb", False),
    ],
)
def test_only_the_port_of_the_loopback_interface_is_free(
    registered: str, asked: str, same: bool
) -> None:
    assert redirects.same(registered, asked) is same


@given(st.text(alphabet="htps:/.localhost127[]@?#%\\ é\n0aZ-_", max_size=40))
def test_what_is_taken_is_read_in_the_same_way_by_another_parser(text: str) -> None:
    try:
        redirects.check(text)
    except InvalidRedirectUri:
        return
    parts = urlsplit(text)
    assert parts.scheme in ("http", "https")
    assert parts.username is None
    assert parts.fragment == ""
    assert redirects.origin_of(text).startswith(f"{parts.scheme}://")
    assert (parts.hostname or "") in redirects.origin_of(text)
    if parts.scheme == "http":
        assert parts.hostname in ("localhost", "127.0.0.1", "::1")
    assert redirects.same(text, text)
