"""What MCP servers offer, through the control plane: seen, approved, and written down by the gateway alone."""

from __future__ import annotations

from typing import Any

import pytest

from conf.settings import MODEL_PATH
from policies.documents import McpCatalogue
from policies.errors import Conflict
from proxy.mcp.discovery import catalogue_change
from store.changes import ChangeLog
from store.sealed import Sealer
from store.sqlite import SqliteStore
from tests.proxy.api.stack import NOW, SEALING, Stack

GRANT = {"subject": "user:manager@example.com", "role_id": "mcp-server-manager"}
USER = {"subject": "team:search", "role_id": "mcp-server-user"}
SERVER: dict[str, Any] = {
    "type": "mcp-server/remote",
    "name": "github",
    "url": "https://mcp.example.com/mcp",
    "collaborators": [GRANT, USER],
}
SAY = {"name": "say", "description": "Says."}
PATH = "/mcp-servers/github/catalogue"


async def discover(stack: Stack, *tools: dict[str, Any], server: str = "github") -> tuple[str, ...]:
    """What discovery does once it has asked the server."""
    changes = stack.runtime.changes
    stored = await changes.document(("mcp-catalogue", server))
    before = stored.document if stored is not None else None
    assert before is None or isinstance(before, McpCatalogue)
    version = stored.version if stored is not None else 0
    change, left_out = catalogue_change(
        server, before, version, {"tool": tools}, request_id="discovery"
    )
    if change is not None:
        await changes.commit(change, None, NOW)
    return left_out


async def shown(stack: Stack, who: str = "manager") -> dict[str, str]:
    """The states of the tools."""
    got = await stack.call("GET", PATH, who=who)
    assert got.status == 200, got.raw
    return {entry["name"]: entry["state"] for entry in got.json["entries"]}


async def calls(stack: Stack, tool: str) -> bool:
    asked = {"action": "mcp-tool:call", "resource": f"mcp-tool:github/{tool}"}
    got = await stack.call("POST", "/explain", asked, who="member")
    return bool(got.json["effect"] == "allow")


async def test_what_is_found_is_offered_and_what_changed_waits(stack: Stack) -> None:
    await stack.commit(SERVER)
    assert (await stack.call("GET", PATH, who="manager")).json["discovered"] is False
    assert await discover(stack, SAY, {"name": "a__b"}) == (
        "tool `a__b`: its name holds `__`, which parts server and tool",
    )
    assert await shown(stack) == {"say": "enabled"}
    assert await calls(stack, "say")
    await discover(stack, {**SAY, "description": "Sends."})
    assert await shown(stack) == {"say": "held"}
    assert not await calls(stack, "say")
    got = await stack.call("POST", f"{PATH}/approve", {"tools": ["say"]}, who="manager")
    assert got.status == 200, got.raw
    (entry,) = got.json["catalogue"]["entries"]
    assert (entry["state"], entry["approved"], entry["seen"]) == ("enabled", True, None)
    assert got.json["changed"] is True and await calls(stack, "say")
    again = await stack.call("POST", f"{PATH}/approve", {"tools": ["say"]}, who="manager")
    assert again.json["changed"] is False


async def test_nothing_is_written_where_nothing_differs(stack: Stack) -> None:
    await stack.commit(SERVER)
    await discover(stack, SAY)
    head = stack.runtime.changes.head
    await discover(stack, SAY)
    assert stack.runtime.changes.head == head


async def test_of_two_processes_that_look_at_once_one_is_told(stack: Stack) -> None:
    await stack.commit(SERVER)
    change, _ = catalogue_change("github", None, 0, {"tool": [SAY]}, request_id="r")
    assert change is not None
    await stack.runtime.changes.commit(change, None, NOW)
    with pytest.raises(Conflict):
        await stack.runtime.changes.commit(change, None, NOW)


