from __future__ import annotations

import os
from datetime import datetime, timedelta

import pytest

from identity.directory import Directory
from identity.errors import Refusal, Unauthenticated
from identity.oauth.access_tokens import LIFETIME, OAuthTokens, is_access_token
from identity.oauth.tickets import Grant
from identity.tokens import redact
from store.sealed import Sealer
from tests.identity.conftest import Log
from tests.identity.oauth.test_grants import CLIENT, Set

ISSUER = "https://gw.example.com"


async def given(log: Log, now: datetime, **more: object) -> tuple[Set, OAuthTokens, Grant]:
    house = Set(log, now, **more)
    family, _ = await house.grants.begin(house.shown, CLIENT, now, "r-2")
    tokens = OAuthTokens(ISSUER, Sealer(os.urandom(32)), house.grants, house.directory)
    grant = Grant(
        subject="user:u-ann",
        family=family,
        client="mcp-1",
        audience="/mcp/github",
        scopes=("mcp:use",),
    )
    return house, tokens, grant


def refusal(tokens: OAuthTokens, secret: str, path: str, now: datetime) -> Refusal:
    with pytest.raises(Unauthenticated) as refused:
        tokens.authenticate(secret, path, now)
    return refused.value.refusal


async def test_a_token_says_whose_it_is_for_ten_minutes(log: Log, now: datetime) -> None:
    _, tokens, grant = await given(log, now)
    made = tokens.issue(grant, now)
    assert made.seconds == 600
    principal = tokens.authenticate(
        made.secret, "/mcp/github", now + LIFETIME - timedelta(seconds=1)
    )
    assert principal.id == "user:u-ann"
    assert principal.credential_id == grant.family
    assert refusal(tokens, made.secret, "/mcp/github", now + LIFETIME) is Refusal.EXPIRED


async def test_a_token_is_good_at_its_audience_only(log: Log, now: datetime) -> None:
    _, tokens, grant = await given(log, now)
    secret = tokens.issue(grant, now).secret
    for path in ("/mcp", "/mcp/slack", "/v1/models", ""):
        assert refusal(tokens, secret, path, now) is Refusal.UNKNOWN


async def test_what_is_not_ours_is_refused(log: Log, now: datetime) -> None:
    house, tokens, grant = await given(log, now)
    secret = tokens.issue(grant, now).secret
    other_key = OAuthTokens(ISSUER, Sealer(os.urandom(32)), house.grants, Directory())
    assert refusal(other_key, secret, "/mcp/github", now) is Refusal.UNKNOWN
    assert refusal(tokens, secret[:-2] + "zz", "/mcp/github", now) is Refusal.MALFORMED
    assert refusal(tokens, house.issued.secret, "/mcp/github", now) is Refusal.MALFORMED
    for at in range(len("gw_oat_"), len(secret), 29):
        flipped = "0" if secret[at] != "0" else "1"
        changed = secret[:at] + flipped + secret[at + 1 :]
        assert refusal(tokens, changed, "/mcp/github", now) is Refusal.UNKNOWN


async def test_the_directory_takes_no_access_token(log: Log, now: datetime) -> None:
    house, tokens, grant = await given(log, now)
    with pytest.raises(Unauthenticated):
        house.directory.authenticate(tokens.issue(grant, now).secret, now)


async def test_a_token_is_recognised_and_hidden(log: Log, now: datetime) -> None:
    house, tokens, grant = await given(log, now)
    made = tokens.issue(grant, now)
    assert is_access_token(made.secret)
    assert not is_access_token(house.issued.secret)
    assert made.secret not in repr(made)
    assert redact(f"Bearer {made.secret}") == "Bearer gw_…"


async def test_whoever_is_open_for_long_is_looked_at_again(log: Log, now: datetime) -> None:
    house, tokens, grant = await given(log, now)
    principal = tokens.authenticate(tokens.issue(grant, now).secret, "/mcp/github", now)
    late = now + timedelta(hours=1)  # the token is old by then, what it stands for is not
    assert tokens.recheck(principal, late) == principal
    assert tokens.recheck(house.shown, late) == house.shown
    await house.grants.end(grant.family, now, "r-3", why="test")
    with pytest.raises(Unauthenticated):
        tokens.recheck(principal, late)
    with pytest.raises(Unauthenticated):
        tokens.issue(grant, now)


async def test_the_same_claims_never_look_the_same(log: Log, now: datetime) -> None:
    _, tokens, grant = await given(log, now)
    assert tokens.issue(grant, now).secret != tokens.issue(grant, now).secret
