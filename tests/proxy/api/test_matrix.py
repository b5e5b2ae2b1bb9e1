"""Every route × every kind of caller (docs/attacks.md A4, T5). A route without a line here fails.

Statuses by column: nobody, a plain member of team search, its manager, a security admin, an auditor, a
tenant admin with a personal token, the member's restricted token, a virtual account that holds
tenant-admin, a virtual account that holds nothing. Document routes are asked as dry runs.
"""

from __future__ import annotations

from typing import Any

import pytest

from proxy.api.collections import COLLECTIONS
from proxy.api.routes import PUBLIC
from proxy.api.site import ROUTES
from tests.proxy.api.stack import Stack

WHO = (None, "member", "manager", "security", "auditor", "root", "restricted", "ops", "checkout")

# 404 where the caller may not read the thing: the same answer as for a thing that does not exist.
TABLE = """
GET /users                                               401 200 200 200 200 200 200 200 200
GET /users/{name}                                        401 404 404 200 404 200 404 200 404
PUT /users/{name}                                        401 404 404 403 404 200 404 200 404
DELETE /users/{name}                                     401 404 404 403 404 200 404 200 404
GET /teams                                               401 200 200 200 200 200 200 200 200
GET /teams/{name}                                        401 404 200 200 200 200 404 200 404
PUT /teams/{name}                                        401 404 200 403 403 200 404 200 404
DELETE /teams/{name}                                     401 404 403 403 403 200 404 200 404
GET /roles                                               401 200 200 200 200 200 200 200 200
GET /roles/{name}                                        401 404 404 200 200 200 404 200 404
PUT /roles/{name}                                        401 404 404 403 403 200 404 200 404
DELETE /roles/{name}                                     401 404 404 403 403 200 404 200 404
GET /role-bindings                                       401 200 200 200 200 200 200 200 200
GET /role-bindings/{name}                                401 404 404 200 200 200 404 200 404
PUT /role-bindings/{name}                                401 404 404 403 403 200 404 200 404
DELETE /role-bindings/{name}                             401 404 404 403 403 200 404 200 404
GET /provider-accounts                                   401 200 200 200 200 200 200 200 200
GET /provider-accounts/{name}                            401 404 404 404 404 200 404 200 404
PUT /provider-accounts/{name}                            401 404 404 404 404 200 404 200 404
DELETE /provider-accounts/{name}                         401 404 404 404 404 200 404 200 404
GET /mcp-servers                                         401 200 200 200 200 200 200 200 200
GET /mcp-servers/{name}                                  401 404 404 200 200 200 404 200 404
PUT /mcp-servers/{name}                                  401 404 404 403 403 200 404 200 404
DELETE /mcp-servers/{name}                               401 404 404 403 403 200 404 200 404
GET /mcp-servers/{name}/catalogue                        401 404 404 200 200 200 404 200 404
POST /mcp-servers/{name}/catalogue/approve               401 404 404 403 403 200 404 200 404
GET /mcp-servers/{name}/auth                             401 404 404 403 403 200 404 200 404
PUT /mcp-servers/{name}/auth                             401 404 404 403 403 400 404 400 404
DELETE /mcp-servers/{name}/auth                          401 404 404 403 403 200 404 200 404
POST /mcp-servers/{name}/auth/start                      401 404 404 403 403 400 404 400 404
GET /virtual-accounts                                    401 200 200 200 200 200 200 200 200
GET /virtual-accounts/{name}                             401 404 404 200 404 200 404 200 404
PUT /virtual-accounts/{name}                             401 404 404 403 404 200 404 200 404
DELETE /virtual-accounts/{name}                          401 404 404 403 404 200 404 200 404
GET /policies                                            401 200 200 200 200 200 200 200 200
GET /policies/{name}                                     401 404 404 200 200 200 404 200 404
PUT /policies/{name}                                     401 404 404 200 403 200 404 200 404
DELETE /policies/{name}                                  401 404 404 200 403 200 404 200 404
GET /resource-groups                                     401 200 200 200 200 200 200 200 200
GET /resource-groups/{name}                              401 404 404 200 200 200 404 200 404
PUT /resource-groups/{name}                              401 404 404 200 403 200 404 200 404
DELETE /resource-groups/{name}                           401 404 404 200 403 200 404 200 404
GET /gateway-configs/gateway-data-access-config          401 404 404 200 200 200 404 200 404
PUT /gateway-configs/gateway-data-access-config          401 404 404 403 403 200 404 200 404
DELETE /gateway-configs/gateway-data-access-config       401 404 404 403 403 200 404 200 404
GET /gateway-configs/gateway-metadata-config             401 404 404 200 200 200 404 200 404
PUT /gateway-configs/gateway-metadata-config             401 404 404 403 403 200 404 200 404
DELETE /gateway-configs/gateway-metadata-config          401 404 404 403 403 200 404 200 404
GET /gateway-configs/gateway-logging-config              401 404 404 200 200 200 404 200 404
PUT /gateway-configs/gateway-logging-config              401 404 404 403 403 200 404 200 404
DELETE /gateway-configs/gateway-logging-config           401 404 404 403 403 200 404 200 404
POST /erasures                                           401 403 403 403 403 200 403 200 403
PUT /apply                                               401 403 403 403 403 200 403 200 403
GET /personal-access-tokens                              401 200 200 200 200 200 200 403 403
POST /personal-access-tokens                             401 201 201 201 201 201 201 403 403
POST /personal-access-tokens/for-user                    401 404 404 403 404 403 404 201 404
DELETE /personal-access-tokens/revoke/all                401 404 404 403 404 200 404 200 404
DELETE /personal-access-tokens/{id}                      401 404 404 403 404 200 404 200 404
GET /virtual-accounts/{name}/token                       401 404 404 403 404 200 404 200 404
POST /virtual-accounts/{name}/regenerate-token           401 404 404 403 404 200 404 200 404
GET /virtual-accounts/{name}/tokens                      401 404 404 403 404 200 404 200 404
DELETE /virtual-accounts/{name}/tokens/{id}              401 404 404 403 404 200 404 200 404
POST /virtual-accounts/{name}/unbind                     401 404 404 403 404 200 404 200 404
POST /first-admin                                        400 400 400 400 400 400 400 400 400
GET /changes                                             401 403 403 200 200 200 403 200 403
GET /whoami                                              401 200 200 200 200 200 200 200 200
POST /explain                                            401 404 404 200 200 200 404 200 404
GET /access/who                                          401 403 403 200 200 200 403 200 403
GET /access/can                                          401 404 404 200 200 200 404 200 404
GET /export/casbin                                       401 403 403 200 200 200 403 200 403
GET /access-review                                       401 403 403 200 200 200 403 200 403
GET /decisions/replay                                    401 200 200 200 200 200 200 200 200
GET /requests                                            401 200 200 200 200 200 200 200 200
GET /requests/tail                                       401 200 200 200 200 200 200 200 200
GET /requests/export                                     401 200 200 200 200 200 200 200 200
GET /requests/{record}                                   401 404 404 404 404 404 404 404 404
POST /spans/query                                        401 200 200 200 200 200 200 200 200
POST /metrics/query                                      401 200 200 200 200 200 200 200 200
POST /llm-gateway/metrics/query                          401 200 200 200 200 200 200 200 200
GET /decisions                                           401 200 200 200 200 200 200 200 200
GET /decisions/tail                                      401 200 200 200 200 200 200 200 200
GET /decisions/export                                    401 200 200 200 200 200 200 200 200
GET /decisions/{record}                                  401 404 404 404 404 404 404 404 404
GET /openapi.json                                        401 200 200 200 200 200 200 200 200
"""
EXPECTED = {
    (parts[0] + " " + parts[1]): tuple(int(status) for status in parts[2:])
    for parts in (line.split() for line in TABLE.strip().splitlines())
}

