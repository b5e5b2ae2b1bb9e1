"""Policy for a stock Casbin: a model, a policy file that it reads, and what it cannot say in files of their own.

The rows are ours as they are; what our graphs imply without rows (`any:user`, `any:subject`, `*` for every
action) is written out, so that Casbin's own role manager reaches the same. Conditions are named in a column
and defined in `conditions.json`: Casbin asks a function `when` about them, which the reader supplies; without
one it raises, and so never allows. What else one decision of ours asks stands in the README. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
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


@dataclass(frozen=True, slots=True)
class CasbinPolicy:
    """What rows come to: the lines of the policy file, and what stands beside it."""

    lines: tuple[str, ...]  # each with its end
    conditions: str
    readme: str

    def files(self, model: str) -> dict[str, str]:
        """The files by name."""
        return {
            "README.md": self.readme,
            "model.conf": model,
            "conditions.json": self.conditions,
            "policy.csv": "".join(self.lines),
        }


def casbin_files(
    rows: Iterable[Row], model: str, *, people: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The files by name. `people` names users (`u-…`) by their e-mail, as documents do.

    Raises:
        Unwritable: a value that no cell can hold; nothing of ours has such a value.
    """
    return casbin_policy(rows, people=people).files(model)


def casbin_policy(rows: Iterable[Row], *, people: Mapping[str, str] | None = None) -> CasbinPolicy:
    """The same, before it is files. The rows may come in any order, and are read once.

    Raises:
        Unwritable.
    """
    addresses = {
        f"{Kind.USER.value}:{user_id}": f"{Kind.USER.value}:{escape(email)}"
        for user_id, email in (people or {}).items()
    }
    lines: set[str] = set()
    conditions: dict[str, list[dict[str, object]]] = {}
    aliases: dict[str, str] = {}
    bounds = False
    for item in chain(rows, _LINKS):
        if item.ptype == "c":
            conditions[item.values[0]] = _items(json.loads(item.values[1]))
        elif item.ptype == "a":
            aliases[item.values[0]] = item.values[1]
        elif item.ptype in _KINDS:
            bounds = bounds or (item.ptype == "g" and kind_of(item.values[0]) == Kind.BOUND)
            lines.add(_line(item, addresses))
            if item.ptype == "g2" and item.values[1] in _SUBJECTS:
                lines.add(_line(Row("g", item.values), addresses))
    beside = {"conditions": conditions, "aliases": aliases}
    return CasbinPolicy(
        tuple(sorted(lines, key=lambda line: (_KINDS.index(line.partition(",")[0]), line))),
        json.dumps(beside, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
        _readme(bool(conditions), bool(aliases), bounds),
    )


# Links that our graphs have without rows.
_LINKS: Final = (
    *(Row("g", (group, "any:subject")) for group in _SUBJECTS),
    *(Row("g3", (action, WILD_ACTION)) for action in ACTIONS),
)


def _line(item: Row, addresses: Mapping[str, str]) -> str:
    values = item.values
    if addresses:
        values = tuple([addresses.get(value, value) for value in values])
    for value in values:
        if value.startswith(_FORMULA) or not _BREAKS.isdisjoint(value) or value != value.strip():
            raise Unwritable(f"`{value[:80]}` cannot stand in a CSV file for Casbin")
    return ", ".join((item.ptype, *values)).rstrip() + "\n"


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
