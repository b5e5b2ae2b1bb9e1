"""One server, a composition, and all of them at once: names, who is asked, and what holds where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from proxy.mcp import lists
from tests.proxy.mcp.house import House, Said, Scripted, house, policy, rule, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def estate(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[House, Scripted, Scripted]]:
    """A gateway with the servers `git` and `chat`, and `both`, which is made of them and is support's."""
    resources = [{"uri": "demo://a", "name": "a"}, {"uri": "demo://b", "name": "b"}]
    with pytest.MonkeyPatch.context() as patch:
        async with (
            house(tmp_path_factory.mktemp("scope"), patch) as gate,
            Scripted(
                tools=[tool("read"), tool("list_issues"), tool("wipe")],
                prompts=[{"name": "greet"}],
                resources=resources,
            ) as git,
            Scripted(
                tools=[tool("read"), tool("post")], resources=resources, generation="2026"
            ) as chat,
        ):
            await gate.apply(git.manifest("git", ["team:search"]))
            await gate.apply(chat.manifest("chat", ["team:search"]))
            await gate.apply(
                {
                    "type": "mcp-server/virtual",
                    "name": "both",
                    "servers": [
                        {"name": "git", "enabled_tools": ["read", "wipe"]},
                        {"name": "chat"},
                    ],
                    "collaborators": [{"subject": "team:support", "role_id": "mcp-server-user"}],
                }
            )
            yield gate, git, chat


Estate = tuple[House, Scripted, Scripted]


def ran(said: Said) -> str:
    return str(said.result["content"][0]["text"])


def refused(said: Said) -> bool:
    return said.status == 200 and said.error["code"] == -32602


@pytest.mark.parametrize("modern", [False, True])
async def test_all_servers_at_once_have_names_that_tell_them_apart(
    estate: Estate, modern: bool
) -> None:
    gate, git, chat = estate
    alice = gate.modern("alice", "") if modern else await gate.session("alice", "")
    names = await alice.names()
    assert [one for one in names if not one.startswith("tools__")] == [
        "chat__read",
        "chat__post",
        "git__read",
        "git__list_issues",
        "git__wipe",
    ]
    assert {"tools__say", "tools__add", "tools__clock"} <= set(names)
    git.asked.clear()
    chat.asked.clear()
    assert "read" in ran(await alice.call("git__read"))
    assert chat.called("tools/call") == []
    assert [body["params"]["name"] for body in git.called("tools/call")] == ["read"]
    assert "post" in ran(await alice.call("chat__post", text="hi"))
    sent = chat.called("tools/call")[-1]["params"]
    assert (sent["name"], sent["arguments"]) == ("post", {"text": "hi"})
    for name in ("read", "git__never", "chat__wipe", "git/read", "both__wipe"):
        assert refused(await alice.call(name)), name


async def test_all_servers_at_once_are_only_those_of_the_principal(estate: Estate) -> None:
    gate, git, chat = estate
    git.asked.clear()
    chat.asked.clear()
    carol = await gate.session("carol", "")
    assert await carol.names() == []
    assert refused(await carol.call("git__read"))
    assert git.asked == chat.asked == []  # nobody is introduced to a server that is none of theirs


async def test_unsubscribing_from_what_is_not_the_callers_reaches_nobody(estate: Estate) -> None:
    gate, git, chat = estate
    carol = await gate.session("carol", "")
    git.asked.clear()
    chat.asked.clear()
    for uri in ("demo://a", "demo://never"):
        assert (await carol.ask("resources/unsubscribe", {"uri": uri})).result == {}
    assert git.asked == chat.asked == []


async def test_a_short_list_of_one_server_does_not_cut_the_list_of_all(estate: Estate) -> None:
    gate, _, _ = estate
    said = await (await gate.session("alice", "")).ask("tools/list")
    assert len(said.result["tools"]) == 8
    assert "nextCursor" not in said.result


async def test_prompts_are_renamed_and_resources_keep_their_uris(estate: Estate) -> None:
    gate, git, _ = estate
    alice = await gate.session("alice", "")
    assert set(await alice.names("prompts")) == {"git__greet", "tools__greet"}
    assert "result" in (await alice.ask("prompts/get", {"name": "git__greet"})).message
    assert git.called("prompts/get")[-1]["params"]["name"] == "greet"
    assert "demo://a" in await alice.names("resources")
    read = await alice.ask("resources/read", {"uri": "demo://readme"})
    assert "readme" in str(read.result["contents"][0]["uri"])


async def test_a_uri_that_two_servers_offer_is_read_where_the_principal_may(estate: Estate) -> None:
    gate, git, chat = estate
    await gate.apply(policy("uris", rule("allow", "team:support", "mcp-resource:git/demo://a")))
    bob = await gate.session("bob", "")
    git.asked.clear()
    chat.asked.clear()
    assert "result" in (await bob.ask("resources/read", {"uri": "demo://a"})).message
    assert git.called("resources/read") and not chat.called("resources/read")
    assert refused(await bob.ask("resources/read", {"uri": "demo://b"}))


