"""The guard of every control-plane route: who asks, may he, is it written down; then the handler.

The guard is made from the `Route` object that the router dispatches to, so what was decided is what runs:
no path, `Host` or header is read a second time. Order: freshness (503, so that a store that is down turns
no good token into a 401), credential (401), parameters and body (400, 413, 415), gates (403, 404), the
record durable (503), handler. A refusal is a record too.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING

from aiohttp import web

from authz.conditions import Context
from authz.decision import Decision, Effect, Reason
from authz.recording import decision_record
from authz.vocabulary import Action, split_id
from identity.errors import InvalidOffer, Unauthenticated
from identity.kept_tokens import KeptTokens
from identity.principal import CredentialKind, Principal
from identity.tokens import redact
from proxy.admission import STALE_FLOOR
from proxy.api import body as bodies
from proxy.api import progress, waiting
from proxy.api.problem import (
    ApiError,
    CredentialNotAccepted,
    MediaTypeRefused,
    Missing,
    Refused,
    TooManyRefusals,
    Unready,
)
from proxy.api.routes import PREFIX, SELF, Answer, Body, Call, Gate, Route
from proxy.exchange import stamped_teams
from proxy.facts import NO_FIELDS, Facts
from proxy.headers import client_ip, credential_of
from proxy.middleware.problems import answer_of
from proxy.middleware.request_id import DECISION_ID, EPOCH, REQUEST_ID, ROUTE
from proxy.refusals import Refusals

if TYPE_CHECKING:
    from proxy.runtime import Runtime

# Who asks on a public route: whoever sits at the host. No row names it, so it may do nothing by itself.
NOBODY = Principal("host", "one-time", CredentialKind.HOST)
TURN = 500  # gates that are asked before others have their turn
EPOCH_WAIT = 1.0  # seconds for an epoch that is committed and not applied here yet
Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]
# To these the caller gets the answer for a thing that does not exist, unless he may read it.
_NOT_GRANTED = frozenset(
    {Reason.NO_GRANT, Reason.UNKNOWN_RESOURCE, Reason.OUTSIDE_BOUND, Reason.OUTSIDE_TOKEN}
)


class Guard:
    """Makes the aiohttp handlers of routes: nothing reaches `route.handler` but through here."""

    def __init__(
        self, runtime: Runtime, refusals: Refusals, kept_tokens: KeptTokens | None
    ) -> None:
        self._runtime = runtime
        self._kept_tokens = kept_tokens
        self._refusals = refusals
        self._trusted = [ip_network(item) for item in runtime.settings.trusted_proxies]

    def endpoint(self, route: Route) -> Endpoint:
        """The aiohttp handler of one route."""

        async def endpoint(request: web.Request) -> web.StreamResponse:
            request[ROUTE] = route.operation
            now = self._runtime.clock.now()
            client = self._client(request)
            fresh(self._runtime, now)
            principal = NOBODY if route.public else self._authenticate(request, client, now)
            await _reach(request, self._runtime)
            call = Call(
                runtime=self._runtime,
                request=request,
                route=route,
                principal=principal,
                now=now,
                request_id=request[REQUEST_ID],
                client=client,
                context=Context(
                    values={"time.now": now},
                    lazy=Facts(principal, now, client, request.headers, NO_FIELDS, {}, {}),
                ),
                query=bodies.parse_query(route.query, request, waiting.parameters(route)),
                waits=waiting.wanted(route, request),
                refusals=self._refusals,
                kept_tokens=self._kept_tokens,
            )
            await _receive(call, route.body)
            if route.streams and progress.wanted(request):
                headers = {"x-request-id": call.request_id, "cache-control": "no-store"}
                return await progress.told(
                    request, call.progress, lambda: self._last_line(call), headers
                )
            answer = await self._serve(call)
            if answer.stream is not None:
                return await answer.stream(request)
            return _response(request, answer)

        return endpoint

    async def _serve(self, call: Call) -> Answer:
        """Body parsed, gates passed, the handler's answer."""
        route = call.route
        await _parse(call, route.body)
        if route.gates is not None:
            await self._pass_gates(call)
        try:
            answer = await route.handler(call)
        except InvalidOffer as error:
            self._refusals.unauthenticated(call.client, error.code, _us(call.now))
            raise
        # INVARIANT: nothing leaves without the record of its decision.
        if not call.decision_id and not route.public:
            raise RuntimeError(f"`{route.name}` answered without a recorded decision")
        return await waiting.waited(call, answer)

    async def _last_line(self, call: Call) -> bytes:
        """The same as the last line of an answer that tells its progress: the result or the problem."""
        try:
            answer = await self._serve(call)
            assert answer.body is not None
            result = answer.body.model_dump_json(by_alias=True).encode()
        except Exception as error:
            body = answer_of(call.request, error).body
            assert isinstance(body, bytes)
            return b'{"problem":' + body + b"}"
        about = {"status": answer.status, "epoch": answer.epoch, "decision_id": call.decision_id}
        about |= {name: answer.headers[name] for name in waiting.TOLD if name in answer.headers}
        return b'{"result":' + result + b"," + json.dumps(about).encode()[1:]

    def _client(self, request: web.Request) -> str:
        peer = request.transport.get_extra_info("peername") if request.transport else None
        address = peer[0] if isinstance(peer, tuple) and peer else None
        return client_ip(address, request.headers, self._trusted)

    def _authenticate(self, request: web.Request, client: str, now: datetime) -> Principal:
        try:
            return self._runtime.directory.authenticate(credential_of(request.headers), now)
        except Unauthenticated as error:
            self._runtime.metrics.count("gatewarden_unauthenticated", error.code)
            self._refusals.unauthenticated(client, error.code, _us(now))
            raise

    async def _pass_gates(self, call: Call) -> None:
        """Ask the gates and write down what came of it.

        Raises:
            CredentialNotAccepted, Missing, Refused, TooManyRefusals, Unready.
        """
        assert call.route.gates is not None
        gates = await call.route.gates(call)
        started = time.perf_counter_ns()
        passed: list[tuple[Gate, Decision]] = []
        for number, alternatives in enumerate(gates, 1):
            gate, decision = ask(call, alternatives)
            if number % TURN == 0:  # an estate has many; whoever commits judges again
                call.progress.at("authorise", number, len(gates))
                await asyncio.sleep(0)
            if not decision:
                await refuse(call, gate, decision, started)
                raise refusal(call, gate, decision)
            passed.append((gate, decision))
        if not passed:
            raise RuntimeError(f"`{call.route.name}` asked nothing")
        gate, decision = passed[0]
        if call.principal.credential_kind not in call.route.credentials:
            outside = Decision(Effect.DENY, Reason.OUTSIDE_TOKEN, decision.epoch, decision.digest)
            await refuse(call, gate, outside, started)
            kinds = " or ".join(sorted(kind.value for kind in call.route.credentials))
            raise CredentialNotAccepted(
                f"this route takes no credential of kind `{call.principal.credential_kind.value}`",
                hint=f"use a credential of kind {kinds}",
            )
        things = tuple(item.resource for item, _ in passed)
        await record(call, gate, decision, started, things if len(things) > 1 else ())


