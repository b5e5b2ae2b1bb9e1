"""Events over HTTP: batches of JSON lines, or OpenTelemetry logs (OTLP/HTTP with JSON).

Through the guarded client, so that an internal address has to be allowed like any upstream. A batch counts as
handed over with a status of 2xx; one that is too large for the other side (413) is sent in smaller ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from proxy import logs
from proxy.fetching import Fetch
from proxy.providers.base import UpstreamError
from proxy.siem.event import Event
from proxy.siem.sinks import SinkError

log = logs.get("siem")
SECONDS: Final = 30.0
MOST_ANSWER: Final = 64 * 1024
_INFO, _WARN = 9, 13  # severity numbers of OpenTelemetry
_TOO_LARGE = 413


class _Posting:
    """What both ways share."""

    media = ""

    def __init__(self, fetch: Fetch, url: str, *, authorization: str = "") -> None:
        self._fetch = fetch
        self._url = url
        self._authorization = authorization
        self._most = 10_000  # events of one request; smaller once the other side has refused

    async def send(self, events: Sequence[Event]) -> None:
        start = 0
        while start < len(events):
            part = events[start : start + self._most]
            status, raw = await self._post(self._body(part))
            if status == _TOO_LARGE and len(part) > 1:
                self._most = max(1, len(part) // 2)
                continue
            if not 200 <= status < 300:
                raise SinkError(f"the address answered with status {status}")
            self._answered(raw)
            start += len(part)

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        headers = [("content-type", self.media)]
        if self._authorization:
            headers.append(("authorization", self._authorization))
        try:
            async with self._fetch(
                "POST", self._url, headers, body, deadline=SECONDS, idle=SECONDS
            ) as answer:
                return answer.status, await answer.read(MOST_ANSWER)
        except UpstreamError as error:
            raise SinkError(error.message, hint=error.hint) from error

    def _body(self, events: Sequence[Event]) -> bytes:
        raise NotImplementedError

    def _answered(self, raw: bytes) -> None:
        """Looks at what the other side said of a batch that it took."""

    async def close(self) -> None: ...


class HttpSink(_Posting):
    """JSON lines."""

    media = "application/x-ndjson"

    def _body(self, events: Sequence[Event]) -> bytes:
        return b"".join(event.line + b"\n" for event in events)


class OtlpSink(_Posting):
    """OpenTelemetry logs: the line is the body, and what is searched for stands in attributes."""

    media = "application/json"

    def _body(self, events: Sequence[Event]) -> bytes:
        resource = {"attributes": [_text("service.name", "gatewarden")]}
        records = [_record(event) for event in events]
        scoped = [{"scope": {"name": "gatewarden.log"}, "logRecords": records}]
        return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": scoped}]}).encode()

    def _answered(self, raw: bytes) -> None:
        # The protocol forbids to send again what was rejected by itself: it is only told.
        try:
            rejected = int(json.loads(raw or b"{}")["partialSuccess"]["rejectedLogRecords"])
        except (ValueError, KeyError, TypeError):
            return
        if rejected:
            log.error("the collector rejected events", count=rejected)


def _text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def _record(event: Event) -> dict[str, Any]:
    made: dict[str, Any] = {
        "timeUnixNano": str(event.at * 1000),
        "severityNumber": _WARN if event.severe else _INFO,
        "severityText": "WARN" if event.severe else "INFO",
        "body": {"stringValue": event.line.decode("ascii")},
        "attributes": [
            _text("event.name", f"gatewarden.{event.type}"),
            _text("record.id", event.id),
        ],
    }
    if event.effect:
        made["attributes"].append(_text("decision.effect", event.effect))
    if len(event.trace) == 32 and set(event.trace) <= set("0123456789abcdef"):
        made["traceId"] = event.trace
    return made
