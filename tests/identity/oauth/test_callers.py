from __future__ import annotations

from datetime import datetime

import pytest

from identity.errors import Unauthenticated
from identity.issue import revoke
from identity.oauth.callers import Callers
from identity.principal import CredentialKind, Principal
from tests.identity.conftest import Log
from tests.identity.oauth.test_access_tokens import given
from tests.identity.oauth.test_grants import HOST


async def test_an_mcp_endpoint_takes_both_kinds_and_the_rest_only_its_own(
    log: Log, now: datetime
) -> None:
    house, tokens, grant = await given(log, now)
    callers = Callers(house.directory, tokens)
    access, personal = tokens.issue(grant, now).secret, house.issued.secret
    assert callers.at(access, now, "/mcp/github").credential_id == grant.family
    assert callers.at(personal, now, "/mcp/github") == house.shown
    assert callers.authenticate(personal, now) == house.shown
    with pytest.raises(Unauthenticated):
        callers.authenticate(access, now)
    with pytest.raises(Unauthenticated):
        callers.at(access, now, "/mcp/slack")


async def test_what_is_open_ends_with_the_token_behind_it(log: Log, now: datetime) -> None:
    house, tokens, grant = await given(log, now)
    callers = Callers(house.directory, tokens)
    principal = callers.at(tokens.issue(grant, now).secret, now, "/mcp/github")
    assert callers.recheck(principal, now) == principal
    assert callers.recheck(house.shown, now) == house.shown
    # The id alone says what it is: a flow that was begun keeps no more of its caller.
    begun = Principal(principal.id, principal.credential_id, CredentialKind.PAT)
    assert callers.recheck(begun, now) == principal
    log.take(revoke([house.issued.credential.name], HOST))
    for one in (principal, house.shown):
        with pytest.raises(Unauthenticated):
            callers.recheck(one, now)
