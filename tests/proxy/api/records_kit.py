"""Readers of different scopes and the records that they ask for, on either store of records.

Records go the whole way: written to the journal, shipped from it, read through the API. `RULES` are the data
access rules; who should read what is written down in `test_records.py`, and asked of the engine as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from authz.recording import request_record
from authz.records import RequestRecord
from identity.issue import account_subject, user_subject
from proxy.record_access import RecordAccess
from store.intake import Intake
from store.request_records import RequestRecords
from store.shelving import Place
from store.shipper import Shipper
from tests.proxy.api.stack import ESTATE, Stack, stack_on

RULES: tuple[dict[str, Any], ...] = (
    {"id": "own", "subjects": ["team:everyone"], "data_types": ["traces", "metrics", "decisions"], "scope": "own_data"},
    {"id": "team", "subjects": ["team:search"], "data_types": ["traces"], "scope": "team_data"},
    {"id": "admin", "subjects": ["role:tenant-admin"], "data_types": ["traces", "metrics", "decisions"], "scope": "all_data"},
    {
        "id": "emea",
        "subjects": ["team:support"],
        "data_types": ["traces"],
        "scope": "all_data",
        "filters": [{"field": "metadata", "key": "region", "operator": "IN", "value": ["emea"]}],
    },
)  # fmt: skip
MORE: tuple[dict[str, Any], ...] = (
    {"type": "user", "name": "helper@example.com"},
    {"type": "team", "name": "support", "members": ["helper@example.com"]},
    {"type": "virtual-account", "name": "crawler", "ownedBy": {"account": "team:search"}},
    {"type": "gateway-data-access-config", "name": "data-access", "rules": list(RULES)},
)
READERS = ("member", "manager", "other", "helper", "auditor", "root", "checkout", "crawler")


@dataclass
class Archive:
    """A control plane with records."""

    stack: Stack
    place: Place
    access: RecordAccess
    ids: dict[str, str] = field(default_factory=dict)  # reader -> subject

    async def write(self, records: Iterable[RequestRecord]) -> list[str]:
        """Writes records and ships them; their ids."""
        tickets = [self.stack.runtime.journal.append(one) for one in records]
        for ticket in tickets:
            await ticket.durable()
        await self.ship()
        return [ticket.id for ticket in tickets]

    async def ship(self) -> None:
        """What the shipping process does."""
        records: RequestRecords = await self.access.open()
        folder = self.stack.folder / "journal"
        await records.work(lambda store: Shipper(folder, Intake(store)).drain())

    def request(self, who: str, number: int = 0, **more: Any) -> RequestRecord:
        """The record of a request of a reader."""
        given: dict[str, Any] = {
            "request_id": f"req-{who}-{number}",
            "decision_id": f"{number:026x}",
            "principal": self.ids[who],
            "credential": "c1",
            "status": 200,
            "route": "POST /v1/chat/completions",
            "teams": self.stack.runtime.changes.engine.teams_of(self.ids[who]),
            "owner_team": "team:search" if who == "crawler" else "",
            "model": "acme/mini",
            "account": "acme",
            **more,
        }
        return request_record(**given)

    async def get(self, who: str, path: str = "/requests", **query: object) -> Any:
        """The body of an answer that must be 200; the window holds everything."""
        got = await self.stack.call("GET", asked(path, **query), who=who)
        assert got.status == 200, got.raw
        return got.json

    async def listed(self, who: str, path: str = "/requests", **query: object) -> list[str]:
        """The ids of all pages, oldest first."""
        found: list[str] = []
        cursor = ""
        while True:
            more = {"cursor": cursor} if cursor else {}
            body = await self.get(who, path, **query, **more)
            found += [one["id"] for one in body["data"]]
            cursor = body["next"]
            if not cursor:
                return found[::-1]


_NOW = datetime.now(UTC)
SINCE, UNTIL = ((_NOW + timedelta(days=days)).isoformat(timespec="seconds") for days in (-100, 100))


def asked(path: str, **query: object) -> str:
    """A path with parameters and a window that holds whatever a test writes."""
    whole = {"since": SINCE, "until": UNTIL, **query}
    return f"{path}?{urlencode(whole, quote_via=quote)}"


@asynccontextmanager
async def archive_on(folder: Path, uri: str = "") -> AsyncIterator[Archive]:
    """An archive on a folder, with records on a server if its URI is given."""
    estate = [one for one in ESTATE if one["type"] != "gateway-data-access-config"]
    async with stack_on(folder, estate=[*estate, *MORE]) as stack:
        await stack.mint("helper", user_subject("helper@example.com"))
        await stack.mint("crawler", account_subject("crawler"))
        place = Place(folder / "request-records.db", uri)
        if uri:
            stack.runtime.records = RecordAccess(place)
        access = stack.runtime.records
        assert access is not None
        made = Archive(stack, place, access)
        for who in READERS:
            whoami = await stack.call("GET", "/whoami", who=who)
            made.ids[who] = whoami.json["id"]
        yield made
