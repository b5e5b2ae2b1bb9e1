"""Client id metadata documents, read over real TLS through the guarded client."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.oauth.documents import max_age_of
from tests.peers.certificates import self_signed
from tests.proxy.oauth.stack import CALLBACK, House, house_on


@dataclass
class Publisher:
    """A web server where a client publishes its document."""

    url: str = ""
    changed: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    asked: int = 0

    async def show(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.raw is not None:
            return web.Response(body=self.raw, content_type="application/json")
        document = {
            "client_id": self.url,
            "client_name": "Published",
            "redirect_uris": [CALLBACK],
            "token_endpoint_auth_method": "none",
            **self.changed,
        }
        return web.json_response(document, status=self.status, headers=self.headers)


@pytest.fixture
async def publisher(tmp_path: Path) -> AsyncIterator[Publisher]:
    publisher = Publisher()
    app = web.Application()
    app.router.add_get("/client.json", publisher.show)
    server = TestServer(app, scheme="https", host="127.0.0.1")
    await server.start_server(ssl=self_signed(tmp_path, "localhost"))
    publisher.url = f"https://localhost:{server.port}/client.json"
    yield publisher
    await server.close()


@pytest.fixture
async def house(tmp_path: Path, publisher: Publisher) -> AsyncIterator[House]:
    trusted = ssl.create_default_context(cafile=str(tmp_path / "localhost.pem"))
    (tmp_path / "data").mkdir()
    async with house_on(tmp_path / "data", tls=trusted) as house:
        yield house


async def test_a_client_that_publishes_itself_needs_no_registration(
    house: House, publisher: Publisher
) -> None:
    page = await house.ask(house.asking(publisher.url)[0])
    assert page.status == 200, page.text
    assert "Published" in page.text
    assert "https://localhost" in page.text
    assert "Nobody has checked" not in page.text
    tokens = await house.connected(publisher.url)
    assert (await house.use(tokens["access_token"])).status == 200
    assert (await house.refresh(publisher.url, tokens["refresh_token"])).status == 200
    assert publisher.asked == 1


async def test_a_document_is_believed_for_an_hour_at_most(
    house: House, publisher: Publisher
) -> None:
    publisher.headers = {"Cache-Control": "public, max-age=86400"}
    asked, _ = house.asking(publisher.url)
    await house.ask(asked)
    publisher.changed = {"redirect_uris": ["https://other.example.com/cb"]}
    house.now[0] += timedelta(minutes=59)
    assert (await house.ask(asked)).status == 200
    house.now[0] += timedelta(minutes=1)
    assert (await house.ask(asked)).status == 400


async def test_a_document_that_is_not_to_be_kept_is_read_each_time(
    house: House, publisher: Publisher
) -> None:
    publisher.headers = {"Cache-Control": "no-store"}
    for _ in range(2):
        await house.ask(house.asking(publisher.url)[0])
    assert publisher.asked == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "https://localhost/other.json"},
        {"client_id": None},
        {"redirect_uris": ["https://evil.example.com/cb"]},
        {"redirect_uris": []},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"token_endpoint_auth_method": "private_key_jwt"},
    ],
)
async def test_a_document_that_does_not_fit_is_refused(
    house: House, publisher: Publisher, changed: dict[str, Any]
) -> None:
    publisher.changed = changed
    got = await house.ask(house.asking(publisher.url)[0])
    assert got.status == 400
    assert "location" not in got.headers


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b'{"client_id": 1, "client_id": 2}', b"x" * 20_000]
)
async def test_what_is_no_document_is_refused(
    house: House, publisher: Publisher, raw: bytes
) -> None:
    publisher.raw = raw
    assert (await house.ask(house.asking(publisher.url)[0])).status == 400


@pytest.mark.parametrize("status", [301, 302, 404, 500])
async def test_an_answer_that_is_no_success_is_refused_and_not_followed(
    house: House, publisher: Publisher, status: int
) -> None:
    publisher.status = status
    publisher.headers = {"Location": publisher.url}
    assert (await house.ask(house.asking(publisher.url)[0])).status == 400
    assert publisher.asked == 1


async def test_one_address_has_us_read_so_often(house: House, publisher: Publisher) -> None:
    publisher.status = 500
    asked, _ = house.asking(publisher.url)
    got = [(await house.ask(asked)).status for _ in range(11)]
    assert got == [400] * 10 + [429]
    assert publisher.asked == 10


@pytest.mark.parametrize(
    "client_id",
    [
        "http://localhost/client.json",
        "https://localhost",
        "https://localhost/",
        "https://user@localhost/client.json",
        "https://localhost/a/../client.json",
        "https://localhost/client.json#x",
        "https://169.254.169.254/latest",
        "https://10.0.0.1/client.json",
    ],
)
async def test_only_plain_https_addresses_of_others_are_read(house: House, client_id: str) -> None:
    assert (await house.ask(house.asking(client_id)[0])).status == 400


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("max-age=60", 60),
        ("public, Max-Age=60", 60),
        ("s-max-age=9", None),
        ("no-cache", 0),
    ],
)
def test_how_long_an_answer_may_be_kept(header: str, seconds: int | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert max_age_of(header) == expected
