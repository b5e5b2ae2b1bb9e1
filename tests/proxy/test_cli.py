"""The command line: what it prints, on which stream, and the exit codes that scripts rely on."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from conf.settings import EXAMPLES_PATH, load
from proxy import app, demo, installation
from proxy.cli import main
from proxy.client import Client
from proxy.host import Places
from proxy.runtime import Clock
from store.replicas import Replicas
from store.sqlite_state import SqliteState
from tests.proxy.api.stack import Stack, stack_on

TEAM = "type: team\nname: ml\nmembers: [member@example.com]\n"
SECOND = "type: team\nname: ops\nmembers: []\n\nroles: [tenant-memberr]\n"


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("GATEWARDEN_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWARDEN_DATA", str(tmp_path / "var"))


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack_on(tmp_path) as made:
        yield made


@pytest.fixture
async def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of an installation with the demo estate that does not run."""
    monkeypatch.setenv("GATEWARDEN_DEMO", "true")
    settings = load()
    await installation.bootstrap(settings, installation.keys_of(settings), Clock())
    monkeypatch.delenv("GATEWARDEN_DEMO")
    return settings.data


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(main, arguments)


async def ask(stack: Stack, *arguments: str, who: str = "root") -> Result:
    """A command against the running control plane (in a thread: it blocks)."""
    more = {"GATEWARDEN_URL": stack.url, "GATEWARDEN_TOKEN": stack.tokens[who]}
    return await asyncio.to_thread(run, *arguments, **more)


