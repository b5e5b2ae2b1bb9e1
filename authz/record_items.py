"""Conditions on the fields of a record (`record.*`), twice: on one record, and as keys to look for.

`outcome` says in Kleene logic what an item comes to on a stamped record; `found` and `missed` give the
records on which it is true, and on which it is false, as a filter. Elsewhere is unknown: a key of the
metadata that a record does not have meets no `IN` and no `NOT_IN`. What no key can say (the begin of a
text, an order) is found too widely and marked as not exact.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from authz import keys
from authz.conditions import EQUALITY, Condition, Item, Operator
from authz.filters import EVERYTHING, NOTHING, Filter, all_of, has, lacks
from authz.keys import EVERYONE, Stamp
from authz.kleene import Test, compile_condition

SPACE: Final = "record."
CREATED_BY: Final = "record.created_by"
TEAM: Final = "record.created_by_team"
PINNED: Final = "record.metadata."
CLAIMED: Final = "record.claimed."
_NEGATED = frozenset({Operator.NOT_EQUAL, Operator.NOT_IN})


def values(field: str, stamp: Stamp) -> tuple[str, ...] | None:
    """What a record has under a field, of which only teams may be none or several; None if it has nothing."""
    if field == CREATED_BY:
        return (stamp.created_by,)
    if field == TEAM:
        return stamp.every_team
    for prefix, said in ((PINNED, stamp.pinned), (CLAIMED, stamp.claimed)):
        name = field.removeprefix(prefix)
        if name != field and name in said:
            return (said[name],)
    return None


def outcome(item: Item, stamp: Stamp) -> bool | None:
    """What the item comes to on this record: true, false, or None for unknown.

    Of several teams, one that is named suffices for `IN` and spoils `NOT_IN`; a record of no team is
    surely not of the team that is named.
    """
    having = values(item.field, stamp)
    if item.operator is Operator.EXISTS:
        return bool(having) is item.value
    if having is None:
        return None
    if item.field == TEAM:
        return _of_teams(item, having)
    return _test(item)(having[0])


def _of_teams(item: Item, teams: tuple[str, ...]) -> bool | None:
    if item.operator in EQUALITY:
        named = _texts(item)
        if not named or EVERYONE in named:
            return None  # `everyone` is no team of a record: a rule that says so says nothing
        return named.isdisjoint(teams) is (item.operator in _NEGATED)
    return _test(item)(teams[0]) if len(teams) == 1 else None


@lru_cache(maxsize=4096)  # item -> its test: never stale, and a page asks few items of many records
def _test(item: Item) -> Test:
    return compile_condition(Condition((item,)))[0].test


@lru_cache(maxsize=4096)  # item -> the texts that it names: never stale
def _texts(item: Item) -> frozenset[str]:
    many = item.value if isinstance(item.value, tuple) else (item.value,)
    return frozenset(value for value in many if isinstance(value, str))


# --- as keys ---------------------------------------------------------------------------------------


def found(item: Item) -> Filter:
    """The records on which the item is true."""
    return _ways(item)[0]


def missed(item: Item) -> Filter:
    """The records on which the item is false."""
    return _ways(item)[1]


@lru_cache(maxsize=4096)  # item -> its filters: never stale
def _ways(item: Item) -> tuple[Filter, Filter]:
    field = item.field
    if field == CREATED_BY:
        made = _on_creator(item)
    elif field == TEAM:
        made = _on_team(item)
    elif name := field.removeprefix(PINNED) if field.startswith(PINNED) else "":
        made = _on_metadata(item, keys.pinned, name)
    elif name := field.removeprefix(CLAIMED) if field.startswith(CLAIMED) else "":
        made = _on_metadata(item, keys.claimed, name)
    elif item.operator is Operator.EXISTS:
        made = (NOTHING, EVERYTHING)  # no record has such a field
    else:
        return NOTHING, NOTHING
    negated = item.operator in _NEGATED or (item.operator is Operator.EXISTS and not item.value)
    return (made[1], made[0]) if negated else made


def _on_creator(item: Item) -> tuple[Filter, Filter]:
    if item.operator is Operator.EXISTS:
        return EVERYTHING, NOTHING
    if item.operator not in EQUALITY:
        return _perhaps(EVERYTHING)
    named = [keys.creator(value) for value in _texts(item)]
    return (all_of(has(*named)), all_of(lacks(*named))) if named else (NOTHING, NOTHING)


def _on_team(item: Item) -> tuple[Filter, Filter]:
    if item.operator is Operator.EXISTS:
        return all_of(has(keys.HAS_TEAM)), all_of(lacks(keys.HAS_TEAM))
    if item.operator not in EQUALITY:
        return _perhaps(all_of(has(keys.HAS_TEAM)))
    texts = _texts(item)
    if not texts or EVERYONE in texts:
        return NOTHING, NOTHING
    named = [keys.team(value) for value in texts]
    return all_of(has(*named)), all_of(lacks(*named))


def _on_metadata(item: Item, key: keys.Metadata, name: str) -> tuple[Filter, Filter]:
    present = has(key(name))
    if item.operator is Operator.EXISTS:
        return all_of(present), all_of(lacks(key(name)))
    if item.operator not in EQUALITY:
        return _perhaps(all_of(present))
    named = [key(name, value) for value in _texts(item)]
    if not named:
        return NOTHING, NOTHING
    # INVARIANT: presence and LACKS. LACKS alone would find records that do not have the key at all.
    return all_of(has(*named)), all_of(present, lacks(*named))


def _perhaps(where: Filter) -> tuple[Filter, Filter]:
    """True somewhere in there, false somewhere in there."""
    wide = Filter(where.arms, exact=False)
    return wide, wide
