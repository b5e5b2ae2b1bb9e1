"""How often one address may do what costs us something: register, have us read a document, try a token.

Counted by address and minute in this process, bounded. An IPv6 host has 2^64 addresses, so its network counts.
"""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network

from identity.oauth.errors import TooManyAttempts

MAX_ADDRESSES = 10_000


class Rate:
    """At most `per_minute` of one thing for each address."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._minute = 0
        self._counts: dict[str, int] = {}

    def spend(self, address: str, now: datetime) -> None:
        """Counts one.

        Raises:
            TooManyAttempts: it is one too many.
        """
        self._turn(now)
        key = _network(address)
        if key not in self._counts and len(self._counts) >= MAX_ADDRESSES:
            key = "others"
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._counts[key] > self._per_minute:
            raise _refused()

    def check(self, address: str, now: datetime) -> None:
        """Counts nothing.

        Raises:
            TooManyAttempts: what was counted already is all there is.
        """
        self._turn(now)
        if self._counts.get(_network(address), 0) >= self._per_minute:
            raise _refused()

    def _turn(self, now: datetime) -> None:
        minute = int(now.timestamp()) // 60
        if minute != self._minute:
            self._minute, self._counts = minute, {}


def _refused() -> TooManyAttempts:
    return TooManyAttempts("too many attempts from this address", hint="wait a minute")


def _network(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(ip_network((found, 64), strict=False))
    return address
