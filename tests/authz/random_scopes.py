"""Random data access rules, readers and records, for properties of scopes and of the stores that run them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import strategies as st

import conf
from authz.conditions import Condition, Context, Item, Operator, encode, name_of
from authz.decision import Somebody
from authz.engine import Engine
from authz.keys import Stamp
from authz.record_items import TEAM
from authz.rows import Row, row
from authz.scopes import DataType, Relation

MODEL = (Path(conf.__file__).parent / "model.conf").read_text()
NOW = Context({"time.now": datetime(2026, 11, 25, tzinfo=UTC), "client.ip": "10.0.0.1"})
LINKS = [
    row("g2", f"data:{kind}/{low}", f"data:{kind}/{high}")
    for kind in DataType
    for low, high in (("team-accounts", "team"), ("team", "all"), ("own", "all"))
]
DANA, EMIL = "user:u-dana", "user:u-emil"
BOT, OTHER_BOT = "virtualaccount:bot", "virtualaccount:other"
SUPPORT, LEGAL, SEARCH = "team:support", "team:legal", "team:search"


def rule(
    subject: str, relation: str, *items: Item, effect: str = "allow", data: str = "traces"
) -> list[Row]:
    """A rule on one relation, with its condition."""
    condition = Condition(items)
    name = name_of(condition) if items else ""
    made = row("p", subject, f"data:{data}/{relation}", "data:read", effect, name, f"r/{name}")
    return [made, *([row("c", name, encode(condition))] if items else [])]


def engine(*rows: Row | list[Row]) -> Engine:
    flat = [each for one in rows for each in (one if isinstance(one, list) else [one])]
    return Engine.load(MODEL, [*LINKS, *flat], 1)


TEAMS = [SUPPORT, LEGAL, SEARCH]
PEOPLE = [DANA, EMIL, BOT, OTHER_BOT]
VALUES = ["emea", "apac", "na"]
exact_items = st.one_of(
    st.builds(
        Item,
        st.sampled_from(["record.metadata.region", "record.metadata.env", "record.claimed.region"]),
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.lists(st.sampled_from(VALUES), min_size=1, max_size=2).map(tuple),
    ),
    st.builds(
        Item,
        st.sampled_from(["record.metadata.region", "record.created_by", "record.nonsense"]),
        st.sampled_from([Operator.EQUAL, Operator.NOT_EQUAL]),
        st.sampled_from([*VALUES, *PEOPLE]),
    ),
    st.builds(
        Item,
        st.sampled_from(["record.metadata.region", "record.nonsense"]),
        st.just(Operator.EXISTS),
        st.booleans(),
    ),
    st.builds(
        Item,
        st.just("record.created_by"),
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=2).map(tuple),
    ),
    st.builds(
        Item,
        st.just(TEAM),
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.lists(st.sampled_from(TEAMS), min_size=1, max_size=2).map(tuple),
    ),
    # Not of the record: met, not met, unknown.
    st.builds(Item, st.just("client.ip"), st.just(Operator.IN_NETWORK), st.sampled_from([("10.0.0.0/8",), ("11.0.0.0/8",)])),
    st.just(Item("header.x", Operator.EQUAL, "y")),
)  # fmt: skip
wide_items = st.one_of(
    exact_items,
    st.builds(
        Item,
        st.sampled_from(["record.metadata.region", "record.created_by", TEAM]),
        st.sampled_from([Operator.STRING_STARTS_WITH, Operator.STRING_CONTAINS]),
        st.sampled_from(["em", "user:", "team:s", "a"]),
    ),
)
pairs = st.dictionaries(st.sampled_from(["region", "env"]), st.sampled_from(VALUES), max_size=2)


def stamps(most_teams: int) -> st.SearchStrategy[Stamp]:
    return st.builds(
        lambda who, owner, teams, pinned, claimed: Stamp(
            who, owner if who.startswith("virtual") else "", tuple(teams), pinned=pinned, claimed=claimed
        ),
        st.sampled_from(PEOPLE),
        st.just("") if most_teams < 2 else st.sampled_from(["", *TEAMS]),
        st.lists(st.sampled_from(TEAMS), max_size=most_teams),
        pairs,
        pairs,
    )  # fmt: skip


def estates(items: st.SearchStrategy[Item]) -> st.SearchStrategy[list[Row]]:
    deny = st.builds(
        lambda subject, tests: rule(subject, "all", *tests, effect="deny"),
        st.sampled_from([DANA, BOT, *TEAMS, "any:user", "bound:search"]),
        st.lists(items, max_size=2),
    )
    allow = st.builds(
        lambda subject, relation, tests: rule(subject, relation, *tests),
        st.sampled_from([DANA, BOT, *TEAMS, "any:user", "any:subject", "bound:search", "token:t"]),
        st.sampled_from([str(relation) for relation in Relation]),
        st.lists(items, max_size=3),
    )
    links = st.lists(
        st.builds(
            lambda who, team: [row("g", who, team)],
            st.sampled_from([DANA, BOT, "bound:search"]),
            st.sampled_from([*TEAMS, "team:everyone"]),
        ),
        max_size=5,
    )
    return st.builds(
        lambda *parts: sorted({each for part in parts for made in part for each in made}),
        st.lists(allow, min_size=1, max_size=6),
        st.lists(deny, max_size=2),
        links,
    )


askers = st.builds(
    Somebody,
    st.sampled_from([DANA, BOT]),
    st.sampled_from([None, None, "bound:search"]),
    st.sampled_from([None, None, "token:t"]),
)
