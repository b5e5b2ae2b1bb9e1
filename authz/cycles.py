"""What a graph of links may not be: no cycles, and no chain of more than `MAX_DEPTH` links.

Asked before a change is committed (`Engine.link_problems`), on a copy of what the change touches. Rows
that were committed are taken as they are by `graph`, which does not hang on a cycle. The depth keeps us
within the nine links that stock Casbin follows, so that both give the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from authz.errors import InvalidRow
from authz.graph import Graph

MAX_DEPTH = 8


def problems(
    graph: Graph, added: Iterable[tuple[str, str]], removed: Iterable[tuple[str, str]] = ()
) -> list[str]:
    """What is wrong with the graph once a change is made to it: cycles, and chains that are too long.

    Looks only at what the added links touch; the graph itself is not changed.
    """
    staged = graph.staged()
    added = list(added)
    for name, group in removed:
        staged.delete_link(name, group)
    for name, group in added:
        staged.add_link(name, group)
    up: dict[str, int] = {}
    down: dict[str, int] = {}
    found: dict[str, None] = {}
    for name, group in added:
        try:
            depth = 1 + _longest(group, staged.parents, up) + _longest(name, staged.children, down)
        except _CycleError as error:
            found[f"`{error.args[0]}` would belong to itself"] = None
            up, down = {}, {}  # half of a walk is left in them
            continue
        if depth > MAX_DEPTH:
            found[
                f"`{name}` -> `{group}` would make a chain of {depth} links; {MAX_DEPTH} is the most"
            ] = None
    return list(found)


def check(links: Iterable[tuple[str, str]]) -> None:
    """Refuses a set of links with a cycle or a chain of more than `MAX_DEPTH` links.

    Raises:
        InvalidRow: the first problem; its hint holds the others.
    """
    found = problems(Graph(), links)
    if found:
        raise InvalidRow(found[0], hint="; ".join(found[1:]))


class _CycleError(Exception):
    pass


def _longest(start: str, following: Callable[[str], Iterable[str]], known: dict[str, int]) -> int:
    """The most links that can be followed from `start`; `known` is filled on the way, -1 = being looked at."""
    stack = [(start, iter(following(start)))]
    if start in known:
        if known[start] < 0:
            raise _CycleError(start)
        return known[start]
    known[start] = -1
    best = {start: 0}
    while stack:
        name, rest = stack[-1]
        nxt = next(rest, None)
        if nxt is None:
            stack.pop()
            known[name] = best.pop(name)
            if stack:
                holder = stack[-1][0]
                best[holder] = max(best[holder], known[name] + 1)
        elif nxt not in known:
            known[nxt] = -1
            best[nxt] = 0
            stack.append((nxt, iter(following(nxt))))
        elif known[nxt] < 0:
            raise _CycleError(nxt)
        else:
            best[name] = max(best[name], known[nxt] + 1)
    return known[start]
