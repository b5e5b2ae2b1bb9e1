"""`/token` and `/revoke`: codes and refresh tokens become tokens, and grants end.

Clients are public, so a code is proved by its PKCE verifier and a refresh token by being the last one: each is
taken once, and one that comes back ends its whole grant, which the change log tells every replica.
"""

from __future__ import annotations

from datetime import datetime

from aiohttp import web

from authz.errors import GatewardenError
from identity.errors import Unauthenticated
from identity.oauth import pkce
from identity.oauth.access_tokens import is_access_token
from identity.oauth.errors import (
    InvalidGrant,
    InvalidRequest,
    InvalidTarget,
    UnsupportedGrantType,
    UsedTwice,
)
from identity.oauth.resources import require_scope
from identity.oauth.tickets import Grant
from proxy import logs
from proxy.middleware.request_id import REQUEST_ID
from proxy.oauth.answers import answer
from proxy.oauth.parts import OAuthParts, form_of

log = logs.get("oauth")


class TokenEndpoint:
    """Gives tokens and takes grants back."""

    def __init__(self, parts: OAuthParts) -> None:
        self._parts = parts

    async def give(self, request: web.Request) -> web.Response:
        """POST /token.

        Raises:
            OAuthError, StoreUnavailable.
        """
        parts, now = self._parts, self._parts.clock()
        parts.fresh(now)
        form = await form_of(request)
        request_id = request[REQUEST_ID]
        try:
            match form.get("grant_type"):
                case None:
                    raise InvalidRequest("`grant_type` is missing")
                case "authorization_code":
                    grant = await self._by_code(form, now, request_id)
                case "refresh_token":
                    grant = await self._by_refresh(form, now)
                case _:
                    raise UnsupportedGrantType(
                        "`grant_type` is neither `authorization_code` nor `refresh_token`"
                    )
        except UsedTwice as error:
            log.warning(
                "a code or refresh token was used twice", subject=error.subject, grant=error.family
            )
            # INVARIANT: whoever used it first or second, one of them is not the client: both lose it.
            await parts.grants.end(
                error.family, now, request_id, why="a code or refresh token was used twice"
            )
            raise
        return await self._tokens(grant, now)

    async def revoke(self, request: web.Request) -> web.Response:
        """POST /revoke (RFC 7009): ends the grant of a token, its access tokens included.

        What is no token of ours is answered in the same way: it is not valid afterwards.
        """
        parts, now = self._parts, self._parts.clock()
        form = await form_of(request)
        secret = form.get("token")
        if secret is None:
            raise InvalidRequest("`token` is missing")
        try:
            if is_access_token(secret):
                subject, family = parts.tokens.family(secret)
            else:
                subject, family = parts.refresh.owner(secret)
            parts.grants.live(subject, family, now)
        except (Unauthenticated, InvalidGrant):
            return answer({})
        why = "taken back by the client"
        await parts.grants.end(family, now, request[REQUEST_ID], actor=subject, why=why)
        return answer({})

    async def _by_code(self, form: dict[str, str], now: datetime, request_id: str) -> Grant:
        """The grant of a code.

        Raises:
            InvalidRequest, InvalidGrant, InvalidTarget. UsedTwice.
        """
        parts = self._parts
        code, verifier = _given(form, "code"), _given(form, "code_verifier")
        client, redirect_uri = _given(form, "client_id"), _given(form, "redirect_uri")
        if not parts.codes.mine(code):
            raise InvalidGrant("the code is unknown, used or expired")
        await parts.reach((await parts.codes.look(code, now)).epoch)
        grant = await parts.codes.take(code, now)
        try:
            if grant.client != client or grant.redirect_uri != redirect_uri:
                raise InvalidGrant("the code was given to another client or for another address")
            if not pkce.proves(verifier, grant.challenge):
                raise InvalidGrant("the `code_verifier` does not fit the code")
            self._same_target(form, grant)
        except GatewardenError:
            # The code is gone, so nobody can use what it stands for any more.
            await parts.grants.end(grant.family, now, request_id, why="a code was refused")
            raise
        return grant

    async def _by_refresh(self, form: dict[str, str], now: datetime) -> Grant:
        """The grant of a refresh token, which is used up by this.

        Raises:
            InvalidRequest, InvalidGrant, InvalidTarget, InvalidScope. UsedTwice.
        """
        parts = self._parts
        secret, client = _given(form, "refresh_token"), _given(form, "client_id")
        grant = await parts.refresh.look(secret, now)
        if grant.client != client:
            raise InvalidGrant("the refresh token was given to another client")
        self._same_target(form, grant)
        require_scope(form.get("scope", ""))
        await parts.reach(grant.epoch)
        self._live(grant, now)
        return await parts.refresh.take(secret, now)

    def _same_target(self, form: dict[str, str], grant: Grant) -> None:
        """Raises: InvalidTarget: a resource is named that is not the one that was consented to."""
        resource = form.get("resource")
        if resource is not None and self._parts.resources.audience(resource) != grant.audience:
            raise InvalidTarget("the `resource` is not the one that was consented to")

    def _live(self, grant: Grant, now: datetime) -> None:
        """Raises: InvalidGrant: the grant, the token behind it, or the account has ended."""
        try:
            self._parts.grants.live(grant.subject, grant.family, now)
        except Unauthenticated as error:
            raise InvalidGrant("what was given has ended", hint="ask for consent again") from error

    async def _tokens(self, grant: Grant, now: datetime) -> web.Response:
        parts = self._parts
        self._live(grant, now)
        made = parts.tokens.issue(grant, now)
        body: dict[str, object] = {
            "access_token": made.secret,
            "token_type": "Bearer",
            "expires_in": made.seconds,
            "scope": " ".join(grant.scopes),
        }
        if grant.refreshes:
            body["refresh_token"] = await parts.refresh.give(grant, now)
        await parts.clients.used(grant.client, now)
        return answer(body)


def _given(form: dict[str, str], name: str) -> str:
    """A field that must be there.

    Raises:
        InvalidRequest: it is not.
    """
    value = form.get(name)
    if value is None:
        raise InvalidRequest(f"`{name}` is missing")
    return value