async def refuse(call: Call, gate: Gate, decision: Decision, started: int) -> None:
    """Record a refusal; beyond the rate it is only counted.

    Raises:
        TooManyRefusals: beyond the rate. JournalUnavailable.
    """
    at, counted = _us(call.now), call.refusals
    if (
        counted is not None
        and decision.reason is not Reason.ERROR
        and not counted.denied(call.principal.id, at)
    ):
        raise TooManyRefusals(
            "too many of your requests were refused",
            headers={"Retry-After": str(counted.seconds_left(at))},
        )
    await record(call, gate, decision, started)


def ask(call: Call, alternatives: Iterable[Gate]) -> tuple[Gate, Decision]:
    """The first alternative that is allowed, else the first of all."""
    first: tuple[Gate, Decision] | None = None
    for gate in alternatives:
        _named(call, gate.action)
        # What somebody is told about himself is nothing that his team would have to hold as well.
        asker = replace(call.principal, bound=None) if gate.resource == SELF else call.principal
        decision = call.runtime.changes.engine.decide(
            asker, gate.action.value, gate.resource, call.context
        )
        if decision:
            return gate, decision
        first = first or (gate, decision)
    if first is None:
        raise RuntimeError(f"`{call.route.name}` has a gate without an alternative")
    return first


def _named(call: Call, action: Action) -> None:
    if action not in call.route.actions:
        raise RuntimeError(f"`{call.route.name}` asks `{action}`, which it does not name")


