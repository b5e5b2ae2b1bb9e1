"""Which declared resource a URI is."""

from __future__ import annotations

import pytest

from proxy.mcp.uris import climbs, declared

TEMPLATES = ("docs://{page}", "docs://guides/{page}", "file:///{+path}", "db://t/{id}{?columns}")


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("docs://intro", "docs://{page}"),
        ("docs://guides/start", "docs://guides/{page}"),
        ("docs://a/b", None),
        ("file:///etc/hosts", "file:///{+path}"),
        ("db://t/7", "db://t/{id}{?columns}"),
        ("db://t/7?columns=a,b", "db://t/{id}{?columns}"),
        ("other://x", None),
    ],
)
def test_a_uri_is_its_longest_declared_pattern(uri: str, found: str | None) -> None:
    assert declared(uri, TEMPLATES) == found


@pytest.mark.parametrize(
    "uri",
    [
        "file:///a/../secret",
        "file:///a/%2e%2e/secret",
        "file:///a/%252e%252e/secret",
        "file:///..\\secret",
        "docs://..",
    ],
)
def test_a_value_never_climbs(uri: str) -> None:
    assert climbs(uri)
    assert declared(uri, TEMPLATES) is None


def test_a_template_that_is_not_understood_matches_nothing() -> None:
    assert declared("a://{b", ["a://{b"]) is None


def test_a_uri_beyond_the_limit_is_no_resource() -> None:
    assert declared("docs://" + "a" * 3000, TEMPLATES) is None
