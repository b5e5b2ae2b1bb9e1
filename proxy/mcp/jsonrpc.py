"""One JSON-RPC message, read so strictly that no two parsers can read it in two ways.

What is decided here is executed by another program. A key that occurs twice, a key that differs from one we
judge by case only, a batch, a lone surrogate, text that is not UTF-8: each has been read differently by some
server, and each is refused. Bytes are kept as they came. What a method means is `methods.py`'s matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from authz.errors import GatewardenError
from proxy.body import shown
from proxy.mcp.strict_json import NotJson, TooDeep, is_text, read, write

MAX_DEPTH = 64
MAX_ID = 1024  # characters of an id: it is echoed, and remembered while the call runs

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

Id = str | int

# What is judged before a message is passed on. Some servers read keys without regard to case, so that
# `Method` beside `method` would be another message there.
_ENVELOPE = frozenset({"error", "id", "jsonrpc", "method", "params", "result"})
_PARAMS = frozenset(
    {
        "_meta",
        "argument",
        "arguments",
        "cursor",
        "inputResponses",
        "name",
        "notifications",
        "protocolVersion",
        "ref",
        "requestId",
        "requestState",
        "task",
        "taskId",
        "uri",
    }
)
_REF = frozenset({"name", "type", "uri"})
_ENVELOPE_FOLDED = {name.casefold(): name for name in _ENVELOPE}
_PARAMS_FOLDED = {name.casefold(): name for name in _PARAMS}
_REF_FOLDED = {name.casefold(): name for name in _REF}


class Kind(StrEnum):
    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"


class InvalidMessage(GatewardenError):
    """This is no message, or one that cannot be answered. `rpc_code` is the JSON-RPC code.

    `id` is None unless it could be read beyond doubt.
    """

    code = "invalid_message"

    def __init__(
        self, message: str, *, rpc_code: int = INVALID_REQUEST, id: Id | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.rpc_code = rpc_code
        self.id = id


@dataclass(frozen=True, slots=True)
class Message:
    """A request, a notification or a response. `raw` is what came, byte for byte.

    `method` is empty for a response. `error` is set for a response that is one; else `result` is its value.
    A response has the id None only if it is an error about a request that its sender could not read.
    """

    kind: Kind
    id: Id | None
    method: str
    params: dict[str, Any] = field(repr=False)  # arguments may be secrets
    raw: bytes = field(repr=False)
    result: Any = field(default=None, repr=False)
    error: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def meta(self) -> Mapping[str, Any]:
        """`params._meta`, empty if there is none or if it is no object."""
        found = self.params.get("_meta")
        return found if isinstance(found, dict) else {}


def parse(raw: bytes, *, depth: int = MAX_DEPTH, anonymous_error: bool = False) -> Message:
    """Reads one message.

    Args:
        anonymous_error: accept an error response with the id null, as servers send about what they could not
            read. Never for what a client sends.

    Raises:
        InvalidMessage: -32700 or -32600.
    """
    try:
        reading = read(raw, depth)
    except NotJson as error:
        raise InvalidMessage(str(error), rpc_code=PARSE_ERROR) from error
    except TooDeep as error:
        raise InvalidMessage(f"the message is nested deeper than {depth} levels") from error
    value = reading.value
    if isinstance(value, list):
        raise InvalidMessage("a batch is not served", hint="send one message in each request")
    if not isinstance(value, dict):
        raise InvalidMessage("a message is a JSON object")
    id = _readable_id(reading.top)
    if reading.twice:
        key = shown(reading.twice[0])
        raise InvalidMessage(f"the key `{key}` occurs twice in one object", id=id)
    _check_case(value, _ENVELOPE_FOLDED, id)
    if value.get("jsonrpc") != "2.0":
        raise InvalidMessage("`jsonrpc` is not `2.0`", id=id)
    if "id" in value and id is None and not (anonymous_error and value["id"] is None):
        raise InvalidMessage("`id` is neither a string nor an integer")
    if "method" in value:
        return _called(raw, value, id)
    return _answered(raw, value, id)


def parse_answer(raw: bytes) -> Message:
    """Reads a response whose result is taken apart and written anew before anybody else sees it.

    What could be read in two ways can do no harm then, so the fast reader does: of two equal keys the last counts,
    here and for whoever gets what is written. Everything else is `parse`'s matter.

    Raises:
        InvalidMessage.
    """
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidMessage("the message is not JSON", rpc_code=PARSE_ERROR) from error
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0" or "result" not in value:
        return parse(raw, anonymous_error=True)  # an error, or something else than a response
    id = value.get("id")
    if "method" in value or "error" in value or not isinstance(id, str):
        return parse(raw, anonymous_error=True)
    return Message(Kind.RESPONSE, id, "", {}, raw, result=value["result"])


def _readable_id(top: Sequence[tuple[str, object]]) -> Id | None:
    """The id, if there is exactly one and it is legal. 0 is; true, 1.0 and null are not."""
    found = [held for key, held in top if key == "id"]
    if len(found) != 1:
        return None
    id = found[0]
    if isinstance(id, str) and len(id) <= MAX_ID and is_text(id):
        return id
    if isinstance(id, int) and not isinstance(id, bool):
        return id
    return None


def _called(raw: bytes, value: dict[str, Any], id: Id | None) -> Message:
    method = value["method"]
    if not isinstance(method, str) or not method:
        raise InvalidMessage("`method` is not a string", id=id)
    if "result" in value or "error" in value:
        raise InvalidMessage("a message is a request or a response, not both", id=id)
    params = value.get("params", {})
    if not isinstance(params, dict):
        raise InvalidMessage("`params` is not an object", id=id)
    _check_case(params, _PARAMS_FOLDED, id)
    ref = params.get("ref")
    if isinstance(ref, dict):
        _check_case(ref, _REF_FOLDED, id)
    if "id" not in value:
        return Message(Kind.NOTIFICATION, None, method, params, raw)
    if id is None:  # only a response may have none
        raise InvalidMessage("`id` is neither a string nor an integer")
    return Message(Kind.REQUEST, id, method, params, raw)


def _answered(raw: bytes, value: dict[str, Any], id: Id | None) -> Message:
    if ("result" in value) == ("error" in value):
        raise InvalidMessage("a message has a `method`, a `result` or an `error`", id=id)
    if "params" in value:
        raise InvalidMessage("a response has no `params`", id=id)
    if "id" not in value or (id is None and "error" not in value):
        raise InvalidMessage("a response without an `id`", id=id)
    if "result" in value:
        return Message(Kind.RESPONSE, id, "", {}, raw, result=value["result"])
    error = value["error"]
    if (
        not isinstance(error, dict)
        or type(error.get("code")) is not int
        or not isinstance(error.get("message"), str)
    ):
        raise InvalidMessage("`error` is no object with `code` and `message`", id=id)
    return Message(Kind.RESPONSE, id, "", {}, raw, error=error)


def _check_case(value: Mapping[str, object], folded: Mapping[str, str], id: Id | None) -> None:
    for key in value:
        judged = folded.get(key.casefold())
        if judged is not None and judged != key:
            raise InvalidMessage(
                f"the key `{shown(key)}` could be read as `{judged}`",
                hint=f"write `{judged}`",
                id=id,
            )


def encoded(value: object) -> bytes:
    """A value as compact JSON in UTF-8. Raises ValueError for what JSON does not have."""
    return write(value)


def request(id: Id, method: str, params: Mapping[str, Any] | None = None) -> bytes:
    """A request."""
    return encoded({"jsonrpc": "2.0", "id": id, "method": method} | _given(params))


def notification(method: str, params: Mapping[str, Any] | None = None) -> bytes:
    """A notification."""
    return encoded({"jsonrpc": "2.0", "method": method} | _given(params))


def result(id: Id, value: Any) -> bytes:
    """A response that succeeded."""
    return encoded({"jsonrpc": "2.0", "id": id, "result": value})


def error(id: Id | None, code: int, message: str, data: Any = None) -> bytes:
    """A response that failed. An id of None (which makes clients wait) only where none could be read."""
    said: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        said["data"] = data
    return encoded({"jsonrpc": "2.0", "id": id, "error": said})


def error_again(id: Id, said: Mapping[str, Any]) -> bytes:
    """The error of another response (`Message.error`), as the answer to the request `id`."""
    return error(id, said["code"], said["message"], said.get("data"))


def _given(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if params is None else {"params": dict(params)}
