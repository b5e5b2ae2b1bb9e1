"""Events over HTTP, through the guarded client to a server on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.siem.event import Event
from proxy.siem.posting import HttpSink, OtlpSink
from proxy.siem.sinks import SinkError
from tests.peers.estate import client

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector:
    """Answers with the statuses that it is told, then with 200."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.most = 1 << 20
        self.says = b"{}"

    async def take(self, request: web.Request) -> web.Response:
        raw = await request.read()
        if raw.count(b'"seq') > self.most:
            return web.Response(status=413)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.bodies.append(raw)
            self.headers.append({key.lower(): value for key, value in request.headers.items()})
        headers = {"location": "/elsewhere"} if status == 302 else None
        return web.Response(status=status, body=self.says, headers=headers)


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/{path:.*}", collector.take)
    async with TestServer(app, host="127.0.0.1") as server:
        yield collector, str(server.make_url("/v1/logs"))


def events(count: int, effect: str = "allow", trace: str = "") -> list[Event]:
    return [
        Event(f"id-{n}", 1_795_564_800_000_000, "decision", effect, trace, b'{"seq":%d}' % n)
        for n in range(count)
    ]


async def test_a_batch_is_posted_as_json_lines_with_the_secret_in_its_header() -> None:
    async with collecting() as (collector, url), client() as outbound:
        await HttpSink(outbound.fetch, url, authorization="Splunk canary").send(events(3))
    assert collector.bodies == [b'{"seq":0}\n{"seq":1}\n{"seq":2}\n']
    assert collector.headers[0]["authorization"] == "Splunk canary"
    assert collector.headers[0]["content-type"] == "application/x-ndjson"


@pytest.mark.parametrize("status", [302, 400, 401, 429, 500, 503])
async def test_what_is_not_taken_is_a_failure_without_the_secret(status: int) -> None:
    async with collecting() as (collector, url), client() as outbound:
        collector.statuses = [status]
        with pytest.raises(SinkError) as caught:
            await HttpSink(outbound.fetch, url, authorization="canary").send(events(1))
    assert "canary" not in f"{caught.value!r} {caught.value}" and not collector.bodies


async def test_a_batch_that_is_too_large_goes_in_smaller_ones() -> None:
    async with collecting() as (collector, url), client() as outbound:
        collector.most = 3
        await HttpSink(outbound.fetch, url).send(events(20))
    seen = [json.loads(raw)["seq"] for body in collector.bodies for raw in body.splitlines()]
    assert seen == list(range(20))


async def test_an_internal_address_has_to_be_allowed() -> None:
    async with collecting() as (collector, url), client(allow=()) as outbound:
        with pytest.raises(SinkError):
            await HttpSink(outbound.fetch, url).send(events(1))
    assert not collector.bodies


async def test_nobody_listening_is_a_failure() -> None:
    async with collecting() as (_, url):
        pass
    async with client() as outbound:
        with pytest.raises(SinkError):
            await HttpSink(outbound.fetch, url).send(events(1))


async def test_opentelemetry_gets_log_records_with_time_severity_and_trace() -> None:
    async with collecting() as (collector, url), client() as outbound:
        await OtlpSink(outbound.fetch, url).send(
            [*events(1, "deny", TRACE), *events(1, "allow", "not a trace")]
        )
    (resource,) = json.loads(collector.bodies[0])["resourceLogs"]
    assert resource["resource"]["attributes"][0]["value"]["stringValue"] == "gatewarden"
    denied, allowed = resource["scopeLogs"][0]["logRecords"]
    assert denied["timeUnixNano"] == "1795564800000000000"
    assert (denied["severityText"], denied["traceId"]) == ("WARN", TRACE)
    assert "traceId" not in allowed and allowed["severityNumber"] == 9
    assert json.loads(denied["body"]["stringValue"]) == {"seq": 0}


@pytest.mark.parametrize(
    "says", [b"", b"{}", b"no json", b"[]", b'{"partialSuccess":{"rejectedLogRecords":"2"}}']
)
async def test_whatever_a_collector_says_of_a_batch_it_took_is_no_failure(says: bytes) -> None:
    async with collecting() as (collector, url), client() as outbound:
        collector.says = says
        await OtlpSink(outbound.fetch, url).send(events(1))
    await asyncio.sleep(0)
    assert len(collector.bodies) == 1
