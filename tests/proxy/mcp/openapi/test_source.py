"""Documents are read strictly, from the manifest or from an address."""

from __future__ import annotations

import pytest

from proxy.mcp.openapi import source as module
from proxy.mcp.openapi.pointers import OpenApiError
from proxy.mcp.openapi.source import Inline, Remote, load
from proxy.providers.base import UpstreamError, UpstreamRefusedByGuard
from tests.peers.estate import client
from tests.proxy.mcp.openapi.shed import TEXT, serving


async def read(text: str) -> object:
    async with client() as outbound:
        return await load(Inline(text), outbound.fetch)


async def test_json_yaml_and_values_say_the_same() -> None:
    whole = {"openapi": "3.1.0", "paths": {"/a": {"get": {"responses": {"200": {}}}}}}
    json = '\ufeff{"openapi": "3.1.0", "paths": {"/a": {"get": {"responses": {"200": {}}}}}}'
    yaml = "openapi: 3.1.0\npaths:\n  /a:\n    get:\n      responses:\n        200: {}\n"
    assert await read(json) == await read(yaml) == whole
    async with client() as outbound:
        assert await load(Inline(whole), outbound.fetch) is whole


async def test_an_address_is_fetched() -> None:
    async with serving() as shed, client() as outbound:
        got = await load(Remote(shed.base + "/openapi.yaml"), outbound.fetch)
        assert got == await load(Inline(TEXT), outbound.fetch)
        with pytest.raises(UpstreamError, match="status 404"):
            await load(Remote(shed.base + "/fails/404"), outbound.fetch)
        with pytest.raises(UpstreamError, match="status 302"):
            await load(Remote(shed.base + "/fails/302"), outbound.fetch)


async def test_an_inner_address_is_refused() -> None:
    async with client(allow=()) as outbound:
        with pytest.raises(UpstreamRefusedByGuard):
            await load(Remote("http://127.0.0.1:1/openapi.json"), outbound.fetch)


BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join('*' + a for _ in range(8))}]\n"
    for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no document"),
        ("just text", "no object"),
        ("- 1", "no object"),
        ("{", "like JSON"),
        ("{" * 200_000, "like JSON"),
        ('{"a": ' * 100_000, "like JSON"),
        ("a: 1\na: 2", "stands twice"),
        ("a: !!python/object:os.system x", "tag"),
        ("a: 1\n---\nb: 2", "more than one"),
        ("a: [", "line"),
        (BOMB, "aliases"),
    ],
)
async def test_what_is_no_document_is_refused(text: str, says: str) -> None:
    with pytest.raises(OpenApiError, match=says):
        await read(text)


async def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_YAML_BYTES", 100)
    monkeypatch.setattr(module, "MAX_BYTES", 200)
    with pytest.raises(OpenApiError, match="of YAML"):
        await read("a: " + "x" * 100)
    with pytest.raises(OpenApiError, match="larger"):
        await read('{"a": "' + "x" * 200 + '"}')
    async with serving() as shed, client() as outbound:
        with pytest.raises(UpstreamError, match="more than 200 bytes"):
            await load(Remote(shed.base + "/openapi.yaml"), outbound.fetch)


async def test_a_document_stays_out_of_a_repr() -> None:
    assert "secret" not in repr(Inline("secret"))
