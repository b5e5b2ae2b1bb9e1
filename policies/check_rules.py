"""What is wrong with rules: those of policies and of tenant roles (of data access: `check_data_access`).

Unknown actions, fields and operators; actions that no resource of the rule can be asked for; allows that
reach too far; denies where a deny cannot hold. One part of `validate`; nothing here makes rows.
"""

from __future__ import annotations

from datetime import UTC, datetime

from authz.conditions import EQUALITY, MAX_ITEMS, Item, Operator, check
from authz.vocabulary import WILD_ACTION, Action, Kind
from policies import when
from policies.documents import Document, Policy, PolicyRule, WhenItem
from policies.errors import PolicyError
from policies.fits import DATA_TYPES, fits
from policies.loader import Located
from policies.mentions import Mentions
from policies.naming import EVERYONE
from policies.nearest import did_you_mean
from policies.truefoundry import SUBJECT_ALIASES, actions_of

Path = tuple[str | int, ...]

_TEAMS = "record.created_by_team"
# What records say of who made them: the kinds of ids that stand there.
_STAMPS = {
    "record.created_by": (Kind.USER.value, Kind.VIRTUAL_ACCOUNT.value),
    _TEAMS: (Kind.TEAM.value,),
}


def check_policy(
    doc: Located[Document], policy: Policy, refs: Mentions, now: datetime | None
) -> None:
    """Every rule of a policy document."""
    unique(doc, "rules", [rule.id for rule in policy.rules], refs)
    if not policy.rules:
        refs.found.warn(doc, ("rules",), "empty_list", "a policy without rules decides nothing")
    for index, rule in enumerate(policy.rules):
        _rule(doc, ("rules", index), rule, refs, now)


def _rule(
    doc: Located[Document], path: Path, rule: PolicyRule, refs: Mentions, now: datetime | None
) -> None:
    deny = rule.effect == "deny"
    for name in ("subjects", "actions", "resources"):
        if not getattr(rule, name):
            does = "refuses nobody" if deny else "grants nobody anything"
            refs.found.warn(
                doc, (*path, name), "empty_list", f"a rule with no {name} {does}", "name some"
            )
    refs.subjects(doc, (*path, "subjects"), rule.subjects)
    actions: list[str] = []
    for index, written in enumerate(rule.actions):
        actions += refs.action(doc, (*path, "actions", index), written, wild=deny)
    resources = check_targets(
        doc, (*path, "resources"), rule.resources, tuple(actions), refs, bound=not deny
    )
    check_actions(doc, (*path, "actions"), rule.actions, resources, refs)
    if deny:
        _deny_on_data(doc, path, rule, actions, refs)
    _validity(doc, path, rule, refs, now)
    if rule.trust is not None and deny:
        refs.found.warn(
            doc, (*path, "trust"), "no_effect", "`trust` says nothing on a deny", "remove it"
        )
    if len(rule.when) > MAX_ITEMS:
        refs.found.error(
            doc,
            (*path, "when"),
            "too_many",
            f"a rule has at most {MAX_ITEMS} conditions",
            "split it",
        )
    for index, test in enumerate(rule.when):
        _condition(doc, (*path, "when", index), test, actions, rule, refs)


def check_targets(
    doc: Located[Document],
    path: Path,
    written: tuple[str, ...],
    actions: tuple[str, ...],
    refs: Mentions,
    *,
    bound: bool,
) -> list[str]:
    """The resources that exist; one that none of the actions can be asked on is reported."""
    good = []
    for index, target in enumerate(written):
        resource = refs.resource(doc, (*path, index), target, bound=bound)
        if not resource:
            continue
        good.append(resource)
        if actions and not any(fits(action, resource) for action in actions):
            refs.found.error(
                doc,
                (*path, index),
                "action_mismatch",
                f"none of the actions can be asked on `{target[:80]}`",
                "name an action of that kind of thing, or another resource",
            )
    return good


def check_actions(
    doc: Located[Document],
    path: Path,
    written: tuple[str, ...],
    resources: list[str],
    refs: Mentions,
) -> None:
    """Every action must be one that some resource of the rule can be asked for."""
    for index, name in enumerate(written):
        try:
            stands_for = (name,) if name == WILD_ACTION else actions_of(name)
        except PolicyError:
            continue  # reported as unknown
        if resources and not any(fits(a, resource) for a in stands_for for resource in resources):
            refs.found.error(
                doc,
                (*path, index),
                "action_mismatch",
                f"`{name}` cannot be asked on any of the resources",
                "name a resource of the kind that the action is about",
            )


