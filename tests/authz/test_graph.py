"""The role manager: closures, chains, refusals, and what a change makes it forget."""

from __future__ import annotations

import random

import pytest

from authz.errors import InvalidRow
from authz.graph import WIDE, Graph, action_groups, subject_groups
from authz.vocabulary import ACTIONS


def graph(*links: str) -> Graph:
    made = Graph(subject_groups)
    made.load(tuple(link.split(">")) for link in links)
    return made


def test_a_member_belongs_to_all_above_and_to_itself() -> None:
    g = graph("user:u>team:a", "team:a>role:r")
    assert g.has_link("user:u", "role:r") and g.has_link("user:u", "user:u")
    assert not g.has_link("role:r", "user:u")


def test_the_chain_is_a_shortest_and_the_same_everywhere() -> None:
    links = ["user:u>team:b", "user:u>team:a", "team:a>role:r", "team:b>role:r", "team:b>team:z"]
    for _ in range(5):
        random.shuffle(links)
        assert graph(*links).chain("user:u", "role:r") == ("user:u", "team:a", "role:r")
    assert graph(*links).chain("user:u", "user:u") == ("user:u",)
    assert graph(*links).chain("user:u", "role:other") == ()


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("user:u", {"any:user", "any:subject"}),
        ("virtualaccount:v", {"any:virtualaccount", "any:subject"}),
        ("team:t", set()),
        ("role:r", set()),
        ("bound:t", set()),
        ("token:t", set()),
        ("any:user", set()),
    ],
)
def test_implicit_groups_go_by_the_kind_of_the_id(name: str, groups: set[str]) -> None:
    assert set(graph().closure(name)) - {name} == groups


def test_what_an_implicit_group_belongs_to_reaches_everyone() -> None:
    g = graph("any:user>role:member")
    assert g.chain("user:never-seen", "role:member") == (
        "user:never-seen",
        "any:user",
        "role:member",
    )


@pytest.mark.parametrize(("name", "wild"), [("model:use", True), ("role:r", False), ("*", False)])
def test_every_action_but_no_bundle_is_matched_by_a_star(name: str, wild: bool) -> None:
    assert ("*" in action_groups(name)) == wild


def test_unknown_names_leave_nothing_behind() -> None:
    g = graph("user:u>team:a")
    for n in range(1000):
        g.has_link(f"user:x{n}", "team:a")
    assert len(g._closures) == 0 and "user:x1" not in g and len(g._parents) == 1


def test_a_name_is_known_on_either_side_and_forgotten_with_its_last_link() -> None:
    g = graph("user:u>team:a")
    assert "user:u" in g and "team:a" in g and sorted(g.names()) == ["team:a", "user:u"]
    g.delete_link("user:u", "team:a")
    assert "user:u" not in g and "team:a" not in g and list(g.links()) == []


def test_a_link_that_came_twice_goes_with_the_second() -> None:
    g = graph("user:u>team:a", "user:u>team:a")
    g.delete_link("user:u", "team:a")
    assert g.has_link("user:u", "team:a") and g.get_users("team:a") == ["user:u"]
    g.delete_link("user:u", "team:a")
    assert not g.has_link("user:u", "team:a") and g.get_users("team:a") == []


@pytest.mark.parametrize("other", ["user:u>team:b", "user:x>team:a", "team:a>user:u"])
def test_a_link_that_is_not_there_cannot_go(other: str) -> None:
    g = graph("user:u>team:a", "user:u>team:c")
    with pytest.raises(InvalidRow):
        g.delete_link(*other.split(">"))
    assert g.parents("user:u") == ("team:a", "team:c")


def test_a_change_forgets_exactly_what_it_can_alter() -> None:
    g = graph("user:u>team:a", "user:v>team:b", "team:a>role:r", "team:b>role:s")
    for name in ("user:u", "user:v", "team:a", "team:b"):
        g.closure(name)
    g.add_link("team:a", "role:new")
    assert set(g._closures) == {"user:v", "team:b"}
    assert g.has_link("user:u", "role:new") and not g.has_link("user:v", "role:new")