TEAM = {
    "type": "team",
    "name": "search",
    "members": ["member@example.com", "manager@example.com", "other@example.com"],
    "managers": ["manager@example.com"],
}
ACCOUNT = {
    "type": "provider-account/openai-compatible",
    "name": "acme",
    "base_url": "https://acme.example.com/v1",
    "auth_data": {"type": "api-key", "api_key": "sk-another-canary-0123456789"},
    "integrations": [],
}
# A change of something that exists, for each kind; the fixture below makes those that are missing.
DOCUMENTS: dict[str, dict[str, Any]] = {
    "users": {"type": "user", "name": "other@example.com", "displayName": "Other"},
    "teams": TEAM,
    "roles": {
        "type": "role",
        "name": "reader",
        "resourceType": "tenant",
        "grants": [{"actions": ["team:read"], "resources": ["any:team"]}],
    },
    "role-bindings": {
        "type": "role-binding",
        "name": "readers",
        "subjects": [{"type": "user", "name": "other@example.com"}],
        "permissions": [{"resourceType": "tenant", "resourceFqn": "tenant", "role": "reader"}],
    },
    "provider-accounts": ACCOUNT,
    "mcp-servers": {"type": "mcp-server/echo", "name": "tools", "description": "changed"},
    "virtual-accounts": {"type": "virtual-account", "name": "target", "tags": {"stage": "test"}},
    "policies": {
        "type": "policy",
        "name": "stop",
        "rules": [
            {
                "id": "one",
                "effect": "deny",
                "subjects": ["team:search"],
                "actions": ["model:use"],
                "resources": ["model:acme/mini"],
                "message": "changed",
            }
        ],
    },
    "resource-groups": {
        "type": "resource-group",
        "name": "premium",
        "description": "changed",
        "resources": ["model:acme/mini"],
    },
    "gateway-configs/gateway-data-access-config": {
        "type": "gateway-data-access-config",
        "name": "data-access",
        "rules": [],
    },
    "gateway-configs/gateway-metadata-config": {
        "type": "gateway-metadata-config",
        "name": "metadata",
        "rules": [],
    },
    "gateway-configs/gateway-logging-config": {
        "type": "gateway-logging-config",
        "name": "logging",
        "rules": [],
    },
}
SAY = {"kind": "tool", "name": "say", "accepted": "a" * 64, "seen": "b" * 64}
BEFORE: tuple[dict[str, Any], ...] = (
    {
        "type": "role",
        "name": "reader",
        "resourceType": "tenant",
        "grants": [{"actions": ["role:read"], "resources": ["any:role"]}],
    },
    {
        "type": "role",
        "name": "idle",
        "resourceType": "tenant",
        "grants": [{"actions": ["team:read"], "resources": ["any:team"]}],
    },
    {
        "type": "role-binding",
        "name": "readers",
        "subjects": [{"type": "user", "name": "other@example.com"}],
        "permissions": [{"resourceType": "tenant", "resourceFqn": "tenant", "role": "idle"}],
    },
    {"type": "virtual-account", "name": "target"},
    {"type": "mcp-server/echo", "name": "tools"},
    {"type": "mcp-catalogue", "name": "tools", "entries": [SAY]},
    {
        "type": "policy",
        "name": "stop",
        "rules": [
            {
                "id": "one",
                "effect": "deny",
                "subjects": ["team:search"],
                "actions": ["model:use"],
                "resources": ["model:acme/mini"],
            }
        ],
    },
    {"type": "resource-group", "name": "premium", "resources": ["model:acme/mini"]},
    {
        "type": "gateway-metadata-config",
        "name": "metadata",
        "rules": [
            {"id": "a", "subjects": ["team:search"], "metadata_override": {"cost": "42"}},
        ],
    },
    {"type": "gateway-logging-config", "name": "logging", "log": False},
)
MANIFEST = {"type": "role", "name": "new", "resourceType": "tenant", "grants": []}


