"""Past decisions asked again at their epoch: a true log has no difference, a false record stands out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from authz.conditions import Context
from authz.decision import Somebody
from authz.recording import decision_record
from authz.records import canonical
from policies.documents import Document
from proxy.log_replay import PastQuestion, past_question, replay_past
from store.changes import ChangeLog
from store.past import Past
from store.sqlite import SqliteStore
from tests.store.change_kit import ANN, BOB, MODEL, NOW, account, change_log, put, team, user

AT = int(NOW.timestamp() * 1_000_000)


async def commit(log: ChangeLog, *documents: Document) -> None:
    await log.commit(put(*documents), None, NOW)


@pytest.fixture
async def changes(tmp_path: Path) -> AsyncIterator[ChangeLog]:
    log = change_log(tmp_path)
    await log.start()
    await commit(
        log,
        user(ANN),
        user(BOB),
        team("ml", ANN),
        account("acme", "team:ml=provider-account-access"),
    )
    yield log
    await log.close()


@pytest.fixture
async def past(tmp_path: Path, changes: ChangeLog) -> AsyncIterator[Past]:
    store = SqliteStore(tmp_path / "gatewarden.db")
    await store.open()
    yield Past(store, MODEL)
    await store.close()


async def line(changes: ChangeLog, address: str, number: int = 0) -> dict[str, Any]:
    """The line that a decision of now leaves in the log."""
    person = await changes.person_by_email(address)
    assert person is not None
    asker = Somebody(f"user:{person.id}")
    context = Context({"time.now": NOW})
    decision = changes.engine.decide(asker, "model:use", "model:acme/mini", context)
    record = decision_record(decision, principal=asker.id, credential="c")
    return {"id": f"{number:026x}", "at": AT, "body": json.loads(canonical(record))}


def question(found: dict[str, Any]) -> PastQuestion:
    made = past_question(found)
    assert made is not None
    return made


async def history(changes: ChangeLog) -> list[PastQuestion]:
    """Ann may, then nobody of them, then Bob: two questions at each of three epochs."""
    found: list[PastQuestion] = []
    for members in ((ANN,), (), (BOB,)):
        await commit(changes, team("ml", *members))
        found += [question(await line(changes, who, len(found))) for who in (ANN, BOB)]
        found[-1] = replace(
            found[-1], question=replace(found[-1].question, id=f"{len(found):026x}")
        )
    assert [one.question.effect for one in found] == ["allow", *["deny"] * 4, "allow"]
    return found


async def test_a_true_log_has_no_difference_whatever_the_order(
    changes: ChangeLog, past: Past
) -> None:
    found = await history(changes)
    for order in (found, found[::-1], found[3:] + found[:3]):
        replayed = await replay_past(past, order)
        assert (replayed.asked, replayed.unanswerable, replayed.differences) == (6, 0, ())


async def test_an_answer_that_policy_never_gave_stands_out(changes: ChangeLog, past: Past) -> None:
    found = await history(changes)
    false = replace(found[1].question, effect="allow", reason="allowed")
    found[1] = replace(found[1], question=false)
    (difference,) = (await replay_past(past, found)).differences
    assert (difference.what, difference.effect) == ("effect", "deny")
    assert difference.past.question.id == false.id


async def test_another_rule_than_the_one_that_decided_stands_out(
    changes: ChangeLog, past: Past
) -> None:
    found = await history(changes)
    found[0] = replace(found[0], question=replace(found[0].question, rules=("role/x#1",)))
    (difference,) = (await replay_past(past, found)).differences
    assert difference.what == "reason" and difference.rules[0].startswith("provider-account/acme")


async def test_an_epoch_or_a_digest_that_the_change_log_does_not_know_stands_out(
    changes: ChangeLog, past: Past
) -> None:
    found = await history(changes)
    found[0] = replace(found[0], epoch=99)
    found[1] = replace(found[1], digest="00" * 32)
    found[4] = replace(found[4], epoch=found[0].epoch)
    differences = (await replay_past(past, found)).differences
    assert [one.what for one in differences] == ["epoch", "digest", "epoch"]


async def test_what_holds_no_question_is_passed_over(changes: ChangeLog) -> None:
    found = await line(changes, ANN)
    assert past_question({**found, "body": {**found["body"], "type": "request"}}) is None
    assert past_question({**found, "body": {**found["body"], "count": 3}}) is None
    assert past_question({**found, "body": {**found["body"], "reason": "error"}}) is None
    assert past_question({"id": "x"}) is None
