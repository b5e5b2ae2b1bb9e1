"""An id is never reused: whoever gets a freed address is somebody else, for allows and for denies."""

from __future__ import annotations

from pathlib import Path

from change_kit import ANN, NOW, Asker, account, change_log, put, team, user

from authz.conditions import Context
from policies.documents import parse
from store.changes import ChangeLog

USE = "provider-account-access"
DENY = parse(
    {
        "type": "policy",
        "name": "stop-ann",
        "rules": [
            {
                "id": "r",
                "effect": "deny",
                "subjects": [f"user:{ANN}"],
                "actions": ["model:use"],
                "resources": ["any:model"],
            }
        ],
    }
)


async def who(log: ChangeLog) -> str:
    person = await log.person_by_email(ANN)
    assert person is not None
    return f"user:{person.id}"


def use(log: ChangeLog, subject: str) -> str:
    decision = log.engine.decide(Asker(subject), "model:use", "model:acme/mini", Context())
    return decision.reason.value


async def test_a_newcomer_with_a_freed_address_has_neither_its_grants_nor_its_denies(
    tmp_path: Path,
) -> None:
    log = change_log(tmp_path)
    await log.start()
    granted = account("acme", f"user:{ANN}={USE}", "team:search=" + USE)
    await log.commit(put(user(ANN), team("search"), granted, DENY), None, NOW)
    first = await who(log)
    assert use(log, first) == "denied_by_rule"
    await log.commit(put(deletes=(("user", ANN),)), None, NOW)
    assert await log.person_by_email(ANN) is None

    await log.commit(put(user(ANN)), None, NOW)
    second = await who(log)
    assert second != first
    assert use(log, second) == "no_grant"
    await log.commit(put(team("search", ANN)), None, NOW)
    assert use(log, second) == "allowed"
    assert use(log, first) == "no_grant"  # who is gone is in no group, whatever the rows say

    # What is applied again names whoever has the address now: a statement of today.
    await log.commit(put(DENY), None, NOW)
    assert use(log, second) == "denied_by_rule"
    await log.close()


async def test_a_deny_outlives_who_it_is_about_across_a_restart(tmp_path: Path) -> None:
    log = change_log(tmp_path)
    await log.start()
    await log.commit(put(user(ANN), team("search"), account("acme"), DENY), None, NOW)
    first = await who(log)
    await log.commit(put(deletes=(("user", ANN),)), None, NOW)
    await log.commit(put(team("search", ANN), account("acme", f"team:search={USE}")), None, NOW)
    await log.close()
    again = change_log(tmp_path)
    await again.start()
    second = await who(again)
    assert second != first
    assert use(again, second) == "allowed"
    await again.close()
