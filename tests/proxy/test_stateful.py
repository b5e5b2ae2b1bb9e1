from __future__ import annotations

from datetime import timedelta

import pytest

from proxy.errors import ReferenceNotFound
from proxy.providers.base import Operation
from proxy.stateful import KEPT, MemoryState, Reference, Stateful, references
from tests.proxy.world import NOW

REFERENCE = [Reference("previous_response_id", "resp_1")]


async def test_an_id_is_served_to_its_principal_from_its_account_until_it_expires() -> None:
    stateful = Stateful(MemoryState())
    await stateful.remember("user:u-1", "acme", "resp_1", NOW)
    await stateful.check("user:u-1", "acme", REFERENCE, NOW + KEPT - timedelta(seconds=1))
    for principal, account, now in (
        ("user:u-2", "acme", NOW),
        ("user:u-1", "other", NOW),
        ("user:u-1", "acme", NOW + KEPT),
    ):
        with pytest.raises(ReferenceNotFound):
            await stateful.check(principal, account, REFERENCE, now)


async def test_an_id_cannot_be_made_to_look_like_anothers() -> None:
    stateful = Stateful(MemoryState())
    await stateful.remember("user:u-1", "acme", "x resp_1", NOW)
    await stateful.remember("user:u-1", "acme", "resp_1", NOW)
    for id in ("", " ", "u-1 resp_1", "resp_1 ", "resp_1\n", "../resp_1", "r" * 300):
        with pytest.raises(ReferenceNotFound):
            await stateful.check("user:u-1", "acme", [Reference("x", id)], NOW)


async def test_the_memory_is_bounded_and_loses_the_oldest_first() -> None:
    state = MemoryState(limit=2)
    for key in ("a", "b", "c"):
        await state.put("s", key, key, NOW + timedelta(days=1))
    assert [await state.get("s", key, NOW) for key in ("a", "b", "c")] == [None, "b", "c"]


def test_a_plain_request_refers_to_nothing() -> None:
    assert references(Operation.CHAT_COMPLETIONS, {"model": "a", "messages": []}, ()) == []
