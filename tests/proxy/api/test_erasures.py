"""Forgetting a person: everything that was said or typed goes, the proof stays and says who forgot whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from authz import keys
from authz.filters import all_of, has
from authz.recording import request_record
from proxy.erasing import SURE
from store import payload_spool
from store.intake import Intake
from store.payload_spool import Spool
from store.request_records import Payload, Shelf, Window
from store.shipper import Shipper
from tests.proxy.api.stack import NOW, Stack

EVER = Window(0, 1 << 61)


async def subject_of(stack: Stack, email: str) -> str:
    person = await stack.runtime.changes.person_by_email(email)
    assert person is not None
    return f"user:{person.id}"


async def ship(stack: Stack) -> None:
    assert stack.runtime.records is not None
    records = await stack.runtime.records.open()
    await records.work(lambda store: Shipper(stack.folder / "journal", Intake(store)).drain())
    await records.work(lambda store: payload_spool.ship(stack.folder / "payloads", store))


async def use(stack: Stack, who: str, text: str) -> str:
    """A request of somebody who claims something and says something; the id of its record."""
    ticket = stack.runtime.journal.append(
        request_record(
            request_id="r",
            decision_id="d",
            principal=who,
            credential="c",
            status=200,
            claimed={"project": text},
        )
    )
    await ticket.durable()
    spool = Spool(stack.folder / "payloads", "w@h@0", 1 << 20)
    spool.put([(Payload(ticket.id, int(NOW.timestamp() * 1_000_000), b"sealed"), who)])
    return ticket.id


async def erase(stack: Stack, person: str, who: str = "root") -> Any:
    got = await stack.call("POST", "/erasures", {"person": person}, who=who)
    assert got.status == 200, got.raw
    return got.json


async def test_what_a_person_said_and_typed_goes_and_nobody_else_s(stack: Stack) -> None:
    member, other = [await subject_of(stack, f"{one}@example.com") for one in ("member", "other")]
    shipped, kept = await use(stack, member, "apollo"), await use(stack, other, "gemini")
    await ship(stack)
    waiting = await use(stack, member, "apollo-2")  # on its way still
    found = await erase(stack, "member@example.com")
    assert (found["subject"], found["deleted"]) == (member, True)
    assert found["payloads"] == 2 and found["asides"] >= 1
    await ship(stack)
    assert stack.runtime.records is not None
    records = await stack.runtime.records.open()
    assert [await records.payload(one) for one in (shipped, waiting, kept)] == [
        None,
        None,
        b"sealed",
    ]
    claimed = await records.work(
        lambda store: store.scan(
            Shelf.REQUESTS, all_of(has(keys.claimed("project"))), EVER, None, 10, 5.0
        )
    )
    assert b"apollo-2" in claimed.rows[0].body  # it came after: the next round finds it
    assert stack.runtime.erasing is not None
    await stack.runtime.erasing.again(NOW)
    bodies = [
        (await records.get(Shelf.REQUESTS, one)).body  # type: ignore[union-attr]
        for one in (shipped, waiting, kept)
    ]
    assert [b"apollo" in body for body in bodies] == [False, False, False]
    assert b"gemini" in bodies[2]


async def test_name_and_address_go_and_the_user_with_them(stack: Stack) -> None:
    member = await subject_of(stack, "member@example.com")
    await erase(stack, "member@example.com")
    changes = stack.runtime.changes
    assert await changes.person_by_email("member@example.com") is None
    assert await changes.person(member) is None
    assert (await stack.call("GET", "/whoami", who="member")).status == 401
    assert (await erase(stack, member.partition(":")[2]))["deleted"] is False


async def test_the_log_says_who_forgot_whom_and_is_whole(stack: Stack) -> None:
    member, root = [await subject_of(stack, f"{one}@example.com") for one in ("member", "root")]
    await use(stack, member, "apollo")
    await erase(stack, "member@example.com")
    (record,) = [one for one in stack.records() if one["body"]["type"] == "erasure"]
    assert record["body"]["subject"] == member and record["body"]["by"] == root
    changes = stack.runtime.changes
    (entry,) = await changes.entries(changes.head - 1, 1)
    assert any(change.after is None and change.key[0] == "user" for change in entry.documents)


async def test_what_is_written_at_present_goes_later_by_itself(stack: Stack) -> None:
    member = await subject_of(stack, "member@example.com")
    await use(stack, member, "apollo")
    await ship(stack)
    found = await erase(stack, "member@example.com")
    assert found["left"] > 0
    erasing = stack.runtime.erasing
    assert erasing is not None
    await erasing.again(NOW + SURE + timedelta(seconds=1))
    # It is still written to: so it is not forgotten that something is left.
    assert await erasing._state.all("erasures", NOW) != {}


@pytest.mark.parametrize("person", ["nobody@example.com", "search", "team:search"])
async def test_who_is_not_known_is_not_found(stack: Stack, person: str) -> None:
    got = await stack.call("POST", "/erasures", {"person": person})
    assert got.status == 404


async def test_whoever_may_delete_users_alone_may_not_erase(stack: Stack) -> None:
    await stack.commit(
        {"type": "role", "name": "hr", "resourceType": "tenant", "permissions": ["user:delete", "user:read"]},
        {"type": "user", "name": "hr@example.com", "roles": ["hr"]},
    )  # fmt: skip
    await stack.mint("hr", await subject_of(stack, "hr@example.com"))
    got = await stack.call("POST", "/erasures", {"person": "member@example.com"}, who="hr")
    assert got.status == 403
    assert await subject_of(stack, "member@example.com")
