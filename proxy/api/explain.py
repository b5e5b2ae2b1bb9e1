"""`POST /explain`: may somebody do something, and why.

One's own questions are free and answer what a request would have met: a thing without any allow row looks
like one that does not exist. Asking about others, and seeing every candidate rule, takes `decision:ask`
on the subject. An answer is a question answered, not a use: nothing is executed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from authz.conditions import Context, instant, root_of
from authz.decision import Asker, Decision, Reason
from authz.errors import GatewardenError
from authz.explain import explain as explain_all
from authz.vocabulary import Action, Kind, make_id, model_id, split_id
from policies.documents import VirtualAccount
from policies.naming import id_of
from policies.truefoundry import subject_of
from proxy.api.body import nearest
from proxy.api.collections import COLLECTIONS
from proxy.api.find import find
from proxy.api.models import ExplainAnswer, ExplainBody
from proxy.api.people import emails_of
from proxy.api.problem import BadBody
from proxy.api.routes import SELF, Answer, Body, Call, Gate, Gates, Route

_COLLECTION_OF = {
    collection.kind.value: collection for collection in COLLECTIONS if not collection.fixed_name
}
_USER = re.compile(r"\buser:u-[A-Za-z0-9._-]+")
_SUBJECTS = ("user", "virtualaccount", "team", "role")


@dataclass(frozen=True, slots=True)
class Somebody:
    """A subject that is asked about. Satisfies `authz.decision.Asker`."""

    id: str
    bound: str | None = None
    token: str | None = None


async def gates(call: Call) -> Gates:
    """`self:read` for oneself, `decision:ask` on anybody else."""
    body = call.body_as(ExplainBody)
    subject = await _thing(call, body.subject) if body.subject else call.principal.id
    if subject == call.principal.id:
        call.kept["asker"] = call.principal
        return ((Gate(Action.SELF_READ, SELF),),)
    kind, name = split_id(subject)
    if kind.value not in _SUBJECTS:
        raise BadBody(
            f"`{subject[:80]}` is not a subject", hint="a subject is one of " + ", ".join(_SUBJECTS)
        )
    bound = None
    if kind is Kind.VIRTUAL_ACCOUNT:
        stored = await find(call, _COLLECTION_OF[kind.value], name)
        document = stored.document if stored is not None else None
        if isinstance(document, VirtualAccount) and document.bounded_by:
            bound = make_id(Kind.BOUND, document.bounded_by)
    call.kept["asker"] = Somebody(subject, bound)
    return ((Gate(Action.DECISION_ASK, subject, Action.DECISION_ASK),),)


async def explain(call: Call) -> Answer:
    """The decision, and for those who may ask about the subject every candidate."""
    body = call.body_as(ExplainBody)
    engine = call.runtime.changes.engine
    try:
        action = Action(body.action).value
    except ValueError as error:
        raise BadBody(
            f"`{body.action}` is not an action",
            hint=nearest(body.action, [a.value for a in Action]),
        ) from error
    asker: Asker = call.kept["asker"]  # type: ignore[assignment]
    resource = await _thing(call, body.resource)
    context = _context(call, body, own=asker is call.principal)
    decision = engine.decide(asker, action, resource, context)
    asks_all = engine.decide(call.principal, Action.DECISION_ASK.value, asker.id, call.context)
    explanation = (
        explain_all(engine, asker, action, resource, context).as_json() if asks_all else None
    )
    named = _USER.findall(str(explanation)) if explanation is not None else []
    return Answer(
        ExplainAnswer(
            effect=decision.effect.value,
            reason=decision.reason.value if asks_all else _public(decision).value,
            rules=list(decision.rules) if asks_all or _speaks(decision) else [],
            message=decision.message,
            epoch=decision.epoch,
            explanation=explanation,
            people=dict(await emails_of(call, named)),
        )
    )


def _speaks(decision: Decision) -> bool:
    """Whether an allow row matched, so that the asker may know that the thing exists."""
    return decision.reason not in (Reason.NO_GRANT, Reason.UNKNOWN_RESOURCE)


def _public(decision: Decision) -> Reason:
    return decision.reason if _speaks(decision) else Reason.NO_GRANT


async def _thing(call: Call, text: str) -> str:
    """The id of now of what is called `text` (`team:search`, `user:<e-mail>`, `model:<account>/<model>`).

    What does not exist keeps the id that it would have.

    Raises:
        BadBody: not an id.
    """
    try:
        kind_text, _, name = subject_of(text).partition(":")
        if kind_text == Kind.MODEL.value:
            account, _, model = name.partition("/")
            stored = await find(call, _COLLECTION_OF[Kind.PROVIDER_ACCOUNT.value], account)
            return model_id(stored.document.name if stored else account, model)
        collection = _COLLECTION_OF.get(kind_text)
        if collection is None:
            return make_id(Kind(kind_text), name)
        found = await find(call, collection, name)
        return id_of(found.document) if found else make_id(collection.kind, name)
    except (GatewardenError, ValueError) as error:
        raise BadBody(
            f"`{text[:80]}` is not an id", hint="write `<kind>:<name>`, as `team:search`"
        ) from error


def _context(call: Call, body: ExplainBody, *, own: bool) -> Context:
    """The caller's own facts for an own question, else only the time; what the body gives stands above."""
    values: dict[str, object] = {"time.now": call.now}
    for name, value in body.context.items():
        if not root_of(name):
            raise BadBody(f"`{name}` is not a field that conditions read")
        values[name] = value
        if name == "time.now":
            given = instant(value)
            if given is None:
                raise BadBody("`time.now` is an instant such as `2030-01-31T12:00:00Z`")
            values[name] = given
    return Context(values=values, lazy=call.context.lazy if own else None)


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
    ),
)
