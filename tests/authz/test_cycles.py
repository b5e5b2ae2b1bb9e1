"""Links that are refused before they are committed."""

from __future__ import annotations

import pytest

from authz.cycles import MAX_DEPTH, check, problems
from authz.errors import InvalidRow
from authz.graph import Graph


def graph(*links: str) -> Graph:
    made = Graph()
    made.load(tuple(link.split(">")) for link in links)
    return made


def test_a_cycle_is_refused() -> None:
    g = graph("team:a>team:b", "team:b>team:c")
    assert problems(g, [("team:c", "team:a")]) and problems(g, [("team:x", "team:x")])
    assert problems(g, [("team:c", "team:a")], [("team:a", "team:b")]) == []
    assert problems(g, [("team:c", "team:d")]) == []


def test_a_cycle_does_not_taint_the_links_beside_it() -> None:
    found = problems(graph(), [("team:a", "team:a"), ("user:u", "team:a"), ("user:u", "team:b")])
    assert found == ["`team:a` would belong to itself"]


def test_a_chain_too_long_is_refused() -> None:
    links = [(f"team:{n}", f"team:{n + 1}") for n in range(MAX_DEPTH)]
    check(links)
    with pytest.raises(InvalidRow) as caught:
        check([*links, ("user:u", "team:0")])
    assert str(MAX_DEPTH + 1) in caught.value.message
    below = graph(*(">".join(link) for link in links[:4]))
    assert problems(below, links[4:]) == []
    assert problems(below, [*links[4:], ("team:8", "team:9")])


def test_the_check_leaves_the_graph_as_it_is() -> None:
    g = graph("team:a>team:b")
    problems(g, [("team:b", "team:c")], [("team:a", "team:b")])
    assert list(g.links()) == [("team:a", "team:b")] and "team:c" not in g


def test_a_link_between_two_long_chains_counts_both() -> None:
    upper = [(f"team:u{n}", f"team:u{n + 1}") for n in range(4)]
    lower = [(f"team:l{n}", f"team:l{n + 1}") for n in range(4)]
    g = Graph()
    g.load([*upper, *lower])
    assert problems(g, [("team:l4", "team:u0")])
    assert problems(g, [("team:l3", "team:u0")]) == []
