"""Public MCP clients, unmodified, through the gateway: given a URL and a token they see what is granted, and no more."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from yarl import URL

from tests.e2e.gate import consent, remote
from tests.peers.mcp.clients import (
    INSPECTORS,
    LISTS,
    SDKS,
    Kind,
    Report,
    call_tool,
    run_client,
)
from tests.peers.mcp.conformance import SESSIONS, STATELESS
from tests.peers.mcp.servers import Server
from tests.peers.mongod import free_port
from tests.proxy.mcp.house import House, house

GRANTED = {
    "type": "policy",
    "name": "parts",
    "rules": [
        {
            "id": "some",
            "effect": "allow",
            "subjects": ["team:support"],
            "actions": ["mcp-tool:call", "mcp-prompt:get", "mcp-resource:read"],
            "resources": [
                "mcp-tool:all/echo",
                "mcp-tool:all/order_status",
                "mcp-prompt:all/test_simple_prompt",
                "mcp-resource:all/test://static-text",
            ],
        },
        {
            "id": "quiet",
            "effect": "deny",
            "subjects": ["any:subject"],
            "actions": ["mcp-tool:call"],
            "resources": ["mcp-tool:all/echo"],
            "when": [{"field": "tool.args.text", "operator": "EQUAL", "value": "loud"}],
            "message": "quietly, please",
        },
    ],
}
READ = "resources/read"
ACTIONS = [
    *LISTS,
    call_tool("echo", text="hello"),
    call_tool("delete_everything"),
    call_tool("never_was"),
    call_tool("echo", text="loud"),
    ("prompts/get", {"name": "test_prompt_with_image"}),
    (READ, {"uri": "test://static-text"}),
    (READ, {"uri": "test://static-binary"}),
]


@pytest.fixture
async def gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything_server: Server
) -> AsyncIterator[House]:
    """A gateway where team search may use all of the server, and team support a part of it."""
    async with house(tmp_path, monkeypatch) as made:
        await made.apply(remote(everything_server, "all", "team:search"))
        await made.apply(GRANTED)
        yield made


def needs_node(kind: Kind, request: pytest.FixtureRequest) -> None:
    if not kind.python:
        request.getfixturevalue("node_peers")


def codes(report: Report, places: Sequence[int]) -> list[int | str | None]:
    errors = [report.outcomes[at].error for at in places]
    return [error.code if error else None for error in errors]


@pytest.mark.parametrize("kind", SDKS)
async def test_every_sdk_sees_exactly_what_is_granted(
    kind: Kind, gate: House, everything_server: Server, request: pytest.FixtureRequest
) -> None:
    needs_node(kind, request)
    everything_server.forget()
    report = await run_client(kind, f"{gate.url}/mcp/all", gate.token("bob"), ACTIONS)
    assert report.failed is None
    assert report.version == (STATELESS if kind.modern else SESSIONS)
    assert report.names(0, "tools") == ["echo", "order_status"]
    assert report.names(1, "prompts") == ["test_simple_prompt"]
    assert report.names(2, "resources") == ["test://static-text"]
    assert "hello" in json.dumps(report.outcomes[3].result)
    assert codes(report, (4, 5, 7, 9)) == [-32602] * 4
    hidden, unknown, refused = (report.outcomes[at].error for at in (4, 5, 6))
    assert hidden is not None and unknown is not None and refused is not None
    assert hidden.message == unknown.message.replace("never_was", "delete_everything")
    assert refused.code == -31403
    assert "quietly, please" in refused.message
    assert refused.data["reason"] == "denied_by_rule"
    assert "static text" in json.dumps(report.outcomes[8].result)
    never_upstream(gate, everything_server)
    asked = [one.json() for one in everything_server.received() if one.method == "POST"]
    called = [one["params"]["name"] for one in asked if one.get("method") == "tools/call"]
    assert called == ["echo"]


@pytest.mark.parametrize("kind", INSPECTORS)
async def test_every_inspector_sees_exactly_what_is_granted(
    kind: Kind, gate: House, everything_server: Server, node_peers: None
) -> None:
    everything_server.forget()
    actions = [*LISTS, call_tool("echo", text="hello"), call_tool("delete_everything")]
    report = await run_client(kind, f"{gate.url}/mcp/all", gate.token("bob"), actions)
    assert report.names(0, "tools") == ["echo", "order_status"]
    assert report.names(1, "prompts") == ["test_simple_prompt"]
    assert report.names(2, "resources") == ["test://static-text"]
    assert "hello" in json.dumps(report.outcomes[3].result)
    hidden = report.outcomes[4].error
    assert hidden is not None and "delete_everything" in hidden.message
    never_upstream(gate, everything_server)


@pytest.mark.parametrize("kind", SDKS)
async def test_every_sdk_answers_what_a_server_asks_through_the_gateway(
    kind: Kind, gate: House, request: pytest.FixtureRequest
) -> None:
    needs_node(kind, request)
    action = call_tool("test_elicitation", message="who are you?")
    if kind.modern:
        action = call_tool("test_input_required_result_elicitation")
    report = await run_client(kind, f"{gate.url}/mcp/all", gate.token("alice"), [action])
    assert report.outcomes[0].result is not None, report.outcomes
    assert "Ada" in report.outcomes[0].result["content"][0]["text"]


@pytest.mark.parametrize("kind", [Kind.PYTHON_2026, Kind.TYPESCRIPT_1, Kind.TYPESCRIPT_2_2026])
async def test_sdks_find_all_servers_at_one_endpoint(
    kind: Kind, gate: House, request: pytest.FixtureRequest
) -> None:
    needs_node(kind, request)
    actions = [
        ("tools/list", {}),
        call_tool("all__echo", text="hello"),
        call_tool("tools__say", text="hi"),
        call_tool("tools__add", a=1, b=2),
    ]
    report = await run_client(kind, f"{gate.url}/mcp", gate.token("bob"), actions)
    assert sorted(report.names(0, "tools")) == ["all__echo", "all__order_status", "tools__say"]
    assert "hello" in json.dumps(report.outcomes[1].result)
    assert "hi" in json.dumps(report.outcomes[2].result)
    assert codes(report, [3]) == [-32602]


ONE_OF_EACH = [
    Kind.PYTHON_2025,
    Kind.PYTHON_2026,
    Kind.TYPESCRIPT_1,
    Kind.TYPESCRIPT_2_2026,
    Kind.INSPECTOR_2_2026,
]


@pytest.mark.parametrize("kind", ONE_OF_EACH)
async def test_clients_of_both_generations_use_the_public_server_which_has_sessions_only(
    kind: Kind, gate: House, public_server: Server
) -> None:
    await gate.apply(remote(public_server, "public", "team:search"))
    actions = [("tools/list", {}), call_tool("echo", message="hello")]
    report = await run_client(kind, f"{gate.url}/mcp/public", gate.token("alice"), actions)
    assert report.failed is None
    assert "get-sum" in report.names(0, "tools")
    assert "hello" in json.dumps(report.outcomes[1].result)


class Storage:
    """What the SDK keeps, in memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Person:
    """Whoever sits at the browser that a client opens."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._came = URL()

    async def open(self, address: str) -> None:
        self._came = (await consent(address, self._token, follow=False)).url

    async def callback(self) -> AuthorizationCodeResult:
        given = self._came.query
        return AuthorizationCodeResult(code=given["code"], state=given["state"], iss=given["iss"])


@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_a_client_that_knows_a_url_only_gets_its_own_token_and_sees_what_the_person_may(
    era: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything_server: Server
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with house(tmp_path, monkeypatch, PORT=str(port), PUBLIC_URL=url) as gate:
        await gate.apply(remote(everything_server, "all", "team:search"))
        await gate.apply(GRANTED)
        everything_server.forget()
        person, storage = Person(gate.token("bob")), Storage()
        about = {"redirect_uris": ["http://127.0.0.1:41000/callback"], "client_name": "SDK"}
        auth = OAuthClientProvider(
            f"{url}/mcp/all",
            OAuthClientMetadata.model_validate(about),
            storage,
            person.open,
            person.callback,
        )
        async with (
            create_mcp_http_client(auth=auth) as http,
            Client(streamable_http_client(f"{url}/mcp/all", http_client=http), mode=era) as client,
        ):
            tools = [tool.name for tool in (await client.list_tools()).tools]
            said = await client.call_tool("echo", {"text": "hello"})
        assert tools == ["echo", "order_status"]
        assert "hello" in said.model_dump_json()
        assert storage.tokens is not None
        assert storage.tokens.access_token.startswith("gw_oat_")
        never_upstream(gate, everything_server, storage.tokens.access_token)


def never_upstream(gate: House, server: Server, *more: str) -> None:
    """No token of a caller is in anything that the server got."""
    got = server.received()
    assert got
    secrets = [*more, *(value for name, value in gate.variables.items() if "TOKEN" in name)]
    for one in got:
        text = repr(one)
        assert not [secret for secret in secrets if secret in text]
        assert one.header("authorization") is None
