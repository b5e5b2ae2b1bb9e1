"""Authorizations in a browser: for whoever began, once, for ten minutes, with the server that was asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest

from proxy.mcp.auth.errors import AuthFailed, AuthNeeded, FlowRefused, FlowUnknown
from store.sealed import Sealer
from tests.peers.oauth_server import OAuthServer, oauth_server
from tests.proxy.mcp.auth.world import (
    ANN,
    BOB,
    NOW,
    PUBLIC,
    World,
    later,
    oauth,
    server,
)

CODE = "authorization_code"


async def test_the_address_asks_for_a_code_for_this_server(one: World, peer: OAuthServer) -> None:
    target = oauth(peer, CODE, authorization_url=f"{peer.url}/authorize?tenant=t1&state=theirs")
    address = await one.auth.begin(target, ANN, NOW)
    given = dict(parse_qsl(urlsplit(address).query))
    assert len(given.pop("state")) == 43 and len(given.pop("code_challenge")) == 43
    assert given == {
        "tenant": "t1",
        "response_type": "code",
        "client_id": "gateway:one",
        "redirect_uri": f"{PUBLIC}/mcp/oauth/callback",
        "code_challenge_method": "S256",
        "scope": "read write",
        "resource": peer.resource,
    }


async def test_a_state_is_for_one_and_once(two: World, peer: OAuthServer) -> None:
    target = oauth(peer, CODE)
    back = peer.consent(await two.auth.begin(target, ANN, NOW))
    assert (await two.auths[1].pending(back["state"], NOW)).principal_id == ANN
    taken = await asyncio.gather(
        *(auth.take(back["state"], NOW) for auth in two.auths * 4), return_exceptions=True
    )
    (flow,) = [item for item in taken if not isinstance(item, BaseException)]
    assert sum(isinstance(item, FlowUnknown) for item in taken) == 7
    await two.auths[1].finish(flow, target, back["code"], "", NOW)
    await two.send(target, ANN)
    with pytest.raises(AuthNeeded):
        await two.send(target, BOB)
    with pytest.raises(FlowUnknown):
        await two.auth.pending(back["state"], NOW)


async def test_a_state_that_was_lost_or_never_given_or_is_old_is_unknown(
    one: World, peer: OAuthServer
) -> None:
    back = peer.consent(await one.auth.begin(oauth(peer, CODE), ANN, NOW))
    for state, now in (("", NOW), ("x" * 43, NOW), ("\ud800", NOW), (back["state"], later(600))):
        with pytest.raises(FlowUnknown) as caught:
            await one.auth.take(state, now)
        assert caught.value.code == "unknown_authorization"


async def test_a_flow_that_was_moved_under_another_state_does_not_open(
    one: World, peer: OAuthServer
) -> None:
    await one.auth.begin(oauth(peer, CODE), ANN, NOW)
    state = one.states[0]
    ((_, blob),) = (await state.all("mcp-auth-flow", NOW)).items()
    moved = "a" * 64
    await state.put("mcp-auth-flow", moved, blob, later(60))
    for foreign in (blob, Sealer(bytes(range(1, 33))).seal("{}", f"mcp-auth-flow|{moved}"), b"x"):
        await state.put("mcp-auth-flow", moved, foreign, later(60))
        with pytest.raises(FlowUnknown):
            await one.auth.take("whatever", NOW)


async def test_a_code_is_of_no_use_without_the_verifier(one: World, peer: OAuthServer) -> None:
    target = oauth(peer, CODE)
    first = peer.consent(await one.auth.begin(target, ANN, NOW))
    second = peer.consent(await one.auth.begin(target, BOB, NOW))
    flow = await one.auth.take(second["state"], NOW)
    with pytest.raises(AuthFailed, match="`invalid_grant`"):
        await one.auth.finish(flow, target, first["code"], "", NOW)
    with pytest.raises(AuthNeeded):
        await one.send(target, BOB)


async def test_a_code_that_was_used_is_refused(one: World, peer: OAuthServer) -> None:
    target = oauth(peer, CODE)
    back = peer.consent(await one.auth.begin(target, ANN, NOW))
    flow = await one.auth.take(back["state"], NOW)
    await one.auth.finish(flow, target, back["code"], "", NOW)
    with pytest.raises(AuthFailed, match="`invalid_grant`"):
        await one.auth.finish(flow, target, back["code"], "", NOW)
    await one.send(target, ANN)


async def test_an_answer_of_another_authorization_server_is_refused(
    one: World, peer: OAuthServer
) -> None:
    target = oauth(peer, CODE)
    for issuer, fine in ((peer.url, True), ("https://evil.example", False), ("x", False)):
        back = peer.consent(await one.auth.begin(target, ANN, NOW))
        flow = await one.auth.take(back["state"], NOW)
        if fine:
            await one.auth.finish(flow, target, back["code"], issuer, NOW)
            continue
        with pytest.raises(FlowRefused, match="another authorization server"):
            await one.auth.finish(flow, target, back["code"], issuer, NOW)
    assert len(peer.asked) == 1


async def test_nothing_is_exchanged_for_a_server_that_changed(
    one: World, peer: OAuthServer
) -> None:
    target = oauth(peer, CODE)
    async with oauth_server() as other:
        for changed, says in (
            (None, "is gone"),
            (replace(target, id="mcp-server:github~3"), "is gone"),
            (replace(target, url=other.resource), "an address"),
            (replace(oauth(other, CODE), url=target.url), "an address"),
            (server(None, target.url), "needs no authorization"),
            (oauth(peer, "client_credentials"), "needs no authorization"),
        ):
            back = peer.consent(await one.auth.begin(target, ANN, NOW))
            flow = await one.auth.take(back["state"], NOW)
            with pytest.raises(FlowRefused, match=says):
                await one.auth.finish(flow, changed, back["code"], "", NOW)
        assert not other.asked
    assert not peer.asked


@pytest.mark.parametrize("code", ["", "x" * 9000, "a\r\nb", "é"])
async def test_what_is_no_code_goes_nowhere(one: World, peer: OAuthServer, code: str) -> None:
    target = oauth(peer, CODE)
    back = peer.consent(await one.auth.begin(target, ANN, NOW))
    flow = await one.auth.take(back["state"], NOW)
    with pytest.raises(FlowRefused, match="sent no code"):
        await one.auth.finish(flow, target, code, "", NOW)
    assert not peer.asked


async def test_a_refresh_token_from_a_restored_store_ends_the_authorization(one: World) -> None:
    async with oauth_server() as peer:
        target = oauth(peer, CODE)
        await one.connect(peer, target)
        ((key, old),) = (await one.states[0].all("mcp-auth-token", NOW)).items()
        await one.send(target, now=later(4000))
        await one.states[0].put("mcp-auth-token", key, old, later(99_999))
        one.auth.changed(target.id)
        with pytest.raises(AuthNeeded):
            await one.send(target, now=later(8000))
        assert peer.refusals == ["a refresh token was used twice"]
        assert not await one.states[0].all("mcp-auth-token", later(8000))


async def test_nobody_else_can_use_what_is_kept_for_somebody(one: World, peer: OAuthServer) -> None:
    target = oauth(peer, CODE)
    await one.connect(peer, target, ANN)
    state = one.states[0]
    ((key, blob),) = (await state.all("mcp-auth-token", NOW)).items()
    assert b"canary" not in blob
    await state.put("mcp-auth-token", key.replace(ANN, BOB), blob, later(600))
    with pytest.raises(AuthNeeded):
        await one.send(target, BOB)
