"""Past decisions asked again at the epoch of their record: was each the one that policy gave then?

A record names an epoch and the digest of its rows. The rows of that epoch come from the change log, which is
chained by itself, so that a decision that no policy ever gave, or one under rules that the change log does
not know, stands out. Questions are asked in the order of their epochs: an engine is moved, seldom loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from authz.decision import Decision, Reason
from authz.engine import Engine
from policies.replay import RecordedQuestion, answered, recorded_question
from store.past import NoSuchMoment, Past

MOST: Final = 10_000  # questions of one call


@dataclass(frozen=True, slots=True)
class PastQuestion:
    """A recorded question with the epoch and the digest that its record names."""

    question: RecordedQuestion
    epoch: int
    digest: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A record that says something else than the policy of its epoch; `what` says in which respect.

    `effect`: the answer is another. `reason`: the same answer for another reason or by other rules.
    `digest`: the rows of that epoch are not those that the record names. `epoch`: there is none such.
    """

    past: PastQuestion
    what: str
    effect: str = ""
    reason: str = ""
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it. `unanswerable` of the `asked` hang on what their record does not hold."""

    asked: int
    unanswerable: int
    differences: tuple[Difference, ...]


def past_question(line: Mapping[str, Any]) -> PastQuestion | None:
    """The question of a line of the decision log; None when it holds none that can be asked again."""
    question = recorded_question(line)
    if question is None or question.reason == Reason.ERROR.value:
        return None
    body = line["body"]
    return PastQuestion(question, int(body.get("epoch", 0)), str(body.get("digest", "")))


async def replay_past(past: Past, questions: Iterable[PastQuestion]) -> Replayed:
    """Asks each question at its epoch; the differences in the order of the records' ids.

    Raises:
        StoreUnavailable. LogDamaged: the change log is not whole.
    """
    ordered = sorted(questions, key=lambda one: one.epoch)
    differences: list[Difference] = []
    unanswerable = 0
    for epoch, group in groupby(ordered, key=lambda one: one.epoch):
        asked = list(group)
        try:
            moment = await past.moment(epoch)
        except NoSuchMoment:
            differences += [Difference(one, "epoch") for one in asked]
            continue
        differences += [Difference(one, "digest") for one in asked if one.digest != moment.digest]
        asked = [one for one in asked if one.digest == moment.digest]
        held = await past.held(moment)
        unanswerable += _compare(asked, held.engine, held.bounds, differences)
    differences.sort(key=lambda one: one.past.question.id)
    return Replayed(len(ordered), unanswerable, tuple(differences))


def _compare(
    asked: Sequence[PastQuestion],
    engine: Engine,
    bounds: Mapping[str, str],
    differences: list[Difference],
) -> int:
    """Adds what differs; how many could not be answered."""
    unanswerable = 0
    answers = answered(engine, (one.question for one in asked), bound_of=bounds.get)
    for one, answer in zip(asked, answers, strict=True):
        if answer is None:
            unanswerable += 1
            continue
        decision, complete = answer
        what = _what(one.question, decision, complete=complete)
        if what:
            effect, reason = decision.effect.value, decision.reason.value
            differences.append(Difference(one, what, effect, reason, decision.rules))
    return unanswerable


def _what(recorded: RecordedQuestion, now: Decision, *, complete: bool) -> str:
    if recorded.effect != now.effect.value:
        return "effect"
    same = recorded.reason == now.reason.value and set(recorded.rules) == set(now.rules)
    return "" if same or not complete else "reason"
