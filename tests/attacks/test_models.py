"""Who may use which model: an empty list is nothing, and the list is the call. Numbers: docs/attacks.md 3.6."""

from __future__ import annotations

import itertools
import types
import typing
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from authz.conditions import Context
from policies.change import Change, Source
from policies.documents import DOCUMENT_TYPES, Restriction
from policies.errors import InvalidDocuments
from policies.loader import load_mapping
from store.changes import ChangeLog
from tests.attacks.house import USE, House
from tests.store.change_kit import Asker, change_log

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)

# --- M1: an empty list is nothing -------------------------------------------------------------------


@dataclass(frozen=True)
class Full:
    """A document whose list gives `who` something; the same with `empty` must give nothing."""

    document: dict[str, Any]
    at: tuple[str | int, ...]  # where the list stands
    who: str
    action: str
    resource: str
    more: tuple[dict[str, Any], ...] = ()
    context: Mapping[str, object] = field(default_factory=dict)


ANN = "ann@example.com"
USER: dict[str, Any] = {"type": "user", "name": ANN}
TEAM: dict[str, Any] = {"type": "team", "name": "search", "members": [ANN]}
MODEL = "model:acme/mini"
ACCOUNT: dict[str, Any] = {
    "type": "provider-account/echo",
    "name": "acme",
    "integrations": [{"type": "integration/model/echo", "name": "mini"}],
}
OPEN = {**ACCOUNT, "collaborators": [{"subject": f"user:{ANN}", "role_id": USE}]}
ROLE = {"type": "role", "name": "operators", "resourceType": "tenant"}
GRANT = {"actions": ["model:use"], "resources": ["any:model"]}
BUNDLE = {"type": "role", "name": "users", "resourceType": "provider-account"}
BINDING = {
    "type": "role-binding",
    "name": "b",
    "subjects": [{"type": "user", "name": ANN}],
    "permissions": [{"resourceType": "model", "resourceFqn": "acme/mini", "role": USE}],
}
BOT = {
    "type": "virtual-account",
    "name": "bot",
    "permissions": [{"resource_fqn": MODEL, "resource_type": "model", "role_id": USE}],
}
RULE = {
    "id": "r",
    "effect": "allow",
    "subjects": [f"user:{ANN}"],
    "actions": ["model:use"],
    "resources": [MODEL],
}
POLICY = {"type": "policy", "name": "p", "rules": [RULE]}
GROUP = {"type": "resource-group", "name": "premium", "resources": [MODEL]}
GROUPED = {**POLICY, "rules": [{**RULE, "resources": ["resource-group:premium"]}]}
DATA_RULE = {
    "id": "r",
    "subjects": [f"user:{ANN}"],
    "data_types": ["metrics"],
    "scope": "all_data",
}
DATA = {"type": "gateway-data-access-config", "name": "data-access", "rules": [DATA_RULE]}
METRICS = ("data:read", "data:metrics/all")


def filtered(operator: str, field: str = "metadata", key: str | None = "a") -> dict[str, Any]:
    one = {"field": field, "operator": operator, "value": ["x"] if key else [f"user:{ANN}"]}
    return {**DATA, "rules": [{**DATA_RULE, "filters": [{**one, **({"key": key} if key else {})}]}]}


