"""The table of the OAuth endpoints, and how they are put into the control plane's application.

They take no bearer token, so the list is closed and checked by a test. What an endpoint takes stands beside it;
those that scripts in browsers call answer `OPTIONS` before anything else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from aiohttp import web

from authz.errors import GatewardenError
from identity.oauth.access_tokens import OAuthTokens
from identity.oauth.grants import Grants, Knows
from identity.oauth.registry import Clients
from identity.oauth.resources import Resources, is_audience
from identity.oauth.tickets import Tickets
from identity.ports import Committer, Keeps, Seals
from proxy.admission import STALE_FLOOR
from proxy.fetching import Fetch
from proxy.headers import Network
from proxy.middleware.request_id import ROUTE
from proxy.oauth import metadata
from proxy.oauth.answers import answer, preflight, refused
from proxy.oauth.authorize import Authorization
from proxy.oauth.documents import DocumentReader
from proxy.oauth.parts import Authenticates, CountsRefusals, Follows, OAuthParts, Waits
from proxy.oauth.rate import Rate
from proxy.oauth.register import Registration
from proxy.oauth.token import TokenEndpoint

PER_MINUTE = 10  # registrations, documents that are read, and wrong tokens of one address

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Directory(Knows, Authenticates, Protocol):
    """`identity.directory.Directory`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint. `shared`: scripts of any origin may call it, since no cookie has a say there."""

    method: str
    path: str
    name: str
    takes: str
    shared: bool


ENDPOINTS = (
    Endpoint("GET", metadata.PROTECTED_RESOURCE + "{tail:.*}", "oauth_resource", "nothing", True),
    Endpoint("GET", metadata.AUTHORIZATION_SERVER + "{tail:.*}", "oauth_server", "nothing", True),
    Endpoint("GET", metadata.OPENID + "{tail:.*}", "oauth_openid", "nothing", True),
    Endpoint("GET", metadata.AUTHORIZE, "oauth_ask", "the parameters of RFC 6749 4.1.1", False),
    Endpoint("POST", metadata.AUTHORIZE, "oauth_decide", "our own form, and a token in it", False),
    Endpoint("POST", metadata.TOKEN, "oauth_token", "a code, or a refresh token", True),
    Endpoint("POST", metadata.REGISTER, "oauth_register", "client metadata", True),
    Endpoint("POST", metadata.REVOKE, "oauth_revoke", "an access or refresh token", True),
)


def tokens_of(
    public_url: str, sealer: Seals, changes: Committer, directory: Directory
) -> OAuthTokens:
    """What admits callers; it is there before anything that counts refusals."""
    return OAuthTokens(public_url.rstrip("/"), sealer, Grants(changes, directory), directory)


def build(
    *,
    public_url: str,
    sealer: Seals,
    state: Keeps,
    tokens: OAuthTokens,
    policy: Follows,
    directory: Authenticates,
    fetch: Fetch,
    refusals: CountsRefusals,
    clock: Callable[[], datetime],
    max_stale: float = STALE_FLOOR,
    trusted_proxies: Sequence[Network] = (),
    replicas: Waits | None = None,
) -> OAuthParts:
    """The parts of a process."""
    resources = Resources(public_url.rstrip("/"))
    issuer = resources.public_url
    return OAuthParts(
        resources=resources,
        tokens=tokens,
        grants=tokens.grants,
        clients=Clients(state, DocumentReader(fetch)),
        codes=Tickets.codes(issuer, sealer, state),
        refresh=Tickets.refresh(issuer, sealer, state),
        directory=directory,
        sealer=sealer,
        policy=policy,
        replicas=replicas,
        max_stale=max(max_stale, STALE_FLOOR),
        refusals=refusals,
        clock=clock,
        trusted_proxies=trusted_proxies,
        registrations=Rate(PER_MINUTE),
        documents=Rate(PER_MINUTE),
        sign_ins=Rate(PER_MINUTE),
    )


def add_oauth(app: web.Application, parts: OAuthParts) -> None:
    """Add the endpoints to the application."""
    authorization, tokens = Authorization(parts), TokenEndpoint(parts)
    resources = parts.resources

    async def resource(request: web.Request) -> web.Response:
        path = request.match_info["tail"].removeprefix(resources.issuer_path)
        if not is_audience(path):
            return _missing()
        return answer(metadata.protected_resource(resources, path))

    async def server(request: web.Request) -> web.Response:
        if request.match_info["tail"] not in ("", resources.issuer_path):
            return _missing()
        return answer(metadata.authorization_server(resources))

    async def openid(_: web.Request) -> web.Response:
        return _missing()  # there are no id tokens; half a document would be worse than none

    handlers: dict[str, Handler] = {
        "oauth_resource": resource,
        "oauth_server": server,
        "oauth_openid": openid,
        "oauth_ask": authorization.ask,
        "oauth_decide": authorization.decide,
        "oauth_token": tokens.give,
        "oauth_register": Registration(parts).register,
        "oauth_revoke": tokens.revoke,
    }
    for endpoint in ENDPOINTS:
        app.router.add_route(
            endpoint.method, endpoint.path, _guarded(endpoint, handlers[endpoint.name])
        )
        if endpoint.shared:
            app.router.add_route("OPTIONS", endpoint.path, _options(endpoint))


def _guarded(endpoint: Endpoint, handler: Handler) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        request[ROUTE] = endpoint.name
        try:
            return await handler(request)
        except GatewardenError as error:
            return refused(error)

    return guarded


def _options(endpoint: Endpoint) -> Handler:
    async def options(_: web.Request) -> web.StreamResponse:
        return preflight(f"{endpoint.method}, OPTIONS")

    return options


def _missing() -> web.Response:
    return answer({"error": "not_found", "error_description": "there is no such document"}, 404)
