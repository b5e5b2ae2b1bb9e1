"""How OpenAI's API says things: the error object, an error inside a stream, the list of models.

Clients tell errors apart by status and `code`; every body also carries the request id, and the decision
id where a decision was taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from proxy.dialects import Fault, Listed

# A model's date of release is not known here.
CREATED = 0

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
# Codes that OpenAI's own clients and their users look for.
_CODES: Mapping[str, str] = {
    "expired_credential": "invalid_api_key",
    "invalid_credential": "invalid_api_key",
    "malformed_credential": "invalid_api_key",
    "missing_credential": "invalid_api_key",
    "too_many_refusals": "rate_limit_exceeded",
}


class OpenAI:
    """The OpenAI voice."""

    def error(self, fault: Fault) -> bytes:
        return msgspec.json.encode({"error": _error(fault)})

    def error_event(self, fault: Fault) -> bytes:
        # The SDKs raise on a chunk that has `error`; `[DONE]` must not follow.
        return b"data: " + self.error(fault) + b"\n\n"

    def entry(self, model: Listed) -> bytes:
        return msgspec.json.encode(_entry(model))

    def listing(self, models: Sequence[Listed], query: Mapping[str, str]) -> bytes:
        return msgspec.json.encode({"object": "list", "data": [_entry(model) for model in models]})


class OpenAIResponses(OpenAI):
    """The same for `/v1/responses`, whose streams are made of typed events."""

    def error_event(self, fault: Fault) -> bytes:
        said = _error(fault)
        event = {"type": "error", "code": said["code"], "message": said["message"], "param": None}
        return b"event: error\ndata: " + msgspec.json.encode({**event, "error": said}) + b"\n\n"


def _error(fault: Fault) -> dict[str, str | None]:
    if fault.status in _TYPES:
        kind = _TYPES[fault.status]
    else:
        kind = "invalid_request_error" if fault.status < 500 else "server_error"
    said = {
        "message": fault.message,
        "type": kind,
        "param": fault.param,
        "code": _CODES.get(fault.code, fault.code),
        "request_id": fault.request_id,
    }
    if fault.decision_id:
        said["decision_id"] = fault.decision_id
    return said


def _entry(model: Listed) -> dict[str, object]:
    return {"id": model.name, "object": "model", "created": CREATED, "owned_by": model.account_name}