async def test_a_dry_run_says_what_would_be_and_changes_nothing(stack: Stack) -> None:
    await stack.commit({**SERVER, "tool_policy": {"enable_tools_by_default": False}})
    await discover(stack, SAY)
    assert await shown(stack) == {"say": "new"}
    path = f"{PATH}/approve?dry_run=true"
    got = await stack.call("POST", path, {"tools": ["say"]}, who="manager")
    assert got.json["catalogue"]["entries"][0]["state"] == "enabled"
    assert ["g2", "mcp-tool:github/say", "mcp-server:github"] in got.json["plan"]["added"]
    assert await shown(stack) == {"say": "new"}


async def test_only_what_was_looked_at_is_approved_if_that_is_asked(stack: Stack) -> None:
    await stack.commit({**SERVER, "tool_policy": {"enable_tools_by_default": False}})
    await discover(stack, SAY)
    tag = (await stack.call("GET", PATH, who="manager")).headers["etag"]
    same = await stack.call("GET", PATH, who="manager", headers={"If-None-Match": tag})
    assert same.status == 304
    await discover(stack, {**SAY, "description": "Sends."})
    got = await stack.call(
        "POST", f"{PATH}/approve", {"tools": ["say"]}, who="manager", headers={"If-Match": tag}
    )
    assert (got.status, got.code) == (412, "precondition_failed")
    assert await shown(stack) == {"say": "held"}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"tools": ["sat"]}, 404, "did you mean `say`?"),
        ({"entries": [{"kind": "prompt", "name": "say"}]}, 404, "look at its catalogue"),
        ({}, 400, "name `tools`"),
        ({"tools": []}, 400, "name `tools`"),
    ],
)
async def test_what_cannot_be_approved_is_said_in_words_that_help(
    stack: Stack, body: dict[str, Any], status: int, said: str
) -> None:
    await stack.commit(SERVER)
    await discover(stack, SAY)
    got = await stack.call("POST", f"{PATH}/approve", body, who="manager")
    assert got.status == status, got.raw
    assert said in got.json["hint"]


async def test_a_server_that_was_never_asked_has_nothing_to_approve(stack: Stack) -> None:
    await stack.commit(SERVER)
    got = await stack.call("POST", f"{PATH}/approve", {"tools": ["say"]}, who="manager")
    assert (got.status, got.code) == (409, "conflict")


async def test_who_may_use_a_server_does_not_see_its_catalogue(stack: Stack) -> None:
    await stack.commit(SERVER)
    await discover(stack, SAY)
    assert (await stack.call("GET", PATH, who="member")).status == 404
    got = await stack.call("POST", f"{PATH}/approve", {"tools": ["say"]}, who="member")
    assert got.status == 404


async def test_a_virtual_server_shows_what_its_tools_stand_for(stack: Stack) -> None:
    desk = {"type": "mcp-server/virtual", "name": "desk", "servers": [{"name": "github"}]}
    await stack.commit(SERVER, desk)
    await discover(stack, SAY)
    got = await stack.call("GET", "/mcp-servers/desk/catalogue")
    (entry,) = got.json["entries"]
    assert (entry["id"], entry["target"]) == ("mcp-tool:desk/say", "mcp-tool:github/say")
    got = await stack.call("POST", "/mcp-servers/desk/catalogue/approve", {"tools": ["say"]})
    assert got.status == 409


async def test_nobody_writes_a_catalogue_as_a_document(stack: Stack) -> None:
    document = {"type": "mcp-catalogue", "name": "github", "entries": []}
    for method, path, body in (
        ("PUT", "/apply", {"manifests": [document]}),
        ("PUT", "/mcp-servers/github", document),
    ):
        got = await stack.call(method, path, body)
        assert got.status in (400, 422), got.raw