def test_every_route_has_a_line_and_every_line_a_route() -> None:
    assert set(EXPECTED) == {route.name for route in ROUTES}
    assert all(len(statuses) == len(WHO) for statuses in EXPECTED.values())


def _document_request(name: str) -> tuple[str, str, object]:
    method, path = name.split(" ")
    collection = next(
        item for item in COLLECTIONS if path in (f"/{item.path}", f"/{item.path}/{{name}}")
    )
    document = DOCUMENTS[collection.path]
    path = path.replace("{name}", str(document["name"]))
    if method == "GET":
        return method, path, None
    return method, f"{path}?dry_run=true", document if method == "PUT" else None


async def _request(stack: Stack, name: str, who: str | None) -> tuple[str, str, object]:
    """(method, path, body) of a request that a caller with the rights could make."""
    other = "other@example.com"
    match name:
        case "PUT /apply":
            return "PUT", "/apply", {"manifests": [MANIFEST], "dry_run": True}
        case "POST /personal-access-tokens":
            body: dict[str, Any] = {"name": "laptop"}
            if who == "restricted":
                body["restrictions"] = [{"actions": ["self:read"], "resources": ["self:caller"]}]
            return "POST", "/personal-access-tokens", body
        case "POST /personal-access-tokens/for-user":
            return "POST", "/personal-access-tokens/for-user", {"name": "laptop", "email": other}
        case "DELETE /personal-access-tokens/revoke/all":
            return "DELETE", f"/personal-access-tokens/revoke/all?email={other}", None
        case "DELETE /personal-access-tokens/{id}":
            await stack.mint("spare", "user:" + other)
            return "DELETE", f"/personal-access-tokens/{stack.token_ids['spare']}", None
        case "POST /first-admin":
            return "POST", "/first-admin", {"token": "gw_otp_x", "email": other}
        case "GET /virtual-accounts/{name}/token":
            return "GET", "/virtual-accounts/target/token", None
        case "POST /virtual-accounts/{name}/regenerate-token":
            return "POST", "/virtual-accounts/target/regenerate-token", {}
        case "GET /virtual-accounts/{name}/tokens":
            return "GET", "/virtual-accounts/target/tokens", None
        case "DELETE /virtual-accounts/{name}/tokens/{id}":
            await stack.mint("worker", "virtualaccount:target")
            return "DELETE", f"/virtual-accounts/target/tokens/{stack.token_ids['worker']}", None
        case "POST /virtual-accounts/{name}/unbind":
            return "POST", "/virtual-accounts/target/unbind", None
        case "GET /mcp-servers/{name}/catalogue":
            return "GET", "/mcp-servers/tools/catalogue", None
        case "POST /mcp-servers/{name}/catalogue/approve":
            path = "/mcp-servers/tools/catalogue/approve?dry_run=true"
            return "POST", path, {"tools": ["say"]}
        case "GET /mcp-servers/{name}/auth":
            return "GET", "/mcp-servers/tools/auth", None
        case "PUT /mcp-servers/{name}/auth":
            return "PUT", "/mcp-servers/tools/auth", {"values": {"KEY": "value"}}
        case "DELETE /mcp-servers/{name}/auth":
            return "DELETE", "/mcp-servers/tools/auth", None
        case "POST /mcp-servers/{name}/auth/start":
            return "POST", "/mcp-servers/tools/auth/start", None
        case "POST /explain":
            asked = {"subject": "team:hidden", "action": "model:use", "resource": "model:acme/mini"}
            return "POST", "/explain", asked
        case "GET /access/who":
            return "GET", "/access/who?action=model:use&resource=model:acme/mini", None
        case "GET /access/can":
            return "GET", "/access/can?subject=team:hidden&limit=1", None
        case "GET /export/casbin":
            return "GET", "/export/casbin?at=1", None
        case "POST /erasures":
            return "POST", "/erasures", {"person": "u-nobody"}
        case "GET /access-review":
            return "GET", "/access-review?at=1&limit=1", None
        case "GET /decisions/replay":
            return "GET", "/decisions/replay", None
        case "GET /requests" | "GET /decisions":
            return "GET", f"{name.partition(' ')[2]}?limit=1", None
        case "GET /requests/tail" | "GET /decisions/tail":
            return "GET", f"{name.partition(' ')[2]}?seconds=1", None
        case "GET /requests/export" | "GET /decisions/export":
            window = "since=2026-11-25T00:00:00Z&until=2026-11-26T00:00:00Z"
            return "GET", f"{name.partition(' ')[2]}?{window}", None
        case "GET /requests/{record}" | "GET /decisions/{record}":
            return "GET", name.partition(" ")[2].replace("{record}", "0" * 26), None
        case "POST /spans/query":
            return "POST", "/spans/query", {"startTime": "2026-11-25T00:00:00Z"}
        case "POST /metrics/query":
            return "POST", "/metrics/query", {"group_by": ["model"]}
        case "POST /llm-gateway/metrics/query":
            window = {"startTs": "2026-11-25T00:00:00Z", "endTs": "2026-11-26T00:00:00Z"}
            return "POST", "/llm-gateway/metrics/query", {**window, "datasource": "modelMetrics"}
        case "GET /personal-access-tokens" | "GET /changes" | "GET /whoami" | "GET /openapi.json":
            return "GET", name.partition(" ")[2], None
        case _:
            return _document_request(name)


