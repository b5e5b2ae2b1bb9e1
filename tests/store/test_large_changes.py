"""Changes that are planned before they are committed, and those that are judged beside the loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from authz.conditions import Context
from authz.decision import Somebody
from policies.change import Plan
from policies.documents import Document
from policies.errors import Conflict, NotAuthorised
from store.changes import ChangeLog
from store.judging import is_large
from tests.store.change_kit import ANN, BOB, NOW, change_log, put, team, user

MANY = 60


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[ChangeLog]:
    made = change_log(tmp_path)
    await made.start()
    await made.commit(put(user(ANN, roles=["tenant-admin"]), user(BOB)), None, NOW)
    yield made
    await made.close()


def many() -> list[Document]:
    people = [f"p{n}@acme.com" for n in range(MANY)]
    return [*(user(one) for one in people), team("search", *people), team("own", ANN)]


async def asker(log: ChangeLog, address: str) -> Somebody:
    found = await log.people_by_email([address])
    return Somebody(f"user:{found[address.casefold()].id}")


async def judged(log: ChangeLog, plan: Plan, address: str) -> bool:
    try:
        await log.authorise(plan, await asker(log, address), Context({"time.now": NOW}))
    except NotAuthorised:
        return False
    return True


async def test_a_large_change_is_judged_as_a_small_one_is(log: ChangeLog) -> None:
    large = (await log.draft(put(*many()))).plan
    small = (await log.draft(put(team("own", ANN)))).plan
    assert is_large(large) and not is_large(small)
    for plan in (large, small):
        assert await judged(log, plan, ANN)
        assert not await judged(log, plan, BOB)


async def test_who_may_not_make_it_writes_nothing(log: ChangeLog) -> None:
    head = log.head
    with pytest.raises(NotAuthorised) as caught:
        await log.commit(put(*many()), await asker(log, BOB), NOW)
    assert ("team:create", "any:team") in caught.value.missing
    assert log.head == head


async def test_a_draft_is_committed_as_it_was_planned(log: ChangeLog) -> None:
    ann = await asker(log, ANN)
    change = put(*many())
    draft = await log.draft(change, ann)
    entry = await log.commit(change, ann, NOW, None, draft)
    # Ids of new people are drawn while planning: the same ones were written.
    assert entry.documents == draft.plan.documents
    assert set(entry.added) == set(draft.plan.added)


async def test_a_draft_of_an_older_head_is_planned_again(log: ChangeLog) -> None:
    ann = await asker(log, ANN)
    change = put(team("search", ANN, BOB))
    draft = await log.draft(change, ann)
    await log.commit(put(team("search", ANN)), None, NOW)
    entry = await log.commit(change, ann, NOW, None, draft)
    (written,) = entry.documents
    assert written.before is not None and written.version == 2


async def test_a_draft_that_others_overtook_keeps_what_was_expected(log: ChangeLog) -> None:
    change = put(team("search", BOB), expect={("team", "search"): 0})
    draft = await log.draft(change)
    await log.commit(put(team("search", ANN)), None, NOW)
    with pytest.raises(Conflict):
        await log.commit(change, None, NOW, None, draft)