async def test_secrets_of_a_server_never_come_back(stack: Stack) -> None:
    login = {"type": "header", "headers": {"Authorization": "Bearer canary-0123456789"}}
    got = await stack.call("PUT", "/mcp-servers/github", {**SERVER, "auth_data": login})
    assert got.status == 201, got.raw
    assert b"canary" not in got.raw
    read = await stack.call("GET", "/mcp-servers/github")
    held = read.json["document"]["auth_data"]["headers"]["Authorization"]
    assert held.startswith("secret:")
    assert await stack.runtime.changes.secret(held) == "Bearer canary-0123456789"
    again = await stack.call("PUT", "/mcp-servers/github", read.json["document"])
    assert again.json["changed"] is False
    moved = {**read.json["document"], "url": "https://elsewhere.example.com/mcp"}
    assert (await stack.call("PUT", "/mcp-servers/github", moved)).status in (400, 422)


async def test_a_client_secret_is_bound_to_where_tokens_are_given(stack: Stack) -> None:
    login = {
        "type": "oauth2",
        "grant_type": "client_credentials",
        "token_url": "https://login.example.com/token",
        "client_id": "me",
        "client_secret": "canary-0123456789",
    }
    got = await stack.call("PUT", "/mcp-servers/github", {**SERVER, "auth_data": login})
    document = got.json["document"]
    held = document["auth_data"]["client_secret"]
    assert await stack.runtime.changes.secret(held) == "canary-0123456789"
    # What is given there is shown to the server: so that may not move either.
    moved = {**document, "url": "https://elsewhere.example.com/mcp"}
    assert (await stack.call("PUT", "/mcp-servers/github", moved)).status == 422
    login = {**document["auth_data"], "token_url": "https://evil.example.com/token"}
    moved = {**document, "auth_data": login}
    assert (await stack.call("PUT", "/mcp-servers/github", moved)).status in (400, 422)


async def test_a_deleted_server_leaves_no_catalogue_and_its_name_starts_anew(stack: Stack) -> None:
    await stack.commit(SERVER)
    await discover(stack, SAY)
    assert (await stack.call("DELETE", "/mcp-servers/github")).status == 200
    assert await stack.runtime.changes.document(("mcp-catalogue", "github")) is None
    await stack.commit(SERVER)
    got = await stack.call("GET", PATH)
    assert (got.json["discovered"], got.json["entries"]) == (False, [])
    await discover(stack, SAY, server="github~2")
    got = await stack.call("GET", PATH)
    assert got.json["entries"][0]["id"] == "mcp-tool:github~2/say"


async def test_questions_name_tools_as_people_do(stack: Stack) -> None:
    await stack.commit(SERVER)
    await stack.call("DELETE", "/mcp-servers/github")
    await stack.commit(SERVER)
    await discover(stack, {"name": "get it"}, server="github~2")
    asked = {"action": "mcp-tool:call", "resource": "mcp-tool:github/get it"}
    got = await stack.call("POST", "/explain", asked, who="member")
    assert got.json["effect"] == "allow", got.raw


async def test_what_a_process_knows_of_servers_it_knows_again_after_a_start(stack: Stack) -> None:
    desk = {"type": "mcp-server/virtual", "name": "desk", "servers": [{"name": "github"}]}
    await stack.commit({**SERVER, "tool_policy": {"disabled_tools": ["no"]}}, desk)
    await discover(stack, SAY, {"name": "no"})
    await discover(stack, {**SAY, "description": "Sends."}, {"name": "no"}, {"name": "late"})
    store = SqliteStore(stack.folder / "gatewarden.db")
    other = ChangeLog(
        store, model_text=MODEL_PATH.read_text("utf-8"), shipped=(), sealer=Sealer(SEALING)
    )
    await other.start()
    try:
        now = stack.runtime.changes
        assert other.names.offers(None) == now.names.offers(None)
        assert other.names.offers("desk") == {"mcp-tool:desk/late"}
        assert other.engine.digest == now.engine.digest
        assert other.rebuilds == 0
    finally:
        await other.close()
