"""The MCP peers themselves: what the tests of the gateway compare with must be right without it."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest

from tests.peers.mcp.adding import adding
from tests.peers.mcp.clients import INSPECTORS, LISTS, SDKS, Kind, Report, call_tool, run_client
from tests.peers.mcp.conformance import (
    LEGS,
    SESSIONS,
    STATELESS,
    difference,
    run_authorization,
    run_leg,
    table,
)
from tests.peers.mcp.servers import Server, everything
from tests.peers.mongod import free_port

READ = ("resources/read", {"uri": "test://static-text"})
ACTIONS = [*LISTS, call_tool("echo", text="hello"), call_tool("no_such_tool"), READ]
SCENARIOS = {SESSIONS: (33, 84), STATELESS: (40, 152)}


@pytest.mark.parametrize("version", LEGS)
async def test_both_legs_of_the_suite_are_green(
    version: str, everything_server: Server, node_peers: None
) -> None:
    leg = await run_leg(everything_server.url, version)
    assert leg.failures == []
    assert (len(leg.scenarios()), len(leg.verdicts)) == SCENARIOS[version]


async def test_the_suite_sees_no_difference_behind_a_relay_that_adds_a_header(
    everything_server: Server, node_peers: None
) -> None:
    scenario = "tools-call-elicitation"
    direct = await run_leg(everything_server.url, SESSIONS, scenario=scenario)
    everything_server.forget()
    headers = {"Authorization": "Bearer something"}
    through = await run_leg(everything_server.url, SESSIONS, headers=headers, scenario=scenario)
    assert difference(direct, through) == []
    got = everything_server.received()
    assert got and all(one.header("authorization") == "Bearer something" for one in got)
    assert f"| `{scenario}` | 2/2 | 2/2 |" in table({"direct": direct, "through": through})


async def test_a_relay_keeps_the_host_that_a_check_of_it_must_see(
    everything_server: Server, node_peers: None
) -> None:
    leg = await run_leg(
        everything_server.url, STATELESS, headers={"X-A": "1"}, scenario="dns-rebinding-protection"
    )
    assert leg.failures == []


async def test_a_worse_verdict_is_a_difference_and_a_better_one_only_where_it_is_allowed(
    public_server: Server, everything_server: Server
) -> None:
    rebinding = "dns-rebinding-protection"
    open_to_all = await run_leg(public_server.url, SESSIONS, scenario=rebinding)
    careful = await run_leg(everything_server.url, SESSIONS, scenario=rebinding)
    assert open_to_all.failures
    assert difference(open_to_all, careful) == []
    assert difference(open_to_all, careful, frozenset()) != []
    assert difference(careful, open_to_all) != []


def _needs_node(kind: Kind, request: pytest.FixtureRequest) -> None:
    if not kind.python:
        request.getfixturevalue("node_peers")


def _saw_everything(report: Report) -> None:
    assert report.failed is None
    assert "echo" in report.names(0, "tools")
    assert "test_simple_prompt" in report.names(1, "prompts")
    assert "test://static-text" in report.names(2, "resources")
    called, unknown, read = report.outcomes[3:]
    assert called.result is not None and called.result["content"][0]["text"] == "hello"
    assert unknown.error is not None and "no_such_tool" in unknown.error.message
    assert read.result is not None and "static text" in read.result["contents"][0]["text"]


@pytest.mark.parametrize("kind", SDKS)
async def test_every_sdk_lists_calls_and_reads(
    kind: Kind, everything_server: Server, request: pytest.FixtureRequest
) -> None:
    _needs_node(kind, request)
    report = await run_client(kind, everything_server.url, "a-token", ACTIONS)
    _saw_everything(report)
    assert report.version == (STATELESS if kind.modern else SESSIONS)
    assert report.server == "everything"


@pytest.mark.parametrize("kind", INSPECTORS)
async def test_every_inspector_lists_and_calls(
    kind: Kind, everything_server: Server, node_peers: None
) -> None:
    actions = [("tools/list", {}), call_tool("echo", text="hello"), call_tool("no_such_tool")]
    report = await run_client(kind, everything_server.url, "a-token", actions)
    called, unknown = report.outcomes[1:]
    assert "echo" in report.names(0, "tools")
    assert called.result is not None and called.result["content"][0]["text"] == "hello"
    assert unknown.error is not None and "no_such_tool" in unknown.error.message


@pytest.mark.parametrize("kind", SDKS)
async def test_a_call_that_asks_goes_on_with_every_sdk(
    kind: Kind, everything_server: Server, request: pytest.FixtureRequest
) -> None:
    _needs_node(kind, request)
    action = call_tool("test_elicitation", message="who are you?")
    if kind.modern:
        action = call_tool("test_input_required_result_elicitation")
    report = await run_client(kind, everything_server.url, None, [action])
    assert report.outcomes[0].result is not None, report.outcomes
    assert "Ada" in report.outcomes[0].result["content"][0]["text"]


@pytest.mark.parametrize("kind", [Kind.PYTHON_2025, Kind.TYPESCRIPT_1, Kind.TYPESCRIPT_2_2026])
async def test_clients_use_the_public_server_in_sessions(kind: Kind, public_server: Server) -> None:
    report = await run_client(
        kind, public_server.url, None, [*LISTS, call_tool("echo", message="hello")]
    )
    assert report.version == SESSIONS
    assert "get-sum" in report.names(0, "tools")
    assert "hello" in json.dumps(report.outcomes[3].result)


async def test_a_client_that_cannot_connect_says_so(everything_server: Server) -> None:
    nowhere = everything_server.url.removesuffix("/mcp") + "/nowhere"
    report = await run_client(Kind.PYTHON_2025, nowhere)
    assert report.failed is not None and report.outcomes == []


async def test_the_server_writes_down_what_it_gets(everything_server: Server) -> None:
    everything_server.forget()
    await run_client(
        Kind.PYTHON_2026, everything_server.url, "secret-1", [call_tool("echo", text="x")]
    )
    got = everything_server.received()
    calls = [one for one in got if one.body and one.json().get("method") == "tools/call"]
    assert len(calls) == 1
    assert calls[0].header("Authorization") == "Bearer secret-1"
    assert calls[0].header("mcp-name") == "echo"


async def test_a_relay_passes_streams_on_as_they_come(everything_server: Server) -> None:
    async with adding(everything_server.url, {"X-Added": "1"}) as url:
        report = await run_client(
            Kind.PYTHON_2025, url, None, [call_tool("test_tool_with_progress"), ("ping", {})]
        )
    assert [outcome.error for outcome in report.outcomes] == [None, None]


async def test_the_authorization_scenarios_pass_with_a_client_that_a_person_lets_in(
    tmp_path: Path, node_peers: None
) -> None:
    port = free_port()
    opened = []
    with everything(tmp_path, token_seconds=60) as server:
        async with aiohttp.ClientSession() as person:
            asked = {
                "redirect_uris": [f"http://127.0.0.1:{port}/callback"],
                "token_endpoint_auth_method": "none",
            }
            async with person.post(f"{server.origin}/register", json=asked) as registered:
                client_id = (await registered.json())["client_id"]

            async def follow(url: str) -> None:
                opened.append(url)
                async with person.get(url) as page:
                    assert page.status == 200

            leg = await run_authorization(server.origin, client_id, port, server.url, follow)
        # The SDK's server takes no metadata documents for client ids, about which the suite warns.
        assert [line for line in leg.failures if "metadata-cimd: WARNING" not in line] == []
        assert leg.scenarios().keys() == {
            "authorization-server-metadata-endpoint",
            "authorization-code-grant",
        }
        assert len(opened) == 1
        refused = await run_client(Kind.PYTHON_2025, server.url, "not-a-token")
        assert refused.failed is not None
