"""Rules become rows: policies, resource groups, data access.

Patterns are resolved here against the catalogue into ordinary rows; conditions are named by their content
and defined by a `c` row. Helpers of `compile.py`, which says how the whole hangs together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from authz.conditions import Condition, Item, Operator, decode, encode, name_of
from authz.rows import Row, row
from authz.vocabulary import MCP_KINDS, WILD_ACTION, Action, Kind, kind_of
from policies import globs, when
from policies.documents import (
    DataAccessConfig,
    DataFilter,
    DataRule,
    Policy,
    PolicyRule,
    ResourceGroup,
    WhenItem,
)
from policies.naming import id_of, label, plain
from policies.ports import Lookups
from policies.truefoundry import actions_of

_RELATION = {
    "own_data": "own",
    "team_virtual_account_data": "team-accounts",
    "team_data": "team",
    "all_data": "all",
}


def policy_rows(policy: Policy, lookups: Lookups) -> Iterator[Row]:
    """The rows of a policy; a shadow rule's are `p2`, a disabled rule has none."""
    yield row("g2", id_of(policy), f"any:{Kind.POLICY.value}")
    for rule in policy.rules:
        if rule.enabled:
            yield from _rule(policy, rule, lookups)


def _rule(policy: Policy, rule: PolicyRule, lookups: Lookups) -> Iterator[Row]:
    rule_id = f"{label(policy.key)}#{rule.id}"
    items = tuple(when.compiled(_test(test), rule.effect, lookups) for test in rule.when)
    items += tuple(_validity(rule.valid_from, rule.valid_until))
    name, definition = named(items)
    ptype = "p2" if rule.mode == "shadow" else "p"
    made = [
        row(ptype, subject, target, action, rule.effect, name, rule_id)
        for subject in subjects(rule.subjects, rule.effect, lookups)
        for target in targets(rule.resources, rule.effect, lookups)
        for action in _actions(rule.actions)
    ]
    if made:
        yield from made
        yield from definition
        if rule.message:
            yield row("m", rule_id, rule.message)


def _test(test: WhenItem) -> Item:
    operator = Operator(test.operator)
    bare = operator is Operator.EXISTS and test.value == ""  # `EXISTS` alone asks for presence
    return Item(test.field, operator, True if bare else test.value)


def _validity(start: datetime | None, until: datetime | None) -> Iterator[Item]:
    """`from` and `until` as tests of the clock; an instant equal to `until` is expired."""
    if start is not None:
        yield Item("time.now", Operator.GREATER_THAN_EQUAL, _utc(start))
    if until is not None:
        yield Item("time.now", Operator.LESS_THAN, _utc(until))


def _utc(instant: datetime) -> str:
    """ISO 8601 in UTC, so that one instant has one spelling. No zone means UTC."""
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat()


def _actions(permissions: Iterable[str]) -> list[str]:
    names: set[str] = set()
    for permission in permissions:
        if permission == WILD_ACTION:
            names.add(WILD_ACTION)
        else:
            names |= {action.value for action in actions_of(permission)}
    return sorted(names)


def named(items: tuple[Item, ...]) -> tuple[str, tuple[Row, ...]]:
    """The name of a condition and the row that defines it; `("", ())` for none.

    Raises:
        InvalidCondition: no engine could read it (too long). INVARIANT: such a row is never committed.
    """
    if not items:
        return "", ()
    condition = Condition(items)
    name, text = name_of(condition), encode(condition)
    decode(text)
    return name, (row("c", name, text),)


def subjects(written: Iterable[str], effect: str, lookups: Lookups) -> Iterator[str]:
    """The subjects that a rule binds: on an allow those that can act now, on a deny every generation."""
    for subject in written:
        if effect == "deny":
            yield from lookups.generations(subject)
        elif lookups.acts(subject):
            yield subject


def targets(written: Iterable[str], effect: str, lookups: Lookups) -> Iterator[str]:
    """The objects that a rule binds; patterns are resolved against the models of now."""
    for target in written:
        if globs.is_glob(target):
            yield from _matching(target, effect, lookups)
        elif kind_of(target) == Kind.MODEL.value:
            yield from _model(target, effect, lookups)
        elif kind_of(target) in MCP_KINDS:
            yield from _offer(target, effect, lookups)
        elif effect == "deny":
            yield from lookups.generations(target)
        elif lookups.lives(target):
            yield target


def _matching(pattern: str, effect: str, lookups: Lookups) -> Iterator[str]:
    account = globs.account_of(pattern)
    of = lookups.offers if kind_of(pattern) in MCP_KINDS else lookups.models
    if effect != "deny":
        for thing in of(account):
            if globs.matches(pattern, thing):
                yield thing
        return
    # A deny holds for every generation of an account or server: it is matched by the plain name.
    for thing in of(None):
        if globs.matches(pattern, _plain(thing)):
            yield thing


