"""MCP servers as documents: what is taken, what rows come of them, and who may make which."""

from __future__ import annotations

from typing import Any

import pytest
from estates import House, catalogue, mcp, policy, role, team, uid, user, virtual, virtual_mcp

from authz.conditions import Context
from authz.decision import Somebody
from policies.authorise import authorise
from policies.documents import dump, parse
from policies.errors import InvalidDocuments, NotAuthorised
from policies.loader import load_text
from policies.naming import Key
from policies.resolve import rendered
from policies.validate import validate

ANN, BOB, ROOT = "ann@acme.com", "bob@acme.com", "root@acme.com"
A, B = uid(ANN), uid(BOB)
USE, MANAGE = "mcp-server-user", "mcp-server-manager"


def problems(text: str) -> list[tuple[str, str]]:
    """(code, severity) of what is wrong with documents in a file."""
    return [(p.code, p.severity) for p in validate(load_text(text, "x.yaml"))]


def only(text: str) -> tuple[str, str, str]:
    """(code, message, hint) of the one problem."""
    (found,) = validate(load_text(text, "x.yaml"))
    return found.code, found.message, found.hint


def allowed(house: House, subject: str, action: str, thing: str, **values: object) -> bool:
    return bool(house.engine().decide(Somebody(subject), action, thing, Context(values)))


def calls(house: House, subject: str, tool: str) -> bool:
    return allowed(house, subject, "mcp-tool:call", f"mcp-tool:{tool}")


# --- what is taken ----------------------------------------------------------------------------------

REMOTE = "type: mcp-server/remote\nname: s\nurl: https://mcp.example.com/mcp\n"
OAUTH = (
    REMOTE + "auth_data:\n  type: oauth2\n  token_url: https://login.example.com/token\n"
    "  authorization_url: https://login.example.com/authorize\n"
)


@pytest.mark.parametrize(
    "text",
    [
        REMOTE,
        "type: mcp-server/echo\nname: tools\n",
        OAUTH + "  registration_url: https://login.example.com/register\n",
        OAUTH + "  client_id: me\n  client_secret: env:SECRET\n  scopes: [read]\n",
        REMOTE + 'auth_data: {type: header, headers: {Authorization: "env:TOKEN"}}\n',
        REMOTE + "auth_data: {type: header, auth_level: per_user, headers: {X-Key: '{{KEY}}'}}\n",
        REMOTE + "auth_data: {type: aws-sigv4, access_key_id: AKIAIOSFODNN7EXAMPLE,"
        " secret_access_key: 'env:KEY', region: us-east-1, service: bedrock-agentcore}\n",
        REMOTE + "tool_metadata: {search: {description: Looks things up.}}\n",
        "type: mcp-server/openapi\nname: o\nurl: https://api.example.com\nenable_all_tools: true\n"
        "openapi_spec_source: {type: inline, spec: {openapi: 3.1.0, paths: {}}}\n",
        "type: mcp-server/openapi\nname: o\nurl: https://api.example.com\nenable_all_tools: true\n"
        'openapi_spec_source: {type: inline, spec: "openapi: 3.1.0\\npaths: {}"}\n',
    ],
)
def test_what_a_server_can_be(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (REMOTE.replace("name: s", "name: a__b"), "reserved_name", "parts server and tool"),
        (REMOTE.replace("name: s", "name: a_"), "reserved_name", "ends in `_`"),
        (REMOTE.replace("name: s", f"name: {'a' * 41}"), "reserved_name", "at most 40"),
        (REMOTE + "tls_settings: {reject_unauthorized: false}\n", "wrong_value", "ca_cert"),
        (REMOTE + "tls_settings: {ca_cert: x}\n", "wrong_value", "PEM"),
        (REMOTE + "additional_headers: {Authorization: x}\n", "wrong_value", "auth_data.headers"),
        (REMOTE + "additional_headers: {Mcp-Session-Id: x}\n", "wrong_value", "leave it out"),
        (REMOTE + "auth_data: {type: passthrough}\n", "unsupported", "never goes upstream"),
        ("type: mcp-server/stdio\nname: x\ncommand: npx\n", "unsupported", "HTTP endpoint"),
        (REMOTE.replace("https://mcp.example.com/mcp", "ftp://x/"), "bad_address", "https://host"),
        (
            REMOTE + 'auth_data: {type: header, headers: {X-Key: "{{KEY}}"}}\n',
            "wrong_value",
            "per_user",
        ),
        (
            REMOTE + 'auth_data: {type: header, auth_level: per_user, headers: {X-Key: "env:A"}}\n',
            "wrong_value",
            "{{KEY}}",
        ),
        (OAUTH, "missing_field", "registration_url"),
        (OAUTH + "  client_id: me\n  scopes: ['a b']\n", "wrong_value", "without blanks"),
        (
            OAUTH + "  client_id: me\n  additional_token_params: {resource: x}\n",
            "wrong_value",
            "field of its own",
        ),
        (
            OAUTH + "  grant_type: client_credentials\n  client_id: me\n",
            "missing_field",
            "client_secret",
        ),
        (
            "type: mcp-server/openapi\nname: o\nurl: https://a.example.com\nenable_all_tools: true\n"
            "openapi_spec_source: {type: inline, spec: {swagger: '2.0'}}\n",
            "unsupported",
            "OpenAPI 3",
        ),
        (
            REMOTE + "---\ntype: mcp-server/virtual\nname: v\nservers: [{name: s}]\n---\n"
            "type: mcp-server/virtual\nname: w\nservers: [{name: v}]\n",
            "invalid_target",
            "made of",
        ),
        ("type: mcp-server/virtual\nname: v\nservers: [{name: gone}]\n", "dangling", "declare"),
    ],
)
def test_what_it_cannot_be_is_said_with_a_way_out(text: str, code: str, said: str) -> None:
    found, message, hint = only(text)
    assert found == code
    assert said in f"{message} {hint}"


