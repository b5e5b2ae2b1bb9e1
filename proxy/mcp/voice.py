"""How errors are said to MCP clients, and which codes are ours.

Codes of our own lie outside what JSON-RPC and MCP keep for themselves (-32768 to -32000), and say in their last digits
what HTTP would. Only an answer with HTTP 200 is read as an error with a code by every client, so what happens to a
request that was understood is said that way; what happens before is said in HTTP too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from authz.decision import Decision, Reason
from proxy.dialects import Fault, Listed
from proxy.mcp import jsonrpc
from proxy.mcp.jsonrpc import INVALID_PARAMS, Id

FORBIDDEN = -31403
UPSTREAM = -31502
AUTHORIZE = -31401  # the server behind needs something of the principal first

# No allow row matched one of the questions: the caller, its bound, or its token.
HIDDEN = frozenset(
    {Reason.NO_GRANT, Reason.UNKNOWN_RESOURCE, Reason.OUTSIDE_BOUND, Reason.OUTSIDE_TOKEN}
)


class RpcVoice:
    """Errors as JSON-RPC. `id` is that of the request, once it is known: a client waits for nothing else."""

    __slots__ = ("id",)

    def __init__(self) -> None:
        self.id: Id | None = None

    def error(self, fault: Fault) -> bytes:
        data: dict[str, Any] = {"code": fault.code, "request": fault.request_id}
        if fault.decision_id:
            data["decision"] = fault.decision_id
        return jsonrpc.error(self.id, -31000 - fault.status, fault.message, data)

    def error_event(self, fault: Fault) -> bytes:
        return b"event: message\ndata: " + self.error(fault) + b"\n\n"

    def entry(self, model: Listed) -> bytes:
        raise NotImplementedError

    def listing(self, models: Sequence[Listed], query: Mapping[str, str]) -> bytes:
        raise NotImplementedError


def unknown(id: Id, what: str, name: str, contact: str, data: Any = None) -> bytes:
    """The one answer for what does not exist and for what is not the caller's: the same bytes."""
    text = f"unknown {what} `{name}`, or you have no access; contact {contact}"
    return jsonrpc.error(id, INVALID_PARAMS, text, data)


def forbidden(id: Id, decision: Decision, contact: str, decision_id: str) -> bytes:
    """A rule or a condition refuses what a grant would allow."""
    message = decision.message or "a rule of your organisation refuses this"
    data = {"reason": decision.reason.value, "decision": decision_id, "contact": contact}
    return jsonrpc.error(id, FORBIDDEN, message, data)
