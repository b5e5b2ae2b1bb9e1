"""The way of policy through git: export, plan, apply, prune; and what must never happen on it."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner, Result

from conf.settings import EXAMPLES_PATH
from proxy.cli import main
from proxy.client import Client
from tests.e2e.conftest import Demo


async def run(gateway: Demo, *arguments: str, who: str = "operator", **more: str) -> Result:
    """A command line against the gateway, in a thread: it blocks."""
    given = {"GATEWARDEN_URL": gateway.url, "GATEWARDEN_TOKEN": gateway.token(who), **more}
    return await asyncio.to_thread(CliRunner(env=given).invoke, main, arguments)


async def export(gateway: Demo, folder: Path, *more: str) -> None:
    done = await run(gateway, "export", "-o", str(folder), *more)
    assert done.exit_code == 0, done.output


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.yaml")}


@pytest.mark.parametrize("per", ["kind", "document"])
async def test_what_was_exported_and_is_planned_again_changes_nothing(
    gateway: Demo, tmp_path: Path, per: str
) -> None:
    folder = tmp_path / "estate"
    await export(gateway, folder, "--per", per, "--all")
    plan = await run(gateway, "plan", "-d", str(folder), "--json")
    assert plan.exit_code == 0, plan.output
    assert json.loads(plan.stdout)["changed"] is False


async def test_git_takes_an_export_over_without_changing_a_right(
    gateway: Demo, tmp_path: Path
) -> None:
    given = ("-d", str(tmp_path / "estate"), "--source", "gitops", "--json")
    await export(gateway, tmp_path / "estate")
    first = await run(gateway, "apply", *given)
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)["plan"]
    assert (told["rows_added"], told["rows_removed"]) == (0, 0)
    again = await run(gateway, "plan", *given, "--prune")
    assert again.exit_code == 0, again.output
    await export(gateway, tmp_path / "after")
    assert texts(tmp_path / "after") == texts(tmp_path / "estate")


async def test_two_exports_of_one_estate_are_the_same_bytes(gateway: Demo, tmp_path: Path) -> None:
    await export(gateway, tmp_path / "one")
    await export(gateway, tmp_path / "two")
    assert texts(tmp_path / "one") == texts(tmp_path / "two")
    whole = "".join(texts(tmp_path / "one").values())
    assert "alice@example.com" in whole and not re.search(r"\bu-[0-9a-f]{20}", whole)
    assert "type: credential" not in whole and "tenant-admin" in whole


def random_estate(seed: int) -> list[dict[str, Any]]:
    """Documents of every kind, with names and texts that are hard on a writer of YAML."""
    pick = random.Random(seed)
    texts = ["yes", "null", "1.5", "a: b", "# no", " two ", "ünï", 'q"uote', "line\nbreak\n", "- x"]
    people = [f"p{n}.o'hara+{pick.randrange(99)}@example.com" for n in range(6)]
    teams = [f"t{n}" for n in range(4)]
    made: list[dict[str, Any]] = [
        {"type": "user", "name": name, "displayName": pick.choice(texts).strip() or "x"}
        for name in people
    ]
    made += [
        {
            "type": "team",
            "name": name,
            "description": pick.choice(texts),
            "members": pick.sample(people, pick.randrange(1, 5)),
            "tags": {pick.choice(["yes", "on", "cost center"]): pick.choice(texts)},
        }
        for name in teams
    ]
    made.append(
        {
            "type": "provider-account/openai-compatible",
            "name": "acme",
            "base_url": "https://acme.example.com/v1",
            "auth_data": {"type": "api-key", "api_key": f"sk-{seed}-abcdefghijklmnop"},
            "collaborators": [
                {"subject": f"team:{name}", "role_id": "provider-account-access"}
                for name in pick.sample(teams, 2)
            ],
            "integrations": [
                {
                    "type": "integration/model/openai-compatible",
                    "name": f"m{n}",
                    "model_id": f"up/m{n}",
                }
                for n in range(3)
            ],
        }
    )
    made.append(
        {"type": "virtual-account", "name": "robot", "ownedBy": {"team": pick.choice(teams)}}
    )
    made.append(
        {
            "type": "resource-group",
            "name": "premium",
            "resources": ["model:acme/m0", "model:acme/m1"],
        }
    )
    made.append(
        {
            "type": "policy",
            "name": "hours",
            "rules": [
                {
                    "id": "stop",
                    "effect": "deny",
                    "subjects": [f"user:{pick.choice(people)}", f"team:{pick.choice(teams)}"],
                    "actions": ["model:use"],
                    "resources": ["resource-group:premium"],
                    "message": "not at the weekend: ask",
                    "when": [
                        {"field": "time.weekday", "operator": "IN", "value": ["sat", "sun"]},
                    ],
                }
            ],
        }
    )
    return made


@pytest.mark.parametrize("seed", range(3))
async def test_a_random_estate_comes_back_as_it_went_in(
    gateway: Demo, tmp_path: Path, seed: int
) -> None:
    client = Client(gateway.url, gateway.token("operator"))
    await asyncio.to_thread(client.apply, random_estate(seed), source="gitops")
    await export(gateway, tmp_path / "estate")
    assert f"sk-{seed}" not in "".join(texts(tmp_path / "estate").values())
    given = ("-d", str(tmp_path / "estate"), "--source", "gitops")
    done = await run(gateway, "apply", *given, "--json")
    told = json.loads(done.stdout)["plan"]
    assert (told["created"], told["rows_added"], told["rows_removed"]) == ([], 0, 0)
    plan = await run(gateway, "plan", *given)
    assert plan.exit_code == 0, plan.output
    await export(gateway, tmp_path / "after")
    assert texts(tmp_path / "after") == texts(tmp_path / "estate")


async def test_an_export_edited_by_hand_is_told_at_its_line(gateway: Demo, tmp_path: Path) -> None:
    await export(gateway, tmp_path / "estate")
    file = tmp_path / "estate" / "teams.yaml"
    lines = file.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line == "members:")
    lines[at + 1] = "  - somebody:who is nobody"
    file.write_text("\ufeff" + "\r\n".join(lines) + "\r\n")
    plan = await run(gateway, "plan", "-d", str(tmp_path / "estate"))
    assert plan.exit_code == 1, plan.output
    assert f"{file}:{at + 2}:5: error " in plan.stderr
    assert "nothing was changed" in plan.stderr


async def test_an_export_does_not_mix_with_what_is_there(gateway: Demo, tmp_path: Path) -> None:
    await export(gateway, tmp_path / "estate", "--per", "document")
    again = await run(gateway, "export", "-o", str(tmp_path / "estate"), "--json")
    assert json.loads(again.stderr)["error"]["code"] == "folder_not_empty"
    await export(gateway, tmp_path / "estate", "--replace")
    assert not list((tmp_path / "estate").rglob("users/*.yaml"))
    (tmp_path / "estate" / "mine.yaml").write_text("type: team\nname: ml\nmembers: []\n")
    mixed = await run(gateway, "export", "-o", str(tmp_path / "estate"), "--replace")
    assert mixed.exit_code == 1 and "mine.yaml" in mixed.stderr
    assert (tmp_path / "estate" / "mine.yaml").exists()


def write(folder: Path, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(20):
        file = folder / f"t{number}.yaml"
        file.unlink(missing_ok=True)
        if number < count:
            file.write_text(f"type: team\nname: git-{number}\nmembers: [alice@example.com]\n")


async def test_plan_apply_and_prune_with_the_revision_in_the_log(
    gateway: Demo, tmp_path: Path
) -> None:
    folder = tmp_path / "policy"
    write(folder, 3)
    given = ("-d", str(folder), "--source", "gitops", "--prune")
    plan = await run(gateway, "plan", *given, "--rows")
    assert plan.exit_code == 2, plan.output
    assert "created  team/git-0" in plan.stdout and "  + g, user:u-" in plan.stdout
    done = await run(gateway, "apply", *given, "--json", GITHUB_SHA="4f2a9c")
    assert done.exit_code == 0, done.output
    assert (await run(gateway, "plan", *given)).exit_code == 0
    client = Client(gateway.url, gateway.token("operator"))
    entry = (await asyncio.to_thread(client.call, "GET", "/changes")).body["data"][0]
    assert (entry["revision"], entry["source"]) == ("4f2a9c", "gitops")
    write(folder, 2)
    gone = await run(gateway, "apply", *given)
    assert gone.exit_code == 0 and "deleted  team/git-2" in gone.stdout
    everything = {item["document"]["name"] for item in await asyncio.to_thread(teams, client)}
    assert {"git-0", "git-1", "search"} <= everything and "git-2" not in everything


def teams(client: Client) -> list[dict[str, Any]]:
    return list(client.pages("/teams"))


async def test_prune_never_deletes_by_accident(gateway: Demo, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    write(folder, 20)
    given = ("--source", "gitops", "--prune", "--json")
    assert (await run(gateway, "apply", "-d", str(folder), *given)).exit_code == 0
    write(folder, 1)
    plan = await run(gateway, "plan", "-d", str(folder), *given)
    assert plan.exit_code == 2 and "19 of the 20" in json.loads(plan.stdout)["plan"]["alarms"][0]
    refused = await run(gateway, "apply", "-d", str(folder), *given)
    assert json.loads(refused.stderr)["error"]["code"] == "guard_refused"
    few = await run(gateway, "apply", "-d", str(folder), *given, "--yes-delete", "18")
    assert few.exit_code == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    for also in ((), ("-d", str(folder))):
        none = await run(gateway, "apply", "-d", str(empty), *also, *given, "--yes-delete", "99")
        assert json.loads(none.stderr)["error"]["code"] == "nothing_to_apply"
    missing = await run(gateway, "apply", "-d", str(tmp_path / "no"), "-d", str(folder), *given)
    assert json.loads(missing.stderr)["error"]["problems"][0]["code"] == "no_such_file"
    client = Client(gateway.url, gateway.token("operator"))
    there = [item["document"]["name"] for item in await asyncio.to_thread(teams, client)]
    assert sum(name.startswith("git-") for name in there) == 20
    meant = await run(gateway, "apply", "-d", str(folder), *given, "--yes-delete", "19")
    assert meant.exit_code == 0, meant.output


async def test_the_revision_is_the_commit_of_the_folder(gateway: Demo, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    write(folder, 1)
    for command in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "x"),
    ):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    head = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    none = {"GITHUB_SHA": "", "CI_COMMIT_SHA": ""}
    done = await run(gateway, "apply", "-d", str(folder), "--source", "gitops", **none)
    assert done.exit_code == 0, done.output
    client = Client(gateway.url, gateway.token("operator"))
    entry = (await asyncio.to_thread(client.call, "GET", "/changes")).body["data"][0]
    assert entry["revision"] == head


async def test_a_dry_run_is_the_plan(gateway: Demo) -> None:
    given = ("-d", str(EXAMPLES_PATH), "--json")
    plan = await run(gateway, "plan", *given)
    dry = await run(gateway, "apply", *given, "--dry-run")
    assert (plan.exit_code, json.loads(plan.stdout)["plan"]) == (
        dry.exit_code,
        json.loads(dry.stdout)["plan"],
    )


DENY = """type: policy
name: stop
rules:
  - id: echo
    effect: deny
    subjects: [team:search]
    actions: [model:use]
    resources: [provider-account:echo]