def test_a_secret_in_a_file_is_said_and_never_repeated() -> None:
    text = REMOTE + "auth_data: {type: header, headers: {Authorization: Bearer hunter2}}\n"
    code, message, hint = only(text)
    assert code == "plain_secret" and "hunter2" not in message + hint


# --- secrets ----------------------------------------------------------------------------------------


class Vault:
    """Remembers what it was given, and for where."""

    def __init__(self) -> None:
        self.sealed: list[tuple[str, str, str]] = []

    def seal(self, key: Key, field: str, origin: str, secret: str) -> str:
        del key
        self.sealed.append((field, origin, secret))
        return f"secret:{len(self.sealed)}"


HEADER = {"type": "header", "headers": {"X-Key": "hunter2", "X-Ref": "env:REF"}}


def test_secrets_are_sealed_for_the_address_that_they_are_sent_to() -> None:
    house, vault = House(), Vault()
    house.put(mcp("s", auth_data=HEADER), vault=vault)
    house.put(
        mcp(
            "o",
            auth_data={
                "type": "oauth2",
                "authorization_url": "https://login.example.com/a",
                "token_url": "https://login.example.com/t",
                "client_id": "me",
                "client_secret": "swordfish",
            },
        ),
        vault=vault,
    )
    assert vault.sealed == [
        ("auth_data.headers.X-Key", "https://s.example.com:443", "hunter2"),
        # What gives tokens, and whom they are shown to.
        (
            "auth_data.client_secret",
            "https://login.example.com:443 https://o.example.com:443",
            "swordfish",
        ),
    ]
    stored = house.estate.documents["mcp-server", "s"].document
    assert dump(stored)["auth_data"]["headers"] == {"X-Key": "secret:1", "X-Ref": "env:REF"}
    assert "hunter2" not in repr(mcp("s", auth_data=HEADER))


def test_what_each_user_fills_in_is_no_secret() -> None:
    vault = Vault()
    auth = {"type": "header", "auth_level": "per_user", "headers": {"X-Key": "Bearer {{TOKEN}}"}}
    House().put(mcp("s", auth_data=auth), vault=vault)
    assert vault.sealed == []


def test_a_sealed_secret_does_not_follow_a_changed_address() -> None:
    house = House()
    house.put(mcp("s", auth_data=HEADER), vault=Vault())
    held = dump(house.estate.documents["mcp-server", "s"].document)
    house.put(parse({**held, "display_name": "S"}), vault=Vault())
    with pytest.raises(InvalidDocuments) as refused:
        house.plan(parse({**held, "url": "https://elsewhere.example.com/mcp"}), vault=Vault())
    assert [problem.code for problem in refused.value.problems] == ["secret_needed"]