async def record(
    call: Call,
    gate: Gate,
    decision: Decision,
    started: int,
    things: Iterable[str] = (),
    *,
    listed: bool = False,
    totals: tuple[int, str] | None = None,
) -> None:
    """Write the decision down and wait until it is durable.

    `things` are those of a batch or a list: the record holds their count and digest, or `totals`.

    Raises:
        JournalUnavailable: the record cannot be written.
    """
    names = tuple(things)
    count, digest = totals or (len(names), _digest(names) if names or listed else "")
    principal, engine, pins = call.principal, call.runtime.changes.engine, call.runtime.pins
    closure = engine.subject_closure(principal.id) if pins.any else ()
    made = decision_record(
        decision,
        principal=principal.id,
        credential=principal.credential_id,
        teams=stamped_teams(principal, engine),
        owner_team=principal.owner_team or "",
        pinned=pins.pinned(principal.id, closure) if pins.any else None,
        request_id=call.request_id,
        client=call.client,
        route=f"{call.route.method} {PREFIX}{call.route.path}",
        us=(time.perf_counter_ns() - started) // 1000,
        action=gate.action.value,
        resource=redact(gate.resource),  # somebody may have pasted a token as a name
        count=count,
        result_digest=digest,
    )
    call.runtime.metrics.decided(decision.effect.value, decision.reason.value, gate.action.value)
    ticket = call.runtime.journal.append(made)
    await ticket.durable()
    call.decision_id = ticket.id
    call.request[DECISION_ID] = ticket.id


def visible_of(call: Call, action: Action, things: Iterable[str]) -> frozenset[str]:
    """Those of `things` that the caller may do `action` on. `record_list` writes down what was shown."""
    _named(call, action)
    engine = call.runtime.changes.engine
    return frozenset(engine.visible(call.principal, action.value, things, call.context))


async def record_list(call: Call, action: Action, container: str, shown: Iterable[str]) -> None:
    """Write down what a list shows: one record with the count and the digest of its items.

    Raises:
        JournalUnavailable: the record cannot be written.
    """
    engine = call.runtime.changes.engine
    decision = Decision(Effect.ALLOW, Reason.ALLOWED, engine.epoch, engine.digest)
    started = time.perf_counter_ns()
    await record(call, Gate(action, container), decision, started, shown, listed=True)


def refusal(call: Call, gate: Gate, decision: Decision) -> ApiError:
    """The error of a refused gate: 404 unless the caller may read the thing, 503 for our own fault."""
    if decision.reason is Reason.ERROR:
        return Unready("the decision could not be taken", code="decision_failed")
    contact = f"contact {call.runtime.settings.contact}"
    if gate.said and decision.reason in _NOT_GRANTED:
        return Refused(gate.said, hint=contact)
    if gate.read is not None and decision.reason in _NOT_GRANTED:
        engine = call.runtime.changes.engine
        if not engine.decide(call.principal, gate.read.value, gate.resource, call.context):
            return missing(call)
    if decision.message:
        return Refused(decision.message, hint=contact)
    kind, name = split_id(gate.resource)
    what = f"any {name}" if kind == "any" else f"{kind.value} `{name}`"
    message = f"you may not do `{gate.action.value}` on {what}"
    if decision.reason is Reason.OUTSIDE_TOKEN:
        return Refused(f"{message} with this token", hint="its restrictions leave it out")
    if decision.reason is Reason.OUTSIDE_BOUND:
        return Refused(message, hint="the account may do no more than the team that owns it")
    return Refused(message, hint=contact)