def _model(model: str, effect: str, lookups: Lookups) -> Iterator[str]:
    account, _, name = model.partition(":")[2].partition("/")
    if effect != "deny":
        if model in lookups.models(account):
            yield model
        return
    for generation in lookups.generations(f"{Kind.PROVIDER_ACCOUNT.value}:{account}"):
        yield f"{Kind.MODEL.value}:{generation.partition(':')[2]}/{name}"


def _offer(thing: str, effect: str, lookups: Lookups) -> Iterator[str]:
    """What a server offers, or will: it need not have been found yet, so that a rule may come first."""
    server, _, name = thing.partition(":")[2].partition("/")
    holder = f"{Kind.MCP_SERVER.value}:{server}"
    if effect != "deny":
        if lookups.lives(holder):
            yield thing
        return
    for generation in lookups.generations(holder):
        yield f"{kind_of(thing)}:{generation.partition(':')[2]}/{name}"


def _plain(thing: str) -> str:
    account, _, name = thing.partition(":")[2].partition("/")
    return f"{kind_of(thing)}:{plain(account)}/{name}"


def resource_group_rows(group: ResourceGroup, lookups: Lookups) -> Iterator[Row]:
    """A group's members point at it; a grant or a rule may then name the group.

    What an access grant on the group opens stands beside it (`open-group:`): of an account only the
    models without subjects of their own, as if the grant stood on the account.
    """
    thing = id_of(group)
    open_part = f"{Kind.OPEN_GROUP.value}:{thing.partition(':')[2]}"
    yield row("g2", thing, f"any:{Kind.RESOURCE_GROUP.value}")
    offered = frozenset(_offered(group, lookups))
    for target in targets(group.resources, "allow", lookups):
        if kind_of(target) in MCP_KINDS and target not in offered:
            continue  # being in a group would make it exist
        yield row("g2", target, thing)
        kind, _, name = target.partition(":")
        of_account = kind == Kind.PROVIDER_ACCOUNT.value
        yield row("g2", f"{Kind.OPEN_MODELS.value}:{name}" if of_account else target, open_part)


def _offered(group: ResourceGroup, lookups: Lookups) -> Iterator[str]:
    """All that the MCP servers offer of which a group names something."""
    servers = {
        target.partition(":")[2].partition("/")[0]
        for target in group.resources
        if kind_of(target) in MCP_KINDS
    }
    for server in servers:
        yield from lookups.offers(server)


def data_access_rows(config: DataAccessConfig, lookups: Lookups) -> Iterator[Row]:
    """Who may read which records. `traces` in this document means metadata and payloads."""
    yield row("g2", id_of(config), f"any:{Kind.GATEWAY_CONFIG.value}")
    for rule in config.rules:
        if not rule.enabled:
            continue
        rule_id = f"{label(config.key)}#{rule.id}"
        types = set(rule.data_types) | ({"payloads"} if "traces" in rule.data_types else set())
        found = tuple(subjects(rule.subjects, "allow", lookups))
        for items in _alternatives(rule, lookups):
            name, definition = named(items)
            for data in types if found else ():
                target = f"{Kind.DATA.value}:{data}/{_RELATION[rule.scope]}"
                for subject in found:
                    action = Action.DATA_READ.value
                    yield row("p", subject, target, action, "allow", name, rule_id)
                yield from definition


def _alternatives(rule: DataRule, lookups: Lookups) -> list[tuple[Item, ...]]:
    """A rule's filters as lists of items, any one of which suffices; no filter is one empty list.

    Only `created_by IN` over people and teams at once needs two: a record has both fields.
    """
    lists: list[tuple[Item, ...]] = [()]
    for one in rule.filters:
        ways = _filter(one, lookups)
        lists = [(*before, *way) for before in lists for way in ways]
    return lists


def _filter(one: DataFilter, lookups: Lookups) -> list[tuple[Item, ...]]:
    operator = Operator(one.operator)
    if not one.value:
        return []  # INVARIANT: an empty list grants nothing; not in an empty list would be everything
    if one.field == "metadata":
        space = "record.claimed." if one.trust == "claimed" else "record.metadata."
        return [(Item(f"{space}{one.key}", operator, tuple(sorted(set(one.value)))),)]
    named = set(one.value)
    if when.binds_every_generation("allow", operator):
        named = {each for value in named for each in lookups.generations(value)}
    teams = tuple(sorted(value for value in named if kind_of(value) == Kind.TEAM.value))
    people = tuple(sorted(named - set(teams)))
    tests = [
        Item(name, operator, values)
        for name, values in (("record.created_by", people), ("record.created_by_team", teams))
        if values
    ]
    if operator is Operator.IN:
        return [(test,) for test in tests]
    return [tuple(tests)]