FILTER = ("rules", 0, "filters", 0, "value")
URL = "https://mcp.example.com/mcp"
SERVERS: dict[str, dict[str, Any]] = {
    "EchoMcpServer": {"type": "mcp-server/echo"},
    "OpenApiMcpServer": {
        "type": "mcp-server/openapi",
        "url": URL,
        "openapi_spec_source": {"type": "remote", "url": URL},
        "enable_all_tools": True,
    },
    "RemoteMcpServer": {"type": "mcp-server/remote", "url": URL},
    "VirtualMcpServer": {"type": "mcp-server/virtual", "servers": []},
}
MCP_USER = {"subject": f"user:{ANN}", "role_id": "mcp-server-user"}
CASES: dict[str, list[Full]] = {
    "User.roles": [
        Full({**USER, "roles": ["tenant-admin"]}, ("roles",), "user", "policy:write", "any:policy")
    ],
    "Team.members": [
        Full(
            TEAM,
            ("members",),
            "user",
            "model:use",
            MODEL,
            ({**ACCOUNT, "collaborators": [{"subject": "team:search", "role_id": USE}]},),
        )
    ],
    "Team.managers": [
        Full(
            {**TEAM, "managers": [ANN]}, ("managers",), "user", "team:manage-members", "team:search"
        )
    ],
    "Team.roles": [
        Full({**TEAM, "roles": ["tenant-admin"]}, ("roles",), "user", "policy:write", "any:policy")
    ],
    "Role.grants": [
        Full(
            {**ROLE, "grants": [GRANT]}, ("grants",), "user", "model:use", MODEL,
            ({**USER, "roles": ["operators"]}, ACCOUNT),
        )
    ],
    "Role.permissions": [
        Full(
            {**BUNDLE, "permissions": ["model:use"]}, ("permissions",), "user", "model:use", MODEL,
            ({**ACCOUNT, "collaborators": [{"subject": f"user:{ANN}", "role_id": "users"}]},),
        ),
        Full(
            {**ROLE, "permissions": ["model:use"]}, ("permissions",), "user", "model:use", MODEL,
            ({**USER, "roles": ["operators"]}, ACCOUNT),
        ),
    ],
    "RoleGrant.actions": [
        Full(
            {**ROLE, "grants": [GRANT]}, ("grants", 0, "actions"), "user", "model:use", MODEL,
            ({**USER, "roles": ["operators"]}, ACCOUNT),
        )
    ],
    "RoleGrant.resources": [
        Full(
            {**ROLE, "grants": [GRANT]}, ("grants", 0, "resources"), "user", "model:use", MODEL,
            ({**USER, "roles": ["operators"]}, ACCOUNT),
        )
    ],
    "RoleBinding.subjects": [Full(BINDING, ("subjects",), "user", "model:use", MODEL, (ACCOUNT,))],
    "RoleBinding.permissions": [
        Full(BINDING, ("permissions",), "user", "model:use", MODEL, (ACCOUNT,))
    ],
    "VirtualAccount.permissions": [
        Full(BOT, ("permissions",), "virtualaccount:bot", "model:use", MODEL, (ACCOUNT,))
    ],
    "VirtualAccount.roles": [
        Full(
            {"type": "virtual-account", "name": "bot", "roles": ["tenant-admin"]},
            ("roles",), "virtualaccount:bot", "policy:write", "any:policy",
        )
    ],
    "ProviderAccount.collaborators": [Full(OPEN, ("collaborators",), "user", "model:use", MODEL)],
    "ProviderAccount.integrations": [Full(OPEN, ("integrations",), "user", "model:use", MODEL)],
    "Integration.authorized_subjects": [
        Full(
            {
                **OPEN,
                "integrations": [
                    {
                        "type": "integration/model/echo",
                        "name": "mini",
                        "authorized_subjects": [f"user:{ANN}"],
                    }
                ],
            },
            ("integrations", 0, "authorized_subjects"), "user", "model:use", MODEL,
        )
    ],
    **{
        f"{name}.collaborators": [
            Full(
                {**server, "name": "tools", "collaborators": [MCP_USER]},
                ("collaborators",), "user", "mcp-server:use", "mcp-server:tools",
            )
        ]
        for name, server in SERVERS.items()
    },
    "Policy.rules": [Full(POLICY, ("rules",), "user", "model:use", MODEL, (ACCOUNT,))],
    "PolicyRule.subjects": [
        Full(POLICY, ("rules", 0, "subjects"), "user", "model:use", MODEL, (ACCOUNT,))
    ],
    "PolicyRule.actions": [
        Full(POLICY, ("rules", 0, "actions"), "user", "model:use", MODEL, (ACCOUNT,))
    ],
    "PolicyRule.resources": [
        Full(POLICY, ("rules", 0, "resources"), "user", "model:use", MODEL, (ACCOUNT,))
    ],
    "ResourceGroup.resources": [
        Full(GROUP, ("resources",), "user", "model:use", MODEL, (ACCOUNT, GROUPED))
    ],
    "DataAccessConfig.rules": [Full(DATA, ("rules",), "user", *METRICS)],
    "DataRule.subjects": [Full(DATA, ("rules", 0, "subjects"), "user", *METRICS)],
    "DataRule.data_types": [Full(DATA, ("rules", 0, "data_types"), "user", *METRICS)],
    "DataFilter.value": [
        Full(filtered("IN"), FILTER, "user", *METRICS, context={"record.metadata.a": "x"}),
        Full(filtered("NOT_IN"), FILTER, "user", *METRICS, context={"record.metadata.a": "y"}),
        Full(
            filtered("IN", "created_by", None), FILTER, "user", *METRICS,
            context={"record.created_by": "ann"},
        ),
        Full(
            filtered("NOT_IN", "created_by", None), FILTER, "user", *METRICS,
            context={"record.created_by": "user:u-somebody", "record.created_by_team": "team:x"},
        ),
    ],
}  # fmt: skip

