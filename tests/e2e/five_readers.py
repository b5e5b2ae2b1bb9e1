"""Five readers ask the same questions, and somebody spoils the log: told as it happens.

`python -m tests.e2e.five_readers` prints both transcripts that stand in `docs/transcripts/`; a test compares them. The
gateway is a process, readers ask over HTTP, the log is verified by `gatewarden log verify` with the public key alone.
Ids, times and places that differ each time are masked.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
from click.testing import CliRunner

from proxy import demo
from proxy.cli import main
from store.segments import segments, writers
from tests.e2e.losing import ROOT, command
from tests.e2e.test_process import Served, environment, served

ESTATE: Final = """\
type: user
name: eve@example.com
---
type: policy
name: newcomers
rules:
  - {id: eve, effect: allow, subjects: ["user:eve@example.com"], actions: ["model:use"], resources: ["model:echo/small"]}
---
type: gateway-metadata-config
name: regions
rules:
  - {id: shop, subjects: ["virtualaccount:checkout"], metadata_override: {region: emea}}
  - {id: eve, subjects: ["user:eve@example.com"], metadata_override: {region: apac}}
---
type: gateway-data-access-config
name: support
rules:
  - id: emea
    subjects: ["team:support"]
    data_types: [traces]
    scope: all_data
    filters: [{field: metadata, key: region, operator: IN, value: [emea]}]
---
type: gateway-logging-config
name: logging
rules:
  - {id: all, log: always}
