"""Two hosts of one installation on MongoDB: what is taken on one does not hold on the other."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from pathlib import Path

import aiohttp
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy import demo
from proxy.cli import main
from tests.e2e.test_process import Served, environment, served

RAW = Encoding.Raw, PrivateFormat.Raw, NoEncryption()
CHAT = {"model": "echo/small", "messages": [{"role": "user", "content": "hi"}]}


def installation() -> dict[str, str]:
    """The keys of an installation, as its hosts get them from outside."""
    signing = Ed25519PrivateKey.generate().private_bytes(*RAW)
    return {
        "GATEWARDEN_KEYS__SEALING": base64.b64encode(secrets.token_bytes(32)).decode(),
        "GATEWARDEN_KEYS__SIGNING": base64.b64encode(signing).decode(),
        "GATEWARDEN_KEYS__INSTALLATION": secrets.token_hex(8),
    }


async def ask(host: Served, token: str, method: str, path: str, body: object = None) -> int:
    headers = {"authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, host.url + path, json=body) as answer,
    ):
        await answer.read()
        return answer.status


async def test_a_token_that_is_revoked_on_one_host_is_refused_on_the_other(
    tmp_path: Path, mongo_uri: str
) -> None:
    shared = {**installation(), "GATEWARDEN_STORE": mongo_uri}
    one, two = tmp_path / "one", tmp_path / "two"
    async with (
        served(one, GATEWARDEN_DEMO="true", **shared) as first,
        served(two, **shared) as second,
    ):
        tokens = demo.read(one / "demo.env")
        alice, root = tokens["DEMO_TOKEN_ALICE"], tokens["GATEWARDEN_TOKEN"]
        for host in (first, second):
            assert await ask(host, alice, "POST", "/v1/chat/completions", CHAT) == 200
        name = alice.split("_")[2]
        assert await ask(first, root, "DELETE", f"/api/v1/personal-access-tokens/{name}") in (
            200,
            204,
        )
        assert await ask(first, alice, "POST", "/v1/chat/completions", CHAT) == 401
        async with asyncio.timeout(10):  # it looks every half second
            while await ask(second, alice, "POST", "/v1/chat/completions", CHAT) != 401:
                await asyncio.sleep(0.02)
        assert await second.ends() == 0
        assert await first.ends() == 0

    def cli(*arguments: str) -> tuple[int, str]:
        done = CliRunner(env=environment(one, **shared)).invoke(main, [*arguments])
        return done.exit_code, done.output

    code, said = await asyncio.to_thread(cli, "log", "verify", "--json")
    assert code == 0, said
    assert not json.loads(said)["notes"]  # each host's chain is known to the change log
    code, said = await asyncio.to_thread(cli, "migrate", "--json")
    assert (code, json.loads(said)["store"]) == (0, "mongodb"), said


async def test_a_further_host_does_not_make_keys_of_its_own(tmp_path: Path, mongo_uri: str) -> None:
    shared = {**installation(), "GATEWARDEN_STORE": mongo_uri}
    async with served(tmp_path / "one", **shared) as first:
        assert await first.ends() == 0
    runner = CliRunner(env=environment(tmp_path / "two", GATEWARDEN_STORE=mongo_uri))
    arguments = ["token", "create", "--for", "ann@example.com", "--admin"]
    done = await asyncio.to_thread(runner.invoke, main, arguments)
    assert done.exit_code == 1 and "key" in done.output
    assert not list((tmp_path / "two").rglob("*.key"))