# --- rows -------------------------------------------------------------------------------------------


def small(**fields: Any) -> House:
    """A server that team search uses and ann manages, with two tools, a prompt and a resource."""
    return House(
        user(ANN),
        user(BOB),
        team("search", BOB),
        mcp("github", f"team:search={USE}", f"user:{ANN}={MANAGE}", **fields),
        catalogue("github", "read", "write", prompt=["greet"], resource=["demo://a b"]),
    )


def test_who_may_use_a_server_may_use_all_that_it_offers() -> None:
    house = small()
    assert calls(house, B, "github/read")
    assert allowed(house, B, "mcp-prompt:get", "mcp-prompt:github/greet")
    assert allowed(house, B, "mcp-resource:read", "mcp-resource:github/demo://a%20b")
    assert allowed(house, B, "mcp-server:use", "mcp-server:github")
    assert not allowed(house, B, "mcp-server:read", "mcp-server:github")
    assert allowed(house, A, "access:grant", "mcp-tool:github/read")
    assert not calls(house, uid("eve@acme.com"), "github/read")


def test_what_is_not_in_the_catalogue_exists_for_nobody() -> None:
    house = small()
    unknown = house.engine().decide(Somebody(B), "mcp-tool:call", "mcp-tool:github/x", Context())
    assert unknown.reason == "unknown_resource"


def test_a_disabled_tool_is_gone_at_once_and_back_when_it_is_enabled() -> None:
    house = small()
    grants = (f"team:search={USE}", f"user:{ANN}={MANAGE}")
    house.put(mcp("github", *grants, tool_policy={"disabled_tools": ["write"]}))
    assert calls(house, B, "github/read") and not calls(house, B, "github/write")
    house.put(mcp("github", *grants))
    assert calls(house, B, "github/write")


def test_a_rule_may_name_a_tool_before_it_is_found() -> None:
    rule = {
        "effect": "allow",
        "subjects": [f"user:{BOB}"],
        "actions": ["mcp-tool:call"],
        "resources": ["mcp-tool:s/late", "mcp-tool:s/get_*"],
    }
    house = House(user(BOB), mcp("s"), policy("p", rule))
    assert not calls(house, B, "s/late")
    house.put(catalogue("s", "late", "get_it", "set_it"))
    assert calls(house, B, "s/late") and calls(house, B, "s/get_it")
    assert not calls(house, B, "s/set_it")


def test_a_group_makes_nothing_exist() -> None:
    group = parse({"type": "resource-group", "name": "g", "resources": ["mcp-tool:s/late"]})
    rule = {
        "effect": "allow",
        "subjects": [f"user:{BOB}"],
        "actions": ["mcp-tool:call"],
        "resources": ["resource-group:g"],
    }
    house = House(user(BOB), mcp("s"), group, policy("p", rule))
    assert not house.engine().knows("mcp-tool:s/late")
    house.put(catalogue("s", "late"))
    assert calls(house, B, "s/late")


def test_a_deny_may_span_all_servers_and_holds_for_what_comes_later() -> None:
    rule = {
        "effect": "deny",
        "subjects": ["any:subject"],
        "actions": ["mcp-tool:call"],
        "resources": ["mcp-tool:*/delete_*"],
    }
    house = small()
    house.put(policy("p", rule), mcp("jira", f"team:search={USE}"))
    house.put(catalogue("jira", "delete_all", "list"))
    assert calls(house, B, "jira/list") and not calls(house, B, "jira/delete_all")


def test_an_allow_pattern_names_one_server() -> None:
    rule = {
        "effect": "allow",
        "subjects": ["team:search"],
        "actions": ["mcp-tool:call"],
        "resources": ["mcp-tool:*/read"],
    }
    with pytest.raises(InvalidDocuments):
        small().plan(policy("p", rule))


