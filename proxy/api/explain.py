"""`POST /explain`: may somebody do something, and why; or with `at`, what would have been answered then.

One's own questions are free and answer what a request would have met: a thing without any allow row looks
like one that does not exist. Asking about others, and seeing every candidate rule and who wrote it, takes
`decision:ask` on the subject. An answer is a question answered, not a use: nothing is executed.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from authz.conditions import Context, instant, root_of
from authz.decision import Reason
from authz.explain import explain as explain_all
from authz.vocabulary import Action
from proxy.api.access_models import ExplainAnswer, ExplainBody
from proxy.api.asking import action_of, inquiries, moment_of, subject_gates, thing
from proxy.api.people import emails_of
from proxy.api.problem import BadBody
from proxy.api.routes import Answer, Body, Call, Gates, Route
from proxy.questions import Asked, with_writers
from store.past import NoSuchMoment

_USER = re.compile(r"\buser:u-[A-Za-z0-9._-]+")


async def gates(call: Call) -> Gates:
    """`self:read` for oneself, `decision:ask` on anybody else."""
    asked, asks = await subject_gates(call, call.body_as(ExplainBody).subject, BadBody)
    call.kept["asked"] = asked
    return asks


async def explain(call: Call) -> Answer:
    """The decision, and for those who may ask about the subject every candidate."""
    body = call.body_as(ExplainBody)
    engine = call.runtime.changes.engine
    action = action_of(body.action, BadBody)
    asked = call.kept["asked"]
    assert isinstance(asked, Asked)
    resource = await thing(call, body.resource, BadBody)
    values = _values(body)
    may = engine.decide(call.principal, Action.DECISION_ASK.value, asked.id, call.context)
    at = moment_of(body.at, call.now, BadBody)
    if at is None:
        found = await _now(call, asked, action, resource, values, full=bool(may))
    else:
        found = await _then(call, asked, action, resource, values, at)
    speaks = found["reason"] not in (Reason.NO_GRANT, Reason.UNKNOWN_RESOURCE)
    if not may:
        found["explanation"] = None
        if not speaks:  # the asker may not know that the thing exists
            found |= {"reason": Reason.NO_GRANT.value, "rules": []}
    named = _USER.findall(str(found["explanation"])) if found["explanation"] is not None else []
    return Answer(ExplainAnswer(**found, people=dict(await emails_of(call, named))))


async def _now(
    call: Call, asked: Asked, action: str, resource: str, values: dict[str, object], *, full: bool
) -> dict[str, Any]:
    """What the engine of now answers; `full` with every candidate."""
    changes = call.runtime.changes
    engine = changes.engine
    own = asked.id == call.principal.id
    # The caller's own facts for an own question, else only the time.
    context = Context({"time.now": call.now, **values}, call.context.lazy if own else None)
    decision = engine.decide(asked, action, resource, context)
    explanation = None
    if full:
        told = explain_all(engine, asked, action, resource, context)
        written = await changes.written_by([row.text() for row in told.rows()], told.epoch)
        explanation = with_writers(told, written)
    return {
        "effect": decision.effect.value,
        "reason": decision.reason.value,
        "rules": list(decision.rules),
        "message": decision.message,
        "epoch": decision.epoch,
        "explanation": explanation,
    }


async def _then(
    call: Call,
    asked: Asked,
    action: str,
    resource: str,
    values: dict[str, object],
    at: int | datetime,
) -> dict[str, Any]:
    """What was answered at another moment, at the time of that moment; only what is given is known."""
    now = at if isinstance(at, datetime) else None
    try:
        return await inquiries(call).explain(asked, action, resource, at=at, now=now, values=values)
    except NoSuchMoment as error:
        raise BadBody(f"`at`: {error.message}", hint=error.hint) from error


def _values(body: ExplainBody) -> dict[str, object]:
    """What the body gives for conditions to read."""
    values: dict[str, object] = {}
    for name, value in body.context.items():
        if not root_of(name):
            raise BadBody(f"`{name}` is not a field that conditions read")
        values[name] = value
        if name == "time.now":
            given = instant(value)
            if given is None:
                raise BadBody("`time.now` is an instant such as `2030-01-31T12:00:00Z`")
            values[name] = given
    return values


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/explain",
        "explain",
        "May somebody do something, and why",
        "questions",
        (Action.SELF_READ, Action.DECISION_ASK, Action.USER_READ),
        explain,
        ExplainAnswer,
        gates=gates,
        body=Body(
            model=ExplainBody, example={"action": "model:use", "resource": "model:acme/mini"}
        ),
        description="With `at`, an epoch or a time, it answers what would have been answered then. Every "
        "rule of the explanation says in `written_by` which change wrote it.",
    ),
)
