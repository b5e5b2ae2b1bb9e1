"""Opaque tokens that callers hand back: cursors, event ids, session ids, request states.

A token carries its own content, sealed, so that it survives a restart and a change of replica; and it is bound
to what it is for, to the principal and to the server, so that anybody else's opens as unknown. How long it
holds and which epoch it belongs to is content, judged by whoever opens it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from authz.errors import GatewardenError
from store.errors import SealBroken
from store.sealed import Sealer


class Purpose(StrEnum):
    CURSOR = "cursor"  # where a list goes on
    EVENT = "event"  # where a stream goes on; travels as Last-Event-ID
    SESSION = "session"  # Mcp-Session-Id
    REQUEST_STATE = "request-state"  # an upstream's own state, wrapped
    TASK = "task"  # a task's id


# Characters of a token. What travels as a header must fit in one line of any HTTP server.
LIMITS: Mapping[Purpose, int] = {
    Purpose.CURSOR: 16 << 10,
    Purpose.EVENT: 4 << 10,
    Purpose.SESSION: 4 << 10,
    Purpose.REQUEST_STATE: 256 << 10,
    Purpose.TASK: 4 << 10,
}
_FORM = re.compile(r"[A-Za-z0-9_-]+\Z")


class UnknownTicket(GatewardenError):
    """Foreign, tampered with, for another purpose, or never one of ours: not told apart."""

    code = "unknown_ticket"


class TicketTooLong(GatewardenError):
    """The content does not fit in a token."""

    code = "ticket_too_long"


class Tickets:
    """Seals and opens the tokens of one installation."""

    __slots__ = ("_sealer",)

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal(
        self, purpose: Purpose, principal: str, server: str, payload: Mapping[str, Any]
    ) -> str:
        """A token of `[A-Za-z0-9_-]`; each call gives another one.

        Raises:
            TicketTooLong.
        """
        plain = msgspec.json.encode(payload)
        token = _text(self._sealer.seal(plain, _place(purpose, principal, server)))
        if len(token) > LIMITS[purpose]:
            raise TicketTooLong(
                f"a {purpose.value} of {len(token)} characters is longer than {LIMITS[purpose]}"
            )
        return token

    def open(self, purpose: Purpose, token: str, principal: str, server: str) -> dict[str, Any]:
        """What was sealed for this purpose, principal and server.

        Raises:
            UnknownTicket.
        """
        blob = _bytes(token) if len(token) <= LIMITS[purpose] else b""
        try:
            plain = self._sealer.open(blob, _place(purpose, principal, server))
        except SealBroken:
            raise UnknownTicket(f"unknown or expired {purpose.value}") from None
        return msgspec.json.decode(plain, type=dict[str, Any])


def _place(purpose: Purpose, principal: str, server: str) -> bytes:
    # A JSON array: no part can run into the next.
    return msgspec.json.encode(["mcp", purpose.value, principal, server])


def _text(blob: bytes) -> str:
    return base64.urlsafe_b64encode(blob).rstrip(b"=").decode()


def _bytes(token: str) -> bytes:
    """The bytes of a token, empty if it is no canonical one: one ticket has one spelling."""
    if not _FORM.match(token) or len(token) % 4 == 1:
        return b""
    blob = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    return blob if _text(blob) == token else b""
