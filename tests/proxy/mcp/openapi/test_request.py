"""What is sent arrives as it was meant, and fills its own place only."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.mcp.local import InvalidArguments
from proxy.mcp.openapi.operations import Operation, operations
from proxy.mcp.openapi.request import Request, request
from tests.peers.estate import client
from tests.proxy.mcp.openapi.shed import Seen, document, serving

BASE = "http://127.0.0.1:1/api"


def tool(path: str, *parameters: dict[str, Any], **more: Any) -> Operation:
    given_ = {"get_" + path: {"operationId": "it", "parameters": list(parameters), **more}}
    found = operations(document(**given_))
    assert not found.left_out
    return found.tools["it"]


def query(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", **more}


def path(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, **more}


def sent(operation: Operation, **arguments: Any) -> str:
    return request(operation, BASE, arguments).url.removeprefix(BASE)


async def arriving(requests: list[Request]) -> list[Seen]:
    """What a service gets of `requests`, through the client that is used for all of them."""
    async with serving() as shed, client() as outbound:
        for one in requests:
            url = one.url.replace(BASE, shed.base)
            async with outbound.fetch(one.method, url, one.headers, one.body) as answer:
                await answer.read(1 << 20)
        return shed.seen


# --- styles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "value", "url"),
    [
        ({}, "a b&c=d", "?q=a%20b%26c%3Dd"),
        ({}, ["a", "b"], "?q=a&q=b"),
        ({}, [], ""),
        ({}, None, ""),
        ({}, {"r": 1, "g": True}, "?r=1&g=true"),
        ({"explode": False}, ["a", "b"], "?q=a%2Cb"),
        ({"explode": False}, {"r": 1, "g": 2.5}, "?q=r%2C1%2Cg%2C2.5"),
        ({"style": "spaceDelimited", "explode": False}, ["a", "b"], "?q=a%20b"),
        ({"style": "pipeDelimited", "explode": False}, ["a", "b"], "?q=a%7Cb"),
        ({"style": "pipeDelimited", "explode": True}, ["a", "b"], "?q=a&q=b"),
        ({"style": "deepObject", "explode": True}, {"a": 1}, "?q%5Ba%5D=1"),
        ({"style": "deepObject"}, {"a": {"b": [1, 2]}}, "?q%5Ba%5D%5Bb%5D=1&q%5Ba%5D%5Bb%5D=2"),
        ({"content": {"application/json": {}}}, {"a": [1]}, "?q=%7B%22a%22%3A%5B1%5D%7D"),
    ],
)
def test_styles_of_a_query(more: dict[str, Any], value: object, url: str) -> None:
    assert sent(tool("things", query("q", **more)), q=value) == "/things" + url


@pytest.mark.parametrize(
    ("more", "value", "url"),
    [
        ({}, "a b", "/things/a%20b"),
        ({}, 7, "/things/7"),
        ({}, ["a", "b"], "/things/a,b"),
        ({}, {"r": 1, "g": 2}, "/things/r,1,g,2"),
        ({"explode": True}, {"r": 1, "g": 2}, "/things/r=1,g=2"),
    ],
)
def test_styles_of_a_path(more: dict[str, Any], value: object, url: str) -> None:
    assert sent(tool("things/{p}", path("p", **more)), p=value) == url


# --- what would lead elsewhere -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "", ".", "..", "a/b", "/", "../x", "a\\b", "%2e%2e", "%2E.", "%252e%252e", "a%2fb", "a%252Fb",
        "%5c", "a\0", "a\n", "\x7f", "\ud800", None, [], {}, [["a"]], [""],
    ],
)  # fmt: skip
def test_a_value_never_changes_the_structure_of_a_path(value: object) -> None:
    operation = tool("things/{p}", path("p"))
    if value is None:
        assert sent(operation, p=None) == "/things/null"
        return
    with pytest.raises(InvalidArguments):
        sent(operation, p=value)


def test_two_values_do_not_climb_together() -> None:
    operation = tool("things/{a}{b}", path("a"), path("b"))
    assert sent(operation, a="x", b=".") == "/things/x."
    for a, b in (("%2", "f"), ("%2", "e."), ("%2e", "%2e")):
        with pytest.raises(InvalidArguments):
            sent(operation, a=a, b=b)


def test_an_object_sets_no_parameter_but_its_own() -> None:
    operation = tool("things", query("q"), query("admin"), query("f", style="deepObject"))
    for key in ("admin", "q", "f[x]"):
        with pytest.raises(InvalidArguments):
            sent(operation, q={key: "1"})


@pytest.mark.parametrize(
    ("more", "value"),
    [
        ({"explode": False}, ["a,b"]),
        ({"style": "spaceDelimited", "explode": False}, ["a b"]),
        ({"style": "pipeDelimited", "explode": False}, ["a|b"]),
        ({"style": "deepObject"}, {"a][b": 1}),
        ({"style": "deepObject"}, {"": 1}),
        ({"style": "deepObject"}, "text"),
        ({}, [["deep"]]),
        ({}, {"a": {"b": 1}}),
        ({}, "\ud800"),
        ({}, {"\ud800": 1}),
        ({}, "x" * 9_000),
    ],
)
def test_what_a_query_cannot_say_is_refused(more: dict[str, Any], value: object) -> None:
    with pytest.raises(InvalidArguments):
        sent(tool("things", query("q", **more)), q=value)


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "é", " a", "a ", "", "\0"])
def test_a_header_stays_one_line(value: str) -> None:
    operation = tool("things", {"name": "X-Trace", "in": "header"})
    with pytest.raises(InvalidArguments):
        request(operation, BASE, {"X-Trace": value})


def test_a_header_and_a_body_are_sent() -> None:
    body = {"content": {"application/json": {}}}
    operation = tool("things", {"name": "X-Trace", "in": "header"}, requestBody=body)
    made = request(operation, BASE, {"X-Trace": "a, b", "body": {"a": [1, "ä"]}})
    assert ("x-trace", "a, b") in made.headers
    assert ("content-type", "application/json") in made.headers
    assert made.body == '{"a":[1,"ä"]}'.encode()
    assert "ä" not in repr(made)
    without = request(operation, BASE, {})
    assert without.body == b""
    assert "content-type" not in dict(without.headers)


# --- properties --------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEYS = TEXTS.filter(lambda key: key not in ("q", "f", "p") and not key.startswith(("q[", "f[")))
VALUES = st.tuples(
    TEXTS.filter(bool),
    st.one_of(TEXTS, st.lists(TEXTS, max_size=3), st.dictionaries(KEYS, TEXTS, max_size=3)),
    st.dictionaries(TEXTS, TEXTS, max_size=3),
    st.lists(TEXTS, min_size=1, max_size=3),
    st.one_of(st.none(), st.lists(TEXTS), st.dictionaries(TEXTS, st.integers(-(2**63), 2**63 - 1))),
)
EVERYTHING = tool(
    "things/{p}/x",
    path("p"),
    query("q"),
    query("f", style="deepObject"),
    query("l", style="pipeDelimited", explode=False),
    requestBody={"content": {"application/json": {}}},
)


@settings(max_examples=15, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=12))
def test_what_arrives_is_what_was_sent(batch: list[Any]) -> None:
    made: list[tuple[Request, tuple[str, list[tuple[str, str]], object]]] = []
    for p, q, f, l_, body in batch:
        arguments = {"p": p, "q": q, "f": f, "l": l_, "body": body}
        try:
            one = request(EVERYTHING, BASE, arguments)
        except InvalidArguments:
            continue  # refused before anything is sent; which values those are is tested above
        pairs = (
            [("q", item) for item in q]
            if isinstance(q, list)
            else list(q.items())
            if isinstance(q, dict)
            else [("q", q)]
        )
        pairs += [(f"f[{key}]", value) for key, value in f.items()]
        pairs += [("l", "|".join(l_))]
        made.append((one, (p, pairs, body)))
    seen = asyncio.run(arriving([one for one, _ in made]))
    for got, (_, (p, pairs, body)) in zip(seen, made, strict=True):
        assert got.segments == ["api", "things", p, "x"]
        assert got.query == pairs
        assert msgspec.json.decode(got.body) == body


@given(TEXTS)
def test_a_path_value_is_refused_or_one_segment(value: str) -> None:
    try:
        url = sent(tool("things/{p}/x", path("p")), p=value)
    except InvalidArguments:
        return
    assert url.count("/") == 3
    assert not any(character in url for character in "?#\\")
