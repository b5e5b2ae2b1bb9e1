"""Who there is, and who is below a group."""

from __future__ import annotations

from collections.abc import Callable

from authz.engine import Engine
from authz.population import Population, is_person

ROWS = [
    ["g", "user:u-1", "team:search"],
    ["g", "team:search", "team:all"],
    ["g", "bound:search", "team:search"],
    ["g", "any:virtualaccount", "team:bots"],
    ["g2", "virtualaccount:v", "any:virtualaccount"],
    ["g2", "user:u-gone", "any:user"],
    ["p", "user:u-2", "any:user", "user:read", "allow", "", "r"],
]


def below(engine: Engine, *groups: str) -> list[str]:
    return sorted(name for name in Population(engine).below(groups) if name is not None)


def test_people_are_known_by_a_row_as_subjects_and_accounts_by_the_catalogue_too(
    engine_of: Callable[..., Engine],
) -> None:
    known = Population(engine_of(ROWS)).known()
    assert known == {"user:u-1", "user:u-2", "virtualaccount:v"}


def test_below_a_group_are_its_members_through_any_chain_and_through_their_kind(
    engine_of: Callable[..., Engine],
) -> None:
    engine = engine_of(ROWS)
    assert below(engine, "team:all", "team:search") == ["user:u-1"]
    assert below(engine, "team:bots") == ["virtualaccount:v"]
    assert below(engine, "any:user") == ["user:u-1", "user:u-2"]
    assert below(engine, "any:subject", "user:u-9") == [
        *("user:u-1", "user:u-2", "user:u-9", "virtualaccount:v"),
    ]
    assert below(engine, "team:none") == []


def test_a_bound_is_nobody() -> None:
    assert not is_person("bound:search")
