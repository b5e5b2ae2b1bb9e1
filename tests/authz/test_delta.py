"""Changes: all or nothing, in one step or built aside, with the digest of what is held."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from authz.conditions import Condition, Context, Item, Operator, encode, name_of
from authz.engine import Engine
from authz.errors import AuthzError, InvalidCondition, InvalidRow
from authz.rows import Row, digest_after, digest_text, row

CONDITION = Condition((Item("time.hour", Operator.LESS_THAN, 12),))
NAME = name_of(CONDITION)
ROWS = [
    row("g", "user:u-1", "team:ml"),
    row("g2", "model:a/b", "any:model"),
    row("g3", "model:use", "role:access"),
    row("a", "model:v/w", "model:a/b"),
    row("c", NAME, encode(CONDITION)),
    row("m", "rule", "a message"),
    row("p", "team:ml", "any:model", "role:access", "allow", "", "rule"),
    row("p2", "team:ml", "any:model", "*", "deny", NAME, "trial"),
]
NEW = [
    row("g", "user:u-2", "team:ml"),
    row("g2", "model:a/c", "any:model"),
    row("g3", "access:grant", "role:access"),
    row("a", "model:v/x", "model:a/c"),
    row("m", "rule-2", "another"),
    row("p", "team:ml", "any:model", "model:use", "deny", NAME, "rule-2"),
    row("p2", "user:u-2", "model:a/c", "model:use", "allow", "", "trial-2"),
]
Apply = Callable[[Engine, Iterable[Row], Iterable[Row], int], None]


def at_once(engine: Engine, added: Iterable[Row], removed: Iterable[Row], epoch: int) -> None:
    engine.apply(added, removed, epoch)


def in_steps(engine: Engine, added: Iterable[Row], removed: Iterable[Row], epoch: int) -> None:
    for _ in engine.apply_in_steps(added, removed, epoch, step=2):
        pass


both_ways = pytest.mark.parametrize("apply", [at_once, in_steps])


def state(engine: Engine) -> tuple[object, ...]:
    """Everything that rows made."""
    enforcer, delta = engine.enforcer, engine._delta
    return (
        engine.epoch,
        engine.digest,
        *(sorted(g.links()) for g in (enforcer.subjects, enforcer.objects, enforcer.actions)),
        sorted(enforcer.index.rows()),
        sorted(enforcer.shadow.rows()),
        dict(enforcer.conditions._times),
        dict(delta.aliases._values),
        dict(delta.messages._values),
    )


@pytest.fixture
def engine(model_text: str) -> Engine:
    return Engine.load(model_text, ROWS, 1)


@both_ways
def test_a_delta_equals_a_load(model_text: str, engine: Engine, apply: Apply) -> None:
    apply(engine, NEW, ROWS[:2], 2)
    assert state(engine) == state(Engine.load(model_text, [*ROWS[2:], *NEW], 2))
    assert engine.digest == digest_text(digest_after(0, [*ROWS[2:], *NEW], ()))


@both_ways
def test_a_delta_and_its_reverse_leave_nothing(
    model_text: str, engine: Engine, apply: Apply
) -> None:
    apply(engine, NEW, ROWS, 2)
    apply(engine, ROWS, NEW, 1)
    assert state(engine) == state(Engine.load(model_text, ROWS, 1))
    apply(engine, [], ROWS, 2)
    assert state(engine) == state(Engine.load(model_text, [], 2))


@both_ways
@pytest.mark.parametrize(
    "bad",
    [
        Row("p", ("too", "few")),
        Row("q", ("a", "b")),
        Row("c", ("c-1", "not json")),
        Row("g", ("a", "b", "c")),
    ],
)
def test_a_row_that_cannot_be_taken_changes_nothing(engine: Engine, apply: Apply, bad: Row) -> None:
    before = state(engine)
    with pytest.raises((InvalidRow, InvalidCondition)):
        apply(engine, [*NEW, bad], ROWS[:3], 2)
    assert state(engine) == before
    apply(engine, NEW, [], 2)  # and it still moves


@both_ways
@pytest.mark.parametrize("absent", NEW, ids=lambda r: r.ptype)
def test_a_removed_row_that_is_not_there_changes_nothing(
    engine: Engine, apply: Apply, absent: Row
) -> None:
    before = state(engine)
    with pytest.raises(InvalidRow):
        apply(engine, [], [*ROWS, absent], 2)
    assert state(engine) == before


def test_questions_are_answered_at_the_old_epoch_until_the_swap(
    engine: Engine, someone: Any
) -> None:
    seen = []
    for _ in engine.apply_in_steps(NEW, [], 2, step=1):
        decision = engine.decide(someone("user:u-2"), "model:use", "model:a/b", Context())
        seen.append((decision.epoch, bool(decision)))
    assert seen[: len(NEW)] == [(1, False)] * len(NEW)
    assert {epoch for epoch, _ in seen[len(NEW) :]} <= {2}
    assert engine.decide(someone("user:u-2"), "access:grant", "model:a/b", Context()).epoch == 2


def test_a_change_waits_for_the_one_being_built(engine: Engine) -> None:
    steps = engine.apply_in_steps(NEW, [], 2, step=1)
    next(steps)
    with pytest.raises(AuthzError):
        engine.apply([], [], 3)
    with pytest.raises(AuthzError):
        next(engine.apply_in_steps([], [], 3))
    steps.close()
    assert engine.epoch == 1
    engine.apply(NEW, [], 2)


def users(count: int, first: int = 0) -> list[Row]:
    return [
        row("p", f"user:u-{n}", "any:model", "model:use", "allow", "", f"r{n}")
        for n in range(first, first + count)
    ]


def test_what_was_replaced_is_let_go_of_in_steps(model_text: str) -> None:
    engine = Engine.load(model_text, users(1000), 1)
    added = users(100, 1000)
    epochs = [engine.epoch for _ in engine.apply_in_steps(added, [], 2, step=100)]
    assert epochs.count(2) >= 10
    assert len(list(engine.enforcer.index.rows())) == 1100


def test_copying_a_popular_object_fills_a_step(model_text: str) -> None:
    engine = Engine.load(model_text, users(8100), 1)
    rows = iter(users(2000, 8100))
    taken = 0

    def added() -> Iterator[Row]:
        nonlocal taken
        for one in rows:
            taken += 1
            yield one

    pauses = []
    for _ in engine.apply_in_steps(added(), [], 2, step=20):
        pauses.append(taken)
        if engine.epoch == 2:
            break
    steps = [after - before for before, after in itertools.pairwise(pauses)]
    assert min(steps[:-1]) < 20, "the step that copied 8,000 entries took fewer rows"


def test_random_deltas_equal_a_load(model_text: str) -> None:
    rnd = random.Random(11)
    pool = [*ROWS, *NEW] + [
        row("p", f"user:u-{n % 7}", f"model:a/{n % 3}", "model:use", "allow", "", f"r{n}")
        for n in range(60)
    ]
    engine, held = Engine.load(model_text, [], 0), []
    for epoch in range(1, 120):
        removed = rnd.sample(held, rnd.randrange(min(len(held), 6) + 1))
        for one in removed:
            held.remove(one)
        added = rnd.sample(pool, rnd.randrange(6))
        held += added
        rnd.choice([at_once, in_steps])(engine, added, removed, epoch)
        # The same condition or message from two rows goes with the second.
        fresh = Engine.load(model_text, held, epoch)
        left, right = list(state(engine)), list(state(fresh))
        for at in (-1, -2):
            left[at], right[at] = (
                {k: sorted(v) for k, v in side[at].items()} for side in (left, right)
            )
        assert left == right


def test_a_load_of_a_wrong_row_fails(model_text: str) -> None:
    with pytest.raises(InvalidRow):
        Engine.load(model_text, [Row("p", ("a",))], 1)
    with pytest.raises(InvalidCondition):
        Engine.load(model_text, [Row("c", ("c-1", "{}"))], 1)
