"""An excerpt answers as the engine does once the change is applied."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from authz.conditions import Context
from authz.decision import Decision, Somebody
from authz.engine import Engine
from authz.excerpt import ChangedRows, Excerpt
from authz.rows import Row, row
from tests.authz.random_estates import (
    ACCOUNTS,
    ACTIONS,
    GROUPS,
    MODELS,
    TEAMS,
    USERS,
    bound_of,
    random_change,
    random_rows,
)

CONTEXT = Context({"time.now": datetime(2026, 11, 25, tzinfo=UTC)})


def said(decision: Decision) -> Decision:
    """All of it but the digest, which is that of all rows."""
    return decision._replace(digest="")


@given(seed=st.integers(0, 1 << 32))
def test_it_answers_as_the_engine_will(model_text: str, seed: int) -> None:
    rnd = random.Random(seed)
    rows = [*random_rows(rnd), row("m", "rule-1", "before")]
    rules = [one for one in rows if one.ptype == "p"]
    rows += [Row("p2", one.values) for one in rules[:2]]
    rows += [row("m", one.values[5], f"why {one.values[5]}") for one in rules[:9:2]]
    rows = sorted(set(rows))
    added, removed = random_change(rnd, rows)
    engine = Engine.load(model_text, rows, 1)
    before = engine.digest
    excerpt = Excerpt(engine, ChangedRows(added, removed), model_text)
    after = Engine.load(model_text, sorted({*rows, *added} - {*removed}), 1)
    for subject in rnd.sample([*USERS, *ACCOUNTS, *TEAMS], 9):
        asker = Somebody(subject, bound_of(subject))
        assert sorted(excerpt.groups_of(subject)) == sorted(after.groups_of(subject))
        for thing in [*MODELS, *GROUPS]:
            for action in ACTIONS:
                found = excerpt.decide(asker, action, thing, CONTEXT)
                assert said(found) == said(after.decide(asker, action, thing, CONTEXT))
    assert engine.digest == before


def many(count: int) -> list[Row]:
    return [row("g", f"user:u-{n}", "team:everyone") for n in range(count)]


def test_it_takes_of_a_large_change_only_what_matters(model_text: str) -> None:
    rows = [
        *many(5_000),
        row("g2", "any:policy", "any:object"),
        row("g3", "policy:write", "role:admin"),
        row("p", "team:everyone", "any:object", "role:admin", "allow", "", "r"),
    ]
    engine = Engine.load(model_text, rows, 1)
    changed = ChangedRows([row("g2", "user:u-new", "any:user")], many(4_999))
    assert changed.removes and not changed.denies
    excerpt = Excerpt(engine, changed, model_text)
    assert list(changed.places("g2")) == ["user:u-new"]
    assert not excerpt.decide(Somebody("user:u-1"), "policy:write", "any:policy", CONTEXT)
    assert excerpt.decide(Somebody("user:u-4999"), "policy:write", "any:policy", CONTEXT)
    assert excerpt.enforcer.subjects.parents("user:u-4998") == ()
    assert engine.groups_of("user:u-1") == ("team:everyone",)


def test_a_thing_that_is_only_a_group_stays_known_while_something_is_in_it(model_text: str) -> None:
    link, other = row("g2", "model:a/x", "any:model"), row("g2", "model:a/y", "any:model")
    rows = [link, row("p", "user:u-1", "any:model", "model:use", "allow", "", "r")]
    engine = Engine.load(model_text, rows, 1)
    ann = Somebody("user:u-1")
    for added, removed, known in (([], [link], False), ([other], [link], True), ([], [], True)):
        excerpt = Excerpt(engine, ChangedRows(added, removed), model_text)
        assert bool(excerpt.decide(ann, "model:use", "any:model", CONTEXT)) is known
