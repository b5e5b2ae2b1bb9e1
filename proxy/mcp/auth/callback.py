"""`/mcp/oauth/callback`: where people come back to from a server's authorization server.

No credential comes with it: the `state` in it is the proof that the flow was begun here, and it names the principal
whom the tokens will belong to. Somebody could begin a flow and send its address to another person, to have that
person's account connected to his own; so the page says whose it is and asks, before it finishes anything. The right
to use the server is asked again, and the decision recorded, before the code is exchanged.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from aiohttp import web

from authz.conditions import Context
from authz.errors import GatewardenError
from authz.recording import decision_record
from authz.vocabulary import Action
from identity.errors import Unauthenticated
from identity.principal import CredentialKind, Principal
from proxy.errors import status_of
from proxy.exchange import stamped_teams
from proxy.facts import NO_FIELDS, Facts
from proxy.mcp.auth.errors import FlowRefused
from proxy.mcp.auth.flows import Flow
from proxy.mcp.auth.parts import AuthParts
from proxy.mcp.auth.ports import AuthOf

if TYPE_CHECKING:
    from proxy.runtime import Runtime

MAX_FORM = 32 * 1024
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    # Not `no-referrer`: that would blank the `Origin` of the form as well.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Gatewarden</title><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:12vh auto;padding:0 1em;color:#1c2430}}
button{{font:inherit;padding:.5em 1.2em}}code{{background:#eef1f5;padding:.1em .3em}}
</style></head><body><h1>{title}</h1>{body}</body></html>
"""
_FORM = """<p>The account that you just used at <code>{server}</code> will be connected to
<strong>{person}</strong>. From then on that principal's requests to this server are made with your account.</p>
<p>If this is not you, close this page.</p>
<form method="post" action="callback">{fields}<button type="submit">Connect</button></form>"""


async def show(request: web.BaseRequest, runtime: Runtime, parts: AuthParts) -> web.Response:
    """GET: the page that asks, or what went wrong at the other side."""
    try:
        given = _once(request.query)
        now = runtime.clock.now()
        if given.get("error") or not given.get("code"):
            flow = await parts.auth.take(given.get("state", ""), now)
            return _page(
                400,
                "Not connected",
                f"<p>The authorization server of <code>{escape(flow.server_name)}</code> did not agree.</p>",
            )
        flow = await parts.auth.pending(given.get("state", ""), now)
    except GatewardenError as error:
        return _problem(error)
    fields = "".join(
        f'<input type="hidden" name="{name}" value="{escape(given[name], quote=True)}">'
        for name in ("state", "code", "iss")
        if name in given
    )
    body = _FORM.format(
        server=escape(flow.server_name),
        person=escape(await _person(runtime, flow.principal_id)),
        fields=fields,
    )
    return _page(200, f"Connect {escape(flow.server_name)}?", body)


async def finish(request: web.BaseRequest, runtime: Runtime, parts: AuthParts) -> web.Response:
    """POST: the answer of the person who was asked."""
    try:
        _own_page(request, parts.auth.public_origin)
        given = _once(dict(parse_qsl(await _form(request), keep_blank_values=True)))
        now = runtime.clock.now()
        flow = await parts.auth.take(given.get("state", ""), now)
        server = parts.server(flow.server_name)
        await _decide(request, runtime, parts, flow, server, now)
        await parts.auth.finish(flow, server, given.get("code", ""), given.get("iss", ""), now)
    except GatewardenError as error:
        return _problem(error)
    return _page(
        200,
        "Connected",
        f"<p><code>{escape(flow.server_name)}</code> is connected to "
        f"<strong>{escape(await _person(runtime, flow.principal_id))}</strong>. You can close this page.</p>",
    )


async def _decide(
    request: web.BaseRequest,
    runtime: Runtime,
    parts: AuthParts,
    flow: Flow,
    server: AuthOf | None,
    now: datetime,
) -> None:
    """Whether whoever began may still do so, with what he began it; the record is durable before anything
    happens.

    Raises:
        FlowRefused: not any more. JournalUnavailable.
    """
    own = flow.begun_by == flow.principal_id
    action = Action.MCP_SERVER_USE if own else Action.MCP_SERVER_WRITE
    begun = Principal(flow.begun_by, flow.credential_id, CredentialKind.PAT)
    try:
        asker = parts.callers.recheck(begun, now)
    except Unauthenticated as error:
        raise FlowRefused(
            "the token with which this was begun has ended", hint="begin again"
        ) from error
    context = Context(
        values={"time.now": now}, lazy=Facts(asker, now, "", request.headers, NO_FIELDS, {}, {})
    )
    started = time.perf_counter_ns()
    decision = runtime.changes.engine.decide(asker, action.value, flow.server_id, context)
    record = decision_record(
        decision,
        principal=asker.id,
        credential=asker.credential_id,
        request_id="",
        client="",
        route="POST /mcp/oauth/callback",
        us=(time.perf_counter_ns() - started) // 1000,
        action=action.value,
        resource=flow.server_id,
        teams=stamped_teams(asker, runtime.changes.engine),
        owner_team=asker.owner_team or "",
    )
    await runtime.journal.append(record).durable()
    if not decision or server is None:
        raise FlowRefused("the MCP server does not exist or there is no access to it any more")


async def _person(runtime: Runtime, principal_id: str) -> str:
    """How people know a principal: the e-mail of a user, the name of an account."""
    kind, _, name = principal_id.partition(":")
    if kind == "user":
        known = await runtime.changes.people([name])
        found = known.get(name)
        return found.email if found is not None else name
    return name.partition("~")[0]


def _own_page(request: web.BaseRequest, origin: str) -> None:
    """Only the page above may send the form. Raises: FlowRefused."""
    said = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site")
    if (said is not None and said != origin) or site not in (None, "same-origin"):
        raise FlowRefused("this was sent from another page", hint="begin again")


async def _form(request: web.BaseRequest) -> str:
    """The body of the form. Raises: FlowRefused."""
    raw = b""
    if request.content_type == "application/x-www-form-urlencoded":
        async for chunk in request.content.iter_any():
            raw += chunk
            if len(raw) > MAX_FORM:
                break
    if not raw or len(raw) > MAX_FORM or not raw.isascii():
        raise FlowRefused("this is not the form of the page", hint="begin again")
    return raw.decode("ascii")


def _once(given: Mapping[str, str]) -> dict[str, str]:
    """The parameters that count; one that stands twice is none (RFC 6749 3.1). Raises: FlowRefused."""
    getall = getattr(given, "getall", None)
    for name in ("state", "code", "iss", "error"):
        if getall is not None and len(getall(name, [])) > 1:
            raise FlowRefused(f"`{name}` stands twice", hint="begin again")
    return {name: given[name] for name in ("state", "code", "iss", "error") if name in given}


def _problem(error: GatewardenError) -> web.Response:
    status = 400 if isinstance(error, FlowRefused) else status_of(error.code)
    hint = f"<p>{escape(error.hint)}</p>" if error.hint else ""
    return _page(status, "Not connected", f"<p>{escape(error.message)}</p>{hint}")


def _page(status: int, title: str, body: str) -> web.Response:
    return web.Response(
        status=status,
        text=_PAGE.format(title=title, body=body),
        content_type="text/html",
        headers=_HEADERS,
    )