def _deny_on_data(
    doc: Located[Document], path: Path, rule: PolicyRule, actions: list[str], refs: Mentions
) -> None:
    """A deny on a narrower scope would not hold for who reads by a wider one."""
    if WILD_ACTION not in actions and Action.DATA_READ.value not in actions:
        return
    for index, target in enumerate(rule.resources):
        if target.startswith("data:") and not target.endswith("/all"):
            kind = target.partition(":")[2].partition("/")[0]
            kind = kind if kind in DATA_TYPES else "<type>"
            refs.found.error(
                doc,
                (*path, "resources", index),
                "deny_scope",
                f"a deny on `{target[:80]}` would not hold for wider scopes",
                f"deny on `data:{kind}/all`, with a condition on `record.*`",
            )


def _validity(
    doc: Located[Document], path: Path, rule: PolicyRule, refs: Mentions, now: datetime | None
) -> None:
    start, until = rule.valid_from, rule.valid_until
    start, until = _aware(start), _aware(until)
    if start is not None and until is not None and until <= start:
        refs.found.error(
            doc, (*path, "until"), "never_valid", "`until` is not after `from`", "swap them"
        )
    elif now is not None and until is not None and until <= now:
        refs.found.warn(
            doc, (*path, "until"), "expired", "the rule's validity is over", "remove the rule"
        )


def _aware(instant: datetime | None) -> datetime | None:
    return instant.replace(tzinfo=UTC) if instant is not None and not instant.tzinfo else instant


def _condition(
    doc: Located[Document],
    path: Path,
    test: WhenItem,
    actions: list[str],
    rule: PolicyRule,
    refs: Mentions,
) -> None:
    try:
        operator = Operator(test.operator)
    except ValueError:
        known = [each.value for each in Operator]
        refs.found.error(
            doc,
            (*path, "operator"),
            "unknown_operator",
            f"`{test.operator[:80]}` is not an operator",
            did_you_mean(test.operator, known, "one of " + ", ".join(known)),
        )
        return
    value = True if operator is Operator.EXISTS and test.value == "" else test.value
    item = Item(test.field, operator, value)
    problems = check(item, actions, rule.effect, rule.trust)
    for problem in problems:
        refs.found.error(doc, path, "bad_condition", problem)
    for place, each in enumerate(value if isinstance(value, tuple) else (value,)):
        at = (*path, "value", place) if isinstance(value, tuple) else (*path, "value")
        if operator in EQUALITY and not problems:
            _stamped(doc, at, test.field, str(each), refs)
        match when.named_as(test.field, test.operator, each):
            case when.SUBJECT:
                refs.subject(doc, at, str(each))
            case when.ACCOUNT:
                refs.thing(doc, at, "provider-account", str(each))
            case when.SERVER:
                refs.thing(doc, at, "mcp-server", str(each))
            case when.RESOURCE:
                refs.exists(doc, at, str(each))


def _stamped(doc: Located[Document], path: Path, field: str, value: str, refs: Mentions) -> None:
    """A test of who made a record, or for which team, that no record can ever meet."""
    kinds = _STAMPS.get(field)
    kind = value.partition(":")[0]
    kind = SUBJECT_ALIASES.get(kind, kind)
    if kinds is None or (kind in kinds and value != EVERYONE):
        return
    hint = "name a team" if field == _TEAMS else "name a user or a virtual account"
    if kind == Kind.TEAM.value and value != EVERYONE:
        hint += f", or test `{_TEAMS}`"
    refs.found.error(
        doc, path, "bad_subject", f"no record has `{value[:80]}` as its `{field}`", hint
    )


# -- shared ------------------------------------------------------------------------------------------


def unique(doc: Located[Document], field: str, ids: list[str], refs: Mentions) -> None:
    """Rule ids must be unique within a document (by casefold): records and explanations quote them."""
    seen: dict[str, int] = {}
    for index, name in enumerate(ids):
        first = seen.setdefault(name.casefold(), index)
        if first != index:
            line = doc.at(field, first, "id").line
            refs.found.error(
                doc, (field, index, "id"), "duplicate", f"the rule id `{name}` stands twice",
                f"the first is at line {line}; give each rule its own id",
            )  # fmt: skip
