"""Cases in policy documents gate changes: what breaks them is refused, by name, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import store.trial
from authz.conditions import Context
from policies.documents import Document, Policy, dump, parse
from policies.errors import CasesFailed, InvalidDocuments
from policies.resolve import rendered
from store.changes import ChangeLog
from tests.store.change_kit import ANN, NOW, Alarms, Asker, account, change_log, put, team, user

NIGHT = "2026-01-07T03:00:00Z"


def case(**fields: Any) -> dict[str, Any]:
    return {"as": f"user:{ANN}", "action": "model:use", "resource": "model:acme/mini",
            "expect": "allow", **fields}  # fmt: skip


def night(*cases: dict[str, Any], hour: int = 6, name: str = "house", **fields: Any) -> Document:
    rule = {"id": "night", "effect": "deny", "subjects": ["any:subject"], "actions": ["model:use"],
            "resources": ["any:model"], "when": [{"field": "time.hour", "operator": "LESS_THAN", "value": hour}],
            **fields}  # fmt: skip
    return parse({"type": "policy", "name": name, "rules": [rule], "cases": list(cases)})


BY_DAY = case(name="by day")
BY_NIGHT = case(name="by night", now=NIGHT, expect="deny", rule="policy/house#night")


@pytest.fixture
async def alarms() -> Alarms:
    return Alarms()


@pytest.fixture
async def log(tmp_path: Path, alarms: Alarms) -> AsyncIterator[ChangeLog]:
    made = change_log(tmp_path, alarm=alarms)
    await made.start()
    await commit(
        made, user(ANN), team("search", ANN), account("acme", "team:search=provider-account-access")
    )
    try:
        yield made
    finally:
        await made.close()  # fmt: skip


async def commit(log: ChangeLog, *documents: Document, asker: Any = None, **fields: Any) -> None:
    await log.commit(put(*documents, **fields), asker, NOW)


async def refused(log: ChangeLog, *documents: Document, **fields: Any) -> CasesFailed:
    head, digest = log.head, log.engine.digest
    with pytest.raises(CasesFailed) as error:
        await commit(log, *documents, **fields)
    assert (log.head, log.engine.digest) == (head, digest)
    return error.value


async def test_a_change_that_breaks_a_case_is_refused_with_its_name(log: ChangeLog) -> None:
    await commit(log, night(BY_DAY, BY_NIGHT))
    error = await refused(log, night(BY_DAY, BY_NIGHT, hour=2))
    assert error.code == "case_failed"
    assert error.message.startswith(
        "1 case would fail: case `by night` of policy/house: expected deny, got allow (allowed, "
    )
    assert error.problems[0].path == ("cases", 1)
    await commit(log, night(BY_DAY, hour=2))  # with its case, if that is meant


async def test_a_case_that_a_change_brings_must_hold(log: ChangeLog) -> None:
    wrong = await refused(log, night(case(name="wrong", now=NIGHT)))
    assert "case `wrong` of policy/house: expected allow, got deny (denied_by_rule" in wrong.message
    assert "policy/house#night" in wrong.message


async def test_another_policy_a_role_and_a_group_are_tried_on_all_cases(log: ChangeLog) -> None:
    await commit(log, night(BY_DAY))
    await refused(log, night(name="other", hour=24))
    access = parse({"type": "role", "name": "provider-account-access",
                    "resourceType": "provider-account", "permissions": ["provider-account:read"]})  # fmt: skip
    await refused(log, access)
    group = parse({"type": "resource-group", "name": "g", "resources": ["model:acme/mini"]})
    no_use = night(name="group", when=[], resources=["resource-group:g"], mode="shadow")
    await commit(log, group, no_use)
    await refused(log, night(name="group", when=[], resources=["resource-group:g"]))


async def test_what_only_revokes_commits_with_an_alarm(log: ChangeLog, alarms: Alarms) -> None:
    grant = night(BY_DAY, name="grant", effect="allow", when=[], resources=["model:acme/mini"], subjects=[f"user:{ANN}"])  # fmt: skip
    await commit(log, grant, account("acme"))
    await commit(log, parse({**dump(grant), "rules": []}))
    assert any("case `by day` of policy/grant: expected allow" in text for text in alarms)
    assert any(text.endswith("(fails after this change)") for text in alarms)


async def test_a_case_that_failed_before_blocks_nobody_else(log: ChangeLog, alarms: Alarms) -> None:
    await commit(log, night(BY_DAY))
    await commit(
        log, account("acme")
    )  # no policy: what it breaks is told with the next that is one
    await commit(log, night(name="other", hour=3))
    assert [text.endswith("(fails, as before)") for text in alarms] == [True]
    fixed = account("acme", "team:search=provider-account-access")
    await commit(log, fixed)
    await refused(log, night(name="other", hour=24))


async def test_cases_are_kept_as_ids_and_read_as_names(log: ChangeLog) -> None:
    by_grant = case(rule=f"provider-account/acme#collaborator/user:{ANN}/provider-account-access")
    acme = account("acme", f"user:{ANN}=provider-account-access")
    rows = len((await log.plan(put(night(name="p")))).added)
    plan = await log.plan(put(night(by_grant, name="p"), acme))
    assert (
        len([row for row in plan.added if "policy/p" in row.text() or "policy:p" in row.text()])
        == 2
    )
    assert rows >= 2
    await commit(log, night(by_grant, name="p"), acme)
    stored = await log.document(("policy", "p"))
    assert stored is not None and isinstance(stored.document, Policy)
    assert ANN not in json.dumps(dump(stored.document))
    user_id = stored.document.cases[0].asker.removeprefix("user:")
    assert user_id.startswith("u-")
    shown = rendered(stored.document, lambda _: ANN)
    assert shown["cases"] == [by_grant]


async def test_a_case_knows_today_s_generation(log: ChangeLog) -> None:
    await commit(log, night(BY_DAY))
    await commit(log, deletes=(("provider-account", "acme"),))
    await commit(log, account("acme", "team:search=provider-account-access"))
    await commit(log, night(BY_DAY, name="two"))  # a new case, about the account of now
    stored = await log.document(("policy", "two"))
    assert stored is not None and isinstance(stored.document, Policy)
    assert stored.document.cases[0].resource == "model:acme~2/mini"


async def test_a_bounded_account_is_asked_with_its_bound(log: ChangeLog) -> None:
    bot = parse({"type": "virtual-account", "name": "bot", "ownedBy": {"team": "search"},
                 "permissions": [{"resource_fqn": "acme", "resource_type": "provider-account",
                                  "role_id": "provider-account-access"}]})  # fmt: skip
    manager = Asker(f"user:{await _id(log)}")
    await commit(log, team("search", ANN, managers=[ANN]))
    await commit(log, bot, asker=manager)
    asks = case(**{"as": "virtualaccount:bot"})
    await commit(log, night(asks))
    await commit(log, account("acme", f"user:{ANN}=provider-account-access"))
    wrong = await refused(log, night(asks, name="two"))
    assert "outside_bound" in wrong.message


async def _id(log: ChangeLog) -> str:
    person = await log.person_by_email(ANN)
    assert person is not None
    return person.id


async def test_a_restart_keeps_the_cases_and_a_second_process_follows(
    log: ChangeLog, tmp_path: Path
) -> None:
    other = change_log(tmp_path)
    await other.start()
    try:
        await commit(log, night(BY_NIGHT))
        await other.poll()
        await refused(other, night(BY_NIGHT, hour=1))
    finally:
        await other.close()
    again = change_log(tmp_path)
    await again.start()
    try:
        await refused(again, night(BY_NIGHT, hour=1))
    finally:
        await again.close()


async def test_a_large_change_is_tried_aside_and_says_the_same(
    log: ChangeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await commit(log, night(BY_DAY, BY_NIGHT))
    small = await refused(log, night(BY_DAY, BY_NIGHT, hour=1))
    monkeypatch.setattr(store.trial, "STEP_ROWS", 0)
    large = await refused(log, night(BY_DAY, BY_NIGHT, hour=1))
    assert large.problems == small.problems
    await commit(log, night(BY_DAY, BY_NIGHT, hour=7))


async def test_many_cases_are_asked_in_slices_and_too_many_are_refused(log: ChangeLog) -> None:
    many = [case(name=str(n)) for n in range(600)]
    await commit(log, night(*many))
    await refused(log, night(*many, hour=24))
    with pytest.raises(InvalidDocuments, match="would have 1200 cases; at most 1000") as error:
        await commit(log, night(*many, name="two"))
    assert error.value.problems[0].code == "too_many_cases"


async def test_a_preview_names_what_would_fail_and_leaves_the_engine_alone(log: ChangeLog) -> None:
    await commit(log, night(BY_NIGHT))
    digest = log.engine.digest
    plan = await log.plan(put(night(BY_NIGHT, hour=1)))
    found = await log.failing_cases(plan, None, Context())
    assert [(one.code, one.path) for one in found] == [("case_failed", ("cases", 0))]
    assert log.engine.digest == digest
    nobody = await log.failing_cases(plan, Asker("user:u-nobody"), Context())
    assert nobody[0].message == "a case of policy/house that you may not ask about"