async def test_every_route_answers_each_kind_of_caller_as_the_table_says(stack: Stack) -> None:
    await stack.commit(*BEFORE)
    got = await stack.call("POST", "/virtual-accounts/target/regenerate-token", {})
    assert got.status == 200, got.raw
    wrong = []
    for name, statuses in EXPECTED.items():
        for who, status in zip(WHO, statuses, strict=True):
            method, path, body = await _request(stack, name, who)
            answer = await stack.call(method, path, body, who=who)
            if answer.status != status:
                wrong.append(
                    f"{name} as {who}: {answer.status}, not {status}: {answer.raw[:200]!r}"
                )
            # Whatever the answer: a decision has its record, and nothing outside 2xx has another form.
            assert answer.headers["x-request-id"]
            undecided = who is None or name in PUBLIC
            assert undecided == ("x-decision-id" not in answer.headers), (name, who)
            if answer.status >= 300:
                assert answer.json["status"] == answer.status and answer.code
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", [name for name in EXPECTED if "{name}" in name])
async def test_what_the_caller_may_not_read_looks_like_what_does_not_exist(
    stack: Stack, name: str
) -> None:
    await stack.commit(*BEFORE)
    method, path, body = await _request(stack, name, "checkout")
    there = await stack.call(method, path, body, who="checkout")
    thing = path.split("?")[0].split("/")[2]
    missing = path.replace(f"/{thing}", "/nothing@example.com" if "@" in thing else "/nothing")
    if isinstance(body, dict) and "name" in body:
        body = {**body, "name": "nothing@example.com" if "@" in thing else "nothing"}
    absent = await stack.call(method, missing, body, who="checkout")
    volatile = ("request_id", "decision_id")
    assert {k: v for k, v in there.json.items() if k not in volatile} == {
        k: v for k, v in absent.json.items() if k not in volatile
    }
    assert there.status == absent.status == 404


def test_a_new_route_without_an_expectation_would_fail() -> None:
    names = {route.name for route in ROUTES} | {"GET /new"}
    assert names - set(EXPECTED) == {"GET /new"}
