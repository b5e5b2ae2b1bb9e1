"""What every request of the data plane passes first: is the policy fresh, who asks, by which epoch, what is claimed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from identity.principal import Principal
from proxy.errors import EpochUnknown, Unavailable
from proxy.exchange import Exchange
from proxy.headers import InvalidHeader, client_ip, credential_of, metadata_of
from proxy.parts import Parts

EPOCH_WAIT = 1.0  # seconds that a caller may wait for the epoch that it demands
HEAD_WAIT = 0.4  # within which every process has seen the head of the log
EPOCH_STEP = 0.02
STALE_FLOOR = 1.0  # `max_stale` 0 means that one missed poll is enough; polls are not instant

Authenticate = Callable[[str, datetime], Principal]


class Admission:
    """Fills an exchange with what is known before anything is decided."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stale = max(parts.limits.max_stale, STALE_FLOOR)

    async def admit(
        self, exchange: Exchange, authenticate: Authenticate | None = None
    ) -> Principal:
        """Who asks; `authenticate` is the directory's unless others are known where this is asked.

        Raises:
            Unauthenticated. ConflictingCredentials. InvalidHeader. EpochUnknown. Unavailable.
        """
        parts, headers = self._parts, exchange.request.headers
        exchange.client = client_ip(exchange.request.remote, headers, parts.limits.trusted_proxies)
        if parts.policy.age(exchange.now) > self._stale:
            raise Unavailable("the policy of this gateway is too old", code="policy_stale")
        secret = credential_of(headers)
        if "x-min-epoch" in headers:
            await self._reach(headers.getall("x-min-epoch"))
        principal = (authenticate or parts.directory.authenticate)(secret, exchange.now)
        exchange.principal = principal
        exchange.metadata = metadata_of(headers)
        if parts.pins.any:
            groups = parts.policy.engine.subject_closure(principal.id)
            exchange.pinned = parts.pins.pinned(principal.id, groups)
        return principal

    async def _reach(self, values: list[str]) -> None:
        """Returns once this process decides by the epoch that the caller demands.

        Raises:
            InvalidHeader: no number. EpochUnknown: nobody has committed it. Unavailable: not yet here.
        """
        text = values[0]
        if len(values) != 1 or not (text.isascii() and text.isdigit() and len(text) <= 15):
            raise InvalidHeader("`x-min-epoch` is not a number")
        wanted, waited, policy = int(text), 0.0, self._parts.policy
        while policy.engine.epoch < wanted:
            if waited >= HEAD_WAIT and wanted > policy.known:
                raise EpochUnknown(f"the epoch `{wanted}` is beyond the last one that is known")
            if waited >= EPOCH_WAIT:
                raise Unavailable("the epoch is not reached yet", code="epoch_not_reached")
            await self._parts.pause(EPOCH_STEP)
            waited += EPOCH_STEP