def test_a_change_that_concerns_everyone_sets_the_closures_aside_in_one_stroke() -> None:
    g = graph(*(f"user:u{n}>team:everyone" for n in range(WIDE + 1)), "team:everyone>role:m")
    for n in range(WIDE + 1):
        g.closure(f"user:u{n}")
    g.add_link("team:everyone", "role:new")
    assert len(g._closures) == 0 and len(g._retired) == 1
    for n in range(WIDE + 1):
        assert g.has_link(f"user:u{n}", "role:new")
    assert g._retired == []  # taken apart two at a time, as new ones came


def test_a_link_of_an_implicit_group_concerns_all_its_kind() -> None:
    g = graph("user:u>team:a")
    assert not g.has_link("user:u", "role:m")
    g.add_link("any:user", "role:m")
    assert g.has_link("user:u", "role:m") and g.has_link("user:other", "role:m")


def test_the_name_asked_last_is_not_answered_from_before_the_change() -> None:
    g = graph()
    name = "user:" + "u"
    assert not g.has_link(name, "team:a")
    g.add_link("any:user", "team:a")
    assert g.has_link(name, "team:a")


def test_random_edits_equal_a_fresh_graph() -> None:
    rnd = random.Random(5)
    names = [f"user:u{n}" for n in range(4)] + [f"team:t{n}" for n in range(5)]
    g, links = graph(), []
    for _ in range(600):
        if links and rnd.random() < 0.45:
            link = links.pop(rnd.randrange(len(links)))
            g.delete_link(*link)
        else:
            a, b = sorted(rnd.sample(range(9), 2))
            link = (names[a], names[b])
            links.append(link)
            if rnd.random() < 0.5:
                g.add_link(*link)
            else:
                staged = g.staged()
                staged.add_link(*link)
                staged.commit()
        fresh = graph(*(">".join(link) for link in links))
        for name in names:
            assert g.closure(name) == fresh.closure(name)
            assert g.get_users(name) == fresh.get_users(name)


def test_a_staged_change_is_not_seen_before_it_is_committed() -> None:
    g = graph("user:u>team:a")
    staged = g.staged()
    staged.add_link("user:u", "team:b")
    staged.delete_link("user:u", "team:a")
    assert g.has_link("user:u", "team:a") and not g.has_link("user:u", "team:b")
    staged.commit()
    assert g.has_link("user:u", "team:b") and "team:a" not in g


def test_a_cycle_that_is_there_all_the_same_does_not_hang() -> None:
    g = graph("team:a>team:b", "team:b>team:a", "user:u>team:a")
    assert set(g.closure("user:u")) == {"user:u", "team:a", "team:b", "any:user", "any:subject"}


def test_members_are_listed_nearest_first_up_to_a_limit() -> None:
    g = graph("user:u>team:a", "user:v>team:b", "team:b>team:a")
    assert g.members("team:a", 10) == ["team:b", "user:u", "user:v"]
    assert g.members("team:a", 1) == ["team:b"]


def test_casbin_may_not_clear_it() -> None:
    with pytest.raises(InvalidRow):
        graph().clear()


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_wild_deny_reaches_every_action_also_those_about_roles(action: str) -> None:
    assert action_groups(action) == ("*",)


@pytest.mark.parametrize("name", ["role:team-manager", "bundle:x", "*", "no-such:action"])
def test_a_name_that_is_no_action_is_not_reached_by_a_wild_row(name: str) -> None:
    assert action_groups(name) == ()


def test_the_direct_members_of_a_group_are_known_in_no_order() -> None:
    g = graph("user:u>team:a", "user:w>team:a", "team:a>role:r")
    assert set(g.children("team:a")) == {"user:u", "user:w"}
    assert set(g.children("team:none")) == set()
