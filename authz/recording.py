"""How a decision, and what came of a request, becomes a record (`records.py`).

What a caller wrote goes aside; what is ours, and only ids, codes and counts, stays in the chain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from authz.decision import Decision, Reason, Verdict
from authz.records import ConditionRecord, DecisionRecord, Plain, QuestionRecord, RequestRecord

MAX_INT: Final = 1 << 53  # larger numbers are not read alike everywhere: written as text
MAX_TEXT: Final = 256  # characters of one value in a context
MAX_ID: Final = 128  # characters of an id that a caller may choose (request, trace)

# Values of these context fields are stamped by us; every other field holds a caller's text.
_STAMPED = ("principal.", "credential.", "time.", "client.", "resource.", "pinned.")
_STAMPED_FIELDS = frozenset({"record.created_by", "record.created_by_team", "record.id"})
_CODE = re.compile(r"[a-z0-9_.:-]{1,64}\Z")


def plain(value: object) -> Plain:
    """A value of a context in the JSON that records allow: no float, no long text, no object."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "…"
    if isinstance(value, int):
        return value if -MAX_INT < value < MAX_INT else hex(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [plain(item) for item in items]
    return str(plain(repr(value)))


def is_stamped(field: str) -> bool:
    """Whether the value of this context field is ours (not a caller's text)."""
    return field.startswith(_STAMPED) or field in _STAMPED_FIELDS


def _question(verdict: Verdict) -> QuestionRecord:
    asked = verdict.question
    return QuestionRecord(
        part=asked.part,
        subject=asked.subject,
        action=asked.action,
        resource=asked.resource,
        effect=verdict.effect,
        reason=verdict.reason,
        rules=verdict.rules,
        path=verdict.path,
        conditions=tuple(
            [
                ConditionRecord(
                    c.rule, c.name, "unknown" if c.met is None else ("true" if c.met else "false")
                )
                for c in verdict.conditions
            ]
        )
        if verdict.conditions
        else (),
        shadow=verdict.shadow or "",
        shadow_rules=verdict.shadow_rules,
    )


def decision_record(
    decision: Decision,
    *,
    principal: str,
    credential: str,
    on_behalf_of: str = "",
    request_id: str = "",
    trace_id: str = "",
    client: str = "",
    route: str = "",
    us: int = 0,
    action: str = "",
    resource: str = "",
    count: int = 0,
    result_digest: str = "",
    arguments: str = "",
    teams: Iterable[str] = (),
    owner_team: str = "",
    pinned: Mapping[str, str] | None = None,
) -> DecisionRecord:
    """The record of one decision. `action` and `resource` default to those of the first question.

    A resource that is not in the catalogue is a caller's own text, so it goes aside. `count` and
    `result_digest` (hex SHA-256 of the answer) are for lists and batches.
    """
    verdicts = decision.verdicts
    if verdicts:
        action = action or verdicts[0].question.action
        resource = resource or verdicts[0].question.resource
    aside: dict[str, object] = {}
    context: dict[str, Any] = {}
    masked: tuple[str, ...] = ()
    if decision.context:
        claimed: dict[str, Plain] = {}
        for name, value in decision.context.items():
            (context if is_stamped(name) else claimed)[name] = plain(value)
        if claimed:
            aside["context"] = claimed
            masked = tuple(sorted(claimed))
    questions: tuple[QuestionRecord, ...]
    if len(verdicts) == 1:  # as a rule
        questions = (_question(verdicts[0]),)
    else:
        questions = tuple([_question(v) for v in verdicts])
    if decision.reason is Reason.UNKNOWN_RESOURCE and resource:
        aside["resource"] = resource
        resource = ""
        questions = ()  # nothing was asked of Casbin; a verdict would only repeat the text
    return DecisionRecord(
        aside=aside or None,
        effect=decision.effect,
        reason=decision.reason,
        epoch=decision.epoch,
        digest=decision.digest,
        principal=principal,
        credential=credential,
        action=action,
        resource=resource,
        on_behalf_of=on_behalf_of,
        questions=questions,
        rules=decision.rules,
        path=decision.path,
        context=context,
        masked=masked,
        request=request_id[:MAX_ID],
        trace=trace_id[:MAX_ID],
        client=client,
        route=route,
        us=us,
        count=count,
        result_digest=result_digest,
        arguments=arguments,
        teams=tuple(teams),
        owner_team=owner_team,
        pinned=dict(pinned) if pinned else {},
    )


def request_aside(claimed: Mapping[str, str], error: str) -> tuple[dict[str, Any] | None, str]:
    """What of a request goes aside, and the error as it may stand in the chain: a stable code."""
    aside: dict[str, Any] = {}
    if claimed:
        aside["claimed"] = {key: plain(value) for key, value in claimed.items()}
    if error and not _CODE.match(error):
        aside["error"] = plain(error)
        error = "other"
    return aside or None, error


def request_record(
    *,
    request_id: str,
    decision_id: str,
    principal: str,
    credential: str,
    status: int,
    route: str = "",
    teams: Iterable[str] = (),
    owner_team: str = "",
    model: str = "",
    account: str = "",
    dialect: str = "",
    upstream_status: int | None = None,
    stream: bool = False,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    first_byte_ms: int | None = None,
    total_ms: int | None = None,
    error: str = "",
    pinned: Mapping[str, str] | None = None,
    claimed: Mapping[str, str] | None = None,
    server: str = "",
    method: str = "",
    tool: str = "",
    outcome: str = "",
    upstream_ms: int | None = None,
    cost: int | None = None,
    price: str = "",
) -> RequestRecord:
    """The record of what came of a request. Claimed metadata, and an error that is no code, go aside."""
    aside, error = request_aside(claimed or {}, error)
    return RequestRecord(
        aside=aside,
        request=request_id[:MAX_ID],
        decision=decision_id,
        principal=principal,
        credential=credential,
        status=status,
        route=route,
        teams=tuple(teams),
        owner_team=owner_team,
        model=model,
        account=account,
        dialect=dialect,
        upstream_status=upstream_status,
        stream=stream,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        first_byte_ms=first_byte_ms,
        total_ms=total_ms,
        error=error,
        pinned=dict(pinned) if pinned else {},
        server=server,
        method=method,
        tool=tool,
        outcome=outcome,
        upstream_ms=upstream_ms,
        cost=cost,
        price=price,
    )