"""


async def test_the_plan_says_who_gains_and_loses_what(gateway: Demo, tmp_path: Path) -> None:
    file = tmp_path / "stop.yaml"
    file.write_text(DENY)
    plan = await run(gateway, "plan", "-f", str(file))
    assert plan.exit_code == 2, plan.output
    assert re.search(r"team:search \(\d+ (person|people).*\) loses model:use on echo", plan.stdout)
    pairs = await run(gateway, "plan", "-f", str(file), "--expand")
    assert "  alice@example.com loses model:use on echo/" in pairs.stdout
    body = json.loads((await run(gateway, "plan", "-f", str(file), "--json")).stdout)
    lost = {pair["action"] for pair in body["access"]["pairs"] if pair["effect"] == "loses"}
    assert body["access"]["losses"] > 0 and lost == {"model:use"}


async def test_the_plan_asks_recorded_questions_again(gateway: Demo, tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {gateway.token('alice')}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        models = await (await session.get(f"{gateway.url}/v1/models")).json()
        model = next(item["id"] for item in models["data"] if item["id"].startswith("echo/"))
        messages = [{"role": "user", "content": "hello"}]
        said = {"model": model, "messages": messages, "max_tokens": 5}  # what a house rule reads
        done = await session.post(f"{gateway.url}/v1/chat/completions", json=said)
        assert done.status == 200
    file = tmp_path / "stop.yaml"
    file.write_text(DENY)
    for _ in range(20):  # records are shipped beside serving
        plan = await run(gateway, "plan", "-f", str(file), "--replay", "100", "--json")
        assert plan.exit_code == 2, plan.output
        flips = json.loads(plan.stdout)["replay"]["flips"]
        if flips:
            break
        await asyncio.sleep(0.1)
    assert flips, plan.stdout
    (flip,) = flips
    assert (flip["before"], flip["after"]) == ("allow", "deny")
    shown = await run(gateway, "plan", "-f", str(file), "--replay", "100")
    assert f"alice@example.com model:use on {model}: allow -> deny" in shown.stdout