"""
# Who makes a request, and what he says of himself besides.
MADE: Final = (("alice", "emea"), ("checkout", ""), ("eve", "emea"), ("bob", ""))
READERS: Final = (
    ("eve", "in no team: what she did herself"),
    ("alice", "in the team search, which owns the account checkout"),
    ("bob", "in the team support: what is pinned as region emea"),
    ("dave", "tenant admin: everything"),
    ("carol", "auditor: everything but what was said"),
)
SECONDS: Final = 120


class Asking:
    """Readers who ask a gateway; who is meant by an id is written by name."""

    def __init__(self, http: aiohttp.ClientSession, url: str, tokens: dict[str, str]) -> None:
        self._http = http
        self._url = url
        self._tokens = tokens
        self.names: dict[str, str] = {}  # id -> name, also of records

    async def call(self, who: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The status and the body of an answer."""
        headers = {"authorization": f"Bearer {self._tokens[who]}"}
        async with self._http.request(
            method, self._url + path, headers=headers, json=body
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def chat(self, who: str, region: str) -> None:
        headers = {"authorization": f"Bearer {self._tokens[who]}"}
        if region:
            headers["x-gatewarden-metadata"] = json.dumps({"region": region})
        body = {
            "model": "echo/small",
            "messages": [{"role": "user", "content": f"{who} says this"}],
        }
        async with self._http.post(
            f"{self._url}/v1/chat/completions", json=body, headers=headers
        ) as answer:
            assert answer.status == 200, await answer.text()

    async def known(self) -> None:
        """Returns once every request, and what was said in it, can be read; learns the ids."""
        for who in self._tokens:
            self.names[(await self.call(who, "GET", "/api/v1/whoami"))[1]["id"]] = who
        while True:
            found = (await self.call("dave", "GET", "/api/v1/requests"))[1]["data"]
            if len(found) == len(MADE):
                break
            await asyncio.sleep(0.05)
        for one in found:
            self.names[one["id"]] = self.names[one["principal"]]
            while True:
                path = f"/api/v1/requests/{one['id']}?payload=true"
                if (await self.call("dave", "GET", path))[1]["payload"]:
                    break
                await asyncio.sleep(0.05)

    def of(self, who: str) -> str:
        """The id of the record of somebody's request."""
        return next(
            one
            for one, name in self.names.items()
            if name == who and re.fullmatch("[0-9a-f]{26}", one)
        )


async def answers(asking: Asking, who: str) -> list[str]:
    """What one reader gets."""
    names = asking.names

    async def told(
        said: str, method: str, path: str, body: object, show: Callable[[Any], str]
    ) -> str:
        status, answer = await asking.call(who, method, path, body)
        return f"< {status}  {said}: {show(answer) if status == 200 else answer['code']}"

    def listed(answer: Any) -> str:
        made = sorted(f"{names[o['principal']]}{json.dumps(o['metadata'])}" for o in answer["data"])
        return ", ".join(made) or "none"

    def counted(answer: Any) -> str:
        made = sorted(f"{names[o['by']['created_by']]} {o['count']}" for o in answer["data"])
        return ", ".join(made) or "none"

    def decided(answer: Any) -> str:
        made = sorted(f"{names[o['principal']]} {o['effect']}" for o in answer["data"])
        return ", ".join(made) or "none"

    def shown(answer: Any) -> str:
        return f"{answer['data']['model']}, {answer['data']['status']}"

    def heard(answer: Any) -> str:
        found = re.search(r"\w+ says this", json.dumps(answer["payload"]))
        return f'"{found[0]}"' if found else "nothing"

    shop, eve = asking.of("checkout"), asking.of("eve")
    by = {"group_by": ["created_by"]}
    return [
        await told("requests", "GET", "/api/v1/requests", None, listed),
        await told("eve's request", "GET", f"/api/v1/requests/{eve}", None, shown),
        await told("checkout's request", "GET", f"/api/v1/requests/{shop}", None, shown),
        await told(
            "what checkout said", "GET", f"/api/v1/requests/{shop}?payload=true", None, heard
        ),
        await told("requests counted", "POST", "/api/v1/metrics/query", by, counted),
        await told(
            "decisions on models", "GET", "/api/v1/decisions?action=model:use", None, decided
        ),
    ]


async def reading(folder: Path, gateway: Served) -> list[str]:
    """The first transcript: the same questions of all."""
    found = demo.read(gateway.data / "demo.env")
    tokens = {who: found[f"DEMO_TOKEN_{who.upper()}"] for who in ("alice", "bob", "carol", "dave")}
    tokens["checkout"] = found["DEMO_TOKEN_CHECKOUT"]
    (folder / "readers.yaml").write_text(ESTATE)
    operator = found["GATEWARDEN_TOKEN"]
    await command(folder, gateway.url, operator, "apply", "-f", "readers.yaml")
    said = await on_host(gateway.data, "token", "create", "--for", "user:eve@example.com", "--json")
    tokens["eve"] = json.loads(said[1])["token"]
    lines = []
    async with aiohttp.ClientSession() as http, asyncio.timeout(SECONDS):
        asking = Asking(http, gateway.url, tokens)
        while (await asking.call("eve", "GET", "/api/v1/whoami"))[0] != 200:
            await asyncio.sleep(0.05)  # minted on the host: it takes a moment to arrive
        for who, region in MADE:
            await asking.chat(who, region)
            claims = f"  x-gatewarden-metadata: region={region}" if region else ""
            lines.append(f"> {who} uses echo/small{claims}")
        await asking.known()
        for who, about in READERS:
            lines += ["", f"# {who}, {about}", *await answers(asking, who)]
    return lines


# --- faults ----------------------------------------------------------------------------------------


async def on_host(data: Path, *words: str) -> tuple[int, str]:
    """What `gatewarden` says beside the gateway, and its exit code."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy.cli", *words),
        cwd=ROOT,
        env=environment(data),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def _edited(files: Sequence[Path]) -> None:
    raw = files[0].read_bytes()
    changed = raw.replace(b'"effect":"allow"', b'"effect":"deny"', 1)
    assert changed != raw
    files[0].write_bytes(changed)


def _removed(files: Sequence[Path]) -> None:
    lines = files[0].read_bytes().splitlines(keepends=True)
    files[0].write_bytes(b"".join(lines[:2] + lines[3:]))


def _reordered(files: Sequence[Path]) -> None:
    lines = files[0].read_bytes().splitlines(keepends=True)
    files[0].write_bytes(b"".join([*lines[:2], lines[3], lines[2], *lines[4:]]))


def _cut(files: Sequence[Path]) -> None:
    lines = files[-1].read_bytes().splitlines(keepends=True)
    files[-1].write_bytes(b"".join(lines[:-2]))


def _swapped(files: Sequence[Path]) -> None:
    one, two = files[0].read_bytes(), files[1].read_bytes()
    files[0].write_bytes(two)
    files[1].write_bytes(one)


FAULTS: Final[tuple[tuple[str, Callable[[Sequence[Path]], None]], ...]] = (
    ("as it was written", lambda files: None),
    ("one answer turned from allow into deny", _edited),
    ("one record taken out", _removed),
    ("two records exchanged", _reordered),
    ("the last two lines cut off", _cut),
    ("two files exchanged", _swapped),
    ("one file deleted", lambda files: files[0].unlink()),
)
_MASKED: Final = (
    (re.compile(r"[0-9a-f]{16,}@[^\s:/]+"), "writer"),
    (re.compile(r"/[0-9a-f]{8,}\.jsonl"), "/segment.jsonl"),
    (re.compile(r"\d+"), "N"),
)


async def spoiling(folder: Path, data: Path) -> list[str]:
    """The second transcript: what `log verify` says to a log that somebody changed."""
    lines: list[str] = []
    public = folder / "log-public-key.pem"
    shutil.copy(data / public.name, public)
    for number, (said, change) in enumerate(FAULTS):
        journal = folder / f"journal-{number}"
        shutil.copytree(data / "journal", journal)
        (writer,) = writers(journal)
        change([one.path for one in segments(writer)])
        words = ("--journal", str(journal), "--public-key", str(public))
        done = await asyncio.to_thread(CliRunner().invoke, main, ["log", "verify", *words])
        out = done.output
        for pattern, instead in _MASKED:
            out = pattern.sub(instead, out)
        every = dict.fromkeys(line.rstrip() for line in out.splitlines() if line.strip())
        # Which fault comes first hangs on the numbers that are masked.
        found = sorted(every, key=lambda line: line if line.startswith("writer/") else "~")
        lines += [f"# {said}", "$ gatewarden log verify", *found, f"exit code {done.exit_code}", ""]
    return lines[:-1]


async def transcripts(folder: Path) -> tuple[list[str], list[str]]:
    """Both."""
    data = folder / "var"
    # Several files, however short the story, and nothing that depends on how long it takes.
    small = {"JOURNAL__SEGMENT_BYTES": "16384", "JOURNAL__CHECKPOINT_SECONDS": "3600"}
    small = {f"GATEWARDEN_{name}": value for name, value in small.items()}
    async with served(data, GATEWARDEN_DEMO="true", **small) as gateway:
        read = await reading(folder, gateway)
        assert await gateway.ends() == 0
    return read, await spoiling(folder, data)


async def show() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for lines in await transcripts(Path(folder)):
            print("\n".join(lines), end="\n\n")


if __name__ == "__main__":
    asyncio.run(show())
