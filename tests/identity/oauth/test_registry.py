from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from authz.errors import GatewardenError
from identity.oauth.errors import InvalidClient
from identity.oauth.registry import IDLE, UNUSED, Clients, Fetched, is_document
from store.state import State

URL = "https://client.example.com/oauth/client.json"
CALLBACK = "http://127.0.0.1/cb"


class Web:
    """Documents by URL; counts how often it was asked."""

    def __init__(self) -> None:
        self.found: dict[str, Fetched] = {}
        self.asked = 0

    def publish(self, url: str, max_age: timedelta | None = None, **changed: object) -> None:
        document = {"client_id": url, "redirect_uris": [CALLBACK], **changed}
        self.found[url] = Fetched(json.dumps(document).encode(), max_age)

    async def __call__(self, url: str) -> Fetched:
        self.asked += 1
        if url not in self.found:
            raise GatewardenError("unreachable")
        return self.found[url]


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def clients(state: State, web: Web) -> Clients:
    return Clients(state, web)


async def test_a_registration_ends_unused_after_a_day_and_idle_after_three_months(
    clients: Clients, now: datetime
) -> None:
    metadata = {"redirect_uris": [CALLBACK]}
    unused, used = await clients.register(metadata, now), await clients.register(metadata, now)
    await clients.used(used.id, now)
    with pytest.raises(InvalidClient):
        await clients.find(unused.id, now + UNUSED)
    assert await clients.find(used.id, now + UNUSED) == used
    await clients.used(used.id, now + timedelta(hours=1))  # within a day nothing is written
    with pytest.raises(InvalidClient):
        await clients.find(used.id, now + IDLE)


async def test_a_client_in_use_stays(clients: Clients, now: datetime) -> None:
    client = await clients.register({"redirect_uris": [CALLBACK]}, now)
    for day in range(0, 300, 50):
        await clients.used(client.id, now + timedelta(days=day))
    assert await clients.find(client.id, now + timedelta(days=339)) == client


async def test_a_document_is_read_once_an_hour(clients: Clients, web: Web, now: datetime) -> None:
    web.publish(URL)
    assert not await clients.knows(URL, now)
    client = await clients.find(URL, now)
    assert client.document
    assert await clients.knows(URL, now)
    await clients.find(URL, now + timedelta(minutes=59))
    assert web.asked == 1
    await clients.find(URL, now + timedelta(hours=1))
    assert web.asked == 2


async def test_what_could_not_be_read_is_not_remembered(
    clients: Clients, web: Web, now: datetime
) -> None:
    with pytest.raises(InvalidClient):
        await clients.find(URL, now)
    web.publish(URL, client_id="https://other.example.com/x")
    with pytest.raises(InvalidClient, match="read from"):
        await clients.find(URL, now)
    web.publish(URL, timedelta(0))
    assert (await clients.find(URL, now)).id == URL
    assert not await clients.knows(URL, now)


@pytest.mark.parametrize(
    "url",
    [
        "http://client.example.com/c",
        "https://client.example.com",
        "https://client.example.com/",
        "https://CLIENT.example.com/c",
        "https://u@client.example.com/c",
        "https://client.example.com/c#f",
        "https://client.example.com/../c",
        "https://client.example.com/a/%2e%2e/c",
        "https://client.example.com/a/.",
        "https://client.example.com/c d",
        "https://client.example.com/c\n",
        "https://client.example.com/" + "c" * 512,
        "mcp-1",
    ],
)
async def test_other_ids_are_not_looked_for(
    clients: Clients, web: Web, now: datetime, url: str
) -> None:
    assert not is_document(url)
    with pytest.raises(InvalidClient):
        await clients.find(url, now)
    assert web.asked == 0
