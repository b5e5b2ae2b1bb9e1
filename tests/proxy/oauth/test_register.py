"""Registration: public clients, plain addresses, bounded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.proxy.oauth.stack import CALLBACK, House


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({}, "invalid_redirect_uri"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": [CALLBACK] * 11}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://app.example.com/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://app.example.com/cb#x"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": "https://app.example.com/cb"}, "invalid_client_metadata"),
        ({"redirect_uris": [1]}, "invalid_client_metadata"),
        ({"redirect_uris": [CALLBACK], "grant_types": ["implicit"]}, "invalid_client_metadata"),
        ({"redirect_uris": [CALLBACK], "response_types": ["token"]}, "invalid_client_metadata"),
        ([CALLBACK], "invalid_client_metadata"),
    ],
)
async def test_a_client_that_cannot_be_served_is_refused(
    house: House, metadata: Any, error: str
) -> None:
    got = await house.call("POST", "/register", json=metadata)
    assert (got.status, got.json["error"]) == (400, error)
    assert got.json["error_description"]


async def test_a_body_that_is_not_json_is_refused(house: House) -> None:
    for more in ({"data": b"{"}, {"data": b"{}", "headers": {"Content-Type": "text/plain"}}):
        more.setdefault("headers", {"Content-Type": "application/json"})
        got = await house.call("POST", "/register", **more)
        assert (got.status, got.json["error"]) == (400, "invalid_client_metadata")
    got = await house.call("POST", "/register", json={"client_name": "x" * 20_000})
    assert got.status == 413


async def test_a_client_that_wants_a_secret_is_told_that_it_has_none(house: House) -> None:
    got = await house.call(
        "POST",
        "/register",
        json={"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_basic"},
    )
    assert got.status == 201
    assert got.json["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in got.json
    assert got.headers["access-control-allow-origin"] == "*"


async def test_one_address_registers_so_often(house: House) -> None:
    for _ in range(10):
        await house.register()
    got = await house.call("POST", "/register", json={"redirect_uris": [CALLBACK]})
    assert got.status == 429
    assert got.headers["retry-after"] == "60"
    house.now[0] += timedelta(minutes=1)
    await house.register()


async def test_a_client_that_nobody_uses_is_forgotten(house: House) -> None:
    unused, used = await house.register(), await house.register()
    await house.connected(used)
    house.now[0] += timedelta(days=2)
    assert (await house.ask(house.asking(unused)[0])).status == 400
    assert (await house.ask(house.asking(used)[0])).status == 200
    house.now[0] += timedelta(days=89)
    assert (await house.ask(house.asking(used)[0])).status == 400
