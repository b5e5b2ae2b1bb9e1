from __future__ import annotations

import os
from datetime import datetime, timedelta

import pytest

from identity.oauth.errors import InvalidGrant, UsedTwice
from identity.oauth.tickets import CODE_LIFETIME, Grant, Tickets
from identity.tokens import redact
from store.sealed import Sealer
from store.state import State

GRANT = Grant(
    subject="user:u-1", family="aaaa.bbbb", client="mcp-1", audience="/mcp", scopes=("mcp:use",)
)
SEALER = Sealer(os.urandom(32))
ISSUER = "https://gw.example.com"


@pytest.fixture
def codes(state: State) -> Tickets:
    return Tickets.codes(ISSUER, SEALER, state)


async def test_a_code_is_taken_once(codes: Tickets, now: datetime) -> None:
    code = await codes.give(GRANT, now)
    assert await codes.look(code, now) == GRANT
    assert await codes.take(code, now) == GRANT
    for again in (codes.take, codes.look):
        with pytest.raises(UsedTwice) as refused:
            await again(code, now)
        assert (refused.value.subject, refused.value.family) == (GRANT.subject, GRANT.family)
        assert refused.value.code == "invalid_grant"


async def test_a_code_that_is_too_old_is_gone(codes: Tickets, now: datetime) -> None:
    code = await codes.give(GRANT, now)
    with pytest.raises(UsedTwice):
        await codes.take(code, now + CODE_LIFETIME)


async def test_what_we_did_not_make_is_no_second_use(
    codes: Tickets, state: State, now: datetime
) -> None:
    code = await codes.give(GRANT, now)
    elsewhere = await Tickets.codes("https://other.example.com", SEALER, state).give(GRANT, now)
    refresh = await Tickets.refresh(ISSUER, SEALER, state).give(GRANT, now)
    as_code = refresh.replace("gw_ort_", "gw_oac_")
    for text in ("", "x", code[:-1], code + "\n", code.upper(), elsewhere, refresh, as_code):
        with pytest.raises(InvalidGrant) as refused:
            await codes.take(text, now)
        assert not isinstance(refused.value, UsedTwice)
    assert await codes.take(code, now) == GRANT


async def test_the_store_holds_no_code(codes: Tickets, state: State, now: datetime) -> None:
    code = await codes.give(GRANT, now)
    kept = await state.all("oauth-oac", now + timedelta(seconds=1))
    assert len(kept) == 1
    assert code not in str(kept)


async def test_a_code_is_cut_out_of_texts(codes: Tickets, now: datetime) -> None:
    code = await codes.give(GRANT, now)
    assert redact(f"see {code}.") == "see gw_…."
