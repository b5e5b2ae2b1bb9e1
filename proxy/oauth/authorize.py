"""`/authorize`: a client asks in a browser, a person shows a token and says yes or no, a code goes back.

Nothing is sent to an address before client and address belong together (RFC 6749 4.1.2.1); until then the
person gets a page. Consent is asked every time and remembered nowhere, so no client can use what was said to
another. The form is sealed and bound to the browser that got it; the token in it is looked at once, and
stands in no address, record or log.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from authz.errors import GatewardenError
from identity.errors import Unauthenticated
from identity.oauth import redirects
from identity.oauth.clients import Client
from identity.oauth.errors import (
    AccessDenied,
    InvalidClient,
    InvalidRequest,
    OAuthError,
    TemporarilyUnavailable,
    TooManyAttempts,
)
from identity.oauth.resources import SCOPE
from identity.oauth.tickets import Grant
from proxy.errors import status_of
from proxy.middleware.request_id import REQUEST_ID
from proxy.oauth import asking, page
from proxy.oauth.answers import description_of
from proxy.oauth.metadata import AUTHORIZE
from proxy.oauth.parts import OAuthParts, form_of

FORM_LIFETIME = timedelta(minutes=10)
COOKIE = "gatewarden_oauth"
_BROWSER = re.compile(r"[0-9a-f]{32}\Z")


class _Asked(msgspec.Struct, frozen=True, array_like=True):
    """A request that was found good: what the form carries, sealed."""

    client: str
    redirect_uri: str
    state: str
    challenge: str
    audience: str
    expires: int  # UTC seconds
    browser: str  # digest of the cookie


class Authorization:
    """Both halves of the endpoint."""

    def __init__(self, parts: OAuthParts) -> None:
        self._parts = parts
        self._place = f"oauth|form|{parts.resources.public_url}"

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """GET: the page, or an error where it belongs."""
        now = self._parts.clock()
        try:
            self._parts.fresh(now)
            fields, doubled = asking.read(request)
            client = await self._client(fields.get("client_id", ""), request, now)
            redirect_uri = asking.redirect(client, fields.get("redirect_uri", ""))
        except GatewardenError as error:
            return _failure(error)
        state = fields.get("state", "")
        try:
            audience = asking.checked(fields, doubled, self._parts.resources)
        except OAuthError as error:
            location = self._back(redirect_uri, state, error=error)
            if redirects.is_loopback(redirect_uri):
                return _sent(location)
            # Anybody may register an address: nobody is sent there unasked (RFC 9700 4.11.2).
            return page.failure(error.message, error.hint, back=location)
        cookie = request.cookies.get(COOKIE, "")
        browser = cookie if _BROWSER.match(cookie) else secrets.token_hex(16)
        asked = _Asked(
            client.id,
            redirect_uri,
            state,
            fields["code_challenge"],
            audience,
            int((now + FORM_LIFETIME).timestamp()),
            _digest(browser),
        )
        response = page.consent(self._consent(client, asked))
        response.set_cookie(
            COOKIE,
            browser,
            path=self._parts.resources.issuer_path + AUTHORIZE,
            max_age=int(FORM_LIFETIME.total_seconds()),
            httponly=True,
            samesite="Strict",
            secure=self._parts.resources.public_url.startswith("https:"),
        )
        return response

    async def decide(self, request: web.Request) -> web.StreamResponse:
        """POST: what the person decided."""
        now = self._parts.clock()
        try:
            self._parts.fresh(now)
            self._same_site(request)
            form = await form_of(request)
            asked = self._opened(form.get("form", ""), request, now)
            client = await self._client(asked.client, request, now)
            asking.redirect(client, asked.redirect_uri)
        except GatewardenError as error:
            return _failure(error)
        if form.get("decision") != "allow":
            denied = AccessDenied("the person denied it")
            return _sent(self._back(asked.redirect_uri, asked.state, error=denied))
        try:
            code = await self._allow(client, asked, form.get("token", "").strip(), request, now)
        except Unauthenticated as refused:
            return page.consent(self._consent(client, asked), _said(refused), 403)
        except TooManyAttempts as refused:
            return page.consent(self._consent(client, asked), _said(refused), 429)
        except GatewardenError as error:
            return _failure(error)
        return _sent(self._back(asked.redirect_uri, asked.state, code=code))

    # --- the request ------------------------------------------------------------------------------------

    async def _client(self, client_id: str, request: web.Request, now: datetime) -> Client:
        """Raises: InvalidClient, TooManyAttempts, StoreUnavailable."""
        if not client_id:
            raise InvalidClient("`client_id` is missing")
        clients = self._parts.clients
        if not await clients.knows(client_id, now):
            self._parts.documents.spend(self._parts.client(request), now)
        return await clients.find(client_id, now)

    # --- the form ---------------------------------------------------------------------------------------

    def _consent(self, client: Client, asked: _Asked) -> page.Consent:
        blob = self._parts.sealer.seal(msgspec.msgpack.encode(asked), self._place)
        resources = self._parts.resources
        return page.Consent(
            client,
            asked.redirect_uri,
            resources.url(asked.audience),
            blob.hex(),
            resources.url(AUTHORIZE),
        )

    def _same_site(self, request: web.Request) -> None:
        """The form came from our own page, as far as the browser tells.

        A page without referrer sends the origin `null`; browsers tell where a form came from beside it, but
        not over plain http, where the cookie alone says it.

        Raises:
            InvalidRequest.
        """
        site = request.headers.get("Sec-Fetch-Site", "same-origin").lower()
        origin = request.headers.get("Origin", "null").lower()
        if site != "same-origin" or origin not in ("null", self._parts.resources.origin):
            raise InvalidRequest("the form was not sent by this gateway's own page")

    def _opened(self, form: str, request: web.Request, now: datetime) -> _Asked:
        """Raises: InvalidRequest: not our form, too old, or another browser's."""
        try:
            blob = self._parts.sealer.open(bytes.fromhex(form), self._place)
            asked = msgspec.msgpack.decode(blob, type=_Asked)
        except (GatewardenError, ValueError, msgspec.MsgspecError) as error:
            raise InvalidRequest("the form is not from here") from error
        if now.timestamp() >= asked.expires:
            raise InvalidRequest("the form is too old", hint="start again from the client")
        if not secrets.compare_digest(_digest(request.cookies.get(COOKIE, "")), asked.browser):
            raise InvalidRequest(
                "the form was made for another browser, or cookies are off",
                hint="allow cookies for this page and start again from the client",
            )
        return asked

    async def _allow(
        self, client: Client, asked: _Asked, secret: str, request: web.Request, now: datetime
    ) -> str:
        """The code for a person who showed a good token.

        Raises:
            Unauthenticated, TooManyAttempts. StoreUnavailable.
        """
        parts = self._parts
        address = parts.client(request)
        parts.sign_ins.check(address, now)
        try:
            shown = parts.directory.authenticate(secret, now)
        except Unauthenticated as error:
            parts.refusals.unauthenticated(address, error.code, int(now.timestamp() * 1_000_000))
            parts.sign_ins.spend(address, now)
            raise
        family, epoch = await parts.grants.begin(shown, client, now, request[REQUEST_ID])
        await parts.clients.used(client.id, now)
        grant = Grant(
            subject=shown.id,
            family=family,
            client=client.id,
            audience=asked.audience,
            scopes=(SCOPE,),
            refreshes=client.refreshes,
            epoch=epoch,
            redirect_uri=asked.redirect_uri,
            challenge=asked.challenge,
        )
        await parts.spread(epoch)
        # Only now does its minute begin.
        return await parts.codes.give(grant, parts.clock())

    # --- the answer -------------------------------------------------------------------------------------

    def _back(
        self, redirect_uri: str, state: str, *, code: str = "", error: OAuthError | None = None
    ) -> str:
        """The client's address, with what it is told."""
        fields: dict[str, str] = {}
        if error is not None:
            fields |= {"error": error.code, "error_description": description_of(error)}
        else:
            fields["code"] = code
        if state:
            fields["state"] = state
        fields["iss"] = self._parts.resources.public_url  # RFC 9207
        joint = "&" if "?" in redirect_uri else "?"
        return redirect_uri + joint + urlencode(fields, quote_via=quote, safe="")


def _sent(location: str) -> web.Response:
    # 303: whatever the method was, what follows is a GET without the form (RFC 9700 4.12).
    return web.Response(status=303, headers={**page.guarded(), "Location": location})


def _failure(error: GatewardenError) -> web.Response:
    if isinstance(error, TooManyAttempts):
        status = 429
    elif isinstance(error, TemporarilyUnavailable):
        status = 503
    else:
        status = 400 if isinstance(error, OAuthError) else status_of(error.code)
    return page.failure(error.message, error.hint, status)


def _said(error: GatewardenError) -> str:
    return f"{error.message}: {error.hint}" if error.hint else error.message


def _digest(browser: str) -> str:
    return hashlib.sha256(browser.encode("utf-8", "replace")).hexdigest()
