"""The process as an operator sees it: start, workers, health, metrics, drain, a taken port, the first admin."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy import demo
from proxy.workers import reserve_port

ROOT = Path(__file__).parents[2]
SERVING = re.compile(rb"http://127\.0\.0\.1:(\d+)")


@dataclass
class Served:
    process: Process
    port: int
    data: Path
    output: list[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def get(self, path: str, **how: Any) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path, **how) as got:
            return got.status, await got.text()

    async def ends(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            return await self.process.wait()


def environment(data: Path, **more: str) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith("GATEWARDEN_")}
    return {**plain, "GATEWARDEN_DATA": str(data), "GATEWARDEN_LOG_LEVEL": "info", **more}


@asynccontextmanager
async def served(data: Path, workers: int = 1, **more: str) -> AsyncIterator[Served]:
    """`gatewarden serve` until the block ends; ready when it is entered."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "proxy.cli",
        "serve",
        "--port",
        "0",
        "--workers",
        str(workers),
        cwd=ROOT,
        env=environment(data, **more),
        stdout=PIPE,
        stderr=STDOUT,
    )
    assert process.stdout is not None
    output: list[bytes] = []
    serving = 0
    async with asyncio.timeout(30):
        while serving < workers:
            line = await process.stdout.readline()
            assert line, b"".join(output).decode()
            output.append(line)
            serving += b'"serving"' in line
    found = SERVING.search(line)
    assert found is not None
    try:
        yield Served(process, int(found[1]), data, output)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_demo_starts_serves_and_drains(tmp_path: Path) -> None:
    async with served(tmp_path / "var", GATEWARDEN_DEMO="true") as gateway:
        assert (await gateway.get("/healthz"))[0] == 200
        status, body = await gateway.get("/readyz")
        assert status == 200, body
        token = demo.read(gateway.data / "demo.env")["DEMO_TOKEN_ALICE"]
        assert (gateway.data / "demo.env").stat().st_mode & 0o777 == 0o600
        async with aiohttp.ClientSession() as session:
            # A stream that is open when the process is told to end is finished, not cut.
            body = {
                "model": "echo/small",
                "stream": True,
                "messages": [{"role": "user", "content": "[[echo chunk_delay=0.2]] one two three"}],
            }
            async with session.post(
                f"{gateway.url}/v1/chat/completions",
                json=body,
                headers={"authorization": f"Bearer {token}"},
            ) as answer:
                first = await answer.content.readany()
                gateway.process.send_signal(signal.SIGTERM)
                rest = await answer.content.read()
        assert (first + rest).rstrip().endswith(b"data: [DONE]")
        async with asyncio.timeout(30):
            assert await gateway.process.wait() == 0


async def test_a_second_start_keeps_the_demo_s_tokens(tmp_path: Path) -> None:
    async with served(tmp_path / "var", GATEWARDEN_DEMO="true") as gateway:
        before = demo.read(gateway.data / "demo.env")
        assert await gateway.ends() == 0
    async with served(tmp_path / "var", GATEWARDEN_DEMO="true") as gateway:
        after = demo.read(gateway.data / "demo.env")
        headers = {"authorization": f"Bearer {after['DEMO_TOKEN_BOB']}"}
        assert (await gateway.get("/v1/models", headers=headers))[0] == 200
    secrets = {name for name in before if name.startswith("DEMO_")}
    assert {name: before[name] for name in secrets} == {name: after[name] for name in secrets}


async def test_workers_share_the_port_a_revocation_and_their_metrics(tmp_path: Path) -> None:
    # docs/attacks.md K2: deleted in one process, refused by the other within its poll
    async with served(tmp_path / "var", workers=2, GATEWARDEN_DEMO="true") as gateway:
        variables = demo.read(gateway.data / "demo.env")
        alice = {"authorization": f"Bearer {variables['DEMO_TOKEN_ALICE']}"}
        for _ in range(40):
            assert (await gateway.get("/v1/models", headers=alice))[0] == 200
        for _ in range(5):  # whichever worker is scraped, it has counted them all
            _, text = await gateway.get("/metrics")
            found = re.search(
                r'decisions_total\{action="model:use",effect="allow",reason="allowed"\} (\d+)', text
            )
            assert found is not None
            assert int(found[1]) == 40
        async with aiohttp.ClientSession(gateway.url) as session:
            async with session.get("/api/v1/personal-access-tokens", headers=alice) as listed:
                (token,) = (await listed.json())["data"]
            path = f"/api/v1/personal-access-tokens/{token['id']}"
            async with session.delete(path, headers=alice) as deleted:
                assert deleted.status in (200, 204), await deleted.text()
        # The other worker follows within its poll; from then on nobody accepts the token.
        refused = 0
        async with asyncio.timeout(5):
            while refused < 20:
                status = (await gateway.get("/v1/models", headers=alice))[0]
                refused = refused + 1 if status == 401 else 0
        assert await gateway.ends() == 0


async def test_a_port_that_is_taken_is_named_plainly(tmp_path: Path) -> None:
    held, port = reserve_port("127.0.0.1", 0)
    held.listen()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "proxy.cli",
        "serve",
        "--port",
        str(port),
        cwd=ROOT,
        env=environment(tmp_path / "var"),
        stdout=PIPE,
        stderr=STDOUT,
    )
    output, _ = await process.communicate()
    held.close()
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}".encode() in output
    assert b"Traceback" not in output


async def test_the_first_admin_takes_the_offer_once(tmp_path: Path) -> None:
    # docs/attacks.md D8: from nothing to an administrator
    async with served(tmp_path / "var") as gateway:
        offer = (gateway.data / "first-admin").read_text().strip()
        async with aiohttp.ClientSession(gateway.url) as session:
            body = {"token": offer, "email": "root@example.com"}
            async with session.post("/api/v1/first-admin", json=body) as taken:
                assert taken.status == 201, await taken.text()
                token = (await taken.json())["token"]
            async with session.post("/api/v1/first-admin", json=body) as again:
                assert again.status == 400
            mine = {"authorization": f"Bearer {token}"}
            async with session.get("/api/v1/whoami", headers=mine) as who:
                assert "tenant-admin" in json.dumps(await who.json())
        assert not (gateway.data / "first-admin").exists()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("GATEWARDEN_JORNAL__MODE", "strict", "did you mean GATEWARDEN_JOURNAL__MODE"),
        ("GATEWARDEN_PORT", "eighty", "port"),
        ("GATEWARDEN_STORE", "postgres://x", "not supported"),
        ("GATEWARDEN_KEYS__SEALING", "changeme", "sealing key"),
    ],
)
async def test_a_setting_that_is_wrong_refuses_to_start_and_says_which(
    tmp_path: Path, variable: str, value: str, said: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "proxy.cli",
        "serve",
        cwd=ROOT,
        env=environment(tmp_path / "var", **{"GATEWARDEN_PORT": "0", variable: value}),
        stdout=PIPE,
        stderr=STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 1
    assert said in output.decode()
    assert b"Traceback" not in output
