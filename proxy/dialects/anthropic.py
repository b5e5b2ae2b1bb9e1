"""How Anthropic's API says things: the error object, the error event, the paged list of models.

Clients key their retries on the error's type, so every status has the type that Anthropic gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from proxy.dialects import Fault, Listed
from proxy.errors import GatewayError

# What Anthropic documents for a model whose date of release is not known.
CREATED_AT = "1970-01-01T00:00:00Z"
MAX_LIMIT = 1000

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}


class Anthropic:
    """The Anthropic voice."""

    def error(self, fault: Fault) -> bytes:
        if fault.status in _TYPES:
            kind = _TYPES[fault.status]
        else:
            kind = "invalid_request_error" if fault.status < 500 else "api_error"
        said = {"type": kind, "message": fault.message, "code": fault.code}
        if fault.decision_id:
            said["decision_id"] = fault.decision_id
        return msgspec.json.encode({"type": "error", "error": said, "request_id": fault.request_id})

    def error_event(self, fault: Fault) -> bytes:
        return b"event: error\ndata: " + self.error(fault) + b"\n\n"

    def entry(self, model: Listed) -> bytes:
        return msgspec.json.encode(_entry(model))

    def listing(self, models: Sequence[Listed], query: Mapping[str, str]) -> bytes:
        names = [model.name for model in models]
        start, end = 0, len(names)
        if "after_id" in query:
            start = _place(names, query["after_id"], "after_id") + 1
        if "before_id" in query:
            end = _place(names, query["before_id"], "before_id")
        limit = _limit(query.get("limit"), len(names))
        # `before_id` alone pages backwards: the page is the end of what stands before it.
        if "before_id" in query and "after_id" not in query:
            page = models[max(start, end - limit) : end]
            more = end - limit > start
        else:
            page = models[start : min(end, start + limit)]
            more = start + limit < end
        return msgspec.json.encode(
            {
                "data": [_entry(model) for model in page],
                "has_more": more,
                "first_id": page[0].name if page else None,
                "last_id": page[-1].name if page else None,
            }
        )


def _entry(model: Listed) -> dict[str, str]:
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": CREATED_AT,
    }


def _place(names: Sequence[str], name: str, parameter: str) -> int:
    """Where `name` stands.

    Raises GatewayError: it is not in the list (any more).
    """
    try:
        return names.index(name)
    except ValueError:
        raise GatewayError(
            f"`{parameter}` names no model of this list", code="invalid_query", param=parameter
        ) from None


def _limit(text: str | None, default: int) -> int:
    """The page size; without one the whole list is one page.

    Raises GatewayError.
    """
    if text is None:
        return max(default, 1)
    if text.isascii() and text.isdigit() and 1 <= int(text[:5]) <= MAX_LIMIT:
        return int(text[:5])
    raise GatewayError(
        f"`limit` is not a number from 1 to {MAX_LIMIT}", code="invalid_query", param="limit"
    )
