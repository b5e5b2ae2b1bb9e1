"""The index: which rows can match, and that edits leave nothing behind."""

from __future__ import annotations

import random

import pytest

from authz.errors import InvalidRow
from authz.index import Index

PLAIN = ("team:a", "model:x/y", "model:use", "allow", "", "plain")
DENY = ("team:a", "model:x/y", "model:use", "deny", "", "deny")
WHEN = ("team:a", "model:x/y", "model:use", "allow", "c-1", "when")
OTHER = ("team:a", "model:x/y", "access:grant", "allow", "", "other")


def index(*rows: tuple[str, ...]) -> Index:
    made = Index()
    made.load(rows)
    return made


def found(
    made: Index, objects: list[str], actions: list[str], subjects: list[str]
) -> list[tuple[str, ...]]:
    return sorted(made.candidates(objects, actions, dict.fromkeys(subjects).keys()))


def test_every_kind_of_row_comes_back_as_it_went_in() -> None:
    rows = [PLAIN, DENY, WHEN, OTHER]
    for first in rows:
        made = index(first, *(r for r in rows if r is not first))
        assert sorted(made.rows()) == sorted(made.rows_at("model:x/y")) == sorted(rows)
        assert found(made, ["model:x/y"], ["model:use", "access:grant"], ["team:a"]) == sorted(rows)


def test_only_rows_of_the_question_are_candidates() -> None:
    made = index(PLAIN, OTHER, ("user:u", "any:model", "*", "deny", "", "star"))
    assert found(made, ["model:x/y"], ["model:use"], ["team:a"]) == [PLAIN]
    assert found(made, ["model:x/y", "any:model"], ["model:use", "*"], ["user:u"])[0][5] == "star"
    assert found(made, ["model:x/z"], ["model:use"], ["team:a"]) == []
    assert found(made, ["model:x/y"], ["model:use"], ["team:b"]) == []


@pytest.mark.parametrize(
    "other",
    [
        DENY,
        OTHER,
        ("team:b", *PLAIN[1:]),
        ("team:a", "model:z/z", *PLAIN[2:]),
        (*PLAIN[:5], "another id"),
        (*PLAIN[:4], "c-1", "plain"),
    ],
)
def test_a_row_that_is_not_there_cannot_go(other: tuple[str, ...]) -> None:
    made = index(PLAIN, WHEN)
    for change in (made.remove, made.staged().remove):
        with pytest.raises(InvalidRow):
            change(*other)
    assert sorted(made.rows()) == sorted([PLAIN, WHEN]) and len(made) == 2


def test_the_last_row_takes_its_object_along() -> None:
    made = index(PLAIN)
    made.remove(*PLAIN)
    assert list(made.rows()) == [] and made._shelves == {} and len(made) == 0


def test_the_same_row_twice_goes_with_the_second() -> None:
    made = index(PLAIN, PLAIN)
    made.remove(*PLAIN)
    assert list(made.rows()) == [PLAIN]


def test_a_staged_change_is_not_seen_before_it_is_committed() -> None:
    made = index(PLAIN, WHEN)
    staged = made.staged()
    staged.add(*DENY)
    staged.remove(*PLAIN)
    staged.add("user:u", "model:new/one", "model:use", "allow", "", "new")
    assert sorted(made.rows()) == sorted([PLAIN, WHEN])
    staged.commit()
    assert {r[5] for r in made.rows()} == {"deny", "when", "new"} and len(made) == 3


def test_a_staged_change_that_empties_an_object_takes_it_along() -> None:
    made = index(PLAIN)
    staged = made.staged()
    staged.remove(*PLAIN)
    staged.commit()
    assert made._shelves == {} and len(made) == 0


def test_random_edits_equal_a_fresh_index() -> None:
    rnd = random.Random(3)
    made, rows = index(), []
    for n in range(1500):
        if rows and rnd.random() < 0.48:
            row = rows.pop(rnd.randrange(len(rows)))
            change = "remove"
        else:
            row = (
                f"team:{rnd.randrange(3)}",
                f"model:{rnd.randrange(2)}",
                rnd.choice(["model:use", "*"]),
                rnd.choice(["allow", "allow", "deny"]),
                rnd.choice(["", "", "c-1"]),
                f"r{rnd.randrange(4) if rnd.random() < 0.3 else n}",
            )
            rows.append(row)
            change = "add"
        if rnd.random() < 0.3:
            staged = made.staged()
            getattr(staged, change)(*row)
            staged.commit()
        else:
            getattr(made, change)(*row)
        assert len(made) == len(rows)
    assert sorted(made.rows()) == sorted(rows)
    by_subject = sorted(r for r in rows if r[0] == "team:1")
    assert sorted(made.of_subjects({"team:1": 0}.keys())) == by_subject


def test_every_subject_comes_once_an_object() -> None:
    made = index(PLAIN, DENY, ("user:u", "any:model", "*", "deny", "", "star"))
    assert sorted(made.subjects()) == ["team:a", "user:u"]
