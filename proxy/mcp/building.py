"""Puts the parts of MCP together, for `proxy/app.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from authz.vocabulary import Kind, make_id
from identity.oauth.access_tokens import OAuthTokens
from identity.oauth.callers import Callers
from policies.documents import McpServer
from proxy.fetching import Fetch
from proxy.gateway import Gateway
from proxy.mcp.auth import callback
from proxy.mcp.auth.parts import AuthParts, auth_of
from proxy.mcp.auth.ports import AuthOf, Texts
from proxy.mcp.auth.server_auth import ServerAuth
from proxy.mcp.call import Answers, Call
from proxy.mcp.discovery import Discovery
from proxy.mcp.endpoint import McpEndpoint
from proxy.mcp.link import Link
from proxy.mcp.links import Links
from proxy.mcp.listeners import Listeners
from proxy.mcp.listening import Listening
from proxy.mcp.lists import Lists
from proxy.mcp.locals import LocalServers
from proxy.mcp.onward import Onward
from proxy.mcp.origins import Origins
from proxy.mcp.paths import CALLBACK
from proxy.mcp.questions import Questions
from proxy.mcp.refreshing import Refreshing, ask
from proxy.mcp.refusing import Refusing
from proxy.mcp.relaying import Relaying
from proxy.mcp.scope import Scopes
from proxy.mcp.servers import Server, Servers
from proxy.mcp.service import Service
from proxy.mcp.sessions import Sessions
from proxy.mcp.task_requests import TaskRequests
from proxy.mcp.tasks import Tasks
from proxy.mcp.thing_requests import ThingRequests
from proxy.mcp.tickets import Tickets
from proxy.oauth.metadata import challenge
from proxy.oauth.parts import OAuthParts
from proxy.oauth.site import add_oauth
from proxy.oauth.site import build as build_oauth
from proxy.parts import Parts
from proxy.runtime import Runtime
from store.changes import ChangeLog
from store.replicas import Replicas
from store.sealed import Sealer
from store.state import State


@dataclass(frozen=True, slots=True)
class McpSettings:
    """`public_url` is where clients reach the gateway; `hosts` and `origins` are allowed besides it."""

    public_url: str
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    look_seconds: float = 300.0  # between two looks at what every server offers


@dataclass(frozen=True, slots=True)
class Mcp:
    """What the rest of a process needs of MCP. Subscribe `listeners` to the change log after `servers`."""

    endpoint: McpEndpoint
    listeners: Listeners
    refreshing: Refreshing
    auth: AuthParts
    oauth: OAuthParts
    changed: Callable[[str], None]  # takes the stored name of a server whose document changed

    def add_to(self, control: web.Application, runtime: Runtime) -> None:
        """Adds the pages and endpoints that no token of ours comes with to the control plane's application."""
        add_oauth(control, self.oauth)

        async def show(request: web.Request) -> web.Response:
            return await callback.show(request, runtime, self.auth)

        async def finish(request: web.Request) -> web.Response:
            return await callback.finish(request, runtime, self.auth)

        control.router.add_get(CALLBACK, show)
        control.router.add_post(CALLBACK, finish)


def build(
    parts: Parts,
    gateway: Gateway,
    servers: Servers,
    *,
    changes: ChangeLog,
    callers: Callers,
    tokens: OAuthTokens,
    state: State,
    sealer: Sealer,
    secrets: Texts,
    fetch: Fetch,
    replicas: Replicas,
    settings: McpSettings,
) -> Mcp:
    """The MCP side of one process."""
    url = settings.public_url
    auth = ServerAuth(fetch, secrets, sealer, state, url)
    oauth = build_oauth(
        public_url=url,
        sealer=sealer,
        state=state,
        tokens=tokens,
        policy=changes,
        directory=callers,
        fetch=fetch,
        refusals=gateway.refusals,
        clock=parts.clock,
        max_stale=parts.limits.max_stale,
        trusted_proxies=parts.limits.trusted_proxies,
        replicas=replicas,
    )

    judge = gateway.judge
    tickets, tasks, sessions = Tickets(sealer), Tasks(state), Sessions(state)
    locals = LocalServers(fetch, auth, parts.clock)
    discovery = Discovery(changes, ask, parts.clock, parts.timer)
    links = Links(
        fetch, auth, sessions, locals, discovery, Questions(state, parts.clock, parts.pause)
    )
    scopes, listeners = Scopes(servers), Listeners()
    refreshing = Refreshing(servers, discovery, links, state, parts.clock, settings.look_seconds)
    discovery.tells(refreshing.later)

    def list_changed(call: Call, server: Server, link: Link) -> None:
        refreshing.want(server.stored)

    relaying = Relaying(tickets, tasks, list_changed)
    answers = Answers(parts, gateway.streams)
    listening = Listening(parts, judge, answers, links, scopes, listeners, relaying)
    onward = Onward(parts, answers, links, relaying)
    refusing = Refusing(parts, answers, auth)
    service = Service(
        parts,
        judge,
        answers,
        Lists(tickets, discovery),
        listening,
        onward,
        refusing,
        ThingRequests(
            judge,
            onward,
            refusing,
            relaying,
            discovery,
            lambda text: sealer.digest(text, "mcp arguments"),
        ),
        TaskRequests(judge, answers, onward, refusing, tasks),
    )
    endpoint = McpEndpoint(
        parts,
        judge,
        gateway.admission,
        callers.at,
        lambda path, sent: challenge(url, path, "invalid_token" if sent else None),
        Origins(settings.public_url, settings.hosts, settings.origins),
        scopes,
        sessions,
        answers,
        service,
        listening,
    )

    def find(name: str) -> AuthOf | None:
        server = servers.server(name)
        return None if server is None else auth_of(server)

    known: dict[str, McpServer] = {}

    def changed(stored: str) -> None:
        found = servers.stored(stored)
        if found is not None and known.get(stored) is found.document:
            return  # only what it offers is another, which was found by asking it
        known.pop(stored, None)
        if found is not None:
            known[stored] = found.document
        auth.changed(make_id(Kind.MCP_SERVER, stored))
        locals.forget(stored)
        links.forget(stored)
        refreshing.want(stored)

    return Mcp(endpoint, listeners, refreshing, AuthParts(auth, find, callers), oauth, changed)