def missing(call: Call) -> Missing:
    """The one answer for what does not exist and for what the caller may not know of."""
    return Missing(
        "it does not exist or you have no access to it",
        hint=f"contact {call.runtime.settings.contact}",
    )


def fresh(runtime: Runtime, now: datetime) -> None:
    """Refuse to decide, or to say who somebody is, by a policy that is too old.

    Raises:
        Unready: `policy_stale`.
    """
    if runtime.changes.age(now) > max(runtime.settings.policy.max_stale, STALE_FLOOR):
        raise Unready("the policy here is too old to decide by", code="policy_stale")


async def _reach(request: web.Request, runtime: Runtime) -> None:
    """Refuse to decide by a policy that is older than the caller demands.

    Raises:
        Unready: `epoch_not_reached`. ApiError: `epoch_unknown`, `invalid_header`. StoreUnavailable.
    """
    raw = request.headers.get("x-min-epoch")
    if raw is None:
        return
    if not raw.isascii() or not raw.isdigit() or len(raw) > 15:
        raise ApiError("`x-min-epoch` is not a number", code="invalid_header")
    wanted = int(raw)
    if wanted > runtime.changes.engine.epoch and not await runtime.changes.reach(
        wanted, EPOCH_WAIT
    ):
        if wanted > runtime.changes.known:
            raise ApiError(f"nobody has committed epoch {wanted}", code="epoch_unknown")
        raise Unready(f"epoch {wanted} has not arrived here yet", code="epoch_not_reached")


async def _receive(call: Call, body: Body | None) -> None:
    """Read the body, as far as the caller may send.

    Raises:
        MediaTypeRefused, BodyTooLarge, BadBody.
    """
    if body is None:
        if call.request.can_read_body and await bodies.read_bytes(call.request, 1024):
            raise ApiError("the route takes no body", code="invalid_body")
        return
    call.raw = await bodies.read_bytes(call.request, _limit(call, body))
    call.media = bodies.media_type(call.request)


def _limit(call: Call, body: Body) -> int:
    """How much is read: more of those who may write whole kinds of things."""
    engine = call.runtime.changes.engine
    for action, container in body.large_for:
        _named(call, action)
        if engine.decide(call.principal, action.value, container, call.context):
            return body.large
    return body.limit


async def _parse(call: Call, body: Body | None) -> None:
    """Parse the body where its model is known.

    Raises:
        MediaTypeRefused, BadBody.
    """
    if body is None:
        return
    if not call.raw and not body.required:
        call.body = bodies.validate(body.model, {}) if body.model is not None else None
        return
    if call.media in bodies.YAML_TYPES and body.yaml:
        return
    if call.media not in bodies.JSON_TYPES:
        taken = "`application/json`" + (" or `application/yaml`" if body.yaml else "")
        raise MediaTypeRefused(f"the route takes {taken}", hint="set `content-type`")
    model, raw = body.model, call.raw
    if model is not None:
        call.body = await bodies.off_loop(
            len(raw), lambda: bodies.validate(model, bodies.parse_object(raw))
        )


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _us(now: datetime) -> int:
    return int(now.timestamp() * 1_000_000)


def _response(request: web.Request, answer: Answer) -> web.Response:
    if answer.epoch is not None:
        request[EPOCH] = answer.epoch
    if answer.body is None:
        return web.Response(status=answer.status, headers=answer.headers)
    return web.Response(
        status=answer.status,
        body=answer.body.model_dump_json(by_alias=True).encode(),
        content_type="application/json",
        headers=answer.headers,
    )
