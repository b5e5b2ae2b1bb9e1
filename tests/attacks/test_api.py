"""Attacks on the control plane, by their number in the list of advisories (docs/attacks.md 5.1, 3.5, 3.8)."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from identity.tokens import digest_of
from proxy.api.site import ROUTES
from tests.proxy.api.stack import PROVIDER_KEY, Stack, stack_on


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack_on(tmp_path) as made:
        yield made


async def _raw(stack: Stack, *lines: str) -> tuple[int, bytes]:
    """(status, everything) of a request sent as it stands."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.client.port)
    text = "\r\n".join((*lines, "Connection: close", "", ""))
    writer.write(text.encode("latin-1"))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ", 2)[1]), answer


# A1, A2: which route it is does not depend on what a client says about itself


@pytest.mark.parametrize(
    "headers",
    [
        ["Host: evil.example"],
        ["Host: x/api/v1/openapi.json"],
        ["Host: x", "X-Forwarded-Host: y", "X-Forwarded-Prefix: /api/v1/first-admin"],
        ["Host: x", "X-Original-URL: /api/v1/first-admin", "X-Rewrite-URL: /healthz"],
        ["Host: x", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1"],
        ["Host: x", "X-HTTP-Method-Override: GET"],
        ["Host: x", "User-Agent: kube-probe/1.30"],
    ],
)
async def test_no_header_moves_a_request_to_another_route(stack: Stack, headers: list[str]) -> None:
    status, _ = await _raw(stack, "GET /api/v1/users HTTP/1.1", *headers)
    assert status == 401
    token = f"Authorization: Bearer {stack.tokens['checkout']}"
    status, answer = await _raw(stack, "GET /api/v1/users HTTP/1.1", *headers, token)
    assert status == 200 and b'"data":[]' in answer


@pytest.mark.parametrize(
    "target",
    [
        "//api/v1/users",
        "/api/v1//users",
        "/api/v1/./users",
        "/api/v1/first-admin/../users",
        "/api/v1/first-admin/%2e%2e/users",
        "/api/v1/first-admin%2f..%2fusers",
        "/api/v1/users;/first-admin",
        "/api/v1/users%23",
        "/api/v1/users%3f",
        "/API/v1/users",
        "/api/v1/USERS",
        "/api/v1/users/",
        "/api/v1/users%00",
        "/api/v1/us%65rs%20",
        "http://evil.example/api/v1/users",
        "/api/v1/users?path=/api/v1/first-admin",
    ],
)
async def test_no_spelling_of_a_path_gets_past_the_credential(stack: Stack, target: str) -> None:
    status, answer = await _raw(stack, f"GET {target} HTTP/1.1", "Host: x")
    assert status in (400, 401, 404, 405), answer
    assert b"root@example.com" not in answer


# A3: identity comes from the credential alone


async def test_identity_headers_are_not_looked_at(stack: Stack) -> None:
    spoofed = {
        "X-Forwarded-User": "root@example.com",
        "X_Forwarded_User": "root@example.com",
        "X-Gatewarden-User": "root@example.com",
        "x-gatewarden_principal": "user:root",
        "Remote-User": "root@example.com",
        "X-Forwarded-Email": "root@example.com",
        "Cookie": f"token={stack.tokens['root']}",
        "X-Auth-Request-Access-Token": stack.tokens["root"],
    }
    me = await stack.call("GET", "/whoami", who="member", headers=spoofed)
    assert me.json["name"] == "member@example.com"
    assert (await stack.call("GET", "/whoami", who=None, headers=spoofed)).status == 401
    query = await stack.call("GET", f"/whoami?access_token={stack.tokens['root']}", who=None)
    assert query.status == 401


async def test_two_different_credentials_are_refused_and_one_twice_is_one(stack: Stack) -> None:
    two = {"x-api-key": stack.tokens["member"]}
    got = await stack.call("GET", "/whoami", who="root", headers=two)
    assert (got.status, got.code) == (400, "conflicting_credentials")
    same = {"x-api-key": stack.tokens["root"]}
    assert (await stack.call("GET", "/whoami", who="root", headers=same)).status == 200


# A5, A6: a token is compared whole, and what is stored of it is no token


async def test_tokens_with_equal_beginnings_are_told_apart(stack: Stack) -> None:
    token = stack.tokens["root"]
    for cut in (
        token[:-1],
        token[:20],
        token[:-1] + ("0" if token[-1] != "0" else "1"),
        token + "x",
    ):
        assert (await stack.call("GET", "/whoami", token=cut)).status == 401


async def test_a_stored_digest_is_no_credential(stack: Stack) -> None:
    token = stack.tokens["root"]
    digest = digest_of(token)
    for attempt in (digest, f"gw_pat_{digest}", f"gw_pat_{stack.token_ids['root']}_{digest}"):
        got = await stack.call("GET", "/whoami", token=attempt)
        assert got.status == 401
    basic = base64.b64encode(f"root:{token}".encode()).decode()
    refused = await stack.call(
        "GET", "/whoami", who=None, headers={"Authorization": f"Basic {basic}"}
    )
    assert refused.status == 401


# A7: no identifier is a query


@pytest.mark.parametrize(
    "name",
    [
        '{"$ne":""}',
        "[$ne]",
        "$where",
        "a.b.c",
        "' OR '1'='1",
        "search'--",
        "search%00",
        "../search",
        "search~1",
        "%73earch%2F..%2Fhidden",
        "*",
        "any:team",
        "search%0d%0aX-Injected:%201",
        "\u202esearch",
        "s\u0435arch",  # a Cyrillic letter
        "x" * 2000,
    ],
)
async def test_a_hostile_name_is_a_name_that_does_not_exist(stack: Stack, name: str) -> None:
    for path in (f"/teams/{name}", f"/users/{name}", f"/personal-access-tokens/{name}"):
        method = "DELETE" if "tokens" in path else "GET"
        got = await stack.call(method, path)
        assert got.status in (400, 404, 405), (path, got.status, got.raw)
        assert "x-injected" not in got.headers


@pytest.mark.parametrize(
    "value",
    [{"$ne": ""}, {"$gt": ""}, {"$regex": ".*"}, ["root@example.com"], {"ne": ""}, None, True, 0],
)
async def test_no_field_takes_an_operator(stack: Stack, value: object) -> None:
    bodies = [
        ("POST", "/personal-access-tokens/for-user", {"name": "laptop", "email": value}, "ops"),
        ("POST", "/personal-access-tokens", {"name": value}, "root"),
        ("POST", "/explain", {"action": value, "resource": "model:acme/mini"}, "root"),
        ("PUT", "/teams/ml", {"type": "team", "name": "ml", "members": [value]}, "root"),
        ("PUT", "/apply", {"manifest": {"type": value, "name": "x"}}, "root"),
        ("POST", "/first-admin", {"token": value, "email": "a@example.com"}, None),
    ]
    for method, path, body, who in bodies:
        got = await stack.call(method, path, body, who=who)
        assert got.status in (400, 422), (path, got.status, got.raw)
        assert got.json["detail"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"name": "a-b", "name": "c-d"}',
        b'{"name": "laptop", "restrictions": [], "restrictions": null}',
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"name": NaN}',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": ' + b"1" * 10_000 + b"}",
        b"",
        b"null",
    ],
)
async def test_a_body_that_could_be_read_in_two_ways_is_refused(stack: Stack, raw: bytes) -> None:
    got = await stack.call("POST", "/personal-access-tokens", data=raw)
    assert got.status in (400, 415), got.raw
    wrong = await stack.call("PUT", "/apply", data=raw)
    assert wrong.status in (400, 415), wrong.raw


