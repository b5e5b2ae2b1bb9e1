"""Values of conditions that name things: `principal.team EQUAL team:search`, `resource.account IN [acme]`.

Such a value is a mention like any other: it must exist, is stored with the generation it means, and follows
its name when that is taken again. A test of a text (`STRING_STARTS_WITH`) names nothing. One table for
`check_rules`, `references` and `compile_rules`, so that what was checked is what is stored and compiled.
"""

from __future__ import annotations

from authz.conditions import Item, Operator
from authz.vocabulary import MCP_KINDS, Kind, kind_of
from policies.naming import FAMILY_OF_KIND
from policies.ports import Lookups

SUBJECT, RESOURCE, ACCOUNT, SERVER = (
    "subject",
    "resource",
    "account",
    "server",
)  # `references.Form` by value

_FIELDS = {
    "principal.id": SUBJECT,
    "principal.team": SUBJECT,
    "record.created_by": SUBJECT,
    "record.created_by_team": SUBJECT,
    "resource.account": ACCOUNT,
    "resource.id": RESOURCE,
    "resource.server": SERVER,
}
_STAMPED = frozenset({"user", "team", "virtualaccount"})  # what stamped fields can hold
_DECIDED = frozenset(FAMILY_OF_KIND) - {Kind.BOUND, Kind.OPEN_MODELS, Kind.OPEN_GROUP} | {
    Kind.MODEL,
    *MCP_KINDS,
}
_NEGATED = ("NOT_EQUAL", "NOT_IN")
_EXACT = ("EQUAL", "IN", *_NEGATED)


def named_as(field: str, operator: str, value: object) -> str | None:
    """How one value of a test names a thing (`SUBJECT`, `RESOURCE`, `ACCOUNT`, `SERVER`); None if it names none."""
    form = _FIELDS.get(field)
    if form is None or operator not in _EXACT or not isinstance(value, str):
        return None
    if form in (ACCOUNT, SERVER):
        return form
    kinds = _STAMPED if form == SUBJECT else _DECIDED
    return form if ":" in value and kind_of(value) in kinds else None


def binds_every_generation(effect: str, operator: str) -> bool:
    """Whether a value means every thing that ever had the name, and not only the one of today.

    So it does where it refuses: in a deny, and in what an allow leaves out (`NOT_IN`). Where it lets
    somebody through, which what a deny leaves out does too, it means the thing of today alone.
    """
    return (effect == "deny") != (operator in _NEGATED)


def compiled(item: Item, effect: str, lookups: Lookups) -> Item:
    """The test with each value that binds every generation spread out over them."""
    if not binds_every_generation(effect, item.operator):
        return item
    values = item.value if isinstance(item.value, tuple) else (item.value,)
    spread: list[str | int | bool] = []
    for value in values:
        form = named_as(item.field, item.operator, value)
        spread += [value] if form is None else _generations(form, str(value), lookups)
    found = tuple(dict.fromkeys(spread))
    if found == values:
        return item
    many = Operator.NOT_IN if item.operator in _NEGATED else Operator.IN
    return Item(item.field, many, found)


def _generations(form: str, value: str, lookups: Lookups) -> list[str]:
    kind, _, name = value.partition(":")
    bare = form in (ACCOUNT, SERVER)
    if bare:
        holder, rest = value, ""
    elif kind == Kind.MODEL.value or kind in MCP_KINDS:
        holder, _, inner = name.partition("/")
        rest = f"/{inner}"
    else:
        return list(lookups.generations(value))
    of_server = form == SERVER or (not bare and kind in MCP_KINDS)
    of = Kind.MCP_SERVER if of_server else Kind.PROVIDER_ACCOUNT
    names = [one.partition(":")[2] for one in lookups.generations(f"{of.value}:{holder}")]
    return names if bare else [f"{kind}:{one}{rest}" for one in names]