def error_in(result: Result) -> dict[str, Any]:
    """The error of a command with `--json`: one object on standard error, nothing on standard output."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    found: dict[str, Any] = json.loads(result.stderr)["error"]
    return found


# Files


def test_check_says_every_problem_with_its_place_and_exits_with_1(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{TEAM}---\n{SECOND}")
    result = run("check", str(file))
    assert result.exit_code == 1
    assert f"{file}:9:9: error dangling: " in result.stdout
    assert "did you mean `tenant-member`?" in result.stdout
    assert "--partial" in result.stdout
    partial = run("check", "--partial", str(file))
    assert partial.exit_code == 0 and "warning dangling" in partial.stdout
    report = json.loads(run("check", "--json", str(file)).stdout)
    assert (report["ok"], report["problems"][0]["line"]) == (False, 9)


def test_check_of_good_files_exits_with_0(tmp_path: Path) -> None:
    result = run("check", str(EXAMPLES_PATH))
    assert result.exit_code == 0 and "0 errors" in result.stdout


def test_test_runs_cases_and_exits_with_1_when_one_is_not_as_it_says(tmp_path: Path) -> None:
    assert run("test", str(EXAMPLES_PATH)).exit_code == 0
    assert json.loads(run("test", "--json", str(EXAMPLES_PATH)).stdout)["ok"] is True
    cases = tmp_path / "x.cases.yaml"
    cases.write_text(
        f"fixture: {EXAMPLES_PATH}\ncases:\n"
        '  - {as: "user:alice@example.com", action: "model:use", resource: "model:echo/secret", '
        "expect: allow}\n"
    )
    wrong = run("test", str(cases))
    assert wrong.exit_code == 1 and "echo/secret" in wrong.stdout


def test_test_tells_the_coverage_and_writes_junit(tmp_path: Path) -> None:
    junit = tmp_path / "cases.xml"
    told = run("test", str(EXAMPLES_PATH), "--coverage", "--junit", str(junit))
    assert told.exit_code == 0
    assert "never hit: provider-account/openai#collaborator/" in told.stdout
    assert junit.read_text().startswith("<?xml") and 'failures="0"' in junit.read_text()
    low = run("test", str(EXAMPLES_PATH), "--fail-under", "100")
    assert low.exit_code == 1 and "never hit: " in low.stdout
    nowhere = run("test", str(EXAMPLES_PATH), "--junit", str(tmp_path / "no" / "x.xml"))
    assert nowhere.exit_code == 1


# A gateway that is not there, or is none


@pytest.mark.parametrize(
    ("url", "token", "code"),
    [
        ("http://127.0.0.1:1", "gw_pat_x", "unreachable"),
        ("127.0.0.1:8080", "gw_pat_x", "no_url"),
        ("http://user:pass@127.0.0.1:1", "gw_pat_x", "no_url"),
        ("http://127.0.0.1:1", "", "no_token"),
        ("http://127.0.0.1:1", "gw pat\nx", "no_token"),
    ],
)
def test_a_gateway_that_cannot_be_asked_is_a_clear_error(url: str, token: str, code: str) -> None:
    given = {"GATEWARDEN_URL": url, "GATEWARDEN_TOKEN": token}
    plain = run("whoami", **given)
    assert plain.exit_code == 1 and plain.stdout == ""
    assert f"error {code}: " in plain.stderr
    assert "hint: " in plain.stderr or code == "no_url"
    assert error_in(run("whoami", "--json", **given))["code"] == code
    assert "gw_pat_x" not in plain.stderr and "pass@" not in plain.stderr


@pytest.mark.parametrize("path", ["/v1", "/api/v1", "/nothing"])
async def test_an_address_with_a_path_is_told_apart(stack: Stack, path: str) -> None:
    given = {"GATEWARDEN_URL": stack.url + path, "GATEWARDEN_TOKEN": stack.tokens["root"]}
    result = await asyncio.to_thread(run, "whoami", **given)
    assert result.exit_code == 1 and "error " in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("whoami",),
        ("explain", "--action", "model:use", "--resource", "acme/mini"),
        ("delete", "team", "search"),
        ("token", "list"),
        ("token", "revoke", "x"),
    ],
)
async def test_a_wrong_token_is_one_error_whatever_is_asked(
    stack: Stack, arguments: tuple[str, ...]
) -> None:
    stack.tokens["nobody"] = "gw_pat_aaaaaaaaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA_AAAAAA"
    result = await ask(stack, *arguments, "--json", who="nobody")
    assert error_in(result)["code"] in ("malformed_credential", "invalid_credential")


async def test_a_refusal_names_its_decision(stack: Stack) -> None:
    result = await ask(stack, "delete", "team", "search", who="auditor")
    assert result.exit_code == 1
    assert "error forbidden: you may not do `team:delete`" in result.stderr
    assert "decision: " in result.stderr
    told = error_in(await ask(stack, "delete", "team", "search", "--json", who="auditor"))
    assert stack.record(told["decision_id"])


# Changes


async def test_apply_shows_what_is_wrong_at_the_files_own_lines(
    stack: Stack, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.json"
    one.write_text(f"{TEAM}---\n{SECOND}")
    two.write_text('{"type": "role-binding", "name": "x",\n "subjects": [\n'
                   '  {"type": "team", "name": "nowhere"}], "permissions": []}')  # fmt: skip
    for switches in ((), ("--dry-run",)):
        result = await ask(stack, "apply", "-f", str(one), "-f", str(two), *switches)
        assert result.exit_code == 1, result.output
        assert f"{one}:9:9: error dangling: the role `tenant-memberr`" in result.stderr
        assert f"{two}:3:28: error dangling: the team `nowhere`" in result.stderr
        assert "error invalid_documents: 2 problems, nothing was changed" in result.stderr
    told = error_in(await ask(stack, "apply", "-f", str(one), "--json"))
    (problem,) = told["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == (str(one), 9, 9)


async def test_what_is_wrong_with_the_file_itself_is_said_before_anybody_is_asked(
    tmp_path: Path,
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("type: team\nname: ml\nmembrs: []\n")
    nowhere = {"GATEWARDEN_URL": "http://127.0.0.1:1", "GATEWARDEN_TOKEN": "gw_pat_x"}
    result = run("apply", "-f", str(file), **nowhere)
    assert result.exit_code == 1 and f"{file}:3:1: error unknown_field" in result.stderr
    assert "unreachable" not in result.stderr
    missing = run("apply", "-f", str(tmp_path / "none"), "--json", **nowhere)
    assert error_in(missing)["problems"][0]["code"] == "no_such_file"
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    assert error_in(run("apply", "-f", str(empty), "--json", **nowhere))["code"] == (
        "nothing_to_apply"
    )


async def test_apply_says_what_it_did_and_exits_with_2_while_changes_are_pending(
    stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{TEAM}---\ntype: policy\nname: idle\nrules: []\n")
    planned = await ask(stack, "apply", "-f", str(file), "--dry-run")
    assert planned.exit_code == 2 and "created  team/ml" in planned.stdout
    assert f"{file}:7:8: warning empty_list" in planned.stderr
    applied = await ask(stack, "apply", "-d", str(tmp_path), "--comment", "why", "--json")
    assert applied.exit_code == 0, applied.output
    body = json.loads(applied.stdout)
    assert body["changed"] is True
    assert body["plan"]["warnings"][0]["file"] == str(file)
    (entry,) = await stack.runtime.changes.entries(body["epoch"] - 1, 1)
    assert entry.comment == "why"
    again = await ask(stack, "apply", "-f", str(file), "--dry-run")
    assert (again.exit_code, again.stdout) == (0, "nothing to change\n")


async def test_prune_deletes_what_the_files_no_longer_name(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{TEAM}---\ntype: team\nname: old\nmembers: []\n")
    gitops = ("apply", "-f", str(file), "--source", "gitops")
    assert (await ask(stack, *gitops)).exit_code == 0
    file.write_text(TEAM)
    pruned = await ask(stack, *gitops, "--prune")
    assert pruned.exit_code == 0 and "deleted  team/old" in pruned.stdout
    refused = await ask(stack, "apply", "-f", str(file), "--prune", "--json")
    assert error_in(refused)["code"] == "invalid_body"


async def test_what_another_source_owns_is_taken_over_only_if_that_is_said(
    stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("type: team\nname: ml\nmembers: []\n")
    gitops = ("apply", "-f", str(file), "--source", "gitops")
    assert (await ask(stack, *gitops)).exit_code == 0
    assert error_in(await ask(stack, "delete", "team", "ml", "--json"))["code"] == "managed_by"
    file.write_text("type: team\nname: ml\nmembers: []\ndescription: by hand\n")
    by_hand = ("apply", "-f", str(file))
    assert error_in(await ask(stack, *by_hand, "--json"))["code"] == "managed_by"
    assert (await ask(stack, *by_hand, "--take-over")).exit_code == 0
    left = await ask(stack, *gitops, "--dry-run")
    assert left.exit_code == 0 and "drift    team/ml was taken over" in left.stdout
    assert (await ask(stack, *gitops, "--take-over")).exit_code == 0
    assert (await ask(stack, "delete", "team", "ml", "--take-over")).exit_code == 0


async def test_a_team_ends_with_its_accounts_or_gives_them_away(stack: Stack) -> None:
    for name in ("one", "two"):
        await stack.commit(
            {"type": "team", "name": name, "members": ["ann@example.com"]},
            {"type": "virtual-account", "name": f"of-{name}", "ownedBy": {"team": name}},
        )
    refused = error_in(await ask(stack, "delete", "team", "one", "--json"))
    assert refused["code"] == "guard_refused" and "virtual-account/of-one" in refused["message"]
    told = await ask(stack, "delete", "team", "one", "--cascade", "--dry-run")
    assert told.exit_code == 2 and "deletes virtual-account/of-one" in told.stdout
    assert "team/one: 1 person loses the membership" in told.stdout
    given = await ask(stack, "delete", "team", "one", "--reassign-to", "two")
    assert given.exit_code == 0 and "gives away virtual-account/of-one" in given.stdout
    assert (await ask(stack, "delete", "team", "two", "--cascade")).exit_code == 0
    both = await ask(stack, "delete", "team", "x", "--cascade", "--reassign-to", "y")
    assert both.exit_code == 1 and "not both" in both.stderr
    other = await ask(stack, "delete", "policy", "x", "--cascade")
    assert other.exit_code == 1 and "what a team owns" in other.stderr


async def test_delete_takes_the_kind_in_singular_or_plural(stack: Stack, tmp_path: Path) -> None:
    policy = {"type": "policy", "name": "idle", "rules": []}
    await stack.commit(policy)
    pending = await ask(stack, "delete", "policy", "idle", "--dry-run")
    assert pending.exit_code == 2 and "deleted  policy/idle" in pending.stdout
    assert (await ask(stack, "delete", "policies", "idle")).exit_code == 0
    gone = error_in(await ask(stack, "delete", "policy", "idle", "--json"))
    assert gone["code"] == "not_found"
    wrong = error_in(await ask(stack, "delete", "nonsense", "idle", "--json"))
    assert (wrong["code"], "policy" in wrong["hint"]) == ("unknown_collection", True)


# Questions


async def test_explain_speaks_of_people_by_their_addresses(stack: Stack) -> None:
    asked = ("explain", "--action", "model:use", "--resource", "acme/mini", "--as")
    result = await ask(stack, *asked, "member@example.com")
    assert result.exit_code == 0, result.output
    assert "subject user:member@example.com on model:acme/mini: allow, allowed" in result.stdout
    assert "user:u-" not in result.stdout
    body = json.loads((await ask(stack, *asked, "member@example.com", "--json")).stdout)
    assert list(body["people"].values()) == ["member@example.com"]
    hidden = await ask(stack, *asked, "member@example.com", who="auditor")
    assert "member@example.com" not in hidden.stdout  # an auditor may not read users
    assert "subject user:u-" in hidden.stdout


async def test_explain_says_what_would_have_to_be(stack: Stack) -> None:
    asked = ("explain", "--action", "model:use", "--resource")
    result = await ask(stack, *asked, "acme/mini", "--as", "user:other@example.com")
    assert "deny: no_grant" in result.stdout and "were in team:search" in result.stdout
    missing = await ask(stack, *asked, "acme/none", "--as", "team:search")
    assert "deny: unknown_resource" in missing.stdout
    assert "there is no model:acme/none" in missing.stdout


async def test_explain_names_who_wrote_a_rule_and_answers_about_then(stack: Stack) -> None:
    asked = ("explain", "--action", "model:use", "--resource", "acme/mini")
    asked = (*asked, "--as", "member@example.com")
    before = str(stack.runtime.changes.head)
    told = await ask(stack, *asked)
    assert "written by host (host) in epoch 2, 2026-11-25T12:00:00Z" in told.stdout
    await stack.commit({"type": "team", "name": "search", "members": ["manager@example.com"]})
    assert "deny: no_grant" in (await ask(stack, *asked)).stdout
    then = await ask(stack, *asked, "--at", before)
    assert "allow: allowed" in then.stdout and f"epoch  {before}" in then.stdout
    body = json.loads((await ask(stack, *asked, "--at", before, "--json")).stdout)
    written = body["explanation"]["parts"][0]["rules"][0]["written_by"]
    assert (written["actor"], written["epoch"]) == ("host", 2)
    assert error_in(await ask(stack, *asked, "--at", "soon", "--json"))["code"] == "invalid_body"


async def test_who_may_and_what_somebody_may_are_listed_over_all_pages(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.question_commands._PAGE", 1)
    before = str(stack.runtime.changes.head)
    await stack.commit({"type": "team", "name": "search", "members": ["manager@example.com"]})
    now = await ask(stack, "who", "model:use", "acme/mini")
    assert now.exit_code == 0, now.output
    assert "user:manager@example.com" in now.stdout and "member@" not in now.stdout
    then = await ask(stack, "who", "model:use", "acme/mini", "--at", before)
    assert "user:member@example.com" in then.stdout and "4 at epoch" in then.stdout
    some = await ask(stack, "who", "model:use", "acme/mini", "--at", before, "--limit", "2")
    assert "2 at epoch" in some.stdout and "there are more" in some.stderr
    body = json.loads((await ask(stack, "who", "model:use", "acme/mini", "--json")).stdout)
    assert len(body["data"]) == 3 and body["next"] is None
    can = await ask(stack, "can", "manager@example.com", "--action", "model:use")
    assert "model:acme/mini" in can.stdout and "1 at epoch" in can.stdout
    own = json.loads((await ask(stack, "can", "--json", who="member")).stdout)
    assert {item["action"] for item in own["data"]} == {
        "data:read",
        "self:manage-tokens",
        "self:read",
    }
    wrong = error_in(await ask(stack, "who", "model:fly", "acme/mini", "--json"))
    assert (wrong["code"], "model:use" in wrong["hint"]) == ("invalid_query", True)


async def test_a_context_is_read_by_the_kind_of_its_field(stack: Stack) -> None:
    rule = {
        "id": "short",
        "effect": "deny",
        "subjects": ["any:user"],
        "actions": ["model:use"],
        "resources": ["any:model"],
        "when": [{"field": "body.max_tokens", "operator": "GREATER_THAN", "value": 100}],
    }
    await stack.commit({"type": "policy", "name": "p", "rules": [rule]})
    asked = ("explain", "--action", "model:use", "--resource", "acme/mini")
    asked = (*asked, "--as", "member@example.com", "--context")
    assert "allow: " in (await ask(stack, *asked, "body.max_tokens=50")).stdout
    assert "GREATER_THAN 100: met" in (await ask(stack, *asked, "body.max_tokens=500")).stdout
    assert "unknown" in (await ask(stack, *asked, "body.max_tokens=many")).stdout
    wrong = await ask(stack, *asked, "body.max_tokens")
    assert wrong.exit_code == 1 and "FIELD=VALUE" in wrong.stderr


async def test_whoami_and_token_list_print_tables_or_json(stack: Stack) -> None:
    assert "root@example.com" in (await ask(stack, "whoami")).stdout
    assert json.loads((await ask(stack, "whoami", "--json")).stdout)["name"] == "root@example.com"
    listed = json.loads((await ask(stack, "token", "list", "--json")).stdout)
    assert [item["id"] for item in listed] == [stack.token_ids["root"]]
    assert stack.token_ids["root"] in (await ask(stack, "token", "list")).stdout
    ended = await ask(stack, "token", "revoke", stack.token_ids["root"], "--json")
    assert json.loads(ended.stdout)["revoked"] == [stack.token_ids["root"]]
    assert error_in(await ask(stack, "whoami", "--json"))["code"] == "invalid_credential"


# The host


def test_a_command_on_the_host_makes_no_installation_by_itself(tmp_path: Path) -> None:
    for arguments in (
        ("token", "create", "--for", "user:alice@example.com"),
        ("log", "query", "--subject", "user:alice@example.com"),
    ):
        told = error_in(run(*arguments, "--json"))
        assert "no installation" in told["message"] and "GATEWARDEN_DATA" in told["hint"]
    assert not (tmp_path / "var").exists()


async def test_the_host_mints_for_who_exists_and_an_account_s_token_is_kept(
    installed: Path,
) -> None:
    made = await asyncio.to_thread(
        run, "token", "create", "--for", "virtualaccount:checkout", "--json"
    )
    assert made.exit_code == 0, made.output
    token = json.loads(made.stdout)
    assert token["token"].startswith(f"gw_vat_{token['id']}_")
    settings = load()
    async with app.running(
        settings.model_copy(update={"port": 0}), installation.keys_of(settings)
    ) as process:
        operator = demo.read(Places(installed).demo)["GATEWARDEN_TOKEN"]
        asked = Client(f"http://127.0.0.1:{process.port}", operator)
        read = await asyncio.to_thread(asked.call, "GET", "/virtual-accounts/checkout/token")
        assert read.body["token"] == token["token"]
    for subject in ("user:nobody@example.com", "virtualaccount:nothing", "team:search", "alice"):
        told = error_in(await asyncio.to_thread(run, "token", "create", "--for", subject, "--json"))
        assert told["hint"], told


async def test_a_day_of_expiry_ends_at_the_following_midnight(installed: Path) -> None:
    arguments = ("token", "create", "--for", "alice@example.com", "--expires", "2099-01-31")
    assert (await asyncio.to_thread(run, *arguments)).exit_code == 0
    past = await asyncio.to_thread(run, *arguments[:-1], "2020-01-01", "--json")
    assert "not in the future" in error_in(past)["message"]


async def test_log_verify_exits_with_1_when_the_log_is_not_whole(
    installed: Path, tmp_path: Path
) -> None:
    settings = load()
    async with app.running(settings.model_copy(update={"port": 0}), installation.keys_of(settings)):
        pass
    whole = await asyncio.to_thread(run, "log", "verify")
    assert whole.exit_code == 0 and "whole: " in whole.stdout, whole.output
    assert json.loads((await asyncio.to_thread(run, "log", "verify", "--json")).stdout)["whole"]
    segment = next(p for p in sorted((installed / "journal").rglob("*")) if b'"seq"' in _bytes(p))
    segment.chmod(stat.S_IRUSR | stat.S_IWUSR)
    segment.write_bytes(segment.read_bytes().replace(b'"seq":1', b'"seq":7', 1))
    broken = await asyncio.to_thread(run, "log", "verify")
    assert broken.exit_code == 1 and "NOT whole" in broken.stdout
    assert json.loads((await asyncio.to_thread(run, "log", "verify", "--json")).stdout)["faults"]
    other = tmp_path / "other.pem"
    other.write_text("no key")
    wrong = await asyncio.to_thread(run, "log", "verify", "--public-key", str(other), "--json")
    assert error_in(wrong)["code"] == "host_error"


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


async def test_doctor_exits_by_what_it_finds(installed: Path) -> None:
    free = {"GATEWARDEN_PORT": "0"}
    well = await asyncio.to_thread(run, "doctor", "--json", **free)
    found = {item["name"]: item for item in json.loads(well.stdout)}
    assert well.exit_code == 0, well.output
    assert found["permissions"]["ok"]
    (installed / "keys" / "signing.key").chmod(0o644)
    ill = await asyncio.to_thread(run, "doctor", **free)
    assert "permissions" in ill.stdout and "error" in ill.stdout
    assert ill.exit_code == 1


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("apply",),
        ("apply", "--bogus"),
        ("token", "bogus"),
        ("log", "query", "--effect", "maybe"),
        ("explain", "--action", "model:use"),
    ],
)
def test_a_wrong_use_is_an_error_and_never_means_pending_changes(
    arguments: tuple[str, ...],
) -> None:
    result = run(*arguments)
    assert result.exit_code == 1 and "Usage: " in result.stderr


def test_a_wrong_setting_is_named() -> None:
    told = error_in(run("doctor", "--json", GATEWARDEN_PROT="1"))
    assert "did you mean GATEWARDEN_PORT?" in told["message"]
    told = error_in(run("doctor", "--json", GATEWARDEN_PORT="many"))
    assert told["message"].startswith("invalid settings: port: ")


@pytest.mark.parametrize("arguments", [("--help",), ("token", "--help"), ("--version",)])
def test_help_and_version_exit_with_0(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 0


# Waiting for all processes


async def test_wait_says_in_how_many_processes_a_change_is_in_force(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, state = stack.runtime.changes, SqliteState(stack.store)
    stack.runtime.replicas = Replicas(state, "here@0", lambda: changes.head)
    file = tmp_path / "a.yaml"
    file.write_text(TEAM)
    alone = await ask(stack, "apply", "-f", str(file), "--wait")
    assert alone.exit_code == 0 and "in force in 1/1 processes" in alone.stdout
    monkeypatch.setattr(Replicas.wait, "__defaults__", (0.0,))
    head = changes.head
    await Replicas(state, "slow@1", lambda: head).tell(stack.now[0])
    revoked = await ask(stack, "token", "revoke", stack.token_ids["member"], "--wait")
    assert revoked.exit_code == 1 and "not yet in force in: slow@1" in revoked.stderr
    assert "revoked" in revoked.stdout
