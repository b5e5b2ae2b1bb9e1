"""Long questions: a process of its own answers them, and what goes wrong there harms nobody here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from authz.conditions import Context
from authz.decision import Somebody
from authz.rows import Row
from policies.change import Change, Source
from policies.difference import difference
from policies.documents import Document
from policies.loader import shipped
from policies.replay import RecordedQuestion
from proxy.inquiry import Inquiries, QuestionsBusy, QuestionTooLong
from proxy.questions import Asked
from store.changes import ChangeLog
from store.errors import StoreUnavailable
from store.opening import stores
from store.past import NoSuchMoment
from store.sealed import Sealer
from tests.store.change_kit import ANN, BOB, KEY, MODEL, NOW, account, change_log, put, team, user

USE = ("model:use", "model:acme/mini")
GRANT = "team:ml=provider-account-access"


async def commit(log: ChangeLog, *documents: Document) -> None:
    await log.commit(put(*documents), None, NOW)


@pytest.fixture
async def changes(tmp_path: Path) -> AsyncIterator[ChangeLog]:
    log = change_log(tmp_path)
    await log.start()
    await commit(log, user(ANN), user(BOB), team("ml", ANN, BOB), account("acme", GRANT))
    yield log
    await log.close()


def asking(path: Path, **limits: float) -> Inquiries:
    return Inquiries(f"sqlite:///{path / 'gatewarden.db'}", MODEL, **limits)


@pytest.fixture
async def inquiries(tmp_path: Path, changes: ChangeLog) -> AsyncIterator[Inquiries]:
    made = asking(tmp_path)
    yield made
    await made.close()


async def holders(inquiries: Inquiries, **more: Any) -> list[str]:
    found = await inquiries.who(*USE, **{"at": None, "now": NOW, **more})
    return [holder.subject for holder in found.items]


async def test_nothing_is_started_before_the_first_question_and_nothing_is_left_after_the_end(
    tmp_path: Path, changes: ChangeLog
) -> None:
    inquiries = asking(tmp_path)
    await inquiries.close()
    assert not inquiries.running
    assert len(await holders(inquiries)) == 2
    assert inquiries.running
    await inquiries.close()
    assert not inquiries.running


async def test_a_commit_is_seen_by_the_next_question(
    changes: ChangeLog, inquiries: Inquiries
) -> None:
    assert len(await holders(inquiries)) == 2
    before = changes.head
    await commit(changes, team("ml", ANN))
    assert len(await holders(inquiries)) == 1
    assert len(await holders(inquiries, at=before)) == 2
    assert len(await holders(inquiries, at=changes.head)) == 1
    found = await inquiries.who(*USE, at=None, now=NOW)
    assert (found.epoch, found.at, found.known) == (changes.head, NOW, True)


async def test_any_way_through_the_log_answers_what_the_log_says(
    changes: ChangeLog, inquiries: Inquiries
) -> None:
    wanted: dict[int, int] = {}
    for members in ((ANN,), (), (BOB,), (ANN, BOB), (ANN,)):
        await commit(changes, team("ml", *members))
        wanted[changes.head] = len(members)
    epochs = sorted(wanted)
    for epoch in (epochs[0], epochs[-1], epochs[1], epochs[3], epochs[2], epochs[2], epochs[4]):
        assert len(await holders(inquiries, at=epoch)) == wanted[epoch], epoch


async def test_a_moment_that_is_none_is_said(changes: ChangeLog, inquiries: Inquiries) -> None:
    for at in (0, changes.head + 1, NOW - timedelta(days=1)):
        with pytest.raises(NoSuchMoment) as caught:
            await holders(inquiries, at=at)
        assert caught.value.hint
    assert len(await holders(inquiries)) == 2


async def test_an_explanation_is_that_of_the_engine_with_the_writers(
    changes: ChangeLog, inquiries: Inquiries
) -> None:
    person = await changes.person_by_email(ANN)
    assert person is not None
    subject = f"user:{person.id}"
    found = await inquiries.explain(
        Asked(subject), *USE, at=changes.head, now=None, values={"time.now": NOW}
    )
    decision = changes.engine.decide(Somebody(subject), *USE, Context({"time.now": NOW}))
    assert (found["effect"], found["reason"]) == (decision.effect, decision.reason)
    assert found["rules"] == list(decision.rules)
    (rule,) = found["explanation"]["parts"][0]["rules"]
    values = ("subject", "object", "action", "effect", "condition", "rule")
    row = Row("p", tuple(rule[name] for name in values)).text()
    assert (await changes.written_by([row], changes.head))[row].epoch == changes.head
    assert rule["written_by"]["epoch"] == changes.head
    assert rule["written_by"]["at"] == "2026-11-25T12:00:00Z"


async def test_a_plan_is_compared_and_replayed_as_in_this_process(
    changes: ChangeLog, inquiries: Inquiries
) -> None:
    person = await changes.person_by_email(BOB)
    assert person is not None
    change = Change("host", Source.HOST, "test", puts=(team("ml", ANN),))
    plan = await changes.plan(change)
    assert plan.removed
    there = await inquiries.difference(plan, NOW)
    here = difference(
        changes.engine,
        plan.added,
        plan.removed,
        Context({"time.now": NOW}),
        bound_of=lambda subject: None,
        bound_after=lambda subject: None,
    )
    assert there == here
    asked = RecordedQuestion(
        "d-1", NOW, f"user:{person.id}", None, None, *USE, {}, "allow", "allowed"
    )
    found = await inquiries.replay(plan, [asked])
    assert found.asked == 1
    assert [(flip.question.id, flip.after) for flip in found.flips] == [("d-1", "deny")]
    # The engine over there was moved back.
    assert len(await holders(inquiries)) == 2


async def test_a_plan_that_does_not_fit_leaves_the_next_question_whole(
    changes: ChangeLog, inquiries: Inquiries
) -> None:
    plan = await changes.plan(Change("host", Source.HOST, "test", puts=(team("ml", ANN),)))
    await commit(changes, team("ml", ANN))  # the same: what the plan removes is gone
    asked = RecordedQuestion("d-1", NOW, "user:u-1", None, None, *USE, {}, "allow", "allowed")
    with pytest.raises(StoreUnavailable):
        await inquiries.replay(plan, [asked])
    assert len(await holders(inquiries)) == 1


async def test_a_question_that_takes_too_long_is_given_up_and_the_next_is_answered(
    tmp_path: Path, changes: ChangeLog
) -> None:
    slow = asking(tmp_path, load_seconds=0.001)
    with pytest.raises(QuestionTooLong, match=r"took longer than 0\.001 seconds"):
        await holders(slow)
    assert not slow.running
    await slow.close()
    patient = asking(tmp_path)
    assert len(await holders(patient)) == 2
    await patient.close()


async def test_a_process_that_dies_is_started_again(
    changes: ChangeLog, inquiries: Inquiries
) -> None:
    assert len(await holders(inquiries)) == 2
    child = inquiries._child
    assert child is not None
    child.kill()
    await child.wait()
    assert not inquiries.running
    assert len(await holders(inquiries)) == 2


async def test_the_process_is_let_go_when_nobody_asks(
    changes: ChangeLog, inquiries: Inquiries
) -> None:
    await holders(inquiries)
    child = inquiries._child
    assert child is not None
    inquiries.let_go()
    assert await child.wait() == 0
    assert not inquiries.running
    assert len(await holders(inquiries)) == 2


async def test_questions_wait_for_each_other_and_not_too_many_wait(
    changes: ChangeLog, inquiries: Inquiries
) -> None:
    found = await asyncio.gather(*(holders(inquiries) for _ in range(12)), return_exceptions=True)
    assert sum(isinstance(one, QuestionsBusy) for one in found) == 4
    assert sum(one == found[0] and isinstance(one, list) for one in found) == 8


async def test_a_store_that_is_gone_is_said(tmp_path: Path) -> None:
    nowhere = asking(tmp_path)
    with pytest.raises(StoreUnavailable, match="is gone"):
        await holders(nowhere)
    assert list(tmp_path.iterdir()) == []  # and none is made
    await nowhere.close()


async def test_the_process_gets_no_variable_of_ours(
    changes: ChangeLog, inquiries: Inquiries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWARDEN_KEYS__SEALING", "canary")
    await holders(inquiries)
    assert inquiries._child is not None
    environ = Path(f"/proc/{inquiries._child.pid}/environ").read_bytes()
    assert b"canary" not in environ and b"PYTHONPATH" in environ
    command = Path(f"/proc/{inquiries._child.pid}/cmdline").read_bytes()
    assert b"gatewarden.db" not in command
    assert os.getpid() != inquiries._child.pid


async def test_an_answer_of_many_pages_is_whole(changes: ChangeLog, inquiries: Inquiries) -> None:
    people = [f"p{number}@acme.com" for number in range(30)]
    await commit(changes, *(user(address) for address in people), team("ml", *people))
    found: list[str] = []
    while True:
        page = await inquiries.who(
            *USE, at=None, now=NOW, after=found[-1] if found else "", limit=7
        )
        found += [holder.subject for holder in page.items]
        if not page.more:
            break
    assert len(found) == len(set(found)) == 30
    assert found == sorted(found)


async def test_a_shared_store_is_asked_the_same_way(mongo_uri: str) -> None:
    store, _ = stores(mongo_uri)
    log = ChangeLog(
        store, model_text=MODEL, shipped=shipped(), sealer=Sealer(KEY), clock=lambda: NOW
    )
    await log.start()
    inquiries = Inquiries(mongo_uri, MODEL)
    try:
        await commit(log, user(ANN), user(BOB), team("ml", ANN, BOB), account("acme", GRANT))
        before = log.head
        await commit(log, team("ml", ANN))
        assert len(await holders(inquiries)) == 1
        assert len(await holders(inquiries, at=before)) == 2
        found = await inquiries.explain(
            Asked("team:ml"), *USE, at=before, now=None, values={"time.now": NOW}
        )
        assert found["explanation"]["parts"][0]["rules"][0]["written_by"]["epoch"] == before
    finally:
        await inquiries.close()
        await log.close()
