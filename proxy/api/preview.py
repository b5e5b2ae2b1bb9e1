"""What a planned change would do to people: who gains and loses what, and recorded decisions that turn.

Both are worked out beside the loop by whoever answers long questions. Pairs about somebody whom the caller
may not read are counted and not shown; e-mails are those of people whom he may read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final, Protocol

import msgspec

from authz.filters import EVERYTHING
from authz.vocabulary import Action, Kind, kind_of
from policies.change import Plan
from policies.difference import Difference
from policies.replay import RecordedQuestion, Replay, recorded_question
from proxy.api.models import AccessAnswer, AccessLine, AccessPair, FlipAnswer, ReplayAnswer
from proxy.api.people import emails_of
from proxy.api.problem import Unready
from proxy.api.routes import Call
from proxy.middleware.access import visible_of
from store.request_records import MAX_LIMIT, RequestRecords, Shelf, Window

_ALWAYS: Final = Window(0, 1 << 61)
_READ = {Kind.USER.value: Action.USER_READ, Kind.VIRTUAL_ACCOUNT.value: Action.VIRTUAL_ACCOUNT_READ}
# The actions that a route must name to use this.
ACTIONS = (Action.DATA_READ, *_READ.values())


class Inquires(Protocol):
    """Answers long questions about a plan, away from the loop."""

    async def difference(
        self, plan: Plan, now: datetime, *, epoch: int | None = None
    ) -> Difference: ...
    async def replay(
        self, plan: Plan, questions: Sequence[RecordedQuestion], *, epoch: int | None = None
    ) -> Replay: ...


async def access_of(call: Call, plan: Plan, epoch: int) -> AccessAnswer:
    """Who gains and loses what by a plan that was made at `epoch`.

    Raises:
        Unready: nobody answers long questions here. StoreUnavailable: it could not be worked out.
    """
    found = await _inquiries(call).difference(plan, call.now, epoch=epoch)
    shown = _readable(call, {pair.subject for pair in found.pairs})
    pairs = [pair for pair in found.pairs if pair.subject in shown]
    people = await emails_of(call, {*shown, *(line.subject for line in found.lines)})
    return AccessAnswer(
        lines=[AccessLine(**asdict(line)) for line in found.lines],
        pairs=[AccessPair(**asdict(pair)) for pair in pairs],
        pairs_total=found.pairs_total,
        gains=found.gains,
        losses=found.losses,
        truncated=found.truncated,
        people=dict(people),
    )


async def replay_of(call: Call, plan: Plan, epoch: int, number: int) -> ReplayAnswer:
    """The last `number` recorded decisions, asked again; whether the caller may see them was a gate.

    Raises:
        Unready: nobody answers long questions here. StoreUnavailable.
    """
    inquiries, records = _inquiries(call), call.runtime.records
    if records is None:
        raise Unready("the records cannot be read here", code="unavailable")
    questions = await _last(await records.open(), number)
    found = await inquiries.replay(plan, questions, epoch=epoch)
    people = await emails_of(call, (flip.question.principal for flip in found.flips))
    return ReplayAnswer(
        asked=found.asked,
        unanswerable=found.unanswerable,
        flips=[
            FlipAnswer(
                id=flip.question.id,
                at=flip.question.at,
                subject=flip.question.principal,
                action=flip.question.action,
                resource=flip.question.resource,
                before=flip.before,
                after=flip.after,
                reason=flip.reason,
                rules=list(flip.rules),
            )
            for flip in found.flips
        ],
        people=dict(people),
    )


def _inquiries(call: Call) -> Inquires:
    found: Inquires | None = call.runtime.inquiries
    if found is None:
        raise Unready("long questions are not answered here", code="unavailable")
    return found


async def _last(records: RequestRecords, number: int) -> list[RecordedQuestion]:
    """The last questions of the log, newest first; decisions that hold no question are passed over."""
    found: list[RecordedQuestion] = []
    before: int | None = None
    while len(found) < number:
        page = await records.page(
            Shelf.DECISIONS,
            EVERYTHING,
            _ALWAYS,
            allowed=lambda row: True,
            before=before,
            limit=min(MAX_LIMIT, number),
        )
        read = (recorded_question(msgspec.json.decode(row.body)) for row in page.rows)
        found += [question for question in read if question is not None]
        before = page.next
        if before is None:
            break
    return found[:number]


def _readable(call: Call, subjects: Iterable[str]) -> frozenset[str]:
    """Those of the subjects whom the caller may read."""
    of_kind: dict[str, list[str]] = {}
    for subject in subjects:
        of_kind.setdefault(kind_of(subject), []).append(subject)
    return frozenset(
        subject
        for kind, action in _READ.items()
        for subject in visible_of(call, action, of_kind.get(kind, ()))
    )