def test_a_deleted_server_takes_its_catalogue_and_a_new_one_is_another_thing() -> None:
    deny = {
        "effect": "deny",
        "subjects": ["team:search"],
        "actions": ["mcp-tool:call"],
        "resources": ["mcp-tool:github/write"],
    }
    house = small()
    house.put(policy("p", deny))
    house.delete(("mcp-server", "github"))
    assert ("mcp-catalogue", "github") not in house.estate.documents
    assert not [r for r in house.rows if r.ptype == "g2" and r.values[0].startswith("mcp-tool:")]
    house.put(mcp("github", f"team:search={USE}"))
    house.put(catalogue("github~2", "read", "write"))
    assert calls(house, B, "github~2/read") and not calls(house, B, "github~2/write")
    assert not calls(house, B, "github/read")


def test_a_catalogue_without_its_server_is_refused() -> None:
    with pytest.raises(InvalidDocuments):
        House().plan(catalogue("gone", "x"))


def test_conditions_read_the_server_the_tool_and_its_arguments() -> None:
    rule = {
        "effect": "allow",
        "subjects": [f"user:{BOB}"],
        "actions": ["mcp-tool:call"],
        "resources": ["mcp-server:github"],
        "when": [
            {"field": "resource.server", "operator": "EQUAL", "value": "github"},
            {"field": "tool.name", "operator": "EQUAL", "value": "read"},
            {"field": "tool.args.repo.owner", "operator": "IN", "value": ["acme"]},
        ],
    }
    house = House(user(BOB), mcp("github"), catalogue("github", "read", "write"))
    house.put(policy("p", rule))
    tool = "mcp-tool:github/read"
    assert allowed(house, B, "mcp-tool:call", tool, **{"tool.args.repo.owner": "acme"})
    assert not allowed(house, B, "mcp-tool:call", tool, **{"tool.args.repo.owner": "other"})
    assert not allowed(house, B, "mcp-tool:call", tool)
    listed = ["mcp-tool:github/read", "mcp-tool:github/write"]
    seen = house.engine().visible(Somebody(B), "mcp-tool:call", listed, Context())
    assert seen == ("mcp-tool:github/read",)


# --- virtual servers --------------------------------------------------------------------------------


def composed(*parts: str) -> House:
    house = small()
    house.put(mcp("jira"), virtual_mcp("desk", *parts, collaborators=[_grant(f"user:{BOB}")]))
    house.put(catalogue("jira", "list", "read"))
    return house


def _grant(subject: str) -> dict[str, str]:
    return {"subject": subject, "role_id": USE}


def test_a_tool_of_a_virtual_server_stands_for_one_of_another() -> None:
    house = composed("github=write", "jira=list")
    assert house.has("a", "mcp-tool:desk/list", "mcp-tool:jira/list")
    assert calls(house, B, "desk/list") and not calls(house, B, "jira/list")


def test_of_two_tools_with_one_name_each_gets_its_server_before_it() -> None:
    house = composed("github", "jira")
    names = {r.values[0] for r in house.rows if r.ptype == "a"}
    assert names == {
        "mcp-tool:desk/github_read",
        "mcp-tool:desk/jira_read",
        "mcp-tool:desk/list",
        "mcp-tool:desk/write",
    }


def test_a_deny_on_what_it_stands_for_refuses_the_alias() -> None:
    house = composed("jira=list")
    rule = {
        "effect": "deny",
        "subjects": ["any:subject"],
        "actions": ["mcp-tool:call"],
        "resources": ["mcp-tool:jira/list"],
    }
    house.put(policy("p", rule))
    assert not calls(house, B, "desk/list")


def test_an_alias_goes_with_what_it_stands_for() -> None:
    house = composed("jira=list")
    house.put(mcp("jira", tool_policy={"disabled_tools": ["list"]}))
    assert not house.engine().knows("mcp-tool:desk/list")


def test_a_pattern_over_a_virtual_server_follows_its_parts() -> None:
    rule = {
        "effect": "allow",
        "subjects": [f"user:{ANN}"],
        "actions": ["mcp-tool:call"],
        "resources": ["mcp-tool:desk/l*"],
    }
    house = composed("jira")
    house.put(policy("p", rule))
    assert calls(house, A, "desk/list")
    house.put(catalogue("jira", "list", "look"))
    assert calls(house, A, "desk/look")
    assert house.rows == set(house.estate.rows())