async def test_a_bomb_of_yaml_aliases_is_refused(stack: Stack) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    got = await stack.call(
        "PUT",
        "/apply",
        data="\n".join(lines).encode(),
        headers={"Content-Type": "application/yaml"},
    )
    assert got.status == 422


async def test_a_yaml_tag_makes_no_object(stack: Stack, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    text = f"type: team\nname: !!python/object/apply:os.system ['touch {trace}']\nmembers: []\n"
    got = await stack.call(
        "PUT", "/apply", data=text.encode(), headers={"Content-Type": "application/yaml"}
    )
    assert got.status == 422 and not trace.exists()


# A8, T1, T2, T8: nobody gets a right by naming somebody


async def test_who_a_thing_is_for_is_never_taken_from_the_body(stack: Stack) -> None:
    root = (await stack.call("GET", "/whoami", who="root")).json["id"]
    for extra in (
        {"subject": root},
        {"user_id": root},
        {"createdBy": root},
        {"email": "root@example.com"},
    ):
        got = await stack.call(
            "POST", "/personal-access-tokens", {"name": "laptop", **extra}, who="member"
        )
        assert (got.status, got.code) == (400, "invalid_body")


async def test_nobody_makes_himself_an_administrator(stack: Stack) -> None:
    me = "member@example.com"
    attempts = [
        ("PUT", f"/users/{me}", {"type": "user", "name": me, "roles": ["tenant-admin"]}),
        ("PUT", "/role-bindings/mine", {
            "type": "role-binding",
            "name": "mine",
            "subjects": [{"type": "user", "name": me}],
            "permissions": [
                {"resourceType": "tenant", "resourceFqn": "tenant", "role": "tenant-admin"}
            ],
        }),
        ("PUT", "/apply", {"manifest": {"type": "user", "name": me, "roles": ["tenant-admin"]}}),
        ("PUT", "/teams/search", {
            "type": "team",
            "name": "search",
            "members": [me],
            "managers": [me],
            "roles": ["tenant-admin"],
        }),
    ]  # fmt: skip
    for who in ("member", "manager", "security", "auditor", "checkout", "restricted"):
        for method, path, body in attempts:
            got = await stack.call(method, path, body, who=who)
            assert got.status in (403, 404), (who, path, got.status, got.raw)
    assert (await stack.call("GET", "/whoami", who="member")).json["roles"] == []


async def test_a_security_admin_reaches_no_provider_secret(stack: Stack) -> None:
    assert (await stack.call("GET", "/provider-accounts/acme", who="security")).status == 404
    mine = {
        "type": "provider-account/openai-compatible",
        "name": "acme",
        "base_url": "https://evil.example/v1",
        "integrations": [],
    }
    assert (await stack.call("PUT", "/provider-accounts/acme", mine, who="security")).status == 404


async def test_a_secret_does_not_follow_a_changed_address(stack: Stack) -> None:
    document = (await stack.call("GET", "/provider-accounts/acme")).json["document"]
    moved = {**document, "base_url": "https://evil.example/v1"}
    got = await stack.call("PUT", "/provider-accounts/acme", moved)
    assert got.status == 422 and "must be given again" in got.raw.decode()


# T7, T10: a partial body resets nothing to "everything"


async def test_leaving_fields_out_never_widens(stack: Stack) -> None:
    listed = {
        "type": "provider-account/openai-compatible",
        "name": "acme",
        "base_url": "https://acme.example.com/v1",
        "collaborators": [{"subject": "team:search", "role_id": "provider-account-access"}],
        "integrations": [
            {
                "type": "integration/model/openai-compatible",
                "name": "mini",
                "authorized_subjects": ["user:other@example.com"],
            }
        ],
    }
    assert (await stack.call("PUT", "/provider-accounts/acme", listed)).status == 200
    ask = {"action": "model:use", "resource": "model:acme/mini"}
    assert (await stack.call("POST", "/explain", ask, who="member")).json["effect"] == "deny"
    nobody = json.loads(json.dumps(listed))
    nobody["integrations"][0]["authorized_subjects"] = []
    assert (await stack.call("PUT", "/provider-accounts/acme", nobody)).status == 200
    for who in ("member", "other"):
        assert (await stack.call("POST", "/explain", ask, who=who)).json["effect"] == "deny"


# L8, L9, L10: no secret in anything that stays


async def test_no_secret_reaches_a_record_an_entry_or_an_error(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    made = await stack.call("POST", "/personal-access-tokens", {"name": "laptop"}, who="member")
    account = {"type": "virtual-account", "name": "fresh"}
    fresh = await stack.call("PUT", "/virtual-accounts/fresh", account)
    broken = made.json["token"][:-1] + "?"
    errors = [
        await stack.call("GET", "/whoami", token=broken),
        await stack.call("GET", f"/teams/{made.json['token']}"),
        await stack.call("GET", f"/whoami?token={made.json['token']}"),
    ]
    assert all(got.status in (400, 401, 404) for got in errors)
    kept = b"".join(path.read_bytes() for path in stack.folder.rglob("*") if path.is_file())
    for secret in (
        made.json["token"],
        fresh.json["token"],
        stack.tokens["root"],
        stack.tokens["ops"],
        PROVIDER_KEY,
    ):
        random = (
            secret.rpartition("_")[0].rpartition("_")[2] if secret.startswith("gw_") else secret
        )
        assert random.encode() not in kept
        assert random not in caplog.text


async def test_every_answer_forbids_keeping_it(stack: Stack) -> None:
    for route in ROUTES:
        path = route.path.replace("{name}", "search").replace("{id}", "x")
        got = await stack.call(route.method, path, who=None)
        assert got.headers["cache-control"] == "no-store"
        assert got.headers["x-content-type-options"] == "nosniff"
