"""Why a decision is what it is, at length: for a person, not for the request path.

Asks every question of the conjunction (also those after the first refusal) and says of each which rows
matched, which decided, which were ignored and why, and, where no allow row matched, which single link
would have to exist: a membership, an action in a bundle, a thing in a group. Read by the caller himself
or by whoever may see the rules; who may, is decided by the surface that offers it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice

from authz.conditions import Context
from authz.decision import Asker, Effect, Reason
from authz.engine import Asked, Engine
from authz.index import Candidate
from authz.kleene import Reading
from authz.rows import Row
from authz.vocabulary import Kind

# A popular model has 100,000 rows: an explanation looks at so many and says that there are more.
MOST_ROWS = 5_000
MOST_LINKS = 10
_GROUPS = frozenset({Kind.RESOURCE_GROUP.value, Kind.OPEN_GROUP.value})


@dataclass(frozen=True, slots=True)
class ItemSeen:
    """One test of a condition: `met` is None when it was unknown."""

    field: str
    operator: str
    value: object
    met: bool | None


@dataclass(frozen=True, slots=True)
class RuleSeen:
    """One row that matched, conditions aside. `ignored` says why it did not count, "" when it did."""

    rule: str
    effect: str
    subject: str
    object: str
    action: str
    path: str
    decisive: bool
    ignored: str = ""
    shadow: bool = False
    condition: str = ""
    items: tuple[ItemSeen, ...] = ()

    def row(self) -> Row:
        """The row itself."""
        values = (self.subject, self.object, self.action, self.effect, self.condition, self.rule)
        return Row("p2" if self.shadow else "p", values)


@dataclass(frozen=True, slots=True)
class MissingLink:
    """A link that would make `rule` match: `kind` is membership, action or object."""

    kind: str
    name: str
    group: str
    rule: str


@dataclass(frozen=True, slots=True)
class PartSeen:
    """One question of the conjunction."""

    part: str
    subject: str
    resource: str
    effect: str
    reason: str
    decisive: bool
    rules: tuple[RuleSeen, ...]
    missing: tuple[MissingLink, ...] = ()
    holders: tuple[str, ...] = ()  # who does hold an allow for this action on this resource
    unknown: tuple[str, ...] = ()  # of subject, action, resource: what no row mentions
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision, and what led to it."""

    effect: str
    reason: str
    message: str
    epoch: int
    digest: str
    asker: str
    action: str
    resource: str
    parts: tuple[PartSeen, ...]
    context: dict[str, object]

    def rows(self) -> list[Row]:
        """The rows that the explanation speaks of."""
        return [rule.row() for part in self.parts for rule in part.rules]

    def as_json(self) -> dict[str, object]:
        """The explanation as JSON types."""
        made: dict[str, object] = asdict(self)
        return made


def explain(
    engine: Engine, asker: Asker, action: str, resource: str, context: Context
) -> Explanation:
    """What `engine.decide` answers to the same question, and why."""
    decision = engine.decide(asker, action, resource, context)
    parts: list[PartSeen] = []
    if decision.verdicts:
        decisive = len(decision.verdicts) - 1 if decision.effect is Effect.DENY else 0
        asked = engine.ask(asker, action, resource, context, all_parts=True)
        parts = [
            _part(engine, action, one, decisive=at == decisive) for at, one in enumerate(asked)
        ]
    elif decision.reason is Reason.UNKNOWN_RESOURCE:
        parts = [_unknown_resource(asker, resource)]
    return Explanation(
        decision.effect.value,
        decision.reason.value,
        decision.message,
        decision.epoch,
        decision.digest,
        asker.id,
        action,
        resource,
        tuple(parts),
        {field: _plain(value) for field, value in decision.context.items()},
    )


def _unknown_resource(asker: Asker, resource: str) -> PartSeen:
    reason = Reason.UNKNOWN_RESOURCE.value
    return PartSeen("subject", asker.id, resource, "deny", reason, True, (), unknown=("resource",))


