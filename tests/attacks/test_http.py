"""Attacks on routing, framing and identity at the HTTP layer; numbers are those of docs/attacks.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from proxy.parts import Limits
from tests.proxy.world import CHAT, World, world

BODY = json.dumps(CHAT).encode()


def post(w: World, target: str = "/v1/chat/completions", *lines: str, body: bytes = BODY) -> bytes:
    """A raw request of ann's, with more header lines."""
    head = [
        f"POST {target} HTTP/1.1",
        "Host: gateway.test",
        f"Authorization: Bearer {w.tokens['ann']}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *lines,
        "Connection: close",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers on a connection."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


# A1, CVE-2026-49468: the decision follows the path that is served, not what a header says of it.
@pytest.mark.parametrize(
    "lines",
    [
        ["X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https"],
        ["X-Forwarded-Uri: /healthz", "X-Original-Url: /healthz"],
        ["X-Rewrite-Url: /v1/models", "X-Forwarded-Prefix: /public"],
        ["Forwarded: host=evil.test;proto=https"],
        ["X-HTTP-Method-Override: GET", "X-Method-Override: DELETE"],
        ["User-Agent: kube-probe/1.0"],  # A2, GHSA-5hvv-m4w4-gf6v
    ],
)
async def test_a1_headers_never_change_the_route(tmp_path: Path, lines: list[str]) -> None:
    async with world(tmp_path) as w:
        assert statuses(await w.raw(post(w, "/v1/chat/completions", *lines))) == [200]
        assert w.seen[0].path == "/v1/chat/completions"
        anonymous = post(w, "/v1/chat/completions", *lines).replace(b"Authorization", b"X-Nothing")
        assert statuses(await w.raw(anonymous)) == [401]


async def test_a1_the_host_header_and_the_absolute_form_never_change_the_route(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        for target in (
            "http://evil.test/v1/chat/completions",
            "https://127.0.0.1:1/v1/chat/completions?x=/healthz",
        ):
            assert statuses(await w.raw(post(w, target))) == [200]
        for target in (
            "http://evil.test/v1/chat/completions/",
            "http://evil.test",
            "ftp://evil.test/v1/chat/completions",
            "//v1/chat/completions",
        ):
            assert statuses(await w.raw(post(w, target))) in ([404], [400])
        hosts = post(w).replace(b"Host: gateway.test", b"Host: /healthz")
        assert statuses(await w.raw(hosts)) in ([200], [400])
        assert all(seen.path == "/v1/chat/completions" for seen in w.seen)
        assert all(UPSTREAM_HOST in (seen.header("host") or "") for seen in w.seen)


UPSTREAM_HOST = "127.0.0.1:"


# A2: paths that are almost a route.
@pytest.mark.parametrize(
    "target",
    [
        "/v1//chat/completions",
        "//v1/chat/completions",
        "/v1/chat/completions/",
        "/v1/./chat/completions",
        "/v1/x/../chat/completions",
        "/v1/%2e/chat/completions",
        "/v1/x/%2e%2e/chat/completions",
        "/v1/chat%2fcompletions",
        "/v1%2Fchat/completions",
        "/%761/chat/completions",
        "/v1/chat/completions;x=1",
        "/v1;/chat/completions",
        "/V1/chat/completions",
        "/v1/Chat/Completions",
        "/v1/chat/completions%00",
        "/v1/chat/completions%20",
        "/v1/chat/completions%23",
        "/v1/chat\\completions",
        "/healthz/../v1/chat/completions",
        "/v1/models/../chat/completions",
        "/v1/models/..%2fchat%2fcompletions",
    ],
)
async def test_a2_a_path_that_is_almost_a_route_is_none(tmp_path: Path, target: str) -> None:
    async with world(tmp_path) as w:
        answer = await w.raw(post(w, target))
        assert statuses(answer)[0] in (400, 404, 405)
        assert b'"error"' in answer  # JSON, also for what the parser refused
        assert not w.seen


async def test_a2_a_query_or_a_fragment_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for tail in ("?model=acme/tuned", "?api-version=1&key=secret", "?x=/v1/models"):
            assert statuses(await w.raw(post(w, "/v1/chat/completions" + tail))) == [200]
        assert {seen.path for seen in w.seen} == {"/v1/chat/completions"}
        assert {json.loads(seen.body)["model"] for seen in w.seen} == {"gpt-mini"}


# A3, CVE-2025-64484: identity headers under any spelling; the caller's credential never leaves.
async def test_a3_no_identity_or_credential_header_reaches_the_upstream(tmp_path: Path) -> None:
    lines = [
        "X_Forwarded_User: admin",
        "X-Forwarded-User: admin",
        "x-auth-request-email: a@b.test",
        "X-Gatewarden-Principal: user:u-admin",
        "X-Gatewarden-Metadata: {}",
        "Cookie: session=1",
        "Proxy-Authorization: Basic eDp5",
        "Api-Key: {token}",
        "OpenAI-Organization: org-other",
        "Connection: x-secret-hop",
        "X-Secret-Hop: 1",
    ]
    async with world(tmp_path) as w:
        lines = [line.replace("{token}", w.tokens["ann"]) for line in lines]
        answer = await w.raw(post(w, "/v1/chat/completions", *lines))
        assert statuses(answer) == [200]
        sent = {name.lower().replace("_", "-") for name, _ in w.seen[0].headers}
        assert not sent & {
            "x-forwarded-user",
            "x-auth-request-email",
            "x-gatewarden-principal",
            "x-gatewarden-metadata",
            "cookie",
            "proxy-authorization",
            "api-key",
            "openai-organization",
            "x-secret-hop",
        }
        assert w.tokens["ann"] not in str(w.seen[0].headers)


# I1, CVE-2025-53643, CVE-2024-52304: one reading of where a request ends.
@pytest.mark.parametrize(
    "request_",
    [
        # both framings
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
        # two lengths
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n"
        b"\r\nabcde",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd",
        # chunked that is not
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n"
        b"0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"zz\r\nabc\r\n0\r\n\r\n",
        # headers that two parsers read in two ways
        b"POST /v1/chat/completions HTTP/1.1\r\nHost : a\r\nContent-Length: 0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\n: a\r\n\r\n",
        # not HTTP
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"POST /v1/chat/completions HTTP/9.9\r\nHost: a\r\n\r\n",
    ],
)
async def test_i1_ambiguous_framing_is_refused_and_nothing_follows_it(
    tmp_path: Path, request_: bytes
) -> None:
    async with world(tmp_path) as w:
        answer = await w.raw(request_)
        found = statuses(answer)
        # a refusal, once: never an answer to what was hidden in the body
        assert found in ([400], [401]), answer
        assert b'"error"' in answer
        assert not w.seen


async def test_i1_a_request_hidden_in_a_refused_body_is_never_answered(tmp_path: Path) -> None:
    async with world(tmp_path, limits=Limits(body_bytes=1024)) as w:
        hidden = post(w, "/v1/models").replace(b"POST", b"GET")
        answer = await w.raw(post(w, body=b" " * 2048 + hidden))
        assert statuses(answer) == [413]
        assert b"connection: close" in answer.lower()


async def test_i1_nothing_is_upgraded(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for protocol in ("websocket", "h2c"):
            lines = [
                f"Upgrade: {protocol}",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==",
                "Sec-WebSocket-Version: 13",
            ]
            answer = await w.raw(
                post(w, "/v1/chat/completions", *lines).replace(
                    b"Connection: close", b"Connection: upgrade"
                )
            )
            assert 101 not in statuses(answer)


async def test_headers_beyond_the_limits_are_a_431_or_400_in_json(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for lines in (["X-Big: " + "a" * 20_000], [f"X-{i}: 1" for i in range(500)]):
            answer = await w.raw(post(w, "/v1/chat/completions", *lines))
            assert statuses(answer)[0] in (400, 431)
            assert b'"error"' in answer
        answer = await w.raw(post(w, "/v1/" + "a" * 20_000))
        assert statuses(answer)[0] in (400, 431)
        assert not w.seen


# I4: duplicate credentials.
async def test_i4_two_authorization_headers_are_never_a_choice(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        twice = post(w, "/v1/chat/completions", f"Authorization: Bearer {w.tokens['ben']}")
        assert statuses(await w.raw(twice)) == [400]
        nonsense = post(w, "/v1/chat/completions", "Api-Key: gw_pat_nonsense")
        assert statuses(await w.raw(nonsense)) == [400]
        assert not w.seen


# D7 and 4.1: JSON in the caller's dialect for everything that is not 2xx.
@pytest.mark.parametrize(
    ("method", "path", "status", "anthropic"),
    [
        ("GET", "/v1/nothing", 404, False),
        ("GET", "/v1/messages/nothing", 404, True),
        ("GET", "/v1/chat/completions", 405, False),
        ("DELETE", "/v1/messages", 405, True),
        ("PUT", "/v1/models", 405, False),
        ("OPTIONS", "/v1/chat/completions", 405, False),
        ("GET", "/", 404, False),
    ],
)
async def test_404_and_405_are_json_in_the_callers_dialect(
    tmp_path: Path, method: str, path: str, status: int, anthropic: bool
) -> None:
    async with world(tmp_path) as w:
        got = await w.call(path, method=method, headers={"content-type": "application/json"})
        assert got.status == status
        assert (got.header("content-type") or "") == "application/json"
        assert (got.json().get("type") == "error") is anthropic
        if status == 405:
            assert got.header("allow") == ("GET" if path == "/v1/models" else "POST")


# I7: what exists and what does not are not told apart, whoever asks.
async def test_i7_unknown_and_forbidden_have_the_same_form(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        shapes = set()
        for model in ("acme/hidden", "acme/absent"):
            got = await w.call(json_body={**CHAT, "model": model}, who="ben")
            names = frozenset(name.lower() for name in got.headers)
            shapes.add((got.status, names, len(got.body) - len(model)))
        assert len(shapes) == 1


# I8: no secret in any answer, record or metric.
async def test_i8_no_secret_reaches_an_answer_a_record_or_a_metric(tmp_path: Path) -> None:
    from tests.proxy.world import UPSTREAM_KEY

    async with world(tmp_path) as w:
        sinks = []
        for body in (CHAT, {**CHAT, "model": "acme/none"}, {"x": 1}):
            got = await w.call(
                json_body=body,
                headers={"x-gatewarden-metadata": '{"a": "b"}', "cookie": "sid=canary-7"},
            )
            sinks.append(got.body + str(got.headers).encode())
        sinks.append(json.dumps(await w.records()).encode())
        sinks.append(json.dumps(w.metrics.snapshot()).encode())
        for secret in (w.tokens["ann"], UPSTREAM_KEY, "canary-7"):
            assert not [sink for sink in sinks if secret.encode() in sink]
