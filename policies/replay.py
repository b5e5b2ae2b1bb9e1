"""Decisions of the past asked again: which of them a change would turn.

A question is asked before and after the change with the context and the time of its record, so that only
what the change does is told, not what has changed since. A record holds the fields that conditions read.
A question that hangs on another one cannot be answered, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from authz.conditions import MISSING, Context
from authz.decision import Decision, Part, Reason, Somebody
from authz.engine import Engine
from authz.kleene import Reading
from authz.population import ACCOUNT
from authz.recording import MAX_TEXT
from authz.rows import Row
from authz.vocabulary import ACTIONS, Kind
from policies.moving import moved

# A value that is there but of which nothing is known: no test can compare it.
_SOMETHING: Final = object()
_TOKEN: Final = f"{Kind.TOKEN.value}:"
_CALENDAR: Final = frozenset({"time.now", "time.hour", "time.weekday"})


@dataclass(frozen=True, slots=True)
class RecordedQuestion:
    """A decision as its record has it; `conditions` holds what named conditions came to then.

    `erased` are fields that the request had and whose values are gone, or were too long to be kept.
    `at` is when it was decided. `bound` and `token` are None when there was none, or when the record
    does not say: a refusal of the subject's own asks no further. `credential` is the id of the token used.
    """

    id: str
    at: datetime
    principal: str
    bound: str | None
    token: str | None
    action: str
    resource: str
    context: Mapping[str, object]
    effect: str
    reason: str
    rules: tuple[str, ...] = ()
    conditions: Mapping[str, str] = field(default_factory=dict)
    erased: frozenset[str] = frozenset()
    credential: str = ""


@dataclass(frozen=True, slots=True)
class Flip:
    """A question that the change answers otherwise: the effects, and the reason and rules after it."""

    question: RecordedQuestion
    before: str
    after: str
    reason: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of a replay. `unanswerable` of the `asked` hang on what their record does not hold."""

    asked: int
    flips: tuple[Flip, ...]
    unanswerable: int


def replay(
    engine: Engine,
    added: Sequence[Row],
    removed: Sequence[Row],
    questions: Iterable[RecordedQuestion],
    *,
    bound_of: Callable[[str], str | None] | None = None,
    bound_after: Callable[[str], str | None] | None = None,
) -> Replay:
    """The questions that a change would turn, in the order given; the engine is moved, and back.

    `bound_of` and `bound_after` answer the `bound:<team>` of a virtual account before and after the
    change; without them it is as recorded.

    Raises:
        InvalidRow: the change does not fit the engine's rows.
    """
    tokens = {name for name in engine.enforcer.index.subjects() if name.startswith(_TOKEN)}
    asked = [_with_token(one, tokens) for one in questions]
    before = [_Asked(engine, one, _bound(one, bound_of)).answer() for one in asked]
    bound_later = bound_after or bound_of
    with moved(engine, added, removed):
        after = [_Asked(engine, one, _bound(one, bound_later)).answer() for one in asked]
    flips: list[Flip] = []
    unanswerable = 0
    for one, was, will in zip(asked, before, after, strict=True):
        if was is None or will is None:
            unanswerable += 1
        elif was.effect is not will.effect:
            effects = was.effect.value, will.effect.value
            flips.append(Flip(one, *effects, will.reason.value, will.rules))
    return Replay(len(asked), tuple(flips), unanswerable)


def answered(
    engine: Engine,
    questions: Iterable[RecordedQuestion],
    *,
    bound_of: Callable[[str], str | None] | None = None,
) -> list[tuple[Decision, bool] | None]:
    """What the engine answers to each question, None where that hangs on what its record does not hold.

    The flag says whether all that was read was recorded: without it only the effect is sure.
    """
    tokens = {name for name in engine.enforcer.index.subjects() if name.startswith(_TOKEN)}
    found: list[tuple[Decision, bool] | None] = []
    for one in questions:
        asked = _Asked(engine, _with_token(one, tokens), _bound(one, bound_of))
        answer = asked.answer()
        found.append(None if answer is None else (answer, asked.complete))
    return found


def _with_token(one: RecordedQuestion, tokens: set[str]) -> RecordedQuestion:
    """The question with the restrictions of its token, also when the record came to no question of them."""
    token = _TOKEN + one.credential
    return replace(one, token=token) if one.token is None and token in tokens else one


def _bound(one: RecordedQuestion, bound_of: Callable[[str], str | None] | None) -> str | None:
    if bound_of is None or not one.principal.startswith(ACCOUNT):
        return one.bound
    return bound_of(one.principal)


