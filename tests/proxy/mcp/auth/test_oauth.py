"""Access tokens: asked for, held, renewed by one process at a time, and never anybody else's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from proxy.errors import Unavailable
from proxy.mcp.auth import once as lease
from proxy.mcp.auth.errors import AuthFailed, AuthNeeded
from proxy.mcp.auth.once import once
from proxy.providers.base import CredentialMissing, UpstreamError, UpstreamMisconfigured
from tests.peers.oauth_server import OAuthServer, oauth_server
from tests.proxy.mcp.auth.world import ANN, BOB, NOW, SERVER, World, later, oauth

CC, CODE = "client_credentials", "authorization_code"


def token(headers: list[tuple[str, str]]) -> str:
    ((name, value),) = headers
    assert name == "Authorization"
    return value.removeprefix("Bearer ")


# --- client credentials -------------------------------------------------------------------------------


async def test_a_token_for_the_server_is_asked_for_once_and_serves_everybody(
    one: World, peer: OAuthServer
) -> None:
    target = oauth(peer, CC)
    sent = await asyncio.gather(*(one.send(target, who) for who in (ANN, BOB) * 5))
    assert len({token(headers) for headers in sent}) == 1
    assert await one.status_of(target, sent[0]) == 200
    assert peer.asked == [
        {"grant_type": CC, "scope": "read write", "resource": peer.resource},
    ]


async def test_it_serves_until_half_a_minute_before_its_end(one: World, peer: OAuthServer) -> None:
    target = oauth(peer, CC)
    first = await one.send(target)
    assert await one.send(target, now=later(3569)) == first
    assert await one.send(target, now=later(3570)) != first


async def test_a_token_that_lives_shortly_is_still_used(one: World, peer: OAuthServer) -> None:
    peer.lifetime = 20
    target = oauth(peer, CC)
    first = await one.send(target)
    assert await one.send(target, now=later(9)) == first
    assert await one.send(target, now=later(10)) != first


async def test_a_client_that_has_to_show_its_secret_in_the_form_is_remembered(one: World) -> None:
    async with oauth_server(methods=("client_secret_post",)) as peer:
        target = oauth(peer, CC)
        await one.send(target)
        await one.send(target, now=later(4000))
        assert len(peer.asked) == 3, "the header once, then the form"


async def test_parameters_of_the_document_go_along_and_replace_none_of_the_grant(
    one: World, peer: OAuthServer
) -> None:
    extra = {"audience": "api", "grant_type": "password", "client_id": "other", "code": "x"}
    await one.send(oauth(peer, CC, additional_token_params=extra, include_resource=False))
    assert peer.asked == [{"grant_type": CC, "scope": "read write", "audience": "api"}]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"token_type": "bearer"}, "no usable `access_token`"),
        ({"access_token": "a b"}, "no usable `access_token`"),
        ({"access_token": "x\r\ny: z"}, "no usable `access_token`"),
        ({"access_token": "canary", "token_type": "mac"}, "`token_type`"),
        ({"access_token": "canary", "refresh_token": 5}, "`refresh_token`"),
        ({"error": "invalid_scope", "access_token": "canary"}, "`invalid_scope`"),
        ({"error": "<b>canary</b>"}, "`unknown_error`"),
        ([], "no usable `access_token`"),
    ],
)
async def test_an_answer_that_is_no_token_is_the_servers_fault(
    one: World, peer: OAuthServer, monkeypatch: pytest.MonkeyPatch, answer: Any, says: str
) -> None:
    monkeypatch.setattr(peer, "token", lambda form: answer)
    with pytest.raises(AuthFailed, match=says) as caught:
        await one.send(oauth(peer, CC))
    assert "canary" not in f"{caught.value!r} {caught.value} {caught.value.hint}"
    assert caught.value.code == "upstream_credential_rejected"


async def test_a_wrong_secret_is_said_without_the_secret(one: World, peer: OAuthServer) -> None:
    with pytest.raises(AuthFailed, match="`invalid_client`") as caught:
        await one.send(oauth(peer, CC, client_secret="env:GATEWARDEN_SECRET_AWS"))
    assert "peer/secret" not in repr(caught.value)
    with pytest.raises(CredentialMissing, match="the MCP server `github`"):
        await one.send(oauth(peer, CC, client_secret="env:HOME"))
    with pytest.raises(CredentialMissing):
        await one.send(oauth(peer, CC, client_secret="secret-in-plain-text"))


async def test_a_server_that_is_down_is_no_missing_credential(
    one: World, peer: OAuthServer
) -> None:
    peer.down = True
    with pytest.raises(AuthFailed, match="status 503"):
        await one.send(oauth(peer, CC))
    with pytest.raises(UpstreamError) as caught:
        await one.send(oauth(peer, CC, token_url="http://127.0.0.1:1/token"))
    assert caught.value.code == "upstream_unreachable"


# --- a principal's authorization ----------------------------------------------------------------------


async def test_everybody_has_tokens_of_his_own(one: World, peer: OAuthServer) -> None:
    target = oauth(peer, CODE)
    await one.connect(peer, target, ANN)
    ann = await one.send(target, ANN)
    assert await one.status_of(target, ann) == 200
    with pytest.raises(AuthNeeded, match="`github` needs your authorization") as caught:
        await one.send(target, BOB)
    assert caught.value.authorise and "/api/v1/mcp-servers/github/auth/start" in caught.value.hint
    await one.connect(peer, target, BOB)
    assert await one.send(target, BOB) != ann


async def test_a_recreated_server_has_nobodys_tokens(one: World, peer: OAuthServer) -> None:
    target = oauth(peer, CODE)
    await one.connect(peer, target)
    with pytest.raises(AuthNeeded):
        await one.send(replace(target, id="mcp-server:github~3"))


async def test_of_two_processes_one_renews_and_both_use_it(two: World, peer: OAuthServer) -> None:
    target = oauth(peer, CODE)
    await two.connect(peer, target)
    for process in (0, 1):
        await two.send(target, process=process)
    for renewal in (1, 2, 3):
        now = later(4000 * renewal)
        sent = await asyncio.gather(
            *(two.send(target, now=now, process=process) for process in (0, 1) * 6)
        )
        assert len({token(headers) for headers in sent}) == 1
        assert len(peer.grants("refresh_token")) == renewal
        assert await two.status_of(target, sent[0]) == 200
    assert len({form["refresh_token"] for form in peer.grants("refresh_token")}) == 3


async def test_a_refresh_token_that_does_not_rotate_stays_in_use(one: World) -> None:
    async with oauth_server(rotates=False) as peer:
        target = oauth(peer, CODE)
        await one.connect(peer, target)
        for renewal in (1, 2):
            await one.send(target, now=later(4000 * renewal))
        first, second = peer.grants("refresh_token")
        assert first["refresh_token"] == second["refresh_token"]


async def test_a_caller_who_hangs_up_does_not_lose_the_renewed_token(
    one: World, peer: OAuthServer
) -> None:
    target = oauth(peer, CODE)
    await one.connect(peer, target)
    arrived, go = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        arrived.set()
        await go.wait()

    peer.hold = hold
    async with asyncio.TaskGroup() as group:
        caller = group.create_task(one.send(target, now=later(4000)))
        await arrived.wait()
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
        go.set()
    sent = await one.send(target, now=later(4000))
    assert await one.status_of(target, sent) == 200
    assert len(peer.grants("refresh_token")) == 1


async def test_an_authorization_that_ended_asks_for_another(one: World, peer: OAuthServer) -> None:
    target = oauth(peer, CODE)
    await one.connect(peer, target)
    peer.refresh.clear()
    with pytest.raises(AuthNeeded):
        await one.send(target, now=later(4000))
    assert not (await one.auth.status(target, ANN, later(4000))).authenticated
    await one.connect(peer, target, now=later(4000))
    assert await one.status_of(target, await one.send(target, now=later(4000))) == 200


async def test_a_refusal_that_may_pass_ends_no_authorization(one: World, peer: OAuthServer) -> None:
    target = oauth(peer, CODE)
    await one.connect(peer, target)
    peer.down = True
    with pytest.raises(AuthFailed):
        await one.send(target, now=later(4000))
    peer.down = False
    assert await one.status_of(target, await one.send(target, now=later(4000))) == 200


async def test_a_process_that_died_while_renewing_blocks_nobody_for_long(
    one: World, peer: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = oauth(peer, CODE)
    await one.connect(peer, target)
    now = later(4000)
    key = f"refresh|{SERVER}|{ANN}"
    await one.states[0].put("mcp-auth-lease", key, b"dead", now + lease.LEASE)
    monkeypatch.setattr(lease, "TRIES", 3)
    with pytest.raises(Unavailable):
        await one.send(target, now=now)
    assert not peer.grants("refresh_token")
    await one.send(target, now=now + lease.LEASE)
    assert len(peer.grants("refresh_token")) == 1


async def test_who_waits_looks_again_and_takes_what_the_other_made(two: World) -> None:
    made: list[str] = []

    async def look() -> str | None:
        return made[0] if made else None

    async def pause(seconds: float) -> None:
        assert seconds == lease.PAUSE
        made.append("theirs")

    async def make() -> str:
        raise AssertionError("the other has the lease")

    await two.states[1].put_new("mcp-auth-lease", "k", b"other", later(60), NOW)
    assert await once(two.states[0], "k", NOW, look, make, pause) == "theirs"
    assert await two.states[1].get("mcp-auth-lease", "k", NOW) == b"other", "it is not ours to drop"


# --- a token that the server refuses ------------------------------------------------------------------


@pytest.mark.parametrize("grant", [CC, CODE])
async def test_a_refused_token_is_replaced_once(one: World, peer: OAuthServer, grant: str) -> None:
    target = oauth(peer, grant)
    if grant == CODE:
        await one.connect(peer, target)
    sent = await one.send(target)
    peer.access.clear()
    assert await one.status_of(target, sent) == 401
    assert await one.auth.rejected(target, ANN, sent)
    again = await one.send(target)
    assert again != sent and await one.status_of(target, again) == 200
    assert await one.auth.rejected(target, ANN, sent), "who is late gets the new one"
    assert await one.send(target) == again
    assert not await one.auth.rejected(target, ANN, again), "the second in a row is no accident"


async def test_a_refused_token_that_cannot_be_renewed_asks_for_authorization(
    one: World, peer: OAuthServer
) -> None:
    peer.rotates = False
    target = oauth(peer, CODE)
    await one.connect(peer, target)
    await one.send(target, now=later(4000))
    sent = await one.send(target, now=later(4000))
    peer.refresh.clear()
    assert await one.auth.rejected(target, ANN, sent)
    with pytest.raises(AuthNeeded):
        await one.send(target, now=later(4000))


async def test_a_token_that_another_process_renewed_is_taken_without_asking(
    two: World, peer: OAuthServer
) -> None:
    target = oauth(peer, CODE)
    await two.connect(peer, target)
    old = await two.send(target, process=1)
    fresh = await two.send(target, now=later(3600), process=0)
    peer.access.pop(token(old))
    assert await two.auths[1].rejected(target, ANN, old)
    assert await two.send(target, now=later(3600), process=1) == fresh
    assert len(peer.grants("refresh_token")) == 1


# --- nothing follows a changed address, and what is forgotten is gone ---------------------------------


async def test_tokens_do_not_follow_a_changed_address(one: World, peer: OAuthServer) -> None:
    target = oauth(peer, CODE)
    await one.connect(peer, target)
    await one.send(target)
    async with oauth_server() as other:
        moved = replace(target, url=other.resource)
        with pytest.raises(AuthNeeded):
            await one.send(moved)
        renewed = oauth(other, CODE)
        with pytest.raises(AuthNeeded):
            await one.send(replace(renewed, url=target.url), now=later(4000))
        assert not other.asked and not other.resource_requests
    assert await one.status_of(target, await one.send(target)) == 200


async def test_who_disconnects_is_disconnected_in_every_process(
    two: World, peer: OAuthServer
) -> None:
    target = oauth(peer, CODE)
    await two.connect(peer, target)
    for process in (0, 1):
        await two.send(target, process=process)
    assert await two.auth.forget(SERVER, ANN)
    with pytest.raises(AuthNeeded):
        await two.send(target)
    with pytest.raises(AuthNeeded):
        await two.send(target, now=later(30), process=1)
    assert not await two.auth.forget(SERVER, ANN)


async def test_a_deleted_server_takes_what_everybody_has_along(
    one: World, peer: OAuthServer
) -> None:
    target = oauth(peer, CODE)
    other = replace(target, id="mcp-server:github~22")
    for who in (ANN, BOB):
        await one.connect(peer, target, who)
    await one.connect(peer, other)
    assert await one.auth.forget_server(SERVER, NOW) == 2
    with pytest.raises(AuthNeeded):
        await one.send(target)
    await one.send(other)


# --- addresses and clients that nobody wrote down -----------------------------------------------------


async def test_addresses_and_client_are_found_and_registered_once(
    two: World, peer: OAuthServer
) -> None:
    target = oauth(
        peer, CODE, authorization_url=None, token_url="", client_id=None, client_secret=None
    )
    urls = await asyncio.gather(*(auth.begin(target, ANN, NOW) for auth in two.auths * 3))
    assert len(peer.registered) == 1 and len(set(urls)) == 6
    assert peer.registered[0]["redirect_uris"] == ["https://gateway.example/mcp/oauth/callback"]
    back = peer.consent(urls[0])
    flow = await two.auth.take(back["state"], NOW)
    await two.auth.finish(flow, target, back["code"], back["iss"], NOW)
    assert await two.status_of(target, await two.send(target)) == 200
    await two.send(target, now=later(4000), process=1)


async def test_what_the_document_names_is_not_looked_up(one: World, peer: OAuthServer) -> None:
    peer.metadata = {"token_endpoint": "https://evil.example/token"}
    target = oauth(peer, CODE, authorization_url=None)
    await one.connect(peer, target)
    assert await one.status_of(target, await one.send(target)) == 200


async def test_a_gateway_registers_itself_with_a_secret_for_its_own_tokens(
    one: World, peer: OAuthServer
) -> None:
    target = oauth(peer, CC, token_url="", client_id=None, client_secret=None)
    assert await one.status_of(target, await one.send(target)) == 200
    assert peer.registered[0]["token_endpoint_auth_method"] == "client_secret_basic"


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"issuer": "http://127.0.0.1:1"}, "does not say where"),
        ({"token_endpoint": None}, "does not say where"),
        ({"authorization_endpoint": 7}, "no page to authorise at"),
        ({"token_endpoint": "file:///etc/passwd"}, "no http"),
        ({"registration_endpoint": "http://127.0.0.1:1/register"}, "another place"),
        ({"registration_endpoint": None}, "no `client_id`"),
    ],
)
async def test_metadata_that_cannot_be_true_is_not_followed(
    one: World, peer: OAuthServer, metadata: dict[str, Any], says: str
) -> None:
    peer.metadata = metadata
    target = oauth(
        peer, CODE, authorization_url=None, token_url="", client_id=None, client_secret=None
    )
    with pytest.raises((AuthFailed, UpstreamMisconfigured), match=says):
        await one.auth.begin(target, ANN, NOW)
    assert not peer.registered


async def test_a_secret_of_the_document_goes_to_no_address_that_was_found(
    one: World, peer: OAuthServer
) -> None:
    with pytest.raises(UpstreamMisconfigured, match="has a `client_secret` and no"):
        await one.send(oauth(peer, CC, token_url=""))
    assert not peer.asked
