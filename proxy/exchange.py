"""One request on its way through the data plane: what is known of it, and what is written down of it.

`gateway.py` fills an exchange step by step; whatever happens, its request record is made from what it
holds at the end. It decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Generator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from aiohttp import web

from authz.decision import Decision
from authz.recording import request_aside
from authz.records import RequestRecord
from identity.principal import Principal
from proxy.dialects import Fault, Voice
from proxy.headers import NO_METADATA
from proxy.ports import Decides, Ticket
from proxy.prices import cost_nano
from proxy.providers.base import Upstream
from proxy.routes import Route
from proxy.usage import NO_USAGE, Usage

if TYPE_CHECKING:
    from proxy.payloads import Capture

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class Exchange:
    """The state of one request. Times are `perf_counter` seconds, but for `now`."""

    __slots__ = (
        "capture",
        "challenge",
        "client",
        "decision",
        "error",
        "first_byte",
        "headers",
        "id",
        "metadata",
        "method",
        "model",
        "now",
        "now_us",
        "outcome",
        "pinned",
        "principal",
        "recorded",
        "request",
        "route",
        "route_name",
        "server",
        "started",
        "status",
        "stream",
        "teams",
        "ticket",
        "tool",
        "upstream",
        "upstream_at",
        "upstream_ms",
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
        self.challenge = ""  # what a 401 says of how to authorise; "" for the usual
        self.headers: Mapping[str, str] = NO_METADATA  # that every answer carries beside the usual
        self.route: Route | None = None
        self.route_name = "none"  # what metrics call it
        self.principal: Principal | None = None
        self.pinned: Mapping[str, str] = NO_METADATA
        self.metadata: Mapping[str, str] = NO_METADATA
        self.decision: Decision | None = None
        self.ticket: Ticket | None = None
        self.teams: tuple[str, ...] | None = None  # of the principal, by the time of the decision
        self.recorded = True  # whether a request record is made
        self.model = ""  # <account>/<model>, only if it is in the catalogue
        self.upstream: Upstream | None = None
        self.upstream_at = 0.0  # when the upstream was called
        self.upstream_status: int | None = None
        self.server = ""  # MCP: the stored name of the server
        self.method = ""
        self.tool = ""  # only if it is in the catalogue
        self.outcome = ""
        self.upstream_ms: int | None = None
        self.stream = False
        self.usage: Usage = NO_USAGE
        self.capture: Capture | None = None  # takes what is said, if that is kept
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

    def settle(self) -> Awaitable[object]:
        """To be awaited: over once the decision is on the disk (or need not be, in mode `available`).

        Raises (when awaited):
            JournalUnavailable: it cannot be, and so no answer may go out.
        """
        return self.ticket.durable() if self.ticket is not None else _NOTHING_TO_WAIT_FOR

    def record(self, engine: Decides, ended: float) -> RequestRecord | None:
        """What came of the request; None if nobody was authenticated, or refusals are only counted."""
        principal = self.principal
        if principal is None or not self.recorded:
            return None
        teams = self.teams
        if teams is None:
            teams = stamped_teams(principal, engine)
        upstream, route, ticket, usage = self.upstream, self.route, self.ticket, self.usage
        price = upstream.price if upstream is not None else None
        cost = cost_nano(price, usage) if price is not None else None
        aside, error = None, self.error
        if error or self.metadata:
            aside, error = request_aside(self.metadata, error)
        return RequestRecord(
            aside=aside,
            request=self.id,
            decision=ticket.id if ticket is not None else "",
            principal=principal.id,
            credential=principal.credential_id,
            status=self.status,
            route=self.route_name,
            teams=teams,
            owner_team=principal.owner_team or "",
            model=self.model,
            account=upstream.account if upstream is not None else "",
            dialect=route.dialect._value_ if route is not None else "",
            upstream_status=self.upstream_status,
            stream=self.stream,
            input_tokens=usage.input,
            output_tokens=usage.output,
            first_byte_ms=_ms(self.first_byte - self.started) if self.first_byte else None,
            total_ms=_ms(ended - self.started),
            error=error,
            pinned=dict(self.pinned) if self.pinned else {},
            server=self.server,
            method=self.method,
            tool=self.tool,
            outcome=self.outcome,
            upstream_ms=self.upstream_ms,
            cost=cost,
            price=price.version if price is not None and cost is not None else "",
        )


class _Nothing:
    """What is over as soon as it is awaited, as often as one likes."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_NOTHING_TO_WAIT_FOR = _Nothing()


def stamped_teams(principal: Principal, engine: Decides) -> tuple[str, ...]:
    """The teams that a record of `principal` is stamped with."""
    return (principal.team,) if principal.team is not None else engine.teams_of(principal.id)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
