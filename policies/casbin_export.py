"""Policy for a stock Casbin: a model, a policy file that it reads, and what it cannot say in files of their own.

The rows are ours as they are; what our graphs imply without rows (`any:user`, `any:subject`, `*` for every
action) is written out, so that Casbin's own role manager reaches the same. Conditions are named in a column
and defined in `conditions.json`: Casbin asks a function `when` about them, which the reader supplies; without
one it raises, and so never allows. What else one decision of ours asks stands in the README. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from authz.rows import Row
from authz.vocabulary import ACTIONS, WILD_ACTION, Kind, escape, kind_of
from policies.errors import PolicyError

_KINDS: Final = ("p", "p2", "g", "g2", "g3")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_BREAKS: Final = frozenset(',"[]()\n\r')  # what Casbin's readers take for something else
_SUBJECTS: Final = ("any:user", "any:virtualaccount")


class Unwritable(PolicyError):
    """A value cannot stand in a cell that a stock Casbin, or a spreadsheet, would read as it is."""

    code = "unwritable"


def casbin_files(
    rows: Iterable[Row], model: str, *, people: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The files by name. `people` names users (`u-…`) by their e-mail, as documents do.

    Raises:
        Unwritable: a value that no cell can hold; nothing of ours has such a value.
    """
    found = sorted(set(rows))
    addresses = {
        f"{Kind.USER.value}:{user_id}": f"{Kind.USER.value}:{escape(email)}"
        for user_id, email in (people or {}).items()
    }
    lines = [_line(item, addresses) for item in (*found, *_implied(found)) if item.ptype in _KINDS]
    lines.sort(key=lambda line: (_KINDS.index(line.partition(",")[0]), line))
    conditions = {r.values[0]: json.loads(r.values[1]) for r in found if r.ptype == "c"}
    aliases = {r.values[0]: r.values[1] for r in found if r.ptype == "a"}
    bounds = any(kind_of(r.values[0]) == Kind.BOUND for r in found if r.ptype == "g")
    return {
        "model.conf": model,
        "policy.csv": "".join(f"{line}\n" for line in dict.fromkeys(lines)),
        "conditions.json": json.dumps(
            {"conditions": {name: _items(body) for name, body in conditions.items()}, "aliases": aliases},
            indent=2,
            sort_keys=True,
            ensure_ascii=False,
        )
        + "\n",
        "README.md": _readme(bool(conditions), bool(aliases), bounds),
    }  # fmt: skip


def _implied(rows: Iterable[Row]) -> Iterator[Row]:
    """Links that our graphs have without rows."""
    for item in rows:
        if item.ptype == "g2" and item.values[1] in _SUBJECTS:
            yield Row("g", item.values)
    for group in _SUBJECTS:
        yield Row("g", (group, "any:subject"))
    for action in ACTIONS:
        yield Row("g3", (action, WILD_ACTION))


def _line(item: Row, addresses: Mapping[str, str]) -> str:
    values = list(item.values)
    if addresses:
        values = [addresses.get(value, value) for value in values]
    for value in values:
        if value.startswith(_FORMULA) or not _BREAKS.isdisjoint(value) or value != value.strip():
            raise Unwritable(f"`{value[:80]}` cannot stand in a CSV file for Casbin")
    return ", ".join((item.ptype, *values)).rstrip()


def _items(body: object) -> list[dict[str, object]]:
    assert isinstance(body, list)
    return [{"field": name, "operator": op, "value": value} for name, op, value in body]


_README = """\
# Policy for Casbin

`model.conf` and `policy.csv` are for any stock Casbin. With pycasbin:

```python
import casbin

enforcer = casbin.Enforcer("model.conf", "policy.csv")
enforcer.add_function("when", lambda name, effect, context: effect == "deny")
enforcer.enforce("{subject}", "model:acme/mini", "model:use", {{}})
```

- Subject, object and action are the ids that `gatewarden explain` shows.
- `p` rows decide: a deny beats every allow. `p2` rows are in shadow and decide nothing.
- `g` are groups of subjects, `g2` of objects, `g3` of actions. `any:user`, `any:virtualaccount` and `*` stand
  here as rows; for a subject that is new here, add `g, <subject>, any:user` or `g, <subject>, any:virtualaccount`.
"""
_CONDITIONS = """\
- The fifth value of a `p` row names a condition in `conditions.json`: all of its tests must hold. The function
  above takes every condition for unknown, which is no on an allow and yes on a deny. Supply your own to
  evaluate them. Without any function Casbin raises where it meets a condition.
"""
_ALIASES = """\
- `aliases` in `conditions.json` name what a virtual model stands for. Ask about the target too: a deny there
  refuses, an allow is not needed.
"""
_BOUNDS = """\
- A virtual account that its team bounds may do what it and `bound:<team>` may do: ask both.
"""


def _readme(conditions: bool, aliases: bool, bounds: bool) -> str:
    parts = (
        _README.format(subject="user:alice@example.com"),
        _CONDITIONS if conditions else "",
        _ALIASES if aliases else "",
        _BOUNDS if bounds else "",
    )
    return "".join(parts)
