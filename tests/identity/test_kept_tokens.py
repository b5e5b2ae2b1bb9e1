"""Tokens of virtual accounts are read back by those who may, and by nobody else, and not for ever."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from identity.errors import UnreadableToken
from identity.issue import Issued, Origin, issue, revoke
from identity.kept_tokens import KeptTokens, ended_by
from policies.documents import dump
from store.sealed import Sealer
from store.state import State

ORIGIN = Origin("user:u-root", "r-1")
SPACE = "virtual-account-token"


@pytest.fixture
def tokens(state: State) -> KeptTokens:
    return KeptTokens(Sealer(os.urandom(32)), state)


def give(now: datetime, **more: Any) -> Issued:
    return issue("virtualaccount:checkout", ORIGIN, now=now, **more)


async def test_kept_token_is_read_back(tokens: KeptTokens, now: datetime) -> None:
    issued = give(now)
    await tokens.keep(issued)
    assert await tokens.read(issued.credential) == issued.secret


async def test_nothing_readable_is_on_the_disk(
    tokens: KeptTokens, state: State, now: datetime, tmp_path: Path
) -> None:
    """I8: neither in the store's files nor in the document."""
    issued = give(now)
    await tokens.keep(issued)
    random = issued.secret.split("_")[3].encode()
    for path in tmp_path.glob("state.db*"):
        assert random not in path.read_bytes()
    assert issued.secret not in str(dump(issued.credential))


async def test_personal_token_is_never_kept(tokens: KeptTokens, now: datetime) -> None:
    personal = issue("user:u-ann", ORIGIN, now=now)
    with pytest.raises(ValueError, match="never kept"):
        await tokens.keep(personal)
    with pytest.raises(UnreadableToken):
        await tokens.read(personal.credential)


async def test_blob_of_another_credential_is_not_opened(
    tokens: KeptTokens, state: State, now: datetime
) -> None:
    mine, other = give(now), give(now)
    await tokens.keep(mine)
    await tokens.keep(other)
    blob = await state.get(SPACE, other.credential.name, now)
    assert blob is not None
    await state.put(SPACE, mine.credential.name, blob, now + timedelta(days=1))
    with pytest.raises(UnreadableToken):
        await tokens.read(mine.credential)
    assert await tokens.read(other.credential) == other.secret


async def test_other_sealing_key_does_not_open(
    tokens: KeptTokens, state: State, now: datetime
) -> None:
    issued = give(now)
    await tokens.keep(issued)
    with pytest.raises(UnreadableToken) as refused:
        await KeptTokens(Sealer(os.urandom(32)), state).read(issued.credential)
    assert "regenerate" in refused.value.hint
    assert issued.secret not in str(refused.value)


async def test_token_is_swept_when_it_has_expired(
    tokens: KeptTokens, state: State, now: datetime
) -> None:
    issued = give(now, expires_at=now + timedelta(days=1))
    await tokens.keep(issued)
    assert await state.expire(now) == 0
    assert await tokens.read(issued.credential) == issued.secret
    assert await state.expire(now + timedelta(days=1)) == 1
    with pytest.raises(UnreadableToken):
        await tokens.read(issued.credential)


async def test_ended_token_is_erased(
    tokens: KeptTokens, state: State, log: Any, now: datetime
) -> None:
    issued = give(now)
    await tokens.keep(issued)
    log.take(issued.change)
    entry = log.take(revoke([issued.credential.name], ORIGIN))
    assert ended_by(entry) == (issued.credential.name,)
    await tokens.forget(ended_by(entry))
    assert await state.get(SPACE, issued.credential.name, now) is None
