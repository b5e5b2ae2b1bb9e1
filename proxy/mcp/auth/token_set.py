"""What an authorization server gave: an access token, how long it serves, and how to get the next. Pure.

Read from the answer of a token endpoint (RFC 6749 5.1) and from what was kept. Its `repr` hides it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

MARGIN = timedelta(
    seconds=30
)  # before its end a token is not used any more: the request takes time too
MAX_LIFE = 400 * 86400
MAX_TOKEN = 64 * 1024
_TOKEN = re.compile(r"[\x21-\x7e]+\Z")


@dataclass(frozen=True, slots=True)
class TokenSet:
    """`until` is the last instant of its use, margin included; None = until it is refused."""

    access: str = field(repr=False)
    until: datetime | None = None
    refresh: str = field(default="", repr=False)

    def usable(self, now: datetime) -> bool:
        return self.until is None or now < self.until

    @property
    def digest(self) -> str:
        """Tells access tokens apart without holding one."""
        return hashlib.sha256(self.access.encode()).hexdigest()

    def packed(self) -> bytes:
        """As it is sealed."""
        until = None if self.until is None else self.until.timestamp()
        return json.dumps({"access": self.access, "until": until, "refresh": self.refresh}).encode()


def unpacked(raw: bytes) -> TokenSet:
    """What `packed` made. Raises: ValueError, KeyError, TypeError."""
    found = json.loads(raw)
    until = found["until"]
    return TokenSet(
        found["access"],
        None if until is None else datetime.fromtimestamp(until, UTC),
        found["refresh"],
    )


def granted(answer: Mapping[str, Any], now: datetime, refresh: str = "") -> TokenSet:
    """The tokens of a successful answer; `refresh` stays in use where none comes.

    Raises:
        ValueError: there is no usable bearer token in it. The text quotes nothing of it.
    """
    access, kind = answer.get("access_token"), answer.get("token_type")
    if not isinstance(access, str) or not _is_token(access):
        raise ValueError("there is no usable `access_token`")
    if kind is not None and (not isinstance(kind, str) or kind.lower() != "bearer"):
        raise ValueError("the `token_type` is not `Bearer`")
    following = answer.get("refresh_token")
    if following not in (None, "") and not _is_token(following):
        raise ValueError("the `refresh_token` is not usable")
    return TokenSet(access, _until(answer.get("expires_in"), now), following or refresh)


def _is_token(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TOKEN and _TOKEN.match(value) is not None


def _until(raw: object, now: datetime) -> datetime | None:
    """The end of its use. Some servers write the number as text; nonsense counts as unknown."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    try:
        seconds = min(float(raw), MAX_LIFE)
    except ValueError:
        return None
    if not seconds > 0:
        return None
    # A token that lives shorter than twice the margin would never be used: half of its life then.
    return now + max(timedelta(seconds=seconds) - MARGIN, timedelta(seconds=seconds / 2))