# Lists that give nobody anything, whatever is in them, and where what they mean is tested.
SAY_NOTHING = {
    "User.suspended_by": "a cause of suspension; tests/identity/test_directory.py",
    "Team.tags": "labels",
    "Team.identity_provider_mapping": "no effect yet",
    "VirtualAccount.tags": "labels",
    "VirtualAccount.identity_provider_mapping": "no effect yet",
    "ProviderAccount.tags": "labels",
    "ProviderAccount.dialects": "test_m1_an_account_without_dialects_serves_nobody",
    "Integration.model_types": "describes the model",
    **dict.fromkeys((f"{name}.tags" for name in SERVERS), "labels"),
    "CatalogueEntry.flags": "what a person should know; tests/policies/test_mcp_catalogue.py",
    "HeaderAuth.headers": "how a server is called",
    "McpCatalogue.entries": "what a server offers; tests/policies/test_mcp_servers.py",
    "InlineSpec.spec": "what a service can do, and nobody's right",
    "OAuth2Auth.additional_token_params": "how a server is called",
    "OAuth2Auth.scopes": "how a server is called",
    "OpenApiMcpServer.tool_settings": "which operations are tools; tests/proxy/mcp/openapi",
    "RemoteMcpServer.additional_headers": "how a server is called",
    "RemoteMcpServer.tool_metadata": "what is said of tools",
    "ToolPolicy.disabled_tools": "only ever narrows",
    "ToolPolicy.enabled_tools": "tests/policies/test_mcp_catalogue.py: new ones wait without it",
    "VirtualMcpServer.servers": "tests/policies/test_mcp_servers.py: no part and all parts differ",
    "VirtualPart.enabled_tools": "tests/policies/test_mcp_servers.py: no part and all parts differ",
    "RoutingConfig.targets": "never empty: the document's type refuses it",
    "Policy.cases": "say what must hold, and give nothing; tests/store/test_case_gate.py",
    "Case.context": "what a case's question supplies",
    "PolicyRule.when": "test_m1_no_test_is_no_condition_and_an_empty_test_is_refused",
    "WhenItem.value": "test_m1_no_test_is_no_condition_and_an_empty_test_is_refused",
    "DataRule.filters": "only ever narrow; their lists are DataFilter.value",
    "MetadataConfig.rules": "pins metadata, which only narrows; tests/identity/test_pins.py",
    "MetadataRule.subjects": "tests/identity/test_pins.py",
    "MetadataRule.metadata_override": "tests/identity/test_pins.py",
    "LoggingConfig.rules": "what is written down of requests; tests/policies/test_logging_config.py",
    "LoggingWhen.metadata": "what is written down; tests/policies/test_logging_config.py",
    "NameTest.in_": "what is written down; tests/policies/test_logging_config.py",
    "NameTest.not_in": "what is written down; tests/policies/test_logging_config.py",
    "RedactWith.custom_patterns": "what is written down; tests/policies/test_logging_config.py",
    "RedactWith.presets": "what is written down; tests/policies/test_logging_config.py",
    "SubjectTest.in_": "what is written down; tests/policies/test_logging_config.py",
    "SubjectTest.not_in": "what is written down; tests/policies/test_logging_config.py",
    "Credential.restrictions": "test_m1_a_token_with_an_empty_restriction_may_nothing",
    "Restriction.actions": "test_m1_a_token_with_an_empty_restriction_may_nothing",
    "Restriction.resources": "test_m1_a_token_with_an_empty_restriction_may_nothing",
}


