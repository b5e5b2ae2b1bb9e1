"""One request on its way through the data plane: what is known of it, and what is written down of it.

`gateway.py` fills an exchange step by step; whatever happens, its request record is made from what it
holds at the end. It decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from aiohttp import web

from authz.decision import Decision
from authz.records import RequestRecord, request_record
from identity.principal import Principal
from proxy.dialects import Fault, Voice
from proxy.headers import NO_METADATA
from proxy.ports import Decides, Ticket
from proxy.providers.base import Upstream
from proxy.routes import Route
from proxy.usage import NO_USAGE, Usage

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class Exchange:
    """The state of one request. Times are `perf_counter` seconds, but for `now`."""

    __slots__ = (
        "client",
        "decision",
        "durable",
        "error",
        "first_byte",
        "id",
        "metadata",
        "model",
        "now",
        "now_us",
        "pinned",
        "principal",
        "recorded",
        "request",
        "route",
        "route_name",
        "started",
        "status",
        "stream",
        "ticket",
        "upstream",
        "upstream_at",
        "upstream_status",
        "usage",
        "voice",
    )

    def __init__(
        self, request: web.BaseRequest, id: str, started: float, now: datetime, voice: Voice
    ) -> None:
        self.request = request
        self.id = id
        self.started = started
        self.now = now
        self.now_us = int(now.timestamp() * 1_000_000)
        self.voice = voice
        self.client = ""
        self.route: Route | None = None
        self.route_name = "none"  # what metrics call it
        self.principal: Principal | None = None
        self.pinned: Mapping[str, str] = NO_METADATA
        self.metadata: Mapping[str, str] = NO_METADATA
        self.decision: Decision | None = None
        self.ticket: Ticket | None = None
        self.durable = False  # the decision record is on the disk
        self.recorded = True  # whether a request record is made
        self.model = ""  # <account>/<model>, only if it is in the catalogue
        self.upstream: Upstream | None = None
        self.upstream_at = 0.0  # when the upstream was called
        self.upstream_status: int | None = None
        self.stream = False
        self.usage: Usage = NO_USAGE
        self.first_byte = 0.0
        self.status = 0
        self.error = ""

    @property
    def decision_id(self) -> str:
        """The id of the decision record; "" where no decision was taken or none is recorded."""
        return self.ticket.id if self.ticket is not None else ""

    @property
    def trace_id(self) -> str:
        """The caller's W3C trace id, "" if there is none."""
        header = self.request.headers.get("traceparent")
        if header is None:
            return ""
        found = _TRACEPARENT.fullmatch(header)
        return found[1] if found else ""

    def fault(self, status: int, code: str, message: str, param: str | None = None) -> Fault:
        """What went wrong, with the ids of this request."""
        return Fault(status, code, message, self.id, param, self.decision_id)

    async def settle(self) -> None:
        """Returns once the decision is on the disk (or need not be, in mode `available`).

        Raises:
            JournalUnavailable: it cannot be, and so no answer may go out.
        """
        if not self.durable and self.ticket is not None:
            await self.ticket.durable()
            self.durable = True

    def record(self, engine: Decides, ended: float) -> RequestRecord | None:
        """What came of the request; None if nobody was authenticated, or refusals are only counted."""
        principal = self.principal
        if principal is None or not self.recorded:
            return None
        if principal.team is not None:
            teams: tuple[str, ...] = (principal.team,)
        else:
            teams = engine.teams_of(principal.id)
        upstream = self.upstream
        return request_record(
            request_id=self.id,
            decision_id=self.decision_id,
            principal=principal.id,
            credential=principal.credential_id,
            status=self.status,
            route=self.route_name,
            teams=teams,
            owner_team=principal.owner_team or "",
            model=self.model,
            account=upstream.account if upstream is not None else "",
            dialect=self.route.dialect.value if self.route is not None else "",
            upstream_status=self.upstream_status,
            stream=self.stream,
            input_tokens=self.usage.input,
            output_tokens=self.usage.output,
            first_byte_ms=_ms(self.first_byte - self.started) if self.first_byte else None,
            total_ms=_ms(ended - self.started),
            error=self.error,
            pinned=self.pinned,
            claimed=self.metadata,
        )


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