def _part(engine: Engine, action: str, asked: Asked, *, decisive: bool) -> PartSeen:
    part, subject, resource, reading, found, _ = asked
    verdict = engine.verdict(action, asked)
    if found is None:
        return PartSeen(
            part, subject, resource, "deny", verdict.reason, decisive, (), unknown=("resource",)
        )

    def seen(row: Candidate, ignored: str = "", shadow: bool = False) -> RuleSeen:
        return RuleSeen(
            rule=row[5],
            effect=row[3],
            subject=row[0],
            object=row[1],
            action=row[2],
            path=engine.path(subject, resource, row),
            decisive=not ignored and not shadow and row[5] in verdict.rules[:1],
            ignored=ignored,
            shadow=shadow,
            condition=row[4],
            items=_items(engine, row[4], reading),
        )

    counted = {id(row) for row in (*found.denies, *found.allows, *found.shadowed)}
    overruled = "a deny wins" if found.denies else ""
    rules = [
        *(seen(row) for row in found.denies),
        *(seen(row, overruled) for row in found.allows),
        *(seen(row, _why(row, reading)) for row in found.conditional if id(row) not in counted),
        *(seen(row, shadow=True) for row in found.shadowed),
    ]
    rules.sort(
        key=lambda rule: (rule.shadow, bool(rule.ignored), rule.effect == "allow", rule.rule)
    )
    missing: tuple[MissingLink, ...] = ()
    holders: tuple[str, ...] = ()
    truncated = False
    if verdict.reason is Reason.NO_GRANT:
        missing, holders, truncated = _missing(engine, subject, action, resource)
    return PartSeen(
        part.value,
        subject,
        resource,
        verdict.effect.value,
        verdict.reason.value,
        decisive,
        tuple(rules),
        missing,
        holders,
        tuple(_unmentioned(engine, subject, action)) if verdict.effect is Effect.DENY else (),
        truncated,
    )


def _why(row: Candidate, reading: Reading) -> str:
    met = reading.outcomes.get(row[4])
    return "the condition is unknown" if met is None else "the condition is not met"


def _items(engine: Engine, name: str, reading: Reading) -> tuple[ItemSeen, ...]:
    outcomes = engine.enforcer.conditions.outcomes(name, reading) if name else []
    return tuple(
        ItemSeen(item.field, item.operator.value, item.value, met) for item, met in outcomes
    )


def _unmentioned(engine: Engine, subject: str, action: str) -> Iterator[str]:
    if subject not in engine.enforcer.subjects:
        yield "subject"
    if action not in engine.enforcer.actions:
        yield "action"


def _missing(
    engine: Engine, subject: str, action: str, resource: str
) -> tuple[tuple[MissingLink, ...], tuple[str, ...], bool]:
    """The links that would each make one allow row match, who holds a grant, and whether rows were left out."""
    enforcer = engine.enforcer
    subjects = enforcer.subjects.closure(subject)
    objects = enforcer.objects.closure(resource)
    actions = enforcer.actions.closure(action)
    rows = (row for obj in objects for row in enforcer.index.rows_at(obj) if row[3] == "allow")
    near = list(islice(rows, MOST_ROWS))
    truncated = next(rows, None) is not None
    members = [
        MissingLink("membership", subject, row[0], row[5])
        for row in near
        if row[2] in actions and row[0] not in subjects
    ]
    others = [
        MissingLink("action", action, row[2], row[5])
        for row in near
        if row[0] in subjects and row[2] not in actions
    ]
    elsewhere = (
        MissingLink("object", resource, row[1], row[5])
        for row in enforcer.index.of_subjects(subjects.keys())
        if row[3] == "allow"
        and row[2] in actions
        and row[1] not in objects
        and _joinable(resource, row[1])
    )
    holders = sorted({link.group for link in members})
    return (
        (
            *_first(members),
            *_first(others),
            *_first(elsewhere),
        ),
        tuple(holders[:MOST_LINKS]),
        truncated or len(holders) > MOST_LINKS,
    )


def _joinable(resource: str, group: str) -> bool:
    """Whether a change could put the thing into `group`: nothing moves into another thing or account."""
    kind, _, name = group.partition(":")
    if kind == Kind.OPEN_MODELS.value:
        return name == resource.partition(":")[2].partition("/")[0]
    return kind in _GROUPS


def _first(links: Iterable[MissingLink]) -> list[MissingLink]:
    return sorted(islice(links, MOST_LINKS), key=lambda link: (link.group, link.rule))


def _plain(value: object) -> object:
    """A value of the context as a JSON type."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)
