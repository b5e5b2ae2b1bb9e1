"""I8: canaries in every input, looked for in every sink. A gateway of its own, at the most talkative level.

What may stand where: a token, a provider's key, a body and an upstream's text stand nowhere but in the answer
to who sent or asked for them. A person's address stands in the `people` table, from which it can be erased.
Numbers are those of docs/attacks.md (5.5 I8; 3.8 L8, L9, L10).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from identity.principal import CredentialKind
from identity.tokens import mint
from proxy import demo
from tests.e2e.test_process import ROOT, SERVING, environment

PROVIDER_KEY = "sk-canary-provider-0123456789"
WRONG_PLACE = "sk-canary-wrongplace-0123456"
PROMPT = "canary-prompt-of-a-person"
UPSTREAM = "canary-said-by-the-upstream"
COOKIE = "canary-cookie-value"
ADDRESS = "canary.person@example.com"
DISPLAY = "Canary Displayname"
STRANGER = mint(CredentialKind.PAT).secret  # looks like a token, and is nobody's


async def upstream(request: web.BaseRequest) -> web.StreamResponse:
    """Answers as the model asks, and quotes what it should not."""
    body = await request.json()
    model = body["model"]
    key = request.headers.get("authorization", "")
    told = {"error": {"message": f"{UPSTREAM}: the key {key} is wrong", "key": key}}
    if model.isdigit():
        return web.json_response(told, status=int(model), headers={"x-echo": UPSTREAM})
    if model == "redirect":
        return web.Response(status=302, headers={"location": f"http://x.example/?k={key}"})
    if model == "cut":
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f'data: {{"{UPSTREAM}": 1}}\n\n'.encode())
        assert request.transport is not None
        request.transport.abort()
        return response
    if model == "nonsense":
        assert request.transport is not None
        request.transport.write(f"HTTP/9.9 {UPSTREAM} {key}\r\n\r\n".encode())
        request.transport.close()
        raise ConnectionError
    said = {"id": "x", "choices": [{"message": {"content": UPSTREAM}}], "usage": {}}
    return web.json_response(said)


MODELS = ("ok", "400", "401", "403", "404", "429", "500", "redirect", "cut", "nonsense")


def account(port: int) -> dict[str, Any]:
    return {
        "type": "provider-account/openai-compatible",
        "name": "acme",
        "base_url": f"http://127.0.0.1:{port}/v1",
        "auth_data": {"type": "api-key", "api_key": PROVIDER_KEY},
        "collaborators": [{"subject": "team:search", "role_id": "provider-account-access"}],
        "integrations": [
            {"type": "integration/model/openai-compatible", "name": f"m-{name}", "model_id": name}
            for name in MODELS
        ],
    }


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    """`gatewarden serve` with its standard error in a file; drained at the end."""
    log = folder / "stderr"
    more = {
        "GATEWARDEN_DEMO": "true",
        "GATEWARDEN_LOG_LEVEL": "debug",
        "GATEWARDEN_UPSTREAM__ALLOW_PRIVATE": "127.0.0.0/8",
        "GATEWARDEN_JOURNAL__CHECKPOINT_SECONDS": "0.5",
        "GATEWARDEN_SIEM__SINK": "file",
        "GATEWARDEN_SIEM__FILE": str(folder / "var" / "siem.jsonl"),
        "GATEWARDEN_SIEM__RECORDS": "all",
        "PYTHONASYNCIODEBUG": "1",
    }
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-X", "dev", "-m", "proxy.cli", "serve", "--port", "0"),
            cwd=ROOT,
            env=environment(folder / "var", **more),
            stdout=stream,
            stderr=stream,
        )
    try:
        async with asyncio.timeout(30):
            while not (found := SERVING.search(log.read_bytes())) or (
                b'"serving"' not in log.read_bytes()
            ):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{int(found[1])}"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0, log.read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Attack:
    """Sends canaries, and keeps every answer with what its sender knew anyway."""

    def __init__(self, url: str, variables: dict[str, str], session: aiohttp.ClientSession) -> None:
        self.url = url
        self.alice = variables["DEMO_TOKEN_ALICE"]
        self.operator = variables["GATEWARDEN_TOKEN"]
        self.session = session
        self.answers: list[tuple[str, int, str]] = []

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> str:
        sent = {"content-type": "application/json", **(headers or {})}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        if body is not None:
            data = json.dumps(body).encode()
        try:
            async with self.session.request(
                method, self.url + path, data=data, headers=sent, allow_redirects=False
            ) as got:
                text = f"{got.headers}\n{await got.text(errors='replace')}"
                self.answers.append((f"{method} {path} {body or data!r}", got.status, text))
                return text
        except aiohttp.ClientError as error:  # a stream that broke, as it should
            return str(error)

    async def raw(self, request: bytes) -> None:
        host, _, port = self.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        async with asyncio.timeout(10):
            answer = await reader.read(1 << 16)
        writer.close()
        self.answers.append((repr(request), 0, answer.decode("latin-1")))


async def model_requests(attack: Attack) -> None:
    chat = {
        "model": "acme/m-ok",
        "messages": [{"role": "user", "content": PROMPT}],
        "user": PROMPT,
        "metadata": {"who": PROMPT},
    }
    path = "/v1/chat/completions"
    alice = attack.alice
    for name in MODELS:
        for stream in (False, True):
            body = {**chat, "model": f"acme/m-{name}", "stream": stream}
            await attack.send("POST", path, body, token=alice)
    await attack.send("POST", "/v1/responses", {"model": "acme/m-ok", "input": PROMPT}, token=alice)
    await attack.send("POST", "/v1/messages", {**chat, "max_tokens": 5}, token=alice)
    # broken bodies, whose errors could quote them
    for data in (
        b'{"model": "acme/m-ok", "%s": ' % PROMPT.encode(),
        b'{"%s": 1, "%s": 2}' % (PROMPT.encode(), PROMPT.encode()),
        PROMPT.encode(),
        b'{"model": ["%s"]}' % PROMPT.encode(),
        b'{"model": "acme/m-ok", "stream": "%s"}' % PROMPT.encode(),
        b'{"model": "acme/m-ok", "tools": ["%s"]}' % PROMPT.encode(),
        b'{"model": "acme/m-ok", "api_key": "%s"}' % WRONG_PLACE.encode(),
    ):
        await attack.send("POST", path, data=data, token=alice)
    form = aiohttp.MultipartWriter("form-data")
    part = form.append(PROMPT)
    part.set_content_disposition("form-data", name="prompt")
    async with attack.session.post(
        attack.url + "/v1/audio/transcriptions",
        data=form,
        headers={"authorization": f"Bearer {alice}"},
    ) as got:
        attack.answers.append(("form", got.status, await got.text()))


async def tokens_everywhere(attack: Attack) -> None:
    """Live and unknown tokens where they do not belong."""
    for token in (attack.alice, STRANGER):
        chat = {"model": "echo/small", "messages": []}
        for body in (
            {**chat, "model": token},
            {**chat, "model": f"acme/{token}"},
            {**chat, "previous_response_id": token},
        ):
            await attack.send("POST", "/v1/chat/completions", body, token=attack.alice)
        for headers in (
            {"x-request-id": token},
            {"x-gatewarden-metadata": json.dumps({"token": token})},
            {"x-gatewarden-metadata": json.dumps({token: "x"})},
            {"traceparent": token},
            {"user-agent": token, "referer": f"https://x.example/?token={token}"},
            {"cookie": f"session={token}; other={COOKIE}"},
            {"x-min-epoch": token},
            {"content-type": token},
            {"anthropic-version": token, "x-forwarded-for": token, "forwarded": f"for={token}"},
        ):
            await attack.send(
                "POST", "/v1/chat/completions", chat, token=attack.alice, headers=headers
            )
            await attack.send("GET", "/api/v1/whoami", token=attack.alice, headers=headers)
        basic = base64.b64encode(f"x:{token}".encode()).decode()
        for headers in (
            {"authorization": f"Basic {basic}"},
            {"authorization": f"Token {token}"},
            {"authorization": f"Bearer {token}, {token}"},
            {"authorization": token, "x-api-key": token + "x"},
            {"x-api-key": token + "\x80"},
        ):
            await attack.send("POST", "/v1/chat/completions", chat, headers=headers)
            await attack.send("GET", "/api/v1/whoami", headers=headers)
        for path in (
            f"/v1/models/{token}",
            f"/v1/models?token={token}",
            f"/v1/{token}",
            f"/v1/files/{token}",
            f"/{token}",
            f"/api/v1/teams/{token}",
            f"/api/v1/whoami?token={token}",
            f"/api/v1/personal-access-tokens/{token}",
            f"/api/v1/{token}",
            f"/metrics?{token}",
        ):
            await attack.send("GET", path, token=attack.operator)
            await attack.send("DELETE", path, token=attack.operator)
            await attack.send("GET", path)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        for broken in (
            f"X-A\x00: {token}\r\n\r\n",
            f"Content-Length: {token}\r\n\r\n",
            f"X-{token} : 1\r\n\r\n",
            f" folded {token}\r\n\r\n",
            f"Transfer-Encoding: chunked\r\n\r\n{token}\r\n",
            f"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{token}",
            f"X: {token * 200}\r\n\r\n",
        ):
            await attack.raw((head + "Connection: close\r\n" + broken).encode("latin-1"))
        await attack.raw(f"{token} / HTTP/1.1\r\n\r\n".encode())
        await attack.raw(f"GET /{token} HTTP/{token}\r\n\r\n".encode())


async def documents(attack: Attack, port: int) -> None:
    """Secrets in documents, in their place and out of it."""
    good = account(port)
    path = "/api/v1/provider-accounts/acme"
    text = await attack.send("PUT", path, good, token=attack.operator)
    assert '"epoch"' in text, text
    for wrong in (
        {"auth_data": WRONG_PLACE},
        {"auth_data": {"type": "api-key", "api_key": [WRONG_PLACE]}},
        {"auth_data": {"type": "api-key", "api_key": {"value": WRONG_PLACE}}},
        {"auth_data": {"type": "api-key", "key": WRONG_PLACE}},
        {"auth_data": {"type": WRONG_PLACE, "api_key": WRONG_PLACE}},
        {"auth_data": {"type": "api-key", "api_key": f"env:{WRONG_PLACE}"}},
        {"auth_data": {"type": "api-key", "api_key": f"tfy-secret:{WRONG_PLACE}"}},
        {"auth_data": {"type": "api-key", "api_key": WRONG_PLACE + "\x00"}},
        {"auth_data": {"type": "access-key-based", "access_key_id": "A", "secret_access_key": WRONG_PLACE}},
        {"base_url": f"https://user:{WRONG_PLACE}@x.example/v1"},
        {"base_url": f"https://x.example/v1?key={WRONG_PLACE}"},
    ):  # fmt: skip
        document = {**good, "name": "wrong", **wrong}
        for method, where, body in (
            ("PUT", "/api/v1/provider-accounts/wrong", document),
            ("PUT", "/api/v1/apply", {"manifest": document}),
            ("PUT", "/api/v1/apply", {"manifest": document, "dry_run": True}),
        ):
            await attack.send(method, where, body, token=attack.operator)
        yaml = json.dumps(document).encode()  # JSON is YAML
        await attack.send(
            "PUT",
            "/api/v1/apply",
            data=yaml,
            token=attack.operator,
            headers={"content-type": "application/yaml"},
        )
    person = {"type": "user", "name": ADDRESS, "displayName": DISPLAY}
    text = await attack.send("PUT", f"/api/v1/users/{ADDRESS}", person, token=attack.operator)
    assert '"epoch"' in text, text
    team = {"type": "team", "name": "canaries", "members": [ADDRESS]}
    await attack.send("PUT", "/api/v1/teams/canaries", team, token=attack.operator)
    await attack.send("GET", f"/api/v1/users/{ADDRESS}", token=attack.alice)
    ask = {"subject": f"user:{ADDRESS}", "action": "model:use", "resource": "model:acme/m-ok"}
    await attack.send("POST", "/api/v1/explain", ask, token=attack.operator)


LISTS = ("users", "teams", "provider-accounts", "virtual-accounts", "roles", "policies",
         "personal-access-tokens", "whoami", "gateway-data-access-config", "changes")  # fmt: skip


def secret_part(token: str) -> str:
    """The random part: prefix and id of a token may be shown."""
    return token.split("_")[3]


async def test_i8_no_canary_is_in_any_sink(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    peer = web.Server(upstream)
    socket = await loop.create_server(peer, "127.0.0.1", 0)
    port = socket.sockets[0].getsockname()[1]
    data = tmp_path / "var"
    async with serving(tmp_path) as url, aiohttp.ClientSession() as session:
        variables = demo.read(data / "demo.env")
        attack = Attack(url, variables, session)
        await documents(attack, port)
        made = await attack.send(
            "POST", "/api/v1/personal-access-tokens", {"name": "laptop"}, token=attack.alice
        )
        fresh = re.search(r"gw_pat_\w+", made)
        assert fresh is not None
        attack.answers.pop()  # shown once, to who asked
        await model_requests(attack)
        await tokens_everywhere(attack)
        for name in LISTS:
            await attack.send("GET", f"/api/v1/{name}", token=attack.operator)
        for path in ("/metrics", "/healthz", "/readyz"):
            await attack.send("GET", path)
        await session.close()
    socket.close()
    await peer.shutdown(1)

    assert any(status == 200 for _, status, _ in attack.answers)
    assert not [
        asked for asked, status, _ in attack.answers if status == 500 and "m-500" not in asked
    ]
    tokens = [attack.alice, attack.operator, STRANGER, fresh[0], variables["DEMO_TOKEN_CHECKOUT"]]
    secrets = [secret_part(token) for token in tokens]
    everywhere = [*secrets, PROVIDER_KEY, WRONG_PLACE, PROMPT, UPSTREAM, COOKIE]
    encoded = [base64.b64encode(f"x:{token}".encode()).decode() for token in tokens]

    # files, but those that hold secrets on purpose
    looked = 0
    for file in sorted(tmp_path.rglob("*")):
        if not file.is_file() or file.name in ("demo.env", "first-admin") or "keys" in file.parts:
            continue
        looked += 1
        content = file.read_bytes()
        for canary in (*everywhere, *encoded):
            at = content.find(canary.encode())
            assert at < 0, (file, canary, content[max(0, at - 300) : at + 100])
        if not file.name.startswith("gatewarden.db"):
            for canary in (ADDRESS, DISPLAY):
                at = content.find(canary.encode())
                assert at < 0, (file, canary, content[max(0, at - 300) : at + 100])
    names = {file.name for file in tmp_path.rglob("*")}
    assert looked >= 4 and {"stderr", "gatewarden.db", "request-records.db", "siem.jsonl"} <= names

    # what is immutable names no person
    db = sqlite3.connect(data / "gatewarden.db")
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        rows = db.execute(f"SELECT * FROM {table}").fetchall()
        text = repr(rows)
        assert (ADDRESS in text) is (table == "people"), table
        assert (DISPLAY in text) is (table == "people"), table
    db.close()

    # answers: nobody's secrets come back, not even to who sent them
    leaks = [
        (asked, status, canary, answer[-900:])
        for asked, status, answer in attack.answers
        for canary in (*secrets, PROVIDER_KEY, WRONG_PLACE)
        if canary in answer
    ]
    assert not leaks, leaks
    for asked, _, answer in attack.answers:
        if asked.startswith(("GET /metrics", "GET /healthz", "GET /readyz")):
            assert not [c for c in (PROMPT, UPSTREAM, ADDRESS, COOKIE) if c in answer]