def lists_of(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[str]:
    """`Class.field` of everything below a document that may be an empty list or mapping."""
    if model in seen:
        return set()
    seen.add(model)
    found = set()
    for name, info in model.model_fields.items():
        waiting = [info.annotation]
        while waiting:
            hint = waiting.pop()
            origin = typing.get_origin(hint)
            if origin in (tuple, list) or (
                isinstance(origin, type) and issubclass(origin, Mapping)
            ):
                found.add(f"{model.__name__}.{name}")
            if origin in (typing.Union, types.UnionType, typing.Annotated) or origin is not None:
                waiting += [arg for arg in typing.get_args(hint) if arg is not Ellipsis]
            elif isinstance(hint, type) and issubclass(hint, BaseModel):
                found |= lists_of(hint, seen)
    return found


def test_m1_every_list_of_every_document_is_in_these_tables() -> None:
    """A field that is added must say here what its empty list means."""
    seen: set[type[BaseModel]] = set()
    fields = set().union(*(lists_of(cls, seen) for cls in set(DOCUMENT_TYPES.values())))
    assert fields == CASES.keys() | SAY_NOTHING.keys()
    assert not CASES.keys() & SAY_NOTHING.keys()


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[ChangeLog]:
    made = change_log(tmp_path)
    await made.start()
    yield made
    await made.close()


async def commit(log: ChangeLog, *documents: dict[str, Any]) -> None:
    puts = load_mapping(list(documents)).plain()
    await log.commit(Change("host", Source.HOST, "r", puts), None, NOW)


def emptied(document: Any, at: tuple[str | int, ...]) -> Any:
    if not at:
        return []
    if isinstance(document, list):
        return [emptied(v, at[1:]) if i == at[0] else v for i, v in enumerate(document)]
    return {k: emptied(v, at[1:]) if k == at[0] else v for k, v in document.items()}


@pytest.mark.parametrize("name", CASES)
async def test_m1_an_empty_list_gives_nobody_anything(log: ChangeLog, name: str) -> None:
    """M1: not on creation, and not when an edit takes the last entry away (M1, T7, T14)."""
    for case in CASES[name]:
        others = [d for d in (USER, TEAM) if d["name"] != case.document["name"]]
        given = {d["name"] for d in case.more}
        documents = [
            *(d for d in others if d["name"] not in given),
            *(d for d in case.more if d["type"].startswith(("provider", "user", "team"))),
        ]
        late = [d for d in case.more if d not in documents]
        for document, allowed in (
            (emptied(case.document, case.at), False),
            (case.document, True),
            (emptied(case.document, case.at), False),
        ):
            order = [document, *documents] if document["type"] == "role" else [*documents, document]
            await commit(log, *order, *late)
            person = await log.person_by_email(ANN)
            assert person is not None
            who = f"user:{person.id}" if case.who == "user" else case.who
            values = {k: f"user:{person.id}" if v == "ann" else v for k, v in case.context.items()}
            decision = log.engine.decide(Asker(who), case.action, case.resource, Context(values))
            assert bool(decision) is allowed, (name, document, decision)


async def test_m1_a_token_with_an_empty_restriction_may_nothing(house: House) -> None:
    """M1: no restriction at all is the person's rights; an empty list, at any level, is none."""
    use, small = ("model:use",), ("model:echo/small",)
    for restrictions, models in (
        (None, ["echo/large", "echo/small", "openai/mini"]),
        ([], []),
        ([Restriction(actions=(), resources=small)], []),
        ([Restriction(actions=use, resources=())], []),
        ([Restriction(actions=use, resources=small)], ["echo/small"]),
    ):
        issued = await house.mint("user:alice@example.com", restrictions)
        assert [m for m in await house.models(issued.secret) if m[:9] != "anthropic"] == models
        status = (await house.chat(who=issued.secret)).status
        assert status == (200 if "echo/small" in models else 404), restrictions


async def test_m1_no_test_is_no_condition_and_an_empty_test_is_refused(log: ChangeLog) -> None:
    """M1: `when` only ever narrows; a membership test without values is an error, never a choice."""
    await commit(log, USER, ACCOUNT)
    tests: list[dict[str, Any]] = [
        {"field": "time.weekday", "operator": operator, "value": []}
        for operator in ("IN", "NOT_IN", "IN_NETWORK")
    ]
    for test, effect in itertools.product(tests, ("allow", "deny")):
        policy = {**POLICY, "rules": [{**RULE, "effect": effect, "when": [test]}]}
        with pytest.raises(InvalidDocuments, match="takes"):
            await commit(log, policy)
    assert not [d for d in await log.documents("policy", "", 100) if d.document.name == "p"]


async def test_m1_an_account_without_dialects_serves_nobody(house: House) -> None:
    """M1: `dialects` left out is all that the provider has; an empty list is none, listed or called."""
    echo = {
        "type": "provider-account/echo",
        "name": "acme",
        "collaborators": [{"subject": "team:search", "role_id": USE}],
        "integrations": [{"type": "integration/model/echo", "name": "mini"}],
    }
    await house.commit(echo)
    assert "acme/mini" in await house.models()
    assert (await house.chat("acme/mini")).status == 200
    await house.commit({**echo, "dialects": []})
    assert "acme/mini" not in await house.models()
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
        body = {"model": "acme/mini", "messages": [], "input": "hi", "max_tokens": 9}
        assert (await house.call("POST", path, body)).status == 404


# --- M2, M3, M4: the list is the call ----------------------------------------------------------------

MORE: tuple[dict[str, Any], ...] = (
    {
        "type": "provider-account/virtual-model",
        "name": "virt",
        "collaborators": [
            {"subject": "team:search", "role_id": USE},
            {"subject": "team:support", "role_id": USE},
        ],
        "integrations": [
            {
                "type": "integration/model/virtual",
                "name": name,
                "routing_config": {"targets": [{"target": target}]},
            }
            for name, target in (("best", "echo/large"), ("hidden", "echo/secret"))
        ],
    },
    {"type": "resource-group", "name": "premium", "resources": ["model:echo/secret"]},
    {
        "type": "policy",
        "name": "attack",
        "rules": [
            {
                "id": "by-group",
                "effect": "allow",
                "subjects": ["user:bob@example.com"],
                "actions": ["model:use"],
                "resources": ["resource-group:premium"],
            },
            {
                "id": "never",
                "effect": "allow",
                "subjects": ["user:carol@example.com"],
                "actions": ["model:use"],
                "resources": ["model:echo/*"],
                "when": [{"field": "time.hour", "operator": "GREATER_THAN", "value": 99}],
            },
            {
                "id": "streams",
                "effect": "allow",
                "subjects": ["user:carol@example.com"],
                "actions": ["model:use"],
                "resources": ["model:echo/small"],
                "when": [{"field": "body.stream", "operator": "EQUAL", "value": True}],
            },
            {
                "id": "stop",
                "effect": "deny",
                "subjects": ["team:support"],
                "actions": ["model:use"],
                "resources": ["model:echo/large"],
                "when": [{"field": "metadata.urgent", "operator": "NOT_IN", "value": ["yes"]}],
                "trust": "claimed",
            },
        ],
    },
)
NAMES = (
    "echo/small",
    "echo/large",
    "echo/secret",
    "virt/best",
    "virt/hidden",
    "resource-group:premium",  # M3: what groups models is not a model
    "premium",
    "any:model",
    "open-models:echo",
    "echo/*",
    "echo",
    "",
)
BODIES: tuple[dict[str, Any], ...] = ({}, {"stream": True}, {"max_tokens": 5000})


async def test_m2_m3_m4_list_show_and_call_say_the_same_for_everybody(house: House) -> None:
    """M2, M3, M4, M8: for each principal of the demo, and narrowed tokens, and each name there might be.

    Listed means that some body is allowed; not listed, that none is. No group, pattern or sentinel is
    ever in the list, or answers a call.
    """
    await house.commit(*MORE)
    narrow = Restriction(actions=("model:use",), resources=("model:echo/large", "model:virt/best"))
    callers = {who: who for who in ("alice", "bob", "carol", "dave", "checkout", "operator")}
    for who, restrictions in (
        ("user:alice@example.com", [narrow]),
        ("user:dave@example.com", [narrow]),
        ("user:dave@example.com", []),
        ("virtualaccount:operator", [Restriction(actions=("self:read",), resources=("self:caller",))]),
    ):  # fmt: skip
        callers[f"{who} {restrictions}"] = (await house.mint(who, restrictions)).secret
    seen: set[tuple[str, ...]] = set()
    for caller, who in callers.items():
        listed = await house.models(who)
        assert listed == sorted(set(listed))
        echoes = {name for name in listed if name.startswith(("echo/", "virt/"))}
        assert echoes <= set(NAMES[:5])
        seen.add(tuple(sorted(echoes)))
        for name in NAMES:
            statuses = {(await house.chat(name, who, **body)).status for body in BODIES}
            assert (200 in statuses) is (name in echoes), (caller, name, statuses)
            shown = await house.call("GET", f"/v1/models/{name}", who=who) if name else None
            if shown is not None:
                assert (shown.status == 200) is (name in echoes), (caller, name, shown.raw)
    assert len(seen) >= 5  # the callers really differ


async def test_m5_a_name_has_one_spelling(house: House) -> None:
    """M5: no prefix is guessed and no case is folded; the one name works wherever it is asked."""
    for name in (
        "small",
        "ECHO/small",
        "echo/SMALL",
        "echo/small ",
        "echo//small",
        "model:echo/small",
    ):
        assert (await house.chat(name)).status == 404
        path = f"/v1/models/{name.replace(' ', '%20')}"
        assert (await house.call("GET", path)).status == 404
    new = {"type": "integration/model/echo", "name": "brand-new"}
    stored = await house.call("GET", "/api/v1/provider-accounts/echo", who="operator")
    document = stored.json["document"]
    document["integrations"].append(new)
    await house.commit(document)
    assert "echo/brand-new" in await house.models()  # a model that was added is there at once
    assert (await house.chat("echo/brand-new")).status == 200


def bound(type_: str, name: str) -> dict[str, Any]:
    """alice may use what is called so."""
    return {
        "type": "role-binding",
        "name": "wide",
        "subjects": [{"type": "user", "name": "alice@example.com"}],
        "permissions": [{"resourceType": type_, "resourceFqn": name, "role": USE}],
    }


async def test_m6_a_grant_on_an_account_reaches_no_model_with_a_list_of_its_own(
    house: House,
) -> None:
    """M6: neither today's private models nor one that is added later; naming the model does."""
    for binding, reached in (
        (bound("provider-account", "echo"), False),
        (bound("model", "echo/secret"), True),
    ):
        await house.commit(binding)
        assert ("echo/secret" in await house.models()) is reached
        assert ((await house.chat("echo/secret")).status == 200) is reached
    await house.commit(bound("provider-account", "echo"))
    stored = await house.call("GET", "/api/v1/provider-accounts/echo", who="operator")
    document = stored.json["document"]
    private = {"type": "integration/model/echo", "name": "private", "authorized_subjects": []}
    document["integrations"].append(private)
    await house.commit(document)
    assert "echo/private" not in await house.models()
    assert (await house.chat("echo/private")).status == 404


async def test_m6_a_grant_on_a_group_of_accounts_reaches_no_model_with_a_list_of_its_own(
    house: House,
) -> None:
    """M6: what a grant on the account does not open, the same grant on a group of it should not."""
    group = {"type": "resource-group", "name": "echoes", "resources": ["provider-account:echo"]}
    await house.commit(group, bound("resource-group", "echoes"))
    assert (await house.chat("echo/secret")).status == 404


async def test_m7_an_alias_needs_the_alias_and_no_deny_on_what_it_stands_for(house: House) -> None:
    """M7: every path asks for both, also the list, the single model, and streams."""
    await house.commit(*MORE)
    for name in ("virt/best", "virt/hidden"):
        assert name in await house.models()
        assert (await house.chat(name)).status == 200
    stop = {
        "type": "policy",
        "name": "stop",
        "rules": [
            {**RULE, "effect": "deny", "subjects": ["any:user"], "resources": ["model:echo/*"]}
        ],
    }
    await house.commit(stop)
    assert not [name for name in await house.models() if name.startswith(("virt/", "echo/"))]
    for name in ("virt/best", "virt/hidden"):
        for body in BODIES:
            assert (await house.chat(name, **body)).status == 403
        assert (await house.call("GET", f"/v1/models/{name}")).status == 403


async def test_m9_a_team_s_list_is_that_of_its_members_alone(house: House) -> None:
    """M9: the most asked-for feature: models by team."""
    assert "openai/mini" in await house.models("alice")
    assert "openai/mini" not in await house.models("bob")
    await house.commit({"type": "team", "name": "search", "members": ["bob@example.com"]})
    assert "openai/mini" not in await house.models("alice")
    assert "openai/mini" in await house.models("bob")
