"""What is told before there is a token: exact URLs, and nothing about which servers there are."""

from __future__ import annotations

import pytest

from identity.oauth.resources import Resources
from proxy.oauth import metadata
from tests.proxy.oauth.stack import House


@pytest.mark.parametrize("path", ["", "/mcp", "/mcp/github", "/mcp/github~2", "/mcp/v1/github/mcp"])
async def test_each_resource_has_a_document_that_names_it(house: House, path: str) -> None:
    got = await house.call("GET", f"/.well-known/oauth-protected-resource{path}")
    assert got.status == 200
    assert got.json["resource"] == house.url + path
    assert got.json["authorization_servers"] == [house.url]
    assert got.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "path", ["/", "/api/v1", "/mcp/", "/mcp/a/b", "/mcp/v1", "/mcp/a%2Fb", "x"]
)
async def test_nothing_else_has_one(house: House, path: str) -> None:
    got = await house.call("GET", f"/.well-known/oauth-protected-resource{path}")
    assert got.status == 404


async def test_the_authorization_server_says_what_it_can(house: House) -> None:
    got = (await house.call("GET", "/.well-known/oauth-authorization-server")).json
    assert got["issuer"] == house.url
    assert got["code_challenge_methods_supported"] == ["S256"]
    assert got["response_types_supported"] == ["code"]
    assert got["token_endpoint_auth_methods_supported"] == ["none"]
    assert got["client_id_metadata_document_supported"] is True
    assert got["authorization_response_iss_parameter_supported"] is True
    for name in ("authorization", "token", "registration", "revocation"):
        assert got[f"{name}_endpoint"].startswith(f"{house.url}/")


async def test_there_is_no_half_document_of_openid(house: House) -> None:
    for path in (
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/mcp",
        "/.well-known/oauth-authorization-server/mcp",
    ):
        got = await house.call("GET", path, headers={"Origin": "https://inspector.example.com"})
        assert got.status == 404
        assert got.headers["access-control-allow-origin"] == "*"


def test_a_challenge_says_where_to_go() -> None:
    assert metadata.challenge("https://gw.example.com", "/mcp", "invalid_token") == (
        'Bearer error="invalid_token", scope="mcp:use", '
        'resource_metadata="https://gw.example.com/.well-known/oauth-protected-resource/mcp"'
    )
    assert metadata.challenge("https://gw.example.com/gate", "/mcp/a", scope=None) == (
        "Bearer resource_metadata="
        '"https://gw.example.com/.well-known/oauth-protected-resource/gate/mcp/a"'
    )


def test_a_challenge_repeats_no_text_of_the_caller() -> None:
    assert '"https://gw.example.com/.well-known/oauth-protected-resource/mcp"' in (
        metadata.challenge("https://gw.example.com", '/mcp/a", error="x')
    )


def test_a_gateway_below_a_path_is_named_with_it() -> None:
    resources = Resources("https://gw.example.com/gate")
    assert metadata.authorization_server(resources)["issuer"] == "https://gw.example.com/gate"
    document = metadata.protected_resource(resources, "/mcp/a")
    assert document["resource"] == "https://gw.example.com/gate/mcp/a"
    assert resources.audience("https://gw.example.com/gate/mcp/a") == "/mcp/a"
