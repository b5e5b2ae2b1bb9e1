"""What is exported for Casbin, a stock enforcer decides as ours does, on policy without conditions."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import casbin
import pytest
from estates import MODEL, House, account, policy, role, team, user, virtual

from authz.conditions import Context
from authz.engine import Engine
from authz.rows import Row, row
from authz.vocabulary import ACTIONS
from policies.casbin_export import Unwritable, casbin_files
from policies.documents import Document, parse
from policies.loader import load_paths, load_text, shipped

ROOT = Path(__file__).parents[2]


class Asker(NamedTuple):
    id: str
    bound: str | None = None
    token: str | None = None


def stock(folder: Path, rows: Iterable[Row], **options: object) -> casbin.Enforcer:
    """A Casbin as anybody has it, of the files alone."""
    for name, text in casbin_files(rows, MODEL, **options).items():  # type: ignore[arg-type]
        (folder / name).write_text(text, "utf-8")
    return casbin.Enforcer(str(folder / "model.conf"), str(folder / "policy.csv"))


def without_conditions(rows: Iterable[Row]) -> list[Row]:
    return [each for each in rows if each.ptype not in ("p", "p2") or not each.values[4]]


def things(rows: Iterable[Row], prefixes: tuple[str, ...]) -> list[str]:
    found = {value for each in rows if each.ptype in ("g", "g2") for value in each.values}
    return sorted(value for value in found if value.startswith(prefixes))


def disagreements(folder: Path, rows: list[Row]) -> tuple[int, list[tuple[str, str, str]]]:
    """How many questions were asked (every subject, resource and action), and those answered differently.

    Stock Casbin takes milliseconds a question, so rows of one action at a time are what it holds.
    """
    ours = Engine.load(MODEL, rows, 1)
    whole = stock(folder, rows)
    model = whole.model["p"]["p"]
    every = list(model.policy)
    subjects = things(rows, ("user:", "virtualaccount:"))
    resources = [each for each in things(rows, _KINDS) if ours.knows(each)]
    different, asked = [], 0
    for action in sorted(ACTIONS):
        links = whole.model["g"]["g3"].rm
        model.policy = [values for values in every if links.has_link(action, values[2])]
        for subject in subjects:
            for resource in resources:
                asked += 1
                theirs = bool(model.policy) and whole.enforce(subject, resource, action, {})
                mine = ours.decide(Asker(subject), action, resource, Context())
                if theirs != (mine.effect == "allow"):
                    different.append((subject, resource, action))
    return asked, different


_KINDS = (
    "model:",
    "provider-account:",
    "team:",
    "policy:",
    "role:",
    "self:",
    "settings:",
    "user:",
    "data:",
)


def test_stock_casbin_agrees_on_the_demo_estate(tmp_path: Path) -> None:
    house = House(*load_paths([ROOT / "conf/examples"]).plain())
    asked, different = disagreements(tmp_path, without_conditions(house.estate.rows()))
    assert asked > 5_000
    assert different == []
    allowed = stock(tmp_path, without_conditions(house.estate.rows()))
    assert allowed.enforce("virtualaccount:checkout", "model:echo/small", "model:use", {})


def random_estate(seed: int) -> list[Document]:
    chance = random.Random(seed)
    people = [f"p{n}@example.com" for n in range(4)]
    teams = ["t0", "t1"]
    subjects = [*(f"user:{p}" for p in people), *(f"team:{t}" for t in teams), "virtualaccount:v"]
    groups = ["any:user", "any:virtualaccount", "any:subject", "team:everyone", "role:lead"]
    made: list[Document] = [
        *(user(p, roles=chance.sample(["lead", "auditor"], chance.randint(0, 1))) for p in people),
        *(team(t, *chance.sample(people, chance.randint(0, 3)), managers=[people[0]]) for t in teams),
        role("lead", "team:read"),
        virtual("v", "a0=provider-account-access"),
    ]  # fmt: skip
    for name in ("a0", "a1"):
        grants = [
            f"{subject}={chance.choice(['provider-account-access', 'provider-account-manager'])}"
            for subject in chance.sample(subjects, chance.randint(0, 2))
        ]
        made.append(account(name, *grants, models=("m0", "m1")))
    rules = []
    for _ in range(chance.randint(1, 5)):
        effect = chance.choice(["allow", "deny"])
        rules.append(
            {
                "effect": effect,
                "subjects": chance.sample(subjects + groups, chance.randint(1, 2)),
                "actions": ["*"] if effect == "deny" and chance.random() < 0.5 else ["model:use"],
                "resources": chance.sample(
                    [
                        "model:a0/m0",
                        "model:a0/*",
                        "provider-account:a1",
                        "any:model",
                        "resource-group:g",
                    ],
                    chance.randint(1, 2),
                ),
                "mode": chance.choice(["enforce", "enforce", "shadow"]),
            }
        )
    made.append(policy("house", *rules))
    made.append(parse({"type": "resource-group", "name": "g", "resources": ["model:a1/m1"]}))
    return made


@pytest.mark.parametrize("seed", range(6))
def test_stock_casbin_agrees_on_random_estates(tmp_path: Path, seed: int) -> None:
    house = House(*random_estate(seed))
    asked, different = disagreements(tmp_path, without_conditions(house.estate.rows()))
    assert asked > 1_000
    assert different == []


def test_a_condition_is_never_taken_for_met_by_a_casbin_that_cannot_ask(tmp_path: Path) -> None:
    house = House(*load_paths([ROOT / "conf/examples"]).plain())
    alice = house.estate.emails["alice@example.com"]
    enforcer = stock(tmp_path, house.estate.rows())
    question = (f"user:{alice}", "model:echo/large", "model:use", {})
    with pytest.raises(Exception, match="when"):
        enforcer.enforce(*question)
    enforcer.add_function("when", lambda name, effect, context: effect == "deny")
    assert enforcer.enforce(*question) is False
    (body,) = (
        each
        for each in json.loads((tmp_path / "conditions.json").read_text())["conditions"].values()
        if each[0]["field"] == "body.max_tokens"
    )
    assert body[1] == {"field": "body.max_tokens", "operator": "GREATER_THAN", "value": 1000}


def test_people_may_be_named_by_their_address(tmp_path: Path) -> None:
    house = House(*load_paths([ROOT / "conf/examples"]).plain())
    people = {key: person.email for key, person in house.estate.people.items()}
    enforcer = stock(tmp_path, without_conditions(house.estate.rows()), people=people)
    assert enforcer.enforce("user:alice@example.com", "model:echo/small", "model:use", {})
    assert not enforcer.enforce("user:carol@example.com", "model:echo/small", "model:use", {})


def test_the_readme_says_what_else_is_to_be_asked() -> None:
    alias = [row("a", "model:v/x", "model:a/m"), row("g", "bound:t", "team:t")]
    text = casbin_files(alias, MODEL)["README.md"]
    assert "aliases" in text and "bound:<team>" in text and "conditions.json` name" in text
    assert "fifth value" not in text
    assert "bound:<team>" not in casbin_files([], MODEL)["README.md"]


@pytest.mark.parametrize("name", ["=cmd", "+1", "-1", "@SUM(A1)", "a,b", 'a"b', "a\nb", " a"])
def test_no_cell_can_be_a_formula_or_break_a_line(name: str) -> None:
    with pytest.raises(Unwritable):
        casbin_files([Row("g", (name, "team:a"))], MODEL)


def test_every_cell_of_a_hostile_estate_starts_with_a_kind_or_an_action() -> None:
    odd = "=cmd!'a+b@example.com"
    house = House(user(odd), team("t", odd), account("a", "team:t=provider-account-access"))
    people = {key: person.email for key, person in house.estate.people.items()}
    text = casbin_files(house.estate.rows(), MODEL, people=people)["policy.csv"]
    cells = {cell.strip() for line in csv.reader(text.splitlines()) for cell in line}
    assert any("cmd" in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_the_policy_rules_of_an_export_read_back_as_rules() -> None:
    ours = policy(
        "house", {"effect": "deny", "subjects": ["any:user"], "resources": ["model:a/mini"]}
    )
    house = House(account("a"), ours)
    lines = casbin_files(house.estate.rows(), MODEL)["policy.csv"].splitlines()
    (line,) = (each for each in lines if each.startswith("p, any:user, model:"))
    assert line == "p, any:user, model:a/mini, model:use, deny, , policy/house#r0"
    loaded = load_text(line.replace(", , policy/house#r0", "") + "\n", "house.csv")
    assert loaded.ok and len(loaded.documents) == 1
    assert len(shipped()) > 1
