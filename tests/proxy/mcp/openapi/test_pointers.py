"""A reference leads to a place in the same document, or is refused."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.mcp.openapi.pointers import OpenApiError, pointed, resolved

DOCUMENT: dict[str, Any] = {
    "a": {"b/c": {"~d": [1, {"e f": 2}]}},
    "one": {"$ref": "#/two"},
    "two": {"$ref": "#/one"},
    "far": {"$ref": "#/near"},
    "near": {"x": 1},
}


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("#/a/b~1c/~0d/0", 1),
        ("#/a/b~1c/~0d/1/e%20f", 2),
        ("#/near", {"x": 1}),
        ("#", DOCUMENT),
    ],
)
def test_it_finds_what_is_there(reference: str, value: object) -> None:
    assert pointed(DOCUMENT, reference) == value


@pytest.mark.parametrize(
    "reference",
    [
        "http://169.254.169.254/latest#/a",
        "other.yaml#/a",
        "file:///etc/passwd",
        "#anchor",
        "#/a/nothing",
        "#/a/b~1c/~0d/9",
        "#/a/b~1c/~0d/-1",
        "#/" + "a/" * 2_000,
        7,
    ],
)
def test_everything_else_is_refused(reference: object) -> None:
    with pytest.raises(OpenApiError):
        pointed(DOCUMENT, reference)


def test_references_to_references_end() -> None:
    assert resolved(DOCUMENT, DOCUMENT["far"]) == {"x": 1}
    with pytest.raises(OpenApiError, match="circle"):
        resolved(DOCUMENT, DOCUMENT["one"])
    with pytest.raises(OpenApiError, match="object"):
        resolved(DOCUMENT, [1])