def test_no_part_and_all_parts_differ() -> None:
    none = parse(
        {
            "type": "mcp-server/virtual",
            "name": "v",
            "servers": [{"name": "github", "enabled_tools": []}],
        }
    )
    house = small()
    house.put(none, virtual_mcp("all", "github"))
    found = {r.values[0] for r in house.rows if r.ptype == "a"}
    assert found == {"mcp-tool:all/read", "mcp-tool:all/write"}


# --- names ------------------------------------------------------------------------------------------


def test_documents_are_read_back_as_they_were_written() -> None:
    house = composed("github=write")
    house.delete(("mcp-server", "jira"))
    house.put(mcp("jira"), virtual_mcp("two", "jira"))
    stored = house.estate.documents["mcp-server", "two"].document
    assert dump(stored)["servers"] == [{"name": "jira~2"}]
    assert rendered(stored, lambda _: None)["servers"] == [{"name": "jira"}]


def test_grants_name_servers_and_tools_in_every_form() -> None:
    account = parse(
        {
            "type": "virtual-account",
            "name": "bot",
            "permissions": [
                {
                    "resource_fqn": "acme:mcp-server:github",
                    "resource_type": "mcp-server",
                    "role_id": USE,
                },
                {
                    "resource_fqn": "mcp-tool:github/read",
                    "resource_type": "mcp-tool",
                    "role_id": USE,
                },
            ],
        }
    )
    house = small()
    house.put(account)
    assert calls(house, "virtualaccount:bot", "github/write")
    targets = {r.values[1] for r in house.rows if r.values[0] == "virtualaccount:bot"}
    assert {"mcp-server:github", "mcp-tool:github/read"} <= targets


# --- who may ----------------------------------------------------------------------------------------


def guarded() -> House:
    house = small()
    house.put(user(ROOT, roles=["tenant-admin"]), mcp("jira"), virtual("spare"))
    house.put(catalogue("jira", "list"))
    return house


def may(house: House, who: str, *documents: Any, deletes: tuple[Key, ...] = ()) -> bool:
    plan = house.plan(*documents, deletes=deletes)
    try:
        authorise(house.engine(), Somebody(uid(who)), plan, Context())
    except NotAuthorised:
        return False
    return True


ALLOW = {"effect": "allow", "subjects": ["team:search"], "actions": ["mcp-tool:call"]}


@pytest.mark.parametrize(
    ("document", "manager", "admin"),
    [
        (mcp("new"), False, True),
        (mcp("jira", description="x"), False, True),
        (mcp("github", f"user:{ANN}={MANAGE}", description="x"), True, True),
        (virtual_mcp("v", "github=read"), False, True),  # the manager may not create
        (mcp("new", auth_data={"type": "header", "headers": {"A": "env:X"}}), False, True),
        (catalogue("jira", "list", "more"), False, True),
        (catalogue("github", "read", "more"), True, True),
    ],
)
def test_who_may_write_a_server(document: Any, manager: bool, admin: bool) -> None:
    house = guarded()
    assert may(house, ANN, document) is manager
    assert may(house, ROOT, document) is admin


@pytest.mark.parametrize("parts", ["jira", "jira=list", "jira=later", "github,jira"])
def test_who_composes_needs_to_be_able_to_grant_each_part(parts: str) -> None:
    house = guarded()
    house.put(
        role("composer", "mcp-server:create", "mcp-server:write"),
        user(ANN, roles=["composer"]),
    )
    assert may(house, ANN, virtual_mcp("mine", "github"))
    assert not may(house, ANN, virtual_mcp("v", *parts.split(",")))
    assert may(house, ROOT, virtual_mcp("v", *parts.split(",")))


@pytest.mark.parametrize("target", ["mcp-tool:jira/list", "mcp-tool:jira/later", "mcp-tool:jira/*"])
def test_a_rule_on_a_tool_needs_the_right_to_grant_it_found_or_not(target: str) -> None:
    house = guarded()
    house.put(role("writer", "policy:write"), user(ANN, roles=["writer"]))
    assert not may(house, ANN, policy("p", {**ALLOW, "resources": [target]}))
    mine = target.replace("jira", "github")
    assert may(house, ANN, policy("p", {**ALLOW, "resources": [mine]}))
