"""The cases that live with the policies: what a change to policy must leave standing.

A change to `policy`, `role` or `resource-group` documents is tried on an engine, and every case of the
policies as they will be is asked. What held before and fails afterwards refuses the change; so does a case
that the change itself brings. A case that failed already is an alarm, and blocks nobody. A change that only
takes rights away commits whatever stored cases say. Pure: who asks has an engine to try on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from authz.conditions import Context
from authz.decision import Asker, Somebody
from authz.engine import Engine
from authz.vocabulary import Action
from policies.case import Case, context_of
from policies.case_run import judge
from policies.change import Plan
from policies.check_cases import MAX_CASES
from policies.documents import Policy, parse
from policies.errors import CasesFailed, InvalidDocuments, Problem
from policies.naming import Key, label, plain_key

GATED = frozenset({"policy", "role", "resource-group"})  # families whose changes are tried
MAX_SHOWN = 20  # failing cases that one answer names

BoundOf = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class StoredCase:
    """A case of a policy, with the place where it stands; `new` when the change brings it."""

    key: Key
    index: int
    case: Case
    new: bool = False

    @property
    def title(self) -> str:
        return f"case `{self.case.title[:120]}` of {label(plain_key(self.key))}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that does not hold after a change. `before`: nor did it hold before."""

    stored: StoredCase
    differences: tuple[str, ...]
    before: bool

    @property
    def text(self) -> str:
        return f"{self.stored.title}: {'; '.join(self.differences)}"

    def problem(self, *, told: bool) -> Problem:
        """The finding; without what the case says when the asker may not learn that (`told`)."""
        key, path = plain_key(self.stored.key), ("cases", self.stored.index)
        text = self.text if told else f"a case of {label(key)} that you may not ask about"
        return Problem("request", 1, 1, CasesFailed.code, text, path=path, key=key)


def is_gated(plan: Plan) -> bool:
    """Whether a change is one that cases gate."""
    return any(change.key[0] in GATED for change in plan.documents)


def cases_after(stored: Mapping[Key, tuple[Case, ...]], plan: Plan) -> tuple[StoredCase, ...]:
    """Every case as it will stand after the change.

    Raises:
        InvalidDocuments: there would be too many, and the change adds some.
    """
    after: dict[Key, tuple[Case, ...]] = dict(stored)
    for change in plan.documents:
        if change.key[0] == "policy":
            document = parse(change.after) if change.after is not None else None
            after[change.key] = document.cases if isinstance(document, Policy) else ()
    made = tuple(
        StoredCase(key, index, case, case not in stored.get(key, ()))
        for key, cases in sorted(after.items())
        for index, case in enumerate(cases)
    )
    if len(made) > MAX_CASES and len(made) > sum(map(len, stored.values())):
        key = next(one.key for one in made if one.new)
        message = f"all policies together would have {len(made)} cases; at most {MAX_CASES}"
        hint = "keep the rest in files `<name>.cases.yaml`, for `gatewarden test`"
        problem = Problem(
            "request", 1, 1, "too_many_cases", message, hint, path=("cases",), key=plain_key(key)
        )
        raise InvalidDocuments((problem,))
    return made


def failing(
    engine: Engine, cases: Iterable[StoredCase], bound_of: BoundOf
) -> list[tuple[StoredCase, tuple[str, ...]]]:
    """Those of the cases that do not hold on this engine, and how."""
    found = []
    for one in cases:
        case = one.case
        bound = f"bound:{case.bound}" if case.bound else bound_of(case.asker)
        context = context_of(case.context, case.now)
        judged = judge(engine, case, Somebody(case.asker, bound), context, listed=False)
        if judged.failures:
            found.append((one, judged.failures))
    return found


def refusing(failures: Iterable[Failure], *, only_revokes: bool) -> tuple[Failure, ...]:
    """Those that refuse the change; the others are alarms."""
    return tuple(one for one in failures if one.stored.new or not (one.before or only_revokes))


def findings_of(
    engine: Engine, failures: Sequence[Failure], asker: Asker | None, context: Context
) -> tuple[Problem, ...]:
    """The findings for `asker` (None: the host). Of a stored case about somebody whom he may not ask
    about, they say hardly anything.
    """

    def may_know(one: Failure) -> bool:
        if asker is None or one.stored.new:
            return True
        return bool(engine.decide(asker, Action.DECISION_ASK, one.stored.case.asker, context))

    return tuple(one.problem(told=may_know(one)) for one in failures[:MAX_SHOWN])
