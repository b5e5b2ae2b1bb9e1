"""The whole way of an MCP client, over HTTP, and what the endpoints are."""

from __future__ import annotations

from datetime import timedelta

import pytest

from policies.documents import User
from proxy.oauth.site import ENDPOINTS
from tests.proxy.oauth.stack import CALLBACK, House


async def test_a_client_finds_its_way_from_the_challenge_to_a_call(house: House) -> None:
    refused = await house.call("POST", "/mcp/github")
    assert refused.status == 401
    where = f"{house.url}/.well-known/oauth-protected-resource/mcp/github"
    assert refused.headers["www-authenticate"] == (
        f'Bearer scope="mcp:use", resource_metadata="{where}"'
    )
    resource = (await house.call("GET", where)).json
    assert resource["resource"] == f"{house.url}/mcp/github"
    issuer = resource["authorization_servers"][0]
    server = (await house.call("GET", f"{issuer}/.well-known/oauth-authorization-server")).json
    assert server["issuer"] == issuer == house.url
    registered = await house.call(
        "POST",
        server["registration_endpoint"],
        json={"client_name": "Probe", "redirect_uris": [CALLBACK], "application_type": "native"},
    )
    client = registered.json["client_id"]
    assert registered.json["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in registered.json

    asked, verifier = house.asking(client)
    page = await house.call("GET", server["authorization_endpoint"], params=asked)
    back = await house.decide(page, house.tokens["ann"])
    assert back.headers["location"].startswith(f"{CALLBACK}?")
    assert back.sent_back["state"] == "s&t 1"
    assert back.sent_back["iss"] == house.url

    got = await house.call(
        "POST",
        server["token_endpoint"],
        data={
            "grant_type": "authorization_code",
            "code": back.sent_back["code"],
            "code_verifier": verifier,
            "client_id": client,
            "redirect_uri": CALLBACK,
            "resource": f"{house.url}/mcp/github",
        },
    )
    assert got.headers["cache-control"] == "no-store"
    assert got.json["token_type"] == "Bearer"
    assert got.json["expires_in"] == 600
    used = await house.use(got.json["access_token"])
    ann = house.directory.authenticate(house.tokens["ann"], house.now[0])
    assert used.json["id"] == ann.id
    assert used.json["kind"] == "oauth"
    assert used.json["token"] is None

    house.now[0] += timedelta(minutes=10)
    late = await house.use(got.json["access_token"])
    assert late.status == 401
    assert 'error="invalid_token"' in late.headers["www-authenticate"]
    renewed = await house.refresh(client, got.json["refresh_token"])
    assert (await house.use(renewed.json["access_token"])).json == used.json


async def test_an_account_gives_a_client_what_its_token_may(house: House) -> None:
    client = await house.register()
    tokens = await house.connected(client, "checkout")
    assert (await house.use(tokens["access_token"])).json["id"] == "virtualaccount:checkout"


async def test_the_restrictions_of_the_token_that_was_shown_hold_for_the_client(
    house: House,
) -> None:
    client = await house.register()
    tokens = await house.connected(client, "narrow")
    used = await house.use(tokens["access_token"])
    assert used.json["token"] == f"token:{house.ids['narrow']}"


@pytest.mark.parametrize(
    ("audience", "path", "fits"),
    [
        ("/mcp/github", "/mcp/github", True),
        ("/mcp/github", "/mcp/v1/github/mcp", True),
        ("/mcp/v1/github/mcp", "/mcp/github", True),
        ("/mcp/github", "/mcp/slack", False),
        ("/mcp/github", "/mcp", False),
        ("/mcp", "/mcp/slack", True),
        ("", "/mcp", True),
        ("/", "/mcp/slack", True),
    ],
)
async def test_a_token_is_good_where_it_was_meant_for(
    house: House, audience: str, path: str, fits: bool
) -> None:
    client = await house.register()
    tokens = await house.connected(client, resource=house.url + audience)
    assert (await house.use(tokens["access_token"], path)).status == (200 if fits else 401)


async def test_no_other_token_is_an_access_token(house: House) -> None:
    client = await house.register()
    tokens = await house.connected(client)
    for secret in (
        house.tokens["ann"],
        tokens["refresh_token"],
        tokens["access_token"][:-2] + "00",
        tokens["access_token"].upper(),
    ):
        assert (await house.use(secret)).status == 401


async def test_an_access_token_opens_nothing_that_a_personal_one_does(house: House) -> None:
    client = await house.register()
    tokens = await house.connected(client)
    page = await house.ask(house.asking(client)[0])
    assert (await house.decide(page, tokens["access_token"])).status == 403


async def test_what_ends_the_person_ends_the_client_at_once(house: House) -> None:
    client = await house.register()
    tokens = await house.connected(client)
    await house.put(User(name="ann@example.com", state="suspended"))
    assert (await house.use(tokens["access_token"])).json["code"] == "suspended"
    got = await house.refresh(client, tokens["refresh_token"])
    assert (got.status, got.json["error"]) == (400, "invalid_grant")


async def test_what_ends_the_token_that_was_shown_ends_the_client_at_once(house: House) -> None:
    client = await house.register()
    tokens = await house.connected(client)
    await house.revoke("ann")
    assert (await house.use(tokens["access_token"])).json["code"] == "revoked_credential"
    got = await house.refresh(client, tokens["refresh_token"])
    assert (got.status, got.json["error"]) == (400, "invalid_grant")


async def test_a_token_ends_with_the_one_that_was_shown(house: House) -> None:
    ends = house.now[0] + timedelta(minutes=4)
    await house.mint("short", "user:ann@example.com", expires_at=ends)
    client = await house.register()
    tokens = await house.connected(client, "short")
    assert tokens["expires_in"] == 240
    house.now[0] = ends
    assert (await house.use(tokens["access_token"])).status == 401
    assert (await house.refresh(client, tokens["refresh_token"])).json["error"] == "invalid_grant"


async def test_a_client_is_asked_for_again_after_90_days(house: House) -> None:
    client = await house.register()
    tokens = await house.connected(client)
    for _ in range(4):
        house.now[0] += timedelta(days=22)
        tokens = (await house.refresh(client, tokens["refresh_token"])).json
    house.now[0] += timedelta(days=2)
    assert (await house.refresh(client, tokens["refresh_token"])).json["error"] == "invalid_grant"


async def test_grants_that_ended_are_cleared_away_by_the_next_consent(house: House) -> None:
    client = await house.register()
    await house.connected(client)
    (old,) = house.families()
    await house.connected(client)
    assert len(house.families()) == 2
    await house.mint("other", "user:ann@example.com")
    await house.revoke("ann")
    await house.connected(client, "other")
    (left,) = house.families()
    assert left.startswith(house.ids["other"])
    assert left != old


async def test_scripts_of_any_origin_may_call_what_has_no_cookie(house: House) -> None:
    for endpoint in ENDPOINTS:
        path = endpoint.path.replace("{tail:.*}", "")
        got = await house.call(
            "OPTIONS",
            path,
            headers={
                "Origin": "https://inspector.example.com",
                "Access-Control-Request-Method": endpoint.method,
                "Access-Control-Request-Headers": "mcp-protocol-version",
            },
        )
        if endpoint.shared:
            assert got.status == 204
            assert got.headers["access-control-allow-origin"] == "*"
            assert "MCP-Protocol-Version" in got.headers["access-control-allow-headers"]
            assert "access-control-allow-credentials" not in got.headers
        else:
            assert got.status == 405
            assert "access-control-allow-origin" not in got.headers


def test_the_endpoints_without_a_bearer_token_are_these() -> None:
    assert {f"{one.method} {one.path}" for one in ENDPOINTS} == {
        "GET /.well-known/oauth-protected-resource{tail:.*}",
        "GET /.well-known/oauth-authorization-server{tail:.*}",
        "GET /.well-known/openid-configuration{tail:.*}",
        "GET /authorize",
        "POST /authorize",
        "POST /token",
        "POST /register",
        "POST /revoke",
    }


async def test_a_policy_that_is_too_old_gives_nothing(house: House) -> None:
    client = await house.register()
    form = await house.code(client)
    page = await house.ask(house.asking(client)[0])
    house.now[0] += timedelta(days=100_000)
    assert (await house.token(**form)).status == 503
    assert (await house.ask(house.asking(client)[0])).status == 503
    assert (await house.decide(page, house.tokens["ann"])).status == 503