async def test_a_server_that_is_dead_does_not_hide_the_others(estate: Estate) -> None:
    gate, _, _ = estate
    async with Scripted(tools=[tool("x")]) as dying:
        await gate.apply(dying.manifest("dying", ["team:search"]))
        alice = await gate.session("alice", "")
        assert "dying__x" in await alice.names()
    alice = await gate.session("alice", "")
    names = await alice.names()
    assert "git__read" in names and "dying__x" not in names
    assert (await alice.call("dying__x")).error["code"] == -31502


async def test_a_server_that_hangs_does_not_hide_the_others(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, _, _ = estate
    monkeypatch.setattr(lists, "PATIENCE", 0.2)
    async with Scripted(tools=[tool("x")]) as hanging:
        await gate.apply(hanging.manifest("hanging", ["team:search"]))

        async def hangs(body: Any, request: Any) -> Any:
            await asyncio.Event().wait()

        hanging.on["tools/list"] = hangs
        names = await (await gate.session("alice", "")).names()
        assert "git__read" in names and "hanging__x" not in names


async def test_a_composition_is_used_without_any_right_on_what_it_is_made_of(
    estate: Estate,
) -> None:
    gate, git, chat = estate
    bob = await gate.session("bob", "both")
    assert sorted(await bob.names()) == ["chat_read", "git_read", "post", "wipe"]
    git.asked.clear()
    chat.asked.clear()
    assert "read" in ran(await bob.call("git_read"))
    assert [body["params"]["name"] for body in git.called("tools/call")] == ["read"]
    assert "post" in ran(await bob.call("post"))
    assert [body["params"]["name"] for body in chat.called("tools/call")] == ["post"]
    assert refused(await bob.call("list_issues"))  # not among the chosen ones
    assert (await gate.send("bob", "/mcp/chat", {})).status in (400, 404)


async def test_a_deny_on_a_tool_holds_for_whatever_stands_for_it(estate: Estate) -> None:
    gate, git, _ = estate
    no = rule("deny", "any:user", "mcp-tool:git/wipe", message="nothing is wiped")
    await gate.apply(policy("no-wiping", no))
    bob = await gate.session("bob", "both")
    assert "wipe" not in await bob.names()
    git.asked.clear()
    said = await bob.call("wipe")
    assert said.error["code"] == -31403 and said.error["message"] == "nothing is wiped"
    assert git.called("tools/call") == []
    alice = await gate.session("alice", "")
    assert "git__wipe" not in await alice.names()
    assert (await alice.call("git__wipe")).error["code"] == -31403


async def test_a_tool_that_its_server_holds_back_is_not_in_the_composition(estate: Estate) -> None:
    gate, _, chat = estate
    bob = await gate.session("bob", "both")
    before = chat.tools
    chat.tools = [tool("read"), tool("post", "posts, and more")]
    try:
        assert "post" not in await bob.names()
        assert refused(await bob.call("post"))
    finally:
        chat.tools = before


async def test_both_paths_of_a_server_are_one_and_nothing_falls_back(estate: Estate) -> None:
    gate, _, _ = estate
    alice = await gate.session("alice", "git")
    alice.path = "/mcp/v1/git/mcp"
    assert "read" in await alice.names()  # a session is its endpoint's, however that is written
    for path in ("/mcp/", "/mcp/git/", "/mcp/v1/git", "/mcp/git/mcp", "/mcp/v1/mcp", "/mcp//git"):
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert (await gate.send("alice", path, body)).status == 404, path


async def test_a_server_that_is_not_the_callers_and_one_that_never_was_look_the_same(
    estate: Estate,
) -> None:
    gate, _, _ = estate
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {}}
    hidden = await gate.send("carol", "/mcp/git", body)
    unknown = await gate.send("carol", "/mcp/gix", body)
    assert hidden.status == unknown.status == 404
    one, other = dict(hidden.message["error"]), dict(unknown.message["error"])
    one_data, other_data = one.pop("data"), other.pop("data")
    assert one["message"].replace("git", "gix") == other["message"]
    assert one["code"] == other["code"] and one_data.keys() == other_data.keys()
    assert {k: v for k, v in one_data.items() if k == "code"} == {
        k: v for k, v in other_data.items() if k == "code"
    }
    assert {n.lower() for n in hidden.headers} == {n.lower() for n in unknown.headers}
    refusals = [
        one
        for one in await gate.records()
        if one["action"] == "mcp-server:use" and one["effect"] == "deny"
    ]
    # What was never there is a caller's text: it stands aside, where it can be erased.
    assert {"mcp-server:git", ""} <= {one["resource"] for one in refusals}
