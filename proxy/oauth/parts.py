"""What the OAuth endpoints of a process share; `proxy/oauth/site.py` fills it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import parse_qsl

from aiohttp import web

from identity.oauth.access_tokens import OAuthTokens
from identity.oauth.errors import InvalidRequest, TemporarilyUnavailable
from identity.oauth.grants import Grants
from identity.oauth.registry import Clients
from identity.oauth.resources import Resources
from identity.oauth.tickets import Tickets
from identity.ports import Seals
from identity.principal import Principal
from proxy.api import body as bodies
from proxy.headers import Network, client_ip
from proxy.oauth.rate import Rate
from store.errors import StoreUnavailable

MAX_FORM = 16 * 1024
REACH_SECONDS = 1.0
SPREAD_SECONDS = 2.0
MAX_FIELDS = 64
FORM = "application/x-www-form-urlencoded"


class Authenticates(Protocol):
    """The directory."""

    def authenticate(self, secret: str, now: datetime) -> Principal: ...


class CountsRefusals(Protocol):
    """`proxy.refusals.Refusals`."""

    def unauthenticated(self, address: str, code: str, now: int) -> None: ...


class Follows(Protocol):
    """The change log: how old the policy here is, and whether an epoch has arrived."""

    def age(self, now: datetime) -> float: ...
    async def reach(self, epoch: int, timeout: float) -> bool: ...


class Waits(Protocol):
    """`store.replicas.Replicas`."""

    async def wait(self, epoch: int, clock: Callable[[], datetime], seconds: float) -> object: ...


@dataclass(frozen=True, slots=True)
class OAuthParts:
    """Everything that the endpoints work with."""

    resources: Resources
    tokens: OAuthTokens
    grants: Grants
    clients: Clients
    codes: Tickets
    refresh: Tickets
    directory: Authenticates
    sealer: Seals
    policy: Follows
    replicas: Waits | None
    max_stale: float
    refusals: CountsRefusals
    clock: Callable[[], datetime]
    trusted_proxies: Sequence[Network]
    registrations: Rate
    documents: Rate
    sign_ins: Rate

    def client(self, request: web.Request) -> str:
        """The address that a request comes from."""
        peer = request.transport.get_extra_info("peername") if request.transport else None
        address = peer[0] if isinstance(peer, tuple) and peer else None
        return client_ip(address, request.headers, self.trusted_proxies)

    def fresh(self, now: datetime) -> None:
        """Refuse to say who somebody is by a policy that is too old.

        Raises:
            TemporarilyUnavailable.
        """
        if self.policy.age(now) > self.max_stale:
            raise TemporarilyUnavailable("the policy here is too old to decide by")

    async def reach(self, epoch: int) -> None:
        """Wait until an epoch holds in this process.

        Raises:
            TemporarilyUnavailable: it has not arrived. StoreUnavailable.
        """
        if not await self.policy.reach(epoch, REACH_SECONDS):
            raise TemporarilyUnavailable("what was given has not arrived here yet")

    async def spread(self, epoch: int) -> None:
        """Wait until an epoch holds in the other processes, for whichever of them the client meets next."""
        if self.replicas is not None:
            with contextlib.suppress(StoreUnavailable):  # it is made, and the client may try again
                await self.replicas.wait(epoch, self.clock, SPREAD_SECONDS)


async def form_of(request: web.Request) -> dict[str, str]:
    """The fields of a form, each at most once; an empty one counts as absent (RFC 6749 3.2).

    Raises:
        InvalidRequest. ApiError: the body is too large, too slow or broken.
    """
    raw = await bodies.read_bytes(request, MAX_FORM)
    if bodies.media_type(request) != FORM:
        raise InvalidRequest(f"the body is not `{FORM}`")
    return fields_of(raw.decode("ascii", "replace"))


def fields_of(text: str) -> dict[str, str]:
    """The fields of a query or form.

    Raises:
        InvalidRequest: one stands twice, or they cannot be read.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise InvalidRequest("the parameters cannot be read") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidRequest("a parameter stands twice", hint="send each one once")
        found[name] = value
    return {name: value for name, value in found.items() if value}
