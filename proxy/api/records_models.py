"""Records as the API shows them: one line of the log, without what a reader of metadata must not see.

What was said in a request is a payload and stands nowhere here. Nor do the values that a caller sent and that
conditions read (arguments of a tool, fields of a body): `masked` names them. Ids stand as they were stamped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field


class _Line(BaseModel):
    """What both kinds say of themselves."""

    model_config = ConfigDict(extra="forbid")

    id: str
    at: datetime
    principal: str = Field(description="Who: `user:u-…` or `virtualaccount:…`.")
    token_id: str = Field(description="The id of the token.")
    teams: list[str] = Field(description="The teams that it was stamped with, never rewritten.")
    owner_team: str | None = Field(description="The team that owned the virtual account then.")
    metadata: dict[str, str] = Field(description="What the gateway pinned.")
    request: str = Field(description="The id of the request.")
    route: str


class RequestLine(_Line):
    """What came of one request. Times are in milliseconds."""

    decision: str = Field(description="The id of its decision.")
    status: int
    model: str | None
    account: str | None
    server: str | None
    method: str | None = Field(description="Of an MCP request.")
    tool: str | None = Field(description="The tool, prompt or resource of an MCP request.")
    outcome: str | None = Field(description="Of an MCP request: result, tool_error, error.")
    dialect: str | None
    stream: bool
    upstream_status: int | None
    upstream_ms: int | None
    input_tokens: int | None
    output_tokens: int | None
    first_byte_ms: int | None
    total_ms: int | None
    error: str | None
    cost: int | None = Field(
        description="In 10⁻⁹ USD, by the price of then; null if none is known."
    )
    price: str | None = Field(description="The price that it was reckoned by.")
    claimed: dict[str, str] = Field(
        description="What the caller said of itself; empty once erased."
    )

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Self:
        """From a line as it stands in the journal."""
        body, aside = line["body"], line.get("aside") or {}
        return cls(
            **_common(line, body),
            decision=body.get("decision", ""),
            status=body.get("status", 0),
            stream=body.get("stream", False),
            error=aside.get("error") or body.get("error") or None,
            claimed=_texts(aside.get("claimed")),
            **{name: body.get(name) or None for name in _TEXTS},
            **{name: body.get(name) for name in _NUMBERS},
        )


class QuestionLine(BaseModel):
    """One question to Casbin and its answer."""

    model_config = ConfigDict(extra="forbid")

    part: str
    subject: str
    action: str
    resource: str
    effect: str
    reason: str
    rules: list[str]
    path: str
    conditions: list[dict[str, str]] = Field(description="`rule`, `name`, `met` of each.")
    shadow: str | None = Field(description="The effect with rules in shadow mode.")
    shadow_rules: list[str]


class DecisionLine(_Line):
    """Who was allowed what, under which rule."""

    effect: str
    reason: str
    action: str
    resource: str
    rules: list[str]
    path: str
    epoch: int
    policy_digest: str = Field(description="Of all rows at that epoch.")
    on_behalf_of: str | None
    questions: list[QuestionLine]
    context: dict[str, Any] = Field(description="Stamped values that conditions read.")
    masked: list[str] = Field(description="Fields that conditions read and that the caller sent.")
    trace: str | None
    client: str
    us: int = Field(description="What the decision took, in microseconds.")
    count: int = Field(description="Of a list or a batch: how many things.")
    result_digest: str | None = Field(description="Of a list or a batch: SHA-256 of its answer.")

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Self:
        """From a line as it stands in the journal."""
        body, aside = line["body"], line.get("aside") or {}
        return cls(
            **_common(line, body),
            effect=body["effect"],
            reason=body["reason"],
            action=body.get("action", ""),
            resource=body.get("resource") or str(aside.get("resource", "")),
            rules=body.get("rules", []),
            path=body.get("path", ""),
            epoch=body.get("epoch", 0),
            policy_digest=body.get("digest", ""),
            on_behalf_of=body.get("on_behalf_of") or None,
            questions=[_question(one) for one in body.get("questions", ())],
            context=body.get("context", {}),
            masked=body.get("masked", []),
            trace=body.get("trace") or None,
            client=body.get("client", ""),
            us=body.get("us", 0),
            count=body.get("count", 0),
            result_digest=body.get("result_digest") or None,
        )


class _Page(BaseModel):
    model_config = ConfigDict(extra="forbid")

    next: str | None = Field(description="The cursor of the next page; null on the last.")
    truncated: bool = Field(
        description="The time for one page ran out: there may be more, and `next` goes on."
    )
    since: datetime = Field(description="Where the window begins.")
    until: datetime = Field(description="Where it ends; not in it.")
    people: dict[str, str] = Field(description="E-mails of the user ids whom you may read.")


class RequestPage(_Page):
    """Requests, the last to arrive first."""

    data: list[RequestLine]


class DecisionPage(_Page):
    """Decisions, the last to arrive first."""

    data: list[DecisionLine]


class RequestAnswer(BaseModel):
    """One request."""

    model_config = ConfigDict(extra="forbid")

    data: RequestLine
    payload: Any = Field(
        default=None, description="With `payload=true`: what was said, null if it is not kept."
    )
    people: dict[str, str] = Field(description="E-mails of the user ids whom you may read.")


class DecisionAnswer(BaseModel):
    """One decision."""

    model_config = ConfigDict(extra="forbid")

    data: DecisionLine
    people: dict[str, str] = Field(description="E-mails of the user ids whom you may read.")


_TEXTS = ("model", "account", "server", "method", "tool", "outcome", "dialect", "price")
_NUMBERS = (
    "upstream_status",
    "upstream_ms",
    "input_tokens",
    "output_tokens",
    "first_byte_ms",
    "total_ms",
    "cost",
)


def people_in(line: Mapping[str, Any]) -> Iterator[str]:
    """The subjects that a record names."""
    body = line["body"]
    yield str(body.get("principal", ""))
    yield str(body.get("on_behalf_of", ""))
    yield str(body.get("resource", ""))


def _common(line: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": line["id"],
        "at": datetime.fromtimestamp(line["at"] / 1_000_000, UTC),
        "principal": body.get("principal", ""),
        "token_id": body.get("credential", ""),
        "teams": body.get("teams", []),
        "owner_team": body.get("owner_team") or None,
        "metadata": _texts(body.get("pinned")),
        "request": body.get("request", ""),
        "route": body.get("route", ""),
    }


def _question(said: Mapping[str, Any]) -> QuestionLine:
    return QuestionLine(
        part=said.get("part", ""),
        subject=said.get("subject", ""),
        action=said.get("action", ""),
        resource=said.get("resource", ""),
        effect=said.get("effect", ""),
        reason=said.get("reason", ""),
        rules=said.get("rules", []),
        path=said.get("path", ""),
        conditions=said.get("conditions", []),
        shadow=said.get("shadow") or None,
        shadow_rules=said.get("shadow_rules", []),
    )


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {str(name): said for name, said in value.items() if isinstance(said, str)}
