"""Paths of a document never lead out of the base address."""

from __future__ import annotations

import pytest

from proxy.mcp.openapi.pointers import OpenApiError
from proxy.mcp.openapi.templates import template


@pytest.mark.parametrize(
    "path",
    [
        "a", "/../a", "/a/..", "/a/%2e%2e/b", "/a/%252e%252e/b", "/a%2fb", "/a%5Cb", "/a\\b",
        "/a?x=1", "/a#x", "/a b", "/a\n", "/{x", "/x}", "/.", "/" + "a" * 3_000,
    ],
)  # fmt: skip
def test_a_path_that_could_lead_elsewhere_is_no_tool(path: str) -> None:
    with pytest.raises(OpenApiError):
        template(path)


def test_the_rest_of_a_path_is_escaped() -> None:
    assert template("/ä/{x}.json/a:b") == "/%C3%A4/{x}.json/a:b"
    assert template("/") == "/"
