"""Which parameters a caller may fill."""

from __future__ import annotations

import pytest

from proxy.mcp.openapi.parameters import Where, parameter
from proxy.mcp.openapi.pointers import OpenApiError


def test_styles_have_their_defaults() -> None:
    query = parameter({"name": "q", "in": "query", "schema": {"type": "string"}})
    path = parameter({"name": "p", "in": "path", "required": True})
    assert query is not None and path is not None
    assert (query.where, query.required, query.style, query.explode) == (
        Where.QUERY, False, "form", True,
    )  # fmt: skip
    assert (path.where, path.required, path.style, path.explode) == (
        Where.PATH, True, "simple", False,
    )  # fmt: skip


def test_a_parameter_with_content_is_json() -> None:
    made = parameter(
        {
            "name": "f",
            "in": "query",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    )
    assert made is not None
    assert (made.style, made.schema) == ("json", {"type": "object"})


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "Accept", "Content-Type",  # the document is not asked about these
        "Host", "Connection", "Transfer-Encoding", "Content-Length", "TE",  # codespell:ignore te
        "Cookie", "X-Api-Key", "x_api_key", "Proxy-Authorization",
        "Mcp-Session-Id", "MCP_Protocol_Version", "X-Forwarded-For", "X_Forwarded_For", "Forwarded",
        "X-Gatewarden-Metadata", "Sec-Fetch-Site", "X-HTTP-Method-Override", "a b", "x\r\ny",
    ],
)  # fmt: skip
def test_a_header_that_callers_may_not_set_is_left_out(name: str) -> None:
    assert parameter({"name": name, "in": "header"}) is None


@pytest.mark.parametrize("name", ["X-Trace", "If-Match", "Idempotency-Key", "Accept-Language"])
def test_other_headers_pass(name: str) -> None:
    assert parameter({"name": name, "in": "header"}) is not None


@pytest.mark.parametrize(
    "value",
    [
        {"name": "s", "in": "cookie", "required": True},
        {"name": "Host", "in": "header", "required": True},
        {"name": "p", "in": "path", "style": "matrix"},
        {"name": "q", "in": "query", "style": ["form"]},
        {"name": "", "in": "query"},
        {"in": "query"},
        {"name": "x"},
    ],
)
def test_what_cannot_be_sent_cannot_be_a_tool(value: dict[str, object]) -> None:
    with pytest.raises(OpenApiError):
        parameter(value)


def test_an_optional_cookie_is_left_out() -> None:
    assert parameter({"name": "s", "in": "cookie"}) is None


def test_a_required_authorization_header_is_the_servers_own_business() -> None:
    assert parameter({"name": "Authorization", "in": "header", "required": True}) is None