class _Asked:
    """One recorded question in one state of the engine."""

    def __init__(self, engine: Engine, one: RecordedQuestion, bound: str | None) -> None:
        self._engine = engine
        self._one = one
        self._asker = Somebody(one.principal, bound, one.token)
        self._values = {name: value for name, value in one.context.items() if name not in _CALENDAR}
        self._values["time.now"] = one.at
        self._absent = self._known_absent()
        self.complete = True  # whether the answer read nothing that was not recorded

    def _known_absent(self) -> set[str]:
        """Fields that the request is known not to have had: a condition looked there and found nothing.

        Every item of a condition that came to true or unknown was looked at; of one that came to false
        those up to the first false one, which what was recorded tells.
        """
        absent: set[str] = set()
        for name, met in self._one.conditions.items():
            if met == "false":
                absent |= self._looked_at(name)
            else:
                absent |= self._engine.enforcer.conditions.fields(name)
        return absent - self._values.keys() - self._one.erased

    def _looked_at(self, name: str) -> set[str]:
        """The fields of a condition that came to false, up to the item that made it so; none in doubt."""
        one = self._one
        reading = Reading(Context(self._values), one.principal, one.resource)
        seen: set[str] = set()
        for item, outcome in self._engine.enforcer.conditions.outcomes(name, reading):
            if item.field in one.erased:
                return seen  # it may have been false here
            seen.add(item.field)
            if outcome is False:
                return seen
        return set()  # the record and the definition do not agree

    def answer(self) -> Decision | None:
        """What the engine answers; None when that hangs on a field that was not recorded."""
        answer, missing = self._ask(MISSING, frozenset())
        if answer.reason is Reason.ERROR:
            return None
        self.complete = not missing
        if missing:
            # The field may have been absent or have had any value. Between the narrowest and the widest
            # reading lies every one, so that an answer which they share is the answer.
            narrow, _ = self._ask(_SOMETHING, frozenset())
            wide = self._widest(missing)
            if not answer.effect is narrow.effect is wide.effect:
                return None
        return answer

    def _ask(self, unrecorded: object, unbound: frozenset[str]) -> tuple[Decision, set[str]]:
        """The answer when fields that were not recorded have this value, and which those were."""
        missing: set[str] = set()

        def lazy(name: str) -> object:
            if name in self._absent:
                return MISSING
            missing.add(name)
            return unrecorded

        context = Context(self._values, lazy, unbound)
        one = self._one
        return self._engine.decide(self._asker, one.action, one.resource, context), missing

    def _widest(self, missing: set[str]) -> Decision:
        """The answer with every unrecorded field open: opening one lets the next be looked at."""
        unbound = frozenset(missing)
        while True:
            answer, more = self._ask(MISSING, unbound)
            if more <= unbound:
                return answer
            unbound |= more


def recorded_question(record: Mapping[str, Any]) -> RecordedQuestion | None:
    """The question of one line of the decision log, as parsed from its JSON; None when it holds none.

    A line of another type, a list or a batch, and a decision about a thing that was not in the catalogue
    (its name may have been erased) hold no question. Claimed values that were erased are not in `context`.
    """
    body = record.get("body")
    if not isinstance(body, Mapping) or body.get("type") != "decision":
        return None
    if body.get("count") or body.get("result_digest"):
        return None
    action, resource, principal = (
        str(body.get(name, "")) for name in ("action", "resource", "principal")
    )
    aside = record.get("aside") or {}
    resource = resource or str(aside.get("resource", ""))
    if action not in ACTIONS or not resource or not principal:
        return None
    subjects: dict[str, str] = {}
    conditions: dict[str, str] = {}
    for question in body.get("questions", ()):
        subjects.setdefault(str(question.get("part", "")), str(question.get("subject", "")))
        for condition in question.get("conditions", ()):
            conditions[str(condition["name"])] = str(condition["met"])
    known = {**body.get("context", {}), **aside.get("context", {})}
    whole = {name: value for name, value in known.items() if not _is_cut(value)}
    return RecordedQuestion(
        id=str(record.get("id", "")),
        at=datetime.fromtimestamp(int(record.get("at", 0)) / 1_000_000, UTC),
        principal=principal,
        bound=subjects.get(Part.BOUND.value),
        token=subjects.get(Part.TOKEN.value),
        action=action,
        resource=resource,
        context=whole,
        effect=str(body.get("effect", "")),
        reason=str(body.get("reason", "")),
        rules=tuple(body.get("rules", ())),
        conditions=conditions,
        credential=str(body.get("credential", "")),
        erased=frozenset([*known, *body.get("masked", ())]) - whole.keys(),
    )


def _is_cut(value: object) -> bool:
    """Whether the record holds the beginning of a text only."""
    return isinstance(value, str) and len(value) == MAX_TEXT + 1 and value.endswith("…")
