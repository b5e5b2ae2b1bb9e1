"""Headers beside a request: fixed, filled by each principal, signed; and no secret in any other place."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from policies.mcp_servers import HeaderAuth, SigV4Auth
from proxy.mcp.auth.errors import AuthNeeded, FlowRefused, ValuesRefused
from proxy.mcp.auth.status import AuthStatus, Method
from proxy.providers.base import CredentialMissing, UpstreamMisconfigured
from tests.peers.oauth_server import CLIENT_SECRET, OAuthServer
from tests.peers.providers import ACCESS_KEY, BedrockPeer, Seen
from tests.proxy.mcp.auth.world import (
    ANN,
    BOB,
    ENVIRON,
    HEADER_SECRET,
    NOW,
    SERVER,
    World,
    later,
    oauth,
    server,
)

REF = "env:GATEWARDEN_SECRET_HEADER"


def header(level: str = "global", **headers: str) -> HeaderAuth:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HeaderAuth.model_validate({"type": "header", "auth_level": level, "headers": named})


# --- fixed headers ------------------------------------------------------------------------------------


async def test_a_server_without_credentials_gets_none(one: World) -> None:
    assert await one.send(server(None)) == []
    assert await one.auth.status(server(None), ANN, NOW) == AuthStatus(True, Method.NONE)


async def test_a_fixed_header_is_the_same_for_everybody(one: World) -> None:
    target = server(header(Authorization=REF, X_Org="acme"))
    for who in (ANN, BOB):
        assert await one.send(target, who) == [
            ("Authorization", f"Bearer {HEADER_SECRET}"),
            ("X-Org", "acme"),
        ]
    assert (await one.auth.status(target, ANN, NOW)).method is Method.HEADER
    assert not await one.auth.rejected(target, ANN, await one.send(target))


async def test_a_credential_replaces_an_additional_header(one: World, peer: OAuthServer) -> None:
    more = {"AUTHORIZATION": "Basic x", "X-Team": "search"}
    target = server(header(authorization=REF), more=more)
    assert await one.send(target) == [
        ("authorization", f"Bearer {HEADER_SECRET}"),
        ("X-Team", "search"),
    ]
    target = replace(oauth(peer, "client_credentials"), additional_headers=more)
    assert dict(await one.send(target)).keys() == {"Authorization", "X-Team"}


async def test_an_additional_header_is_text_and_no_reference(one: World) -> None:
    assert await one.send(server(None, more={"X-A": REF})) == [("X-A", REF)]


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Transfer_Encoding", "Connection", "Content-Type", "Accept", "Trailer",
     "Mcp-Session-Id", "mcp_protocol_version", "Last-Event-ID", "Proxy-Authorization", "Expect",
     "a b", "x:y"],
)  # fmt: skip
async def test_no_document_sets_what_is_the_gateways(one: World, name: str) -> None:
    with pytest.raises(UpstreamMisconfigured, match="may not set the header"):
        await one.send(server(None, more={name: "x"}))


@pytest.mark.parametrize("value", ["", "a\r\nb: c", "a\nb", "\x00", "é"])
async def test_no_value_breaks_a_line(one: World, value: str) -> None:
    with pytest.raises(UpstreamMisconfigured, match="cannot stand in a header") as caught:
        await one.send(server(header(X_A=value)))
    assert caught.value.__cause__ is None


async def test_a_reference_that_does_not_resolve_names_the_server_only(one: World) -> None:
    for reference in ("env:HOME", "file:x", "secret:0123"):
        with pytest.raises(CredentialMissing) as caught:
            await one.send(server(header(X_A=reference)))
        assert caught.value.message == "the credential of the MCP server `github` is not available"


# --- values of each principal -------------------------------------------------------------------------

PER_USER = header("per_user", Authorization="Bearer {{TOKEN}}", X_A="{{A}}/{{TOKEN}}", X_B=REF)


async def test_everybody_fills_in_his_own(two: World) -> None:
    target = server(PER_USER)
    with pytest.raises(AuthNeeded, match="needs values of yours: TOKEN, A") as caught:
        await two.send(target)
    assert caught.value.missing == ("TOKEN", "A") and not caught.value.authorise
    await two.auth.put_values(target, ANN, {"TOKEN": " ann-canary "}, NOW)
    assert await two.auth.status(target, ANN, NOW) == AuthStatus(False, Method.USER_HEADER, ("A",))
    await two.auths[1].put_values(target, ANN, {"A": "{{TOKEN}}"}, NOW)
    assert await two.send(target) == [
        ("Authorization", "Bearer ann-canary"),
        ("X-A", "{{TOKEN}}/ann-canary"),
        ("X-B", f"Bearer {HEADER_SECRET}"),
    ]
    assert (await two.auth.status(target, ANN, NOW)).authenticated
    with pytest.raises(AuthNeeded):
        await two.send(target, BOB)


async def test_what_somebody_gives_is_never_resolved(one: World) -> None:
    target = server(header("per_user", X_A="{{A}}"))
    await one.auth.put_values(target, ANN, {"A": REF}, NOW)
    assert await one.send(target) == [("X-A", REF)]
    target = server(header("per_user", X_A="env:{{A}}"))
    await one.auth.put_values(target, ANN, {"A": REF.removeprefix("env:")}, NOW)
    assert await one.send(target) == [("X-A", REF)]


async def test_places_in_a_header_for_all_are_text(one: World) -> None:
    target = server(header(X_A="{{A}}"))
    assert await one.send(target) == [("X-A", "{{A}}")]
    with pytest.raises(ValuesRefused, match="takes no values"):
        await one.auth.put_values(target, ANN, {"A": "x"}, NOW)


@pytest.mark.parametrize(
    ("values", "says"),
    [({"B": "canary"}, "asks for no value `B`"), ({"A": "  "}, "the value of `A`"),
     ({"A": "canary\r\nx: y"}, "the value of `A`"), ({"A": "canaryé"}, "the value of `A`"),
     ({"A": "canary" * 9999}, "the value of `A`")],
)  # fmt: skip
async def test_values_that_do_not_fit_are_refused_unseen(
    one: World, values: dict[str, str], says: str
) -> None:
    with pytest.raises(ValuesRefused, match=says) as caught:
        await one.auth.put_values(server(header("per_user", X_A="{{A}}")), ANN, values, NOW)
    assert "canary" not in f"{caught.value!r}{caught.value.hint}"


async def test_given_values_do_not_follow_a_changed_address(one: World) -> None:
    target = server(PER_USER)
    await one.auth.put_values(target, ANN, {"TOKEN": "t", "A": "a"}, NOW)
    await one.send(target)
    moved = replace(target, url="https://evil.example/mcp")
    with pytest.raises(AuthNeeded):
        await one.send(moved)
    await one.send(replace(target, url="https://mcp.example/other/path"))


async def test_who_takes_values_back_has_none_anywhere(two: World) -> None:
    target = server(PER_USER)
    await two.auth.put_values(target, ANN, {"TOKEN": "t", "A": "a"}, NOW)
    await two.send(target, process=1)
    assert await two.auth.forget(SERVER, ANN)
    with pytest.raises(AuthNeeded):
        await two.send(target)
    with pytest.raises(AuthNeeded):
        await two.send(target, process=1, now=later(30))


# --- AWS ----------------------------------------------------------------------------------------------


async def test_a_request_is_signed_with_what_goes_beside_it(one: World) -> None:
    auth = SigV4Auth.model_validate(
        {
            "type": "aws-sigv4",
            "access_key_id": ACCESS_KEY,
            "secret_access_key": "env:GATEWARDEN_SECRET_AWS",
            "session_token": "env:GATEWARDEN_SECRET_SESSION",
            "region": "eu-west-1",
            "service": "bedrock-agentcore",
        }
    )
    target = server(auth, "https://agent.example/run/mcp", more={"X-A": "b", "authorization": "x"})
    peer = BedrockPeer()
    peer.now = NOW
    body = json.dumps({"jsonrpc": "2.0"}).encode()
    url = f"{target.url}?qualifier=DEFAULT"
    sent = await one.auth.headers(target, ANN, "POST", url, body, NOW)
    seen = Seen("POST", "/run/mcp", "qualifier=DEFAULT", [("host", "agent.example"), *sent], body)
    peer.verify(seen, "bedrock-agentcore")
    assert "x-a;" in (seen.get("authorization") or "")
    assert (await one.auth.status(target, ANN, NOW)).method is Method.AWS


# --- what is shown of it ------------------------------------------------------------------------------


async def test_status_says_how_and_not_what(one: World, peer: OAuthServer) -> None:
    machine, person = oauth(peer, "client_credentials"), oauth(peer, "authorization_code")
    assert await one.auth.status(machine, ANN, NOW) == AuthStatus(True, Method.CLIENT)
    assert await one.auth.status(person, ANN, NOW) == AuthStatus(False, Method.OAUTH)
    await one.connect(peer, person)
    assert await one.auth.status(person, ANN, later(9999)) == AuthStatus(True, Method.OAUTH)
    with pytest.raises(FlowRefused, match="needs no authorization of yours"):
        await one.auth.begin(machine, ANN, NOW)


async def test_no_secret_is_in_a_repr_a_log_or_in_the_store(
    one: World, peer: OAuthServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    person, machine = oauth(peer, "authorization_code"), oauth(peer, "client_credentials")
    machine = replace(machine, id="mcp-server:other")
    given = replace(server(PER_USER), id="mcp-server:third")
    await one.connect(peer, person)
    for now in (NOW, later(4000)):
        await one.send(person, now=now)
        await one.send(machine, now=now)
    await one.auth.put_values(given, ANN, {"TOKEN": "ann-canary", "A": "a-canary"}, NOW)
    await one.send(given)
    parts: list[Any] = [one.auth, one.secrets[0], person, machine, given]
    for item in vars(one.auth).values():
        parts.append(item)
        if item is not one.secrets[0]:  # which holds the environment
            parts += list(getattr(item, "__dict__", {}).values())
    back = peer.consent(await one.auth.begin(person, ANN, NOW))
    parts.append(await one.auth.take(back["state"], NOW))
    shown = " ".join(repr(item) for item in parts) + caplog.text
    for space in ("mcp-auth-token", "mcp-auth-values", "mcp-auth-flow", "mcp-auth-client"):
        shown += str(await one.states[0].all(space, NOW))
    for secret in ("canary", CLIENT_SECRET, back["state"], *ENVIRON.values()):
        assert secret not in shown, secret
