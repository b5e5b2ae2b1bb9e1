"""The decision cases in `tests/cases/`: each ask is put to `decide`, `visible` and `explain`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from authz.conditions import Condition, Context, Item, Operator, check, encode, name_of
from authz.decision import Part
from authz.engine import Engine
from authz.explain import explain

CASES = Path(__file__).parent.parent / "cases"


@dataclass
class Case:
    """One ask with the rows that it is asked of."""

    rows: list[list[str]]
    ask: dict[str, Any]


def condition_of(items: list[list[Any]]) -> Condition:
    return Condition(
        tuple(
            Item(field, Operator(operator), tuple(value) if isinstance(value, list) else value)
            for field, operator, value in items
        )
    )


def cases() -> Iterator[Any]:
    for path in sorted(CASES.glob("*.yaml")):
        data = YAML(typ="safe").load(path.read_text())
        if "rows" not in data:
            continue  # cases on documents: policies/cases.py runs those
        named = {
            f"@{name}": condition_of(items) for name, items in data.get("conditions", {}).items()
        }
        for case in data["cases"]:
            rows = [*data["rows"], *case.get("rows", [])]
            rows = [[name_of(named[v]) if v in named else v for v in r] for r in rows]
            rows += [["c", name_of(one), encode(one)] for one in named.values()]
            for at, ask in enumerate(case["asks"]):
                yield pytest.param(Case(rows, ask), id=f"{path.stem}-{case['name']}-{at}")


@pytest.mark.parametrize("case", list(cases()))
def test_case(case: Case, engine_of: Callable[..., Engine], someone: Any) -> None:
    ask = case.ask
    engine = engine_of(case.rows)
    asker = someone(**ask["as"]) if isinstance(ask["as"], dict) else someone(ask["as"])
    values = dict(ask.get("context", {}))
    if "time.now" in values:
        values["time.now"] = datetime.fromisoformat(values["time.now"])
    context = Context(values)

    decision = engine.decide(asker, ask["action"], ask["resource"], context)
    assert (decision.effect, decision.reason) == (ask["effect"], ask["reason"])
    assert decision.rules[:1] == ((ask["rule"],) if ask["rule"] else ())
    if "rules" in ask:
        assert list(decision.rules) == ask["rules"]
    if "path" in ask:
        assert decision.path == ask["path"]
    assert decision.message == ask.get("message", decision.message if ask["rule"] else "")
    if "shadow" in ask:
        assert decision.verdicts[0].shadow == ask["shadow"]
    if "shadow_rules" in ask:
        assert list(decision.verdicts[0].shadow_rules) == ask["shadow_rules"]

    listed = engine.visible(asker, ask["action"], [ask["resource"]], context)
    if ask["action"] != "*" and not ask["action"].startswith("role:"):
        expected = ask.get("visible", ask["effect"] == "allow")
        assert listed == ((ask["resource"],) if expected else ())

    told = explain(engine, asker, ask["action"], ask["resource"], context)
    assert (told.effect, told.reason, told.message) == (
        ask["effect"],
        ask["reason"],
        decision.message,
    )
    json.dumps(told.as_json())
    if ask["rule"]:
        decisive = next(part for part in told.parts if part.decisive)
        assert ask["rule"] in [rule.rule for rule in decisive.rules]
        first = decisive.rules[0]
        if ask["reason"] != "condition_not_met":
            assert (first.rule, first.decisive, first.ignored) == (ask["rule"], True, "")
        else:
            assert first.ignored and (first.items or first.condition.endswith("0" * 20))
    if "missing" in ask:
        assert tuple(ask["missing"]) in {(m.kind, m.name, m.group) for m in told.parts[0].missing}
    if ask["effect"] == "allow" and asker.bound:
        assert Part.BOUND in [part.part for part in told.parts]


def test_the_conditions_of_the_cases_pass_the_check() -> None:
    data = YAML(typ="safe").load((CASES / "conditions.yaml").read_text())
    for items in data["conditions"].values():
        for item in condition_of(items).items:
            assert check(item, ["model:use"], "deny", None) == []
