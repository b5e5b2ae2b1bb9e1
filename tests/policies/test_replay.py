"""Recorded decisions asked again: what a change turns, and what cannot be told."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from estates import MODEL
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.chain import Link, seal
from authz.conditions import Condition, Context, Item, Operator, encode, name_of
from authz.decision import Somebody
from authz.engine import Engine
from authz.errors import InvalidRow
from authz.population import Population
from authz.recording import MAX_TEXT, decision_record
from authz.records import Closed
from authz.rows import Row, row
from policies.replay import RecordedQuestion, Replay, recorded_question, replay
from tests.authz.random_estates import ACTIONS, bound_of, random_change, random_rows

AT = datetime(2026, 1, 1, 12, 30, 15, 250, tzinfo=UTC)
ADA = "user:u-ada"
MINI = "model:acme/mini"
GRANT = row("p", "team:search", "any:model", "model:use", "allow", "", "grant")
DENY = row("p", "team:search", "any:model", "*", "deny", "", "stop")
ROWS = [row("g2", MINI, "any:model"), row("g", ADA, "team:search"), GRANT]


def conditional(effect: str, *items: Item) -> list[Row]:
    name = name_of(Condition(items))
    return [
        row("c", name, encode(Condition(items))),
        row("p", "team:search", "any:model", "model:use", effect, name, "conditional"),
    ]


ENV = Item("metadata.env", Operator.EQUAL, "dev")


def question(**fields: Any) -> RecordedQuestion:
    plain = RecordedQuestion(
        "1", AT, ADA, None, None, "model:use", MINI, {}, "allow", "allowed", ("grant",)
    )
    return replace(plain, **fields)


def run(rows: list[Row], added: list[Row], removed: list[Row], *asked: RecordedQuestion) -> Replay:
    return replay(Engine.load(MODEL, rows, 1), added, removed, asked)


def recorded(
    engine: Engine, asker: Somebody, context: Mapping[str, object] = {}, **fields: str
) -> dict[str, Any]:
    """The line of the log of one decision, as parsed."""
    action, resource = fields.get("action", "model:use"), fields.get("resource", MINI)
    decision = engine.decide(asker, action, resource, Context({"time.now": AT, **context}))
    record = decision_record(
        decision, principal=asker.id, credential="credential:k", action=action, resource=resource
    )
    us = int(AT.timestamp()) * 1_000_000 + AT.microsecond
    line, _ = seal(record, Link(), writer="w", at=us, record_id="01", salt="00")
    made: dict[str, Any] = json.loads(line)
    return made


def test_a_deny_turns_what_was_allowed() -> None:
    found = run(ROWS, [DENY], [], question())
    (flip,) = found.flips
    assert (flip.before, flip.after, flip.reason) == ("allow", "deny", "denied_by_rule")
    assert flip.rules == ("stop", "grant")
    assert (found.asked, found.unanswerable) == (1, 0)


def test_what_has_changed_since_the_record_is_not_the_work_of_the_change() -> None:
    other = row("g", "user:u-2", "team:search")
    assert run(ROWS, [other], [], question(effect="deny")) == Replay(1, (), 0)


def test_a_question_is_asked_at_its_own_time() -> None:
    until = conditional("allow", Item("time.now", Operator.LESS_THAN, "2026-06-01T00:00:00+00:00"))
    late = question(at=datetime(2026, 7, 1, tzinfo=UTC), context={"time.now": AT})
    found = run(ROWS[:2], until, [], question(effect="deny"), late)
    assert [flip.question.at for flip in found.flips] == [AT]


def test_a_new_condition_on_what_was_not_recorded_is_unanswerable() -> None:
    added = conditional("deny", ENV)
    assert run(ROWS, added, [], question()) == Replay(1, (), 1)
    known = question(context={"metadata.env": "dev"})
    assert [flip.after for flip in run(ROWS, added, [], known).flips] == ["deny"]
    assert run(ROWS, added, [], question(context={"metadata.env": "prod"})) == Replay(1, (), 0)


def test_a_condition_on_what_was_not_recorded_matters_only_when_the_answer_hangs_on_it() -> None:
    assert run([*ROWS, DENY], conditional("allow", ENV), [], question()) == Replay(1, (), 0)
    assert run(ROWS, conditional("allow", ENV), [], question()) == Replay(1, (), 0)


@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_whether_an_unrecorded_field_was_there_is_not_known_either(effect: str) -> None:
    rows = ROWS if effect == "deny" else ROWS[:2]
    for present in (True, False):
        item = Item("metadata.env", Operator.EXISTS, present)
        assert run(rows, conditional(effect, item), [], question()).unanswerable == 1


def test_a_field_that_a_condition_looked_for_in_vain_was_not_there() -> None:
    added = conditional("deny", Item("metadata.env", Operator.EXISTS, False))
    standing = conditional("allow", ENV)
    seen = question(conditions={standing[0].values[0]: "unknown"})
    found = run([*ROWS, *standing], added, [], seen)
    assert [flip.after for flip in found.flips] == ["deny"]
    erased = replace(seen, erased=frozenset({"metadata.env"}))
    assert run([*ROWS, *standing], added, [], erased).unanswerable == 1
    stopped = question(conditions={standing[0].values[0]: "false"})
    assert run([*ROWS, *standing], added, [], stopped).unanswerable == 1


JOB = Item("metadata.job", Operator.EQUAL, "batch")


@pytest.mark.parametrize(
    ("items", "context", "told"),
    [
        ((Item("metadata.env", Operator.EXISTS, True),), {}, True),  # false, so it was absent
        (
            (ENV, JOB),
            {"metadata.job": "day"},
            True,
        ),  # looked at, not recorded, and the next was false
        ((JOB, ENV), {"metadata.job": "day"}, False),  # false before it came to it
        (
            (JOB, ENV),
            {"metadata.job": "batch"},
            False,
        ),  # the record and the definition do not agree
    ],
)
def test_a_false_condition_tells_what_was_absent_before_it_was_false(
    items: tuple[Item, ...], context: dict[str, object], told: bool
) -> None:
    added = conditional("deny", Item("metadata.env", Operator.EXISTS, False))
    standing = conditional("allow", *items)
    seen = question(conditions={standing[0].values[0]: "false"}, context=context)
    found = run([*ROWS, *standing], added, [], seen)
    assert found.unanswerable == (not told)
    assert [flip.after for flip in found.flips] == ["deny"] * told
    hidden = replace(seen, erased=frozenset({"metadata.env", "metadata.job"}), context={})
    assert run([*ROWS, *standing], added, [], hidden).unanswerable == 1


def test_an_open_field_behind_another_is_found() -> None:
    added = conditional("deny", ENV, Item("metadata.job", Operator.EQUAL, "batch"))
    assert run(ROWS, added, [], question()).unanswerable == 1
    half = question(context={"metadata.env": "dev"})
    assert run(ROWS, added, [], half).unanswerable == 1


def test_the_bound_of_an_account_is_that_of_before_and_after_where_it_is_given() -> None:
    rows = [*ROWS, row("p", "virtualaccount:bot", MINI, "model:use", "allow", "", "own")]
    engine = Engine.load(MODEL, rows, 1)
    bot = question(principal="virtualaccount:bot")
    assert replay(engine, [], [], [bot]).flips == ()
    found = replay(
        engine, [], [], [bot], bound_of=lambda name: None, bound_after=lambda name: "bound:ads"
    )
    assert [(flip.after, flip.reason) for flip in found.flips] == [("deny", "outside_bound")]


def test_a_restricted_token_still_restricts_when_its_record_came_to_no_question_of_it() -> None:
    restriction = row("p", "token:k", "any:team", "team:read", "allow", "", "k")
    refused = question(effect="deny", reason="no_grant", credential="k")
    assert run([*ROWS[:2], restriction], [GRANT], [], refused).flips == ()
    assert len(run(ROWS[:2], [GRANT], [], refused).flips) == 1


def test_the_engine_is_back_where_it_was_whatever_happens() -> None:
    engine = Engine.load(MODEL, ROWS, 1)
    at = engine.epoch, engine.digest
    replay(engine, [DENY], [GRANT], [question()])
    assert (engine.epoch, engine.digest) == at
    with pytest.raises(InvalidRow):
        replay(engine, [], [DENY], [question()])
    assert (engine.epoch, engine.digest) == at


def test_a_line_of_the_log_is_read_as_the_question_that_it_records() -> None:
    rows = [*ROWS, *conditional("allow", ENV)]
    engine = Engine.load(MODEL, rows, 1)
    line = recorded(engine, Somebody(ADA, "bound:x", "token:k"), {"metadata.env": "prod"})
    found = recorded_question(line)
    assert found is not None
    assert (found.id, found.at, found.principal) == ("01", AT, ADA)
    assert (found.bound, found.token) == ("bound:x", None)  # the bound refused: no token was asked
    assert (found.effect, found.reason) == ("deny", "outside_bound")
    assert found.context == {"metadata.env": "prod"}
    assert found.conditions == {rows[-1].values[4]: "false"}
    assert found.erased == frozenset()
    del line["aside"]
    erased = recorded_question(line)
    assert erased is not None
    assert (erased.context, erased.erased) == ({}, frozenset({"metadata.env"}))


def test_a_text_that_was_cut_is_not_taken_for_the_whole() -> None:
    rows = [*ROWS, *conditional("allow", ENV)]
    line = recorded(
        Engine.load(MODEL, rows, 1), Somebody(ADA), {"metadata.env": "d" * (MAX_TEXT + 9)}
    )
    found = recorded_question(line)
    assert found is not None
    assert (found.context, found.erased) == ({}, frozenset({"metadata.env"}))


def test_other_lines_hold_no_question() -> None:
    engine = Engine.load(MODEL, ROWS, 1)
    line = recorded(engine, Somebody(ADA))
    assert recorded_question({**line, "body": {**line["body"], "count": 3}}) is None
    assert recorded_question({**line, "body": {**line["body"], "action": "nothing:known"}}) is None
    closed, _ = seal(Closed(), Link(), writer="w", at=1, record_id="02")
    assert recorded_question(json.loads(closed)) is None
    assert recorded_question({}) is None
    gone = recorded(engine, Somebody(ADA), resource="model:acme/none")
    named = recorded_question(gone)
    assert named is not None
    assert named.resource == "model:acme/none"
    del gone["aside"]
    assert recorded_question(gone) is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_a_replay_says_what_the_same_request_would_be_answered(seed: int) -> None:
    """Recorded with one policy, replayed over a change of it: whatever is answered is right."""
    rnd = random.Random(seed)
    rows = random_rows(rnd)
    added, removed = random_change(rnd, rows)
    before = Engine.load(MODEL, rows, 1)
    after = Engine.load(MODEL, sorted((set(rows) - set(removed)) | set(added)), 2)
    expected: dict[str, tuple[bool, bool]] = {}
    questions: list[RecordedQuestion] = []
    for number, name in enumerate(sorted(Population(before).known()) * 3):
        things = before.resources_of("model:")
        if not things:
            return
        asker = Somebody(name, bound_of(name))
        stream = rnd.choice([{}, {"body.stream": True}, {"body.stream": False}])
        fields = {"action": rnd.choice(ACTIONS), "resource": rnd.choice(things)}
        found = recorded_question(recorded(before, asker, stream, **fields))
        assert found is not None
        questions.append(replace(found, id=str(number)))
        context = Context({"time.now": AT, **stream})
        expected[str(number)] = (
            bool(before.decide(asker, fields["action"], fields["resource"], context)),
            bool(after.decide(asker, fields["action"], fields["resource"], context)),
        )
    told = replay(before, added, removed, questions, bound_of=bound_of)
    turned = {key for key, (was, will) in expected.items() if was != will}
    assert told.asked == len(questions)
    for flip in told.flips:
        assert (flip.before == "allow", flip.after == "allow") == expected[flip.question.id]
    assert len(turned) - told.unanswerable <= len(told.flips) <= len(turned)
