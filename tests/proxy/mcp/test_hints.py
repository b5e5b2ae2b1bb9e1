"""What is remembered to be quick is never an answer: who is let in, and whether a definition changed, is asked anew."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.mcp_catalogue import digest_of
from proxy.mcp.discovery import Discovery
from tests.proxy.mcp.house import Scripted, house, tool


async def _none(*_: Any) -> Any:
    raise AssertionError("nobody is asked")


def discovery() -> Discovery:
    return Discovery(_none, _none, lambda: datetime.now(UTC), lambda: 0.0)  # type: ignore[arg-type]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.lists(VALUES, max_size=6))
def test_a_digest_that_is_remembered_is_the_digest(values: list[Any]) -> None:
    one = discovery()
    for default in [*values, *values]:
        item = {"name": "t", "inputSchema": {"default": default}}
        assert one.digest(item) == digest_of(item)


def test_definitions_that_python_takes_for_equal_have_digests_of_their_own() -> None:
    one = discovery()
    found = {one.digest({"name": "t", "inputSchema": {"default": v}}) for v in (1, True, 1.0)}
    assert len(found) == 3


async def test_who_lost_the_last_tool_finds_no_server_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = {
        "id": "one",
        "effect": "allow",
        "subjects": ["team:support"],
        "actions": ["mcp-tool:call"],
        "resources": ["mcp-tool:github/read"],
    }
    policy = {"type": "policy", "name": "one", "rules": [rule]}
    async with (
        house(tmp_path, monkeypatch) as gate,
        Scripted(generation="2026", tools=[tool("read"), tool("write")]) as server,
    ):
        await gate.apply(server.manifest("github"))
        await gate.apply(policy)
        bob = gate.modern("bob", "github")
        assert await bob.names() == ["read"]
        assert await bob.names() == ["read"]
        await gate.apply({**policy, "rules": [{**rule, "resources": ["mcp-tool:github/write"]}]})
        assert await bob.names() == ["write"]
        await gate.apply({**policy, "rules": [{**rule, "subjects": ["team:search"]}]})
        gone = await bob.ask("tools/list")
        never = await gate.modern("bob", "gitlab").ask("tools/list")
        assert gone.status == never.status == 404
        assert gone.error["code"] == never.error["code"]
