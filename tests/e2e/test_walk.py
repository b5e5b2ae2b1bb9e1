"""A grant, a refusal, a revocation, the record of them: as a newcomer walks through the README."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.host import Places
from tests.e2e.conftest import Demo

GRANT = """\
type: role-binding
name: search-secret
subjects: [{type: team, name: search}]
permissions: [{resourceType: model, resourceFqn: echo/secret, role: provider-account-access}]
"""


async def cli(gateway: Demo, *arguments: str, who: str = "operator") -> Result:
    """A command against the running gateway (in a thread: it blocks)."""
    environment = {
        "GATEWARDEN_URL": gateway.url,
        "GATEWARDEN_TOKEN": gateway.token(who),
        "GATEWARDEN_DATA": str(gateway.settings.data),
    }
    return await asyncio.to_thread(CliRunner(env=environment).invoke, main, arguments)


async def chat(gateway: Demo, model: str, who: str = "alice") -> tuple[int, dict[str, Any], str]:
    """(status, body, decision id) of a chat."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{gateway.url}/v1/chat/completions",
            json={"model": model, "messages": [{"role": "user", "content": "hi"}]},
            headers={"authorization": f"Bearer {gateway.token(who)}"},
        ) as answer,
    ):
        return answer.status, await answer.json(), answer.headers.get("x-decision-id", "")


async def test_a_grant_holds_from_the_next_request_and_so_does_its_end(
    gateway: Demo, tmp_path: Path
) -> None:
    file = tmp_path / "grant.yaml"
    file.write_text(GRANT)
    assert (await chat(gateway, "echo/secret"))[0] == 404

    planned = await cli(gateway, "apply", "-f", str(file), "--dry-run")
    assert planned.exit_code == 2, planned.output
    assert (await chat(gateway, "echo/secret"))[0] == 404

    applied = await cli(gateway, "apply", "-f", str(file))
    assert applied.exit_code == 0, applied.output
    assert (await chat(gateway, "echo/secret"))[0] == 200

    again = await cli(gateway, "apply", "-f", str(file), "--dry-run", "--json")
    assert again.exit_code == 0
    assert json.loads(again.output)["changed"] is False

    deleted = await cli(gateway, "delete", "role-binding", "search-secret")
    assert deleted.exit_code == 0, deleted.output
    assert (await chat(gateway, "echo/secret"))[0] == 404


async def test_a_file_with_one_wrong_document_changes_nothing(
    gateway: Demo, tmp_path: Path
) -> None:
    file = tmp_path / "estate.yaml"
    file.write_text(f"{GRANT}---\ntype: team\nname: x\nmembers: [nobody]\n")
    before = gateway.process.runtime.changes.head
    result = await cli(gateway, "apply", "-f", str(file))
    assert result.exit_code == 1
    assert gateway.process.runtime.changes.head == before
    assert (await chat(gateway, "echo/secret"))[0] == 404


async def test_a_plain_member_may_not_grant(gateway: Demo, tmp_path: Path) -> None:
    file = tmp_path / "grant.yaml"
    file.write_text(GRANT)
    result = await cli(gateway, "apply", "-f", str(file), who="alice")
    assert result.exit_code == 1
    assert (await chat(gateway, "echo/secret"))[0] == 404


async def test_a_revoked_token_is_refused_on_the_next_request(gateway: Demo) -> None:
    assert (await chat(gateway, "echo/small"))[0] == 200
    listed = await cli(gateway, "token", "list", "--json", who="alice")
    (token,) = json.loads(listed.output)
    revoked = await cli(gateway, "token", "revoke", token["id"], who="alice")
    assert revoked.exit_code == 0, revoked.output
    status, body, _ = await chat(gateway, "echo/small")
    assert status == 401
    assert body["error"]["code"] == "invalid_api_key"


async def test_every_answer_has_its_decision_in_the_log(gateway: Demo) -> None:
    _, _, allowed = await chat(gateway, "echo/small")
    _, _, refused = await chat(gateway, "echo/secret")
    for _ in range(100):
        found = await cli(gateway, "log", "query", "--json", "--action", "model:use")
        records = {item["id"]: item["body"] for item in json.loads(found.output)["data"]}
        if {allowed, refused} <= records.keys():
            break
        await asyncio.sleep(0.05)
    assert records[allowed]["effect"] == "allow"
    assert records[allowed]["rules"]
    assert records[refused]["reason"] == "no_grant"
    verified = await cli(gateway, "log", "verify", "--json")
    assert verified.exit_code == 0, verified.output
    assert json.loads(verified.output)["whole"]


async def test_explain_says_which_rule_and_which_link(gateway: Demo) -> None:
    asked = ("--action", "model:use", "--as", "user:alice@example.com", "--resource")
    allowed = await cli(gateway, "explain", *asked, "echo/small")
    assert "allow by provider-account/echo#collaborator/team:search" in allowed.output
    refused = await cli(gateway, "explain", *asked, "echo/secret")
    assert "deny: no_grant" in refused.output
    assert "team:platform" in refused.output


async def test_whoami_is_open_to_everyone_about_themselves(gateway: Demo) -> None:
    result = await cli(gateway, "whoami", "--json", who="checkout")
    assert json.loads(result.output)["id"] == "virtualaccount:checkout"


async def test_the_host_mints_a_token_that_works_within_a_moment(gateway: Demo) -> None:
    minted = await cli(gateway, "token", "create", "--for", "user:bob@example.com")
    assert minted.exit_code == 0, minted.output
    await gateway.process.runtime.changes.poll()
    principal = gateway.process.runtime.directory.authenticate(
        minted.output.strip(), gateway.process.runtime.clock.now()
    )
    assert principal.id.startswith("user:u-")


async def test_no_secret_is_in_any_file_but_the_demo_s(gateway: Demo) -> None:
    await chat(gateway, "echo/small")
    places = Places(gateway.settings.data)
    secret = gateway.token("alice").encode()
    for path in gateway.settings.data.rglob("*"):
        if path.is_file() and path != places.demo:
            assert secret not in path.read_bytes(), path
