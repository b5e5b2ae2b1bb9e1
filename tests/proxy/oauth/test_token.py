"""Codes and refresh tokens: taken once, by the right client; what comes back twice ends everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from conf.settings import MODEL_PATH
from identity.directory import Directory
from identity.errors import Unauthenticated
from identity.oauth.access_tokens import OAuthTokens
from policies.loader import shipped
from proxy.guard import Guard
from proxy.metrics import Metrics
from proxy.middleware.problems import problems
from proxy.middleware.request_id import request_ids
from proxy.oauth.parts import OAuthParts
from proxy.oauth.site import add_oauth, build, tokens_of
from proxy.outbound import Client
from proxy.refusals import Refusals
from proxy.secrets import SecretRules, Secrets
from store.changes import ChangeLog
from store.sealed import Sealer
from store.sqlite import SqliteStore
from store.sqlite_state import SqliteState
from tests.proxy.oauth.stack import SEALING, House


async def test_a_code_that_is_used_twice_ends_what_it_gave(house: House) -> None:
    client = await house.register()
    form = await house.code(client)
    first = await house.token(**form)
    assert first.status == 200
    again = await house.token(**form)
    assert (again.status, again.json["error"]) == (400, "invalid_grant")
    assert (await house.use(first.json["access_token"])).json["code"] == "revoked_credential"
    renewed = await house.refresh(client, first.json["refresh_token"])
    assert renewed.json["error"] == "invalid_grant"
    assert house.families() == []


async def test_of_two_at_once_at_most_one_gets_something(house: House) -> None:
    client = await house.register()
    form = await house.code(client)
    got = await asyncio.gather(*(house.token(**form) for _ in range(4)))
    assert sorted(one.status for one in got)[1:] == [400, 400, 400]
    assert house.families() == []


async def test_a_code_holds_for_a_minute(house: House) -> None:
    client = await house.register()
    form = await house.code(client)
    house.now[0] += timedelta(seconds=60)
    assert (await house.token(**form)).json["error"] == "invalid_grant"
    assert house.families() == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_verifier": "a" * 43}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_grant"),
        ({"client_id": "mcp-00000000000000000000000000000000"}, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:41001/callback"}, "invalid_grant"),
        ({"resource": "{url}/mcp/slack"}, "invalid_target"),
        ({"resource": "https://elsewhere.example.com/mcp"}, "invalid_target"),
    ],
)
async def test_a_code_is_bound_to_its_request(
    house: House, change: dict[str, str], error: str
) -> None:
    client = await house.register()
    form = await house.code(client)
    form |= {name: value.replace("{url}", house.url) for name, value in change.items()}
    got = await house.token(**form)
    assert (got.status, got.json["error"]) == (400, error)
    assert house.families() == []


@pytest.mark.parametrize(
    ("missing", "error"),
    [
        ("grant_type", "invalid_request"),
        ("code", "invalid_request"),
        ("code_verifier", "invalid_request"),
        ("client_id", "invalid_request"),
        ("redirect_uri", "invalid_request"),
    ],
)
async def test_what_is_missing_is_named_and_the_code_stays(
    house: House, missing: str, error: str
) -> None:
    client = await house.register()
    form = await house.code(client)
    got = await house.token(**{name: form[name] for name in form if name != missing})
    assert (got.status, got.json["error"]) == (400, error)
    assert missing in got.json["error_description"]
    assert (await house.token(**form)).status == 200


async def test_a_code_of_nobody_ends_nothing(house: House) -> None:
    client = await house.register()
    tokens = await house.connected(client)
    form = await house.code(client)
    for code in (
        "x",
        "gw_oac_00",
        tokens["refresh_token"],
        tokens["access_token"],
        form["code"][:-2],
    ):
        got = await house.token(**{**form, "code": code})
        assert got.json["error"] == "invalid_grant"
    assert len(house.families()) == 2


async def test_other_grant_types_and_forms_are_refused(house: House) -> None:
    got = await house.token(grant_type="client_credentials")
    assert got.json["error"] == "unsupported_grant_type"
    got = await house.call("POST", "/token", json={"grant_type": "refresh_token"})
    assert (got.status, got.json["error"]) == (400, "invalid_request")
    doubled = [("grant_type", "refresh_token"), ("grant_type", "authorization_code")]
    got = await house.call("POST", "/token", data=doubled)
    assert got.json["error"] == "invalid_request"
    assert got.headers["cache-control"] == "no-store"
    assert got.headers["access-control-allow-origin"] == "*"


async def test_a_refresh_token_is_used_once(house: House) -> None:
    client = await house.register()
    first = await house.connected(client)
    second = (await house.refresh(client, first["refresh_token"])).json
    assert second["refresh_token"] != first["refresh_token"]
    assert (await house.use(second["access_token"])).status == 200
    reused = await house.refresh(client, first["refresh_token"])
    assert (reused.status, reused.json["error"]) == (400, "invalid_grant")
    for tokens in (first, second):
        assert (await house.use(tokens["access_token"])).status == 401
    assert (await house.refresh(client, second["refresh_token"])).json["error"] == "invalid_grant"
    assert house.families() == []


async def test_a_refresh_token_is_the_clients_and_for_its_resource(house: House) -> None:
    client, other = await house.register(), await house.register()
    tokens = await house.connected(client)
    secret = tokens["refresh_token"]
    assert (await house.refresh(other, secret)).json["error"] == "invalid_grant"
    got = await house.refresh(client, secret, resource=f"{house.url}/mcp/slack")
    assert got.json["error"] == "invalid_target"
    assert (await house.refresh(client, secret, scope="admin")).json["error"] == "invalid_scope"
    got = await house.refresh(client, secret, resource=f"{house.url}/mcp/github", scope="mcp:use")
    assert got.status == 200


async def test_a_refresh_token_that_lies_idle_for_30_days_ends(house: House) -> None:
    client = await house.register()
    tokens = await house.connected(client)
    house.now[0] += timedelta(days=30)
    assert (await house.refresh(client, tokens["refresh_token"])).json["error"] == "invalid_grant"


async def test_a_client_that_does_not_refresh_gets_no_refresh_token(house: House) -> None:
    client = await house.register(grant_types=["authorization_code"])
    assert "refresh_token" not in await house.connected(client)


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_a_client_may_take_itself_out(house: House, kind: str) -> None:
    client = await house.register()
    tokens, others = await house.connected(client), await house.connected(client)
    got = await house.call("POST", "/revoke", data={"token": tokens[kind]})
    assert (got.status, got.json) == (200, {})
    assert (await house.use(tokens["access_token"])).status == 401
    assert (await house.refresh(client, tokens["refresh_token"])).status == 400
    assert (await house.use(others["access_token"])).status == 200
    again = await house.call("POST", "/revoke", data={"token": tokens[kind]})
    assert again.status == 200


async def test_revoking_what_is_no_token_of_ours_says_nothing(house: House) -> None:
    for secret in ("x", house.tokens["ann"]):
        got = await house.call("POST", "/revoke", data={"token": secret})
        assert (got.status, got.json) == (200, {})
    assert house.directory.authenticate(house.tokens["ann"], house.now[0])
    assert (await house.call("POST", "/revoke", data={})).json["error"] == "invalid_request"


@asynccontextmanager
async def another_process(
    house: House, folder: Path
) -> AsyncIterator[tuple[ChangeLog, OAuthParts]]:
    """A second process on the same store; it follows the log only when it is told to."""
    directory = Directory()
    store = SqliteStore(folder / "gatewarden.db")
    changes = ChangeLog(
        store,
        model_text=MODEL_PATH.read_text("utf-8"),
        shipped=shipped(),
        sealer=Sealer(SEALING),
        clock=lambda: house.now[0],
    )
    changes.subscribe(directory)
    await changes.start()
    parts = build(
        public_url=house.url,
        sealer=Sealer(SEALING),
        state=SqliteState(store),
        tokens=tokens_of(house.url, Sealer(SEALING), changes, directory),
        policy=changes,
        directory=directory,
        fetch=Client(
            Secrets(SecretRules.of("GATEWARDEN_TEST_", folder), environ={}, unseal=changes.secret),
            Guard.of([]),
            lambda: house.now[0],
        ).fetch,
        refusals=Refusals(house.counted.append, 100),
        clock=lambda: house.now[0],
        max_stale=1e9,
    )
    try:
        yield changes, parts
    finally:
        await changes.close()


async def test_a_code_may_be_redeemed_by_another_process_that_is_behind(
    house: House, tmp_path: Path
) -> None:
    client = await house.register()
    async with another_process(house, tmp_path) as (changes, parts):
        app = web.Application(middlewares=[request_ids(lambda: 0, Metrics()), problems])
        add_oauth(app, parts)
        async with TestClient(TestServer(app)) as there:
            form = await house.code(client)
            assert changes.head < house.changes.head
            got = await there.post("/token", data=form)
            assert got.status == 200, await got.text()
            tokens = await got.json()
            assert (await house.use(tokens["access_token"])).status == 200
            # And what is used twice there ends here, with the next look at the log.
            assert (await there.post("/token", data=form)).status == 400
            await house.changes.poll()
            assert (await house.use(tokens["access_token"])).status == 401


async def test_what_was_given_and_taken_back_holds_in_another_process(
    house: House, tmp_path: Path
) -> None:
    client = await house.register()
    tokens = await house.connected(client)
    async with another_process(house, tmp_path) as (changes, parts):
        there, secret, now = parts.tokens, tokens["access_token"], house.now[0]
        principal = there.authenticate(secret, "/mcp/github", now)
        assert there.recheck(principal, now) == principal
        await house.call("POST", "/revoke", data={"token": secret})
        await changes.poll()
        with pytest.raises(Unauthenticated):
            there.authenticate(secret, "/mcp/github", now)
        with pytest.raises(Unauthenticated):
            there.recheck(principal, now)


async def test_a_token_is_nothing_at_a_gateway_of_another_name(house: House) -> None:
    client = await house.register()
    tokens = await house.connected(client)
    elsewhere = OAuthTokens(
        "https://b.example.com", Sealer(SEALING), house.parts.grants, house.directory
    )
    with pytest.raises(Unauthenticated):
        elsewhere.authenticate(tokens["access_token"], "/mcp/github", house.now[0])
